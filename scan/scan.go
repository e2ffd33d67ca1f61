// Package scan judges what runs, as it changes and as the clock passes, and says which findings opened and closed.
//
// It lists and watches the kinds that controls judge, and asks the engine that the admission door asks, with the same Guards. Of an
// object it holds what rules read, packed, and which of its findings stand; a version, a heartbeat or a new listing that
// changes nothing is not judged and told of again. It writes nothing to the cluster and keeps no evidence: whoever made it is
// told of changes. Package server runs it, on the replica that leads.
package scan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"ringfence.dev/ringfence/cluster"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/record"
)

const (
	// pace is how many objects are judged a second, at most, where the rules changed and not they: a fifth of a core.
	pace = 400
	// look is how often the clock is looked at, which may have been set; an end that is known is not missed by it.
	look = 2 * time.Second
	// settle is how long changes are gathered until they are told.
	settle = 200 * time.Millisecond
	// crowd is how many changes may wait to be told until judging waits too.
	crowd = 5000
	// patience is how long an object waits for the one that it says made it: watches of two kinds know no order.
	patience = 15 * time.Second
)

// Guard is what counts in one namespace from now on.
type Guard struct {
	// Policy is what rules read; nil is no Guard: nothing there can be judged, and what stood goes on to stand.
	Policy *policy.Guard
	// Exempt says that nothing there is judged, and nothing stands.
	Exempt bool
	// Version is another one where anything of it is another.
	Version string
	// Next is when something in it ends by itself; zero for never.
	Next time.Time
}

// Known is a finding that stood when nobody scanned.
type Known struct {
	Subject finding.Subject
	Control string
	Outcome finding.Outcome
	Action  finding.Action
	Value   string
	Path    string
	// Waiver is its waiver's name where it was waived, and Expires when that ends; "" where it was open.
	Waiver, Expires string
	Since           time.Time
}

// Config is what a Scan needs; all of it but Known and Keep.
type Config struct {
	Cluster *cluster.Cluster
	// Workloads are kinds of which one object may be made by another, which then is judged in its place; Others are not.
	Workloads, Others []control.Kind
	Engine            *policy.Engine
	// Guard says what counts in a namespace, "" for what lies in none.
	Guard func(ctx context.Context, namespace string, now time.Time) (Guard, error)
	// Exempt says that a namespace is not guarded, so that neither is the object Namespace of that name.
	Exempt func(namespace string) bool
	// Known are the findings that stood.
	Known []Known
	// Keep is told of changes, which happened by at, and returns once they are kept; nil where nobody is to know. What it refuses is told again.
	Keep func(ctx context.Context, changes []record.ScanChange, at time.Time) error
	Now  func() time.Time
	Log  *slog.Logger
}

// Scan is a background scan. Run runs it; its other methods may be called at any time by many goroutines.
type Scan struct {
	cfg   Config
	kinds []*kind
	wake  chan struct{} // has room for one: there is something to judge
	told  chan struct{} // has room for one: there is something to tell
	find  chan struct{} // has room for one: the cluster may serve other kinds

	packing sync.Mutex // guards packer
	packer  cluster.Packer

	mu      sync.Mutex // guards what follows
	objects map[ref]*object
	spaces  map[string]*space
	makers  map[cluster.Identity]bool // of the workloads that are there
	urgent  queue                     // what changed
	slow    queue                     // what the rules changed for
	later   []*object                 // what waits for its maker, the first first
	ends    time.Time                 // when something in a Guard that counts ends first, or before; zero for never
	touched map[string]bool           // namespaces whose Guard may be another
	// editions change with what stands in a namespace, and edits counts them all.
	editions map[string]uint64
	edits    uint64
	pending  []record.ScanChange
	at       time.Time // of the last of pending
	clock    time.Time // as it was looked at last
	started  time.Time
	whole    time.Time // when all was judged for the first time; zero before
	judged   uint64
}

// kind is one kind of object that is judged.
type kind struct {
	control.Kind
	workload bool
	// What follows is guarded by the mutex of Scan.
	served  *cluster.Resource // nil where the cluster does not serve it
	stop    context.CancelFunc
	done    chan struct{}
	listed  bool
	run     uint64    // counts lists
	failing time.Time // since when nothing is heard of it; zero where all is well
	err     error
}

// ref names one object.
type ref struct {
	kind            int
	namespace, name string
}

// space is a namespace, or "" for what lies in none.
type space struct {
	objects map[ref]*object
	guard   *Guard // nil before it was asked for
}

// New makes a Scan. Its error says what is missing.
func New(cfg Config) (*Scan, error) {
	if cfg.Cluster == nil || cfg.Engine == nil || cfg.Guard == nil || cfg.Exempt == nil || cfg.Now == nil || cfg.Log == nil || len(cfg.Workloads)+len(cfg.Others) == 0 {
		return nil, errors.New("make a background scan: want a cluster, kinds, an engine, Guards, a clock and a log")
	}
	s := &Scan{cfg: cfg, wake: make(chan struct{}, 1), told: make(chan struct{}, 1), find: make(chan struct{}, 1), objects: map[ref]*object{},
		spaces: map[string]*space{}, makers: map[cluster.Identity]bool{}, touched: map[string]bool{}, editions: map[string]uint64{}, started: cfg.Now(), clock: cfg.Now()}
	for _, k := range cfg.Workloads {
		s.kinds = append(s.kinds, &kind{Kind: k, workload: true})
	}
	for _, k := range cfg.Others {
		s.kinds = append(s.kinds, &kind{Kind: k})
	}
	for _, k := range cfg.Known {
		s.remember(k)
	}
	return s, nil
}

// remember takes up what stood before. What is of a kind that nothing judges any more closes when the kinds of the cluster are known.
func (s *Scan) remember(k Known) {
	at := slices.IndexFunc(s.kinds, func(have *kind) bool {
		return have.Kind.Kind == k.Subject.Kind && have.APIGroup == group(k.Subject.APIVersion)
	})
	if at < 0 {
		at = len(s.kinds)
		s.kinds = append(s.kinds, &kind{Kind: control.Kind{APIGroup: group(k.Subject.APIVersion), Kind: k.Subject.Kind, Resource: "?"}})
	}
	o := s.object(ref{at, k.Subject.Namespace, k.Subject.Name})
	o.apiVersion, o.told = k.Subject.APIVersion, k.Subject.APIVersion
	s.edited(o.namespace)
	o.stands = append(o.stands, newStanding(k.Control, k.Path, details{k.Outcome, k.Action, k.Value, k.Waiver, k.Expires}, k.Since))
}

// Run scans until ctx ends.
func (s *Scan) Run(ctx context.Context) error {
	if err := s.discover(ctx); err != nil {
		s.cfg.Log.Warn("the background scan does not know yet what the cluster serves; trying again", "err", err)
		nudge(s.find)
	}
	var group sync.WaitGroup
	group.Go(func() { s.keepKinds(ctx) })
	group.Go(func() { s.judgeAll(ctx) })
	if s.cfg.Keep != nil {
		group.Go(func() { s.tell(ctx) })
	}
	group.Wait()
	s.mu.Lock()
	var running []chan struct{}
	for _, k := range s.kinds {
		if k.done != nil {
			running = append(running, k.done)
		}
	}
	s.mu.Unlock()
	for _, done := range running {
		<-done
	}
	return nil
}

// GuardChanged says that the Guard of a namespace may be another; "" for what lies in none.
func (s *Scan) GuardChanged(namespace string) {
	s.mu.Lock()
	s.touched[namespace] = true
	s.mu.Unlock()
	nudge(s.wake)
}

// PlatformChanged says that any Guard may be another, and what is exempt.
func (s *Scan) PlatformChanged() {
	s.mu.Lock()
	for namespace := range s.spaces {
		s.touched[namespace] = true
	}
	s.mu.Unlock()
	nudge(s.wake)
}

// KindsChanged says that the cluster may serve other kinds.
func (s *Scan) KindsChanged() { nudge(s.find) }

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// tell has changes kept, in order and some at a time, until ctx ends. What is not kept then is seen again at the next start.
func (s *Scan) tell(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.told:
		}
		if !sleep(ctx, settle) {
			return
		}
		s.mu.Lock()
		changes, at := s.pending, s.at
		s.pending = nil
		s.mu.Unlock()
		for wait := time.Second; len(changes) > 0; wait = min(2*wait, 30*time.Second) {
			err := s.cfg.Keep(ctx, changes, at)
			if err == nil {
				break
			}
			if ctx.Err() == nil {
				s.cfg.Log.Error("what the background scan found is not kept; trying again", "changes", len(changes), "err", err)
			}
			if !sleep(ctx, wait) {
				return
			}
		}
		nudge(s.wake)
	}
}

// sleep waits, and is false where ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// say notes a change that is to be told. s.mu is held.
func (s *Scan) say(o *object, c record.ScanChange) {
	s.edited(o.namespace)
	if s.cfg.Keep == nil {
		return
	}
	c.Subject = s.named(o)
	s.pending, s.at = append(s.pending, c), s.cfg.Now()
	nudge(s.told)
}

// String is the kind as kubectl names it.
func (k *kind) String() string {
	if k.APIGroup == "" {
		return k.Resource
	}
	return fmt.Sprintf("%s.%s", k.Resource, k.APIGroup)
}
