// Package assess judges the images of a folder of scanners' reports by the bank's rules: all of them once, and then those that a new report, another
// rule, other advisories or the clock touches.
//
// It knows nothing of doors, Platforms and the files that Guards are made of: the control plane, which runs it on the replica that leads, hands it
// the rule and keeps what it answers. The verdict itself is package image's, and reading a report package scanner's.
package assess

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"ringfence.dev/ringfence/image"
)

const (
	// DefaultEvery is how often the folder is looked at, and the clock, where nobody wakes the assessor.
	DefaultEvery = time.Minute
	// pause is how long it rests after a look, so that many reports that come together are one.
	pause = time.Second
	// maxJoined is how many reports may be of one image, through the digests that they share. A report that would join more is left out:
	// whoever may send reports could otherwise have all of them read at once.
	maxJoined = 1000
	// maxFound is how many findings the reports of one image may have together, for the same reason.
	maxFound = 2_000_000
)

// Law is what images are judged by.
type Law struct {
	Rules []image.Rule     // each image by each
	Known image.Advisories // nil: nothing is known of publication and exploitation
	// Edition is another one where a rule or the advisories are. "" is no law: nothing is judged yet.
	Edition string
}

// Config is what an Assessor needs. Every is DefaultEvery where it is zero.
type Config struct {
	Folder string // of reports; files whose names begin with a dot are not read
	Read   func(ctx context.Context, name string, report io.Reader) ([]image.Facts, error)
	Law    func(context.Context) (Law, error)
	// Keep is given what follows for every digest by each rule, in order, whenever something of it is another, and once at the start. What it cannot keep it is
	// given again.
	Keep  func([]image.Admitted) error
	Every time.Duration
	Now   func() time.Time
	Log   *slog.Logger
}

// Stats are what an Assessor has before it.
type Stats struct {
	Judged  time.Time // when it was done last; zero before the first time
	Reports int       // that are judged
	Unread  int       // that cannot be read, or join too many
	Digests int
}

// Assessor judges. Make one with New.
type Assessor struct {
	cfg                 Config
	wake                chan struct{}
	maxJoined, maxFound int

	mu    sync.Mutex
	stats Stats

	// What follows is that of the one goroutine of Run.
	edition  string
	reports  map[string]report
	holders  map[string][]string // digest to the reports that name it
	touched  map[string]bool     // digests that are to be judged
	verdicts map[string]verdict  // by digest
	spans    map[gist]*span      // of the reports that were read
	unkept   bool
}

// verdict is what follows for a digest by each rule, and when the clock alone changes it; zero where it never does.
type verdict struct {
	admitted []image.Admitted
	end      time.Time
}

// report is a file as it was read.
type report struct {
	size    int64
	changed time.Time
	digests []string
	fault   error
	gist    gist // zero: it has none
}

// New is an Assessor that has read nothing.
func New(cfg Config) *Assessor {
	cfg.Every = cmp.Or(cfg.Every, DefaultEvery)
	return &Assessor{cfg: cfg, wake: make(chan struct{}, 1), maxJoined: maxJoined, maxFound: maxFound, reports: map[string]report{}, holders: map[string][]string{},
		touched: map[string]bool{}, verdicts: map[string]verdict{}, spans: map[gist]*span{}, unkept: true}
}

// Wake has the folder looked at now.
func (a *Assessor) Wake() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Stats are those of the last look.
func (a *Assessor) Stats() Stats {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stats
}

// Run judges until ctx ends. What cannot be done now is logged and tried again.
func (a *Assessor) Run(ctx context.Context) error {
	tick := time.NewTicker(a.cfg.Every)
	defer tick.Stop()
	for {
		if err := a.look(ctx); err != nil && ctx.Err() == nil {
			a.cfg.Log.Error("images are not judged by the newest reports; trying again", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(min(pause, a.cfg.Every)):
		}
		select {
		case <-ctx.Done():
			return nil
		case <-a.wake:
		case <-tick.C:
		}
	}
}

// look judges anew what is touched by what changed since the last look.
func (a *Assessor) look(ctx context.Context) error {
	law, err := a.cfg.Law(ctx)
	if err != nil || law.Edition == "" {
		return err
	}
	if err := a.follow(ctx); err != nil {
		return err
	}
	now := a.cfg.Now()
	for digest := range a.holders {
		end := a.verdicts[digest].end
		if law.Edition != a.edition || !end.IsZero() && !now.Before(end) {
			a.touched[digest] = true
		}
	}
	a.edition = law.Edition
	if err := a.judge(ctx, law, now); err != nil {
		return err
	}
	a.count(now)
	if !a.unkept {
		return nil
	}
	var all []image.Admitted
	for _, digest := range slices.Sorted(maps.Keys(a.verdicts)) {
		all = append(all, a.verdicts[digest].admitted...)
	}
	if err := a.cfg.Keep(all); err != nil {
		return err
	}
	a.unkept = false
	return nil
}

// count says what there is.
func (a *Assessor) count(now time.Time) {
	s := Stats{Judged: now, Digests: len(a.verdicts)}
	for _, r := range a.reports {
		if r.fault != nil {
			s.Unread++
		} else {
			s.Reports++
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stats = s
}

// follow reads which digests reports name that are new or changed, the oldest first, and notes which digests are touched.
func (a *Assessor) follow(ctx context.Context) error {
	found := map[string]report{}
	err := filepath.WalkDir(a.cfg.Folder, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
			return nil
		}
		if err == nil && info.Mode().IsRegular() {
			found[path] = report{size: info.Size(), changed: info.ModTime()}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("look at the reports on images: %w", err)
	}
	for path := range a.reports {
		if _, there := found[path]; !there {
			a.forget(path)
		}
	}
	fresh := slices.DeleteFunc(slices.Collect(maps.Keys(found)), func(path string) bool {
		had, known := a.reports[path]
		return known && had.size == found[path].size && had.changed.Equal(found[path].changed)
	})
	slices.SortFunc(fresh, func(x, y string) int {
		return cmp.Or(found[x].changed.Compare(found[y].changed), strings.Compare(x, y))
	})
	for _, path := range fresh {
		a.forget(path)
		if err := a.learn(ctx, path, found[path]); err != nil {
			return err
		}
	}
	return nil
}

// forget takes a report away, if it was there.
func (a *Assessor) forget(path string) {
	for _, digest := range a.reports[path].digests {
		a.touched[digest] = true
		a.holders[digest] = slices.DeleteFunc(a.holders[digest], func(p string) bool { return p == path })
		if len(a.holders[digest]) == 0 {
			delete(a.holders, digest)
		}
	}
	a.unsay(path, a.reports[path])
	delete(a.reports, path)
}

// learn reads which digests a report names. Only the end of ctx is an error: a report that cannot be read is told of once, and left out.
func (a *Assessor) learn(ctx context.Context, path string, r report) error {
	facts, err := a.read(ctx, path)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, f := range facts {
		r.digests = append(r.digests, f.Digests...)
	}
	slices.Sort(r.digests)
	r.digests = slices.Compact(r.digests)
	if g, at, ok := gistOf(path, facts, a.cfg.Now()); err == nil && ok {
		r.gist = g
		if between := a.spare(g, said{path, at}); between != "" && a.drop(between) && between == path {
			return nil
		}
	}
	if err == nil {
		for _, digest := range r.digests {
			a.holders[digest] = append(a.holders[digest], path)
		}
		a.reports[path] = r
		if _, joined := a.joined(r.digests); len(joined) > a.maxJoined {
			err = fmt.Errorf("it joins more than %d reports to be of one image", a.maxJoined)
			a.forget(path)
		}
	}
	if err != nil {
		r.digests, r.fault = nil, err
		a.reports[path] = r
		a.cfg.Log.Error("a report on images is left out", "report", path, "err", err)
		return nil
	}
	for _, digest := range r.digests {
		a.touched[digest] = true
	}
	return nil
}

func (a *Assessor) read(ctx context.Context, path string) ([]image.Facts, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return a.cfg.Read(ctx, path, f)
}

// joined are the digests that reports join to these, and the reports, one more than maxJoined at most.
func (a *Assessor) joined(digests []string) (all map[string]bool, reports []string) {
	all, seen := map[string]bool{}, map[string]bool{}
	for open := slices.Clone(digests); len(open) > 0; {
		digest := open[len(open)-1]
		open = open[:len(open)-1]
		if all[digest] {
			continue
		}
		all[digest] = true
		for _, path := range a.holders[digest] {
			if seen[path] {
				continue
			}
			if seen[path] = true; len(reports) > a.maxJoined {
				return all, reports
			}
			reports = append(reports, path)
			open = append(open, a.reports[path].digests...)
		}
	}
	return all, reports
}

// judge judges all images that have a touched digest.
func (a *Assessor) judge(ctx context.Context, law Law, now time.Time) error {
	for _, digest := range slices.Sorted(maps.Keys(a.touched)) {
		if !a.touched[digest] { // judged with another
			continue
		}
		digests, reports := a.joined([]string{digest})
		slices.Sort(reports)
		facts, err := a.together(ctx, reports)
		if err != nil && !errors.Is(err, errTooMany) {
			return err
		}
		follows := law.judge(facts, now)
		for d := range digests {
			if err != nil {
				follows[d] = law.refuse(d, err)
			}
			a.settle(d, follows[d])
			delete(a.touched, d)
		}
	}
	return nil
}

// judge is what follows for each digest of facts.
func (l Law) judge(facts []image.Facts, now time.Time) map[string]verdict {
	follows := map[string]verdict{}
	for _, f := range image.Merge(facts) {
		for _, rule := range l.Rules {
			v := image.Judge(f, rule, l.Known, now)
			end, _ := v.Until()
			for _, d := range f.Digests {
				is := follows[d]
				is.admitted = append(is.admitted, v.Admits(d))
				if is.end.IsZero() || !end.IsZero() && end.Before(is.end) {
					is.end = end
				}
				follows[d] = is
			}
		}
	}
	return follows
}

// refuse is what follows for a digest that cannot be judged.
func (l Law) refuse(digest string, why error) (is verdict) {
	for _, rule := range l.Rules {
		is.admitted = append(is.admitted, image.Admitted{Digest: digest, Rule: rule.Name, Note: why.Error()})
	}
	return is
}

// errTooMany refuses an image of which more is told than is read at once.
var errTooMany = fmt.Errorf("its reports have more than %d findings", maxFound)

// together are the facts of reports that are of one image, or of several.
func (a *Assessor) together(ctx context.Context, reports []string) (all []image.Facts, err error) {
	found := 0
	for _, path := range reports {
		facts, err := a.read(ctx, path)
		if err != nil {
			return nil, fmt.Errorf("read a report that could be read before: %w", err)
		}
		for _, f := range facts {
			for _, s := range f.Scans {
				found += len(s.Vulnerabilities)
			}
		}
		if found > a.maxFound {
			a.cfg.Log.Error("an image is refused", "err", errTooMany, "reports", len(reports), "one", path)
			return nil, errTooMany
		}
		all = append(all, facts...)
	}
	return all, nil
}

// settle notes what follows for a digest; the zero verdict is nothing.
func (a *Assessor) settle(digest string, is verdict) {
	a.unkept = a.unkept || !slices.Equal(is.admitted, a.verdicts[digest].admitted)
	a.verdicts[digest] = is
	if len(is.admitted) == 0 {
		delete(a.verdicts, digest)
	}
}
