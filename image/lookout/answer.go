package lookout

import (
	"cmp"
	"context"
	"errors"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/image"
)

// The answers that are counted.
const (
	answerSigned  = "signed"
	answerLacking = "lacking"
	answerNone    = "none"
)

// How long is waited before the next try: of a registry that is down, of an image that its registry says nothing of, of one that
// runs and lacks a signature, and of one that was refused, whose signature may be on its way.
const (
	downFirst, downMost       = 15 * time.Second, 10 * time.Minute
	brokenFirst, brokenMost   = time.Minute, time.Hour
	lackingFirst, lackingMost = time.Minute, time.Hour
	refusedFirst, refusedMost = 10 * time.Second, 5 * time.Minute
	// atLeast lies between two questions about one image, whoever is refused meanwhile.
	atLeast = 10 * time.Second
	// maxSlow images in a row that take too long are the registry's fault, and no image's.
	maxSlow = 3
)

// What is said of faults of our own.
const (
	sayLook = "what runs is not known; what is known of signatures holds until its end"
	sayMany = "not all images are looked after"
	sayKeep = "what registries showed of signatures is not kept"
)

// pause doubles with each try in vain, and is a fifth shorter or longer so that not all come back at once.
func pause(tries int, first, most time.Duration) time.Duration {
	p := most
	if tries < 16 {
		p = min(first<<max(tries-1, 0), most)
	}
	return p*4/5 + rand.N(p*2/5)
}

// refreshAt is when an answer is asked for again: in the third quarter of its age, spread by the digest.
func refreshAt(s image.Signed, age time.Duration) time.Time {
	quarter, sum := age/4, fnv.New32a()
	_, _ = sum.Write([]byte(s.Digest)) // a hash takes all
	return s.Until.Add(-2*quarter + time.Duration(float64(quarter)*float64(sum.Sum32())/(1<<32)))
}

// take notes what a registry said of an image, or that it said nothing.
func (l *Lookout) take(i Image, answers []image.Signed, err error) {
	now := l.cfg.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.hosts[i.Host]
	if errors.Is(err, context.DeadlineExceeded) {
		at.slow++
	} else {
		at.slow = 0
	}
	if errors.Is(err, ErrDown) || at.slow >= maxSlow {
		l.answers[answerNone]++
		at.fails++
		at.until = now.Add(pause(at.fails, downFirst, downMost))
		if at.fails == 1 {
			l.cfg.Log.Warn("a registry says nothing of signatures; what is known holds until its end", "registry", i.Host, "err", short(err))
		}
		return
	}
	if at.fails > 0 {
		at.fails = 0
		l.cfg.Log.Info("a registry tells of signatures again", "registry", i.Host)
	}
	if err == nil && !slices.ContainsFunc(answers, func(s image.Signed) bool { return s.Trust == i.Trust }) {
		err = errors.New("no answer under rule " + i.Trust) // the rules changed on the way
	}
	if err != nil {
		l.answers[answerNone]++
		a := l.note(i, now)
		if a.next = now.Add(pause(a.tries, brokenFirst, brokenMost)); a.tries == 1 {
			l.cfg.Log.Warn("signatures of an image are not known", "image", finding.Clean(i.Reference), "err", short(err))
		}
		return
	}
	for _, s := range answers {
		if wanted, ok := l.images[key{i.Reference, s.Trust}]; ok {
			l.learn(wanted, s, now)
		}
	}
}

// note counts a try in vain.
func (l *Lookout) note(i Image, now time.Time) *asked {
	a := l.asked[key{i.Reference, i.Trust}]
	if a == nil {
		a = &asked{}
		l.asked[key{i.Reference, i.Trust}] = a
	}
	a.at, a.tries = now, a.tries+1
	return a
}

// learn keeps what an answer says. That an image lacks a signature is kept of what runs alone: of what was refused it changes nothing, and
// whoever names digests could fill the Guards with it.
func (l *Lookout) learn(i Image, s image.Signed, now time.Time) {
	a, f := l.note(i, now), fact{s.Digest, s.Trust}
	was, had := l.own[f]
	signed := !s.Until.IsZero()
	if signed {
		l.answers[answerSigned]++
		a.tries, a.next = 0, now.Add(atLeast)
	} else {
		l.answers[answerLacking]++
		first, most := refusedFirst, refusedMost
		if i.Runs {
			first, most = lackingFirst, lackingMost
		}
		a.next = now.Add(pause(a.tries, first, most))
		elsewhere := had && now.Before(was.Until) && was.from != "" && was.from != i.Reference
		if !i.Runs || elsewhere || had && was.Until.IsZero() && was.By == s.By {
			return
		}
	}
	if !had || was.Until.IsZero() || !signed {
		l.urgent = l.urgent || signed
		l.tell(i, s)
	}
	l.own[f], l.dirty = ours{s, i.Reference}, true
}

// tell logs what was learnt of an image.
func (l *Lookout) tell(i Image, s image.Signed) {
	log := l.cfg.Log.With("image", finding.Clean(i.Reference), "rule", s.Trust)
	if s.Until.IsZero() {
		log.Warn("an image that runs is not signed as its rule demands", "err", image.Brief(s.By))
		return
	}
	log.Info("an image is signed as its rule demands", "by", image.Brief(s.By), "until", s.Until)
}

// short is an error that may quote a registry, fit for a line.
func short(err error) string {
	const longest = 500 // bytes
	text := finding.Clean(err.Error())
	return strings.ToValidUTF8(text[:min(len(text), longest)], "")
}

// all is what is known here, in order.
func (l *Lookout) all() []image.Signed {
	all := make([]image.Signed, 0, len(l.own))
	for _, o := range l.own {
		all = append(all, o.Signed)
	}
	slices.SortFunc(all, func(a, b image.Signed) int {
		return cmp.Or(cmp.Compare(a.Digest, b.Digest), cmp.Compare(a.Trust, b.Trust))
	})
	return all
}

// keep keeps what is known where it is something else than before. Only Run calls it.
func (l *Lookout) keep() {
	now := l.cfg.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if since := now.Sub(l.wrote); !l.dirty || l.looked.IsZero() || !l.urgent && since >= 0 && since < keepEvery {
		return
	}
	l.dirty, l.urgent = false, false
	l.forget(now)
	all := l.all()
	if slices.EqualFunc(all, l.kept, func(a, b image.Signed) bool {
		return a.Digest == b.Digest && a.Trust == b.Trust && a.By == b.By && a.Until.Equal(b.Until)
	}) {
		return
	}
	l.wrote = now
	l.mu.Unlock() // nobody waits for a disk
	err := l.cfg.Keep(all)
	l.mu.Lock()
	if err != nil {
		l.dirty = true
		l.say(sayKeep, err)
		return
	}
	delete(l.said, sayKeep)
	l.kept = all
}

// forget drops what nobody looks after any more and says nothing now, and what is too much.
func (l *Lookout) forget(now time.Time) {
	wanted := map[fact]bool{}
	for k, i := range l.images {
		if i.Runs {
			wanted[fact{image.DigestOf(k.reference), k.trust}] = true
		}
	}
	maps.DeleteFunc(l.own, func(f fact, o ours) bool { return !wanted[f] && now.After(o.Until) }) // the zero Until too
	if len(l.own) <= maxKept {
		return
	}
	all := slices.SortedFunc(maps.Keys(l.own), func(a, b fact) int {
		return cmp.Or(later(wanted[b], wanted[a]), l.own[b].Until.Compare(l.own[a].Until))
	})
	for _, f := range all[maxKept:] {
		delete(l.own, f)
	}
}

// say logs a fault, once while it stays the same.
func (l *Lookout) say(what string, err error) {
	if l.said[what] != err.Error() {
		l.said[what] = err.Error()
		l.cfg.Log.Error(what, "err", err)
	}
}

// Stats are the numbers of a Lookout.
type Stats struct {
	// Looked says that what runs is known; before that Images is empty.
	Looked bool
	// Images are those looked after, by what is known of them: signed, lacking, unknown.
	Images map[string]int
	// Answers are those since the start: signed, lacking, none.
	Answers map[string]int
	// Down is how many registries answer nobody and are left alone for a while.
	Down int
}

// Stats tells how it stands.
func (l *Lookout) Stats() Stats {
	now := l.cfg.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Stats{Looked: !l.looked.IsZero(), Images: map[string]int{"signed": 0, "lacking": 0, "unknown": 0}, Answers: maps.Clone(l.answers)}
	for k := range l.images {
		switch known, ok := l.known(fact{image.DigestOf(k.reference), k.trust}); {
		case ok && known.Until.IsZero():
			s.Images["lacking"]++
		case ok && !now.After(known.Until):
			s.Images["signed"]++
		default:
			s.Images["unknown"]++
		}
	}
	for _, h := range l.hosts {
		if h.fails > 0 {
			s.Down++
		}
	}
	return s
}
