// Package lookout decides of which images registries are asked for signatures, when and how often, and keeps what they showed.
//
// It reaches no registry, judges no signature and reads no cluster: who runs, who asks and where it is kept is given to it. The control
// plane calls it.
package lookout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"ringfence.dev/ringfence/image"
)

// ErrDown is wrapped by Sight.Ask where a registry answers nobody now, whatever it is asked.
var ErrDown = errors.New("the registry answers nobody now")

const (
	// tick is how often it is looked whether somebody must be asked, and lookEvery how often what runs is looked at.
	tick, lookEvery = 500 * time.Millisecond, 15 * time.Second
	// within is how long one image may take, and gap how long its registry is left alone afterwards.
	within, gap = 20 * time.Second, 100 * time.Millisecond
	// maxLanes is how many registries are asked at once, each for one image at a time; maxTurn is for how many before others may come.
	maxLanes, maxTurn = 4, 40
	// maxImages bounds whom we look after, and maxKept what is kept of them.
	maxImages, maxKept = 20_000, 50_000
	// keepEvery is how long answers wait for more that nobody waits for: each write makes the Guards anew.
	keepEvery = 10 * time.Second
)

// Image is one whose signatures somebody has reason to know.
type Image struct {
	// Reference is as Pods name it, with its digest; Host is the registry that it means.
	Reference, Host string
	// Trust is the ID of the rule that counts for it, and Age how long an answer counts under it.
	Trust string
	Age   time.Duration
	// Runs says that Pods run it. Else it was refused a moment ago, and only an answer that lets it in is kept.
	Runs bool
}

// Sight is what there is to look after.
type Sight struct {
	Images []Image
	// Ask asks the registry of an image, once, what it shows under each rule. The error is no answer; see ErrDown.
	Ask func(ctx context.Context, reference string, now time.Time) ([]image.Signed, error)
}

// Config is what a Lookout needs. All is required but Kept.
type Config struct {
	// Look says what there is to look after: what runs, and of what was refused lately that which may be asked about.
	Look func(ctx context.Context, refused []Place) (Sight, error)
	// Known is what others say of a digest. It must not block.
	Known func(digest string) []image.Signed
	// Keep keeps all that is known here, in place of what it kept before; Kept is what that was.
	Keep func([]image.Signed) error
	Kept []image.Signed
	Now  func() time.Time
	Log  *slog.Logger
}

// Lookout looks after images. Stats and Refused may be called by anyone at any time.
type Lookout struct {
	cfg   Config
	lanes chan struct{}

	mu      sync.Mutex // guards what follows
	sight   Sight
	images  map[key]Image
	asked   map[key]*asked
	own     map[fact]ours
	kept    []image.Signed // as it was kept last
	hosts   map[string]*host
	refused refusals
	answers map[string]int
	looked  time.Time // zero before the first time
	dirty   bool      // something may have to be kept; urgent: somebody waits for it
	urgent  bool
	wrote   time.Time
	said    map[string]string // what is wrong, as it was said last
}

type (
	// key is an image under a rule.
	key struct{ reference, trust string }
	// fact is what an answer is about: a signature counts for a digest, wherever it lies.
	fact struct{ digest, trust string }
	ours struct {
		image.Signed
		from string // the reference that showed it; "" where that is not known any more
	}
	asked struct {
		at, next time.Time
		tries    int // in vain, one after the other
	}
	host struct {
		busy  bool
		fails int // one after the other
		slow  int // images in a row that took too long
		until time.Time
	}
)

// New makes a Lookout.
func New(cfg Config) *Lookout {
	l := &Lookout{cfg: cfg, lanes: make(chan struct{}, maxLanes), images: map[key]Image{}, asked: map[key]*asked{}, own: map[fact]ours{},
		hosts: map[string]*host{}, refused: refusals{}, said: map[string]string{}, answers: map[string]int{answerSigned: 0, answerLacking: 0, answerNone: 0}}
	for _, s := range image.Longest(cfg.Kept) {
		l.own[fact{s.Digest, s.Trust}] = ours{s, ""}
	}
	l.kept = l.all()
	return l
}

// Run looks after images until ctx ends.
func (l *Lookout) Run(ctx context.Context) error {
	var lanes sync.WaitGroup
	defer lanes.Wait()
	for {
		l.look(ctx)
		for at, turn := range l.due() {
			lanes.Go(func() { l.lane(ctx, at, turn) })
		}
		l.keep()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(tick):
		}
	}
}

// look has what there is to look after up to date.
func (l *Lookout) look(ctx context.Context) {
	now := l.cfg.Now()
	l.mu.Lock()
	since := now.Sub(l.looked)
	due := l.looked.IsZero() || since >= lookEvery || since < 0 || l.refused.fresh(l.looked) && since >= time.Second
	places := l.refused.places(now)
	l.mu.Unlock()
	if !due {
		return
	}
	sight, err := l.cfg.Look(ctx, places)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil {
			l.say(sayLook, err)
		}
		return
	}
	delete(l.said, sayLook)
	l.sight, l.looked = sight, now
	clear(l.images)
	if len(sight.Images) > maxImages {
		l.say(sayMany, fmt.Errorf("there are %d; %d are looked after; fix: ringfence image check --signatures for the others", len(sight.Images), maxImages))
		slices.SortFunc(sight.Images, func(a, b Image) int { return cmp.Compare(a.Reference, b.Reference) }) // the same each time
	}
	for _, i := range sight.Images[:min(len(sight.Images), maxImages)] {
		k := key{i.Reference, i.Trust}
		i.Runs = i.Runs || l.images[k].Runs
		l.images[k] = i
	}
	for k, a := range l.asked {
		if _, wanted := l.images[k]; !wanted && now.After(a.next) {
			delete(l.asked, k)
		}
	}
	l.dirty = true // what nobody looks after any more need not be kept
}

// due are the registries that nobody asks now, each with whom to ask it about first.
func (l *Lookout) due() map[string][]Image {
	now := l.cfg.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	turns := map[string][]Image{}
	for k, i := range l.images {
		if h := l.hosts[i.Host]; (h == nil || !h.busy && !now.Before(h.until)) && l.isDue(k, i, now) {
			turns[i.Host] = append(turns[i.Host], i)
		}
	}
	for at, turn := range turns {
		slices.SortFunc(turn, func(a, b Image) int {
			x, y := l.asked[key{a.Reference, a.Trust}], l.asked[key{b.Reference, b.Trust}]
			return cmp.Or(cmp.Compare(x.vain(), y.vain()), later(a.Runs, b.Runs)) // else as it comes: nobody can put his own first
		})
		turns[at] = turn[:min(len(turn), maxTurn)]
		if l.hosts[at] == nil {
			l.hosts[at] = &host{}
		}
		if l.hosts[at].busy = true; l.hosts[at].fails > 0 { // one tries whether it is back
			turns[at] = turn[:1]
		}
	}
	return turns
}

// later orders those behind that it holds for.
func later(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func (a *asked) vain() int {
	if a == nil {
		return 0
	}
	return a.tries
}

// isDue tells whether an image is to be asked about.
func (l *Lookout) isDue(k key, i Image, now time.Time) bool {
	if a := l.asked[k]; a != nil && now.Before(a.next) {
		return false
	}
	known, ok := l.known(fact{image.DigestOf(i.Reference), i.Trust})
	return !ok || known.Until.IsZero() || !now.Before(refreshAt(known, i.Age))
}

// known is what counts longest of what is known, here or elsewhere.
func (l *Lookout) known(f fact) (best image.Signed, ok bool) {
	if o, have := l.own[f]; have {
		best, ok = o.Signed, true
	}
	for _, s := range l.cfg.Known(f.digest) {
		if s.Trust == f.trust && (!ok || s.Until.After(best.Until)) {
			best, ok = s, true
		}
	}
	return best, ok
}

// lane asks one registry about some images, one after the other.
func (l *Lookout) lane(ctx context.Context, at string, turn []Image) {
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.hosts[at].busy = false
	}()
	select {
	case l.lanes <- struct{}{}:
		defer func() { <-l.lanes }()
	case <-ctx.Done():
		return
	}
	for _, i := range turn {
		l.mu.Lock()
		ask, due := l.sight.Ask, l.isDue(key{i.Reference, i.Trust}, i, l.cfg.Now())
		l.mu.Unlock()
		if !due || ask == nil {
			continue
		}
		one, cancel := context.WithTimeout(ctx, within)
		answers, err := ask(one, i.Reference, l.cfg.Now())
		cancel()
		if ctx.Err() != nil {
			return // its error is ours
		}
		if l.take(i, answers, err); errors.Is(err, ErrDown) || errors.Is(err, context.DeadlineExceeded) {
			return // others come first
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(gap):
		}
	}
}
