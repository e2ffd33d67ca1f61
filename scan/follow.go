package scan

import (
	"context"
	"errors"
	"slices"
	"time"

	"ringfence.dev/ringfence/cluster"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
)

const (
	// rediscover is how often the cluster is asked what it serves though nothing said that this changed.
	rediscover = 10 * time.Minute
	// firstWait and lastWait bound the time between two tries of what the API server does not answer.
	firstWait, lastWait = time.Second, time.Minute
	// breath is the least time between two watches: a server may end each at once.
	breath = 100 * time.Millisecond
	// maxBroken is how many watches may break off one after the other until all is listed anew.
	maxBroken = 5
)

// keepKinds asks what the cluster serves, again and again: some times in the half minute after a kind was added, for it is not
// served at once.
func (s *Scan) keepKinds(ctx context.Context) {
	for {
		timer := time.NewTimer(rediscover)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-s.find:
		}
		timer.Stop()
		for wait := firstWait; wait <= 16*time.Second; wait *= 2 {
			if err := s.discover(ctx); err != nil && ctx.Err() == nil {
				s.cfg.Log.Warn("what the cluster serves is not known; trying again", "err", err)
			}
			if !sleep(ctx, wait) {
				return
			}
		}
	}
}

// discover follows the kinds that the cluster serves, and no others.
func (s *Scan) discover(ctx context.Context) error {
	var wanted []control.Kind
	for _, k := range s.kinds {
		if k.Resource != "?" {
			wanted = append(wanted, k.Kind)
		}
	}
	served, faults, err := s.cfg.Cluster.Resources(ctx, wanted)
	if err != nil {
		nudge(s.find)
		return err
	}
	for i, k := range s.kinds {
		at := slices.IndexFunc(served, func(r cluster.Resource) bool { return r.APIGroup == k.APIGroup && r.Kind.Kind == k.Kind.Kind })
		switch {
		case at >= 0:
			s.start(ctx, i, served[at])
		case len(faults) == 0:
			s.end(i)
		default:
			s.unasked(k, faults)
		}
	}
	return errors.Join(faults...)
}

// unasked notes that nothing is known of a kind, where it is of a part of the API that could not be asked about.
func (s *Scan) unasked(k *kind, faults []error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fault := range faults {
		if part := (*cluster.Unasked)(nil); errors.As(fault, &part) && part.Group == k.APIGroup && k.served == nil && k.failing.IsZero() {
			k.failing, k.err = s.cfg.Now(), fault
		}
	}
}

// start follows a kind, anew where its version is another.
func (s *Scan) start(ctx context.Context, i int, r cluster.Resource) {
	k := s.kinds[i]
	s.mu.Lock()
	same := k.served != nil && k.served.Version == r.Version && k.served.Resource == r.Resource
	stop, done := k.stop, k.done
	s.mu.Unlock()
	if same {
		return
	}
	if stop != nil {
		stop()
		<-done
	}
	following, stop := context.WithCancel(ctx)
	done = make(chan struct{})
	s.mu.Lock()
	k.served, k.stop, k.done, k.listed, k.failing = &r, stop, done, false, time.Time{}
	s.mu.Unlock()
	go func() {
		defer close(done)
		s.follow(following, i, r)
	}()
}

// end closes what stood of a kind that the cluster does not serve.
func (s *Scan) end(i int) {
	k := s.kinds[i]
	s.mu.Lock()
	stop, done := k.stop, k.done
	k.served, k.stop, k.listed, k.failing = nil, nil, false, time.Time{}
	k.run++
	run := k.run
	s.mu.Unlock()
	if stop != nil {
		stop()
		<-done
	}
	why := "deleted"
	if k.Resource == "?" {
		why = "rules"
	}
	s.sweep(i, run, why)
}

// follow lists a kind and watches it, until ctx ends.
func (s *Scan) follow(ctx context.Context, i int, r cluster.Resource) {
	version, broken, wait := "", 0, firstWait
	for ctx.Err() == nil {
		var err error
		if version == "" {
			version, err = s.list(ctx, i, r)
		} else {
			var heard bool
			version, heard, err = s.watch(ctx, i, r, version)
			if heard {
				wait, broken = firstWait, 0
			}
			if err != nil {
				broken++
			}
			if errors.Is(err, cluster.ErrForgotten) || broken > maxBroken {
				version, broken = "", 0
			}
		}
		s.heard(ctx, i, err == nil || version != "" && broken <= 2, err)
		if err == nil {
			wait = firstWait
			sleep(ctx, breath)
			continue
		}
		sleep(ctx, wait)
		wait = min(2*wait, lastWait)
	}
}

// heard notes whether a kind is known as it is now: a watch that broke off goes on from where it was.
func (s *Scan) heard(ctx context.Context, i int, known bool, err error) {
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	k := s.kinds[i]
	was := k.failing
	switch k.err = err; {
	case known:
		k.failing = time.Time{}
	case k.failing.IsZero():
		k.failing = s.cfg.Now()
	}
	s.mu.Unlock()
	nudge(s.wake)
	if err != nil && !known && was.IsZero() {
		s.cfg.Log.Warn("objects of a kind cannot be scanned; trying again", "resource", k.String(), "err", err)
	}
}

// list takes all objects of a kind, and removes those that are no more.
func (s *Scan) list(ctx context.Context, i int, r cluster.Resource) (version string, err error) {
	s.mu.Lock()
	k := s.kinds[i]
	k.run++
	run := k.run
	s.mu.Unlock()
	all, at := s.cfg.Cluster.Snapshot(ctx, r, "")
	for value, err := range all {
		if err == nil {
			err = s.set(i, value)
		}
		if err != nil {
			return "", err
		}
	}
	if ctx.Err() != nil || at() == "" {
		return "", errors.New("the list has no version to go on from")
	}
	s.sweep(i, run, "deleted")
	s.mu.Lock()
	k.listed = true
	s.mu.Unlock()
	return at(), nil
}

// sweep removes the objects of a kind that a list had not.
func (s *Scan) sweep(i int, run uint64, why string) {
	s.mu.Lock()
	var gone []ref
	for r, o := range s.objects {
		if r.kind == i && o.run != run {
			gone = append(gone, r)
		}
	}
	s.mu.Unlock()
	for _, r := range gone {
		s.remove(r, why)
	}
}

// watch takes what changes in a kind, until the server ends it.
func (s *Scan) watch(ctx context.Context, i int, r cluster.Resource, from string) (version string, heard bool, err error) {
	version = from
	for e, err := range s.cfg.Cluster.Watch(ctx, r, from) {
		if err != nil {
			return version, heard, err
		}
		heard = true
		if e.Version != "" {
			version = e.Version
		}
		switch {
		case e.Object == nil:
		case e.Gone:
			subject := subjectOf(e.Object)
			s.remove(ref{i, subject.Namespace, subject.Name}, "deleted")
		default:
			if err := s.set(i, e.Object); err != nil {
				return version, heard, err
			}
		}
	}
	return version, heard, nil
}

// subjectOf names an object.
func subjectOf(value map[string]any) (s finding.Subject) {
	meta, _ := value["metadata"].(map[string]any)
	s.Namespace, _ = meta["namespace"].(string)
	s.Name, _ = meta["name"].(string)
	return s
}
