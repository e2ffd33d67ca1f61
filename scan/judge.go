package scan

import (
	"cmp"
	"context"
	"slices"
	"time"

	"ringfence.dev/ringfence/cluster"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/record"
)

// judgeAll judges what waits until ctx ends. It is one goroutine: a scan takes one core at most, and nothing is decided twice at once.
func (s *Scan) judgeAll(ctx context.Context) {
	for ctx.Err() == nil {
		s.takeGuards(ctx)
		s.lookAtClock(ctx)
		o, unhurried, wait := s.next()
		if o == nil {
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
			case <-s.wake:
			case <-timer.C:
			}
			timer.Stop()
			continue
		}
		s.judge(ctx, o)
		if unhurried {
			sleep(ctx, time.Second/pace)
		}
	}
}

// next is what is judged now, nil and for how long to wait where nothing is.
func (s *Scan) next() (o *object, unhurried bool, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	wait = look
	if !s.ends.IsZero() {
		wait = max(time.Millisecond, min(wait, s.ends.Sub(now)))
	}
	if len(s.pending) > crowd || slices.ContainsFunc(s.kinds, func(k *kind) bool { return k.served != nil && !k.listed && k.failing.IsZero() }) {
		return nil, false, wait
	}
	for len(s.later) > 0 && now.Sub(s.later[0].first) >= patience {
		s.enqueue(&s.urgent, s.later[0])
		s.later = s.later[1:]
	}
	if o = s.urgent.head(); o != nil {
		s.urgent = s.urgent[1:]
		return o, false, 0
	}
	if s.whole.IsZero() && len(s.later) == 0 && slices.ContainsFunc(s.kinds, func(k *kind) bool { return k.listed }) {
		s.whole = now
	}
	if o = s.slow.head(); o != nil {
		s.slow = s.slow[1:]
		return o, true, 0
	}
	return nil, false, wait
}

// takeGuards compares the Guards that may be others with those that counted.
func (s *Scan) takeGuards(ctx context.Context) {
	s.mu.Lock()
	touched := s.touched
	if len(touched) > 0 {
		s.touched = map[string]bool{}
	}
	s.mu.Unlock()
	for namespace := range touched {
		s.mu.Lock()
		in := s.spaces[namespace]
		was := (*Guard)(nil)
		if in != nil {
			was = in.guard
		}
		s.mu.Unlock()
		if in == nil || was == nil {
			continue // it is asked for with the first object
		}
		now, err := s.ask(ctx, namespace)
		if err == nil && now.Version == was.Version {
			continue
		}
		s.renew(namespace, &s.slow)
	}
}

// lookAtClock has judged anew what something ended for, and everything where the clock was set back.
func (s *Scan) lookAtClock(ctx context.Context) {
	s.mu.Lock()
	now := s.cfg.Now().Round(0)
	back := now.Before(s.clock.Add(-look))
	s.clock = now
	var over []string
	if back || !s.ends.IsZero() && !s.ends.After(now) {
		s.ends = time.Time{}
		for namespace, in := range s.spaces {
			if back || in.guard != nil && !in.guard.Next.IsZero() && !in.guard.Next.After(now) {
				over = append(over, namespace)
			} else if in.guard != nil {
				s.endsAt(in.guard.Next)
			}
		}
	}
	s.mu.Unlock()
	for _, namespace := range over {
		if ctx.Err() == nil {
			s.renew(namespace, &s.urgent)
		}
	}
}

// endsAt notes that something in a Guard ends; zero is never. s.mu is held.
func (s *Scan) endsAt(at time.Time) {
	if !at.IsZero() && (s.ends.IsZero() || at.Before(s.ends)) {
		s.ends = at
	}
}

// renew forgets a namespace's Guard and has its objects judged by the one that counts now.
func (s *Scan) renew(namespace string, in *queue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	space := s.spaces[namespace]
	if space == nil {
		return
	}
	space.guard = nil
	for _, o := range space.objects {
		s.enqueue(in, o)
	}
}

// guard is what counts in a namespace.
func (s *Scan) guard(ctx context.Context, namespace string) (Guard, error) {
	s.mu.Lock()
	if in := s.spaces[namespace]; in != nil && in.guard != nil {
		g := *in.guard
		s.mu.Unlock()
		return g, nil
	}
	s.mu.Unlock()
	g, err := s.ask(ctx, namespace)
	if err != nil {
		return Guard{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if in := s.spaces[namespace]; in != nil {
		in.guard = &g
		s.endsAt(g.Next)
	}
	return g, nil
}

func (s *Scan) ask(ctx context.Context, namespace string) (Guard, error) {
	ctx, cancel := context.WithTimeout(ctx, look)
	defer cancel()
	return s.cfg.Guard(ctx, namespace, s.cfg.Now())
}

// judge judges one object and tells what became of its findings.
func (s *Scan) judge(ctx context.Context, o *object) {
	s.mu.Lock()
	o.waits, o.hurried = false, false
	packed, changed, subject := o.packed, o.changed, s.subject(o)
	o.changed = false
	made := slices.ContainsFunc(o.makers, func(m cluster.Identity) bool { return s.makers[m] })
	early := !made && len(o.makers) > 0 && s.cfg.Now().Sub(o.first) < patience && !o.gone
	if o.early = early; early {
		o.changed = changed
		s.later = append(s.later, o)
	}
	nothing := o.gone || packed == nil || early
	s.mu.Unlock()
	if nothing {
		return
	}
	guard, err := s.guard(ctx, o.namespace)
	var seen []standing
	switch {
	case err != nil:
		s.cfg.Log.Error("an object cannot be judged now; trying again", "namespace", o.namespace, "err", err)
		sleep(ctx, time.Second)
	case made || guard.Exempt || subject.Kind == "Namespace" && subject.Namespace == "" && s.cfg.Exempt(subject.Name):
	case guard.Policy != nil:
		seen, err = s.verdict(packed, subject, guard)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.judged++
	switch {
	case o.gone:
		return
	case err != nil:
		o.changed = o.changed || changed
		s.enqueue(&s.slow, o)
		return
	}
	if o.unjudged = !made && !guard.Exempt && guard.Policy == nil; o.unjudged {
		o.changed = o.changed || changed
		return
	}
	why := "rules"
	switch {
	case made:
		why = "owner"
	case !o.seen:
		why = "start"
	case changed:
		why = "fixed"
	}
	o.seen = true
	s.become(o, seen, why)
}

// verdict is what fails of an object, each control and path once.
func (s *Scan) verdict(packed []byte, subject finding.Subject, guard Guard) ([]standing, error) {
	value, err := cluster.Unpack(packed)
	if err != nil {
		return nil, err
	}
	now := s.cfg.Now()
	found, _ := s.cfg.Engine.Failures(policy.Input{Object: value, Namespace: subject.Namespace, Guard: guard.Policy, Now: now}, subject, func(string) bool { return false })
	var out []standing
	for i := range found {
		f := &found[i]
		if f.Outcome != finding.Fail && f.Outcome != finding.Errored {
			continue
		}
		d := details{outcome: f.Outcome, action: f.Action, value: record.Shorten(f.Found)}
		if d.action != finding.Warn && d.action != finding.Audit {
			d.action = finding.Deny
		}
		if f.Waiver != nil {
			d.waiver, d.expires = f.Waiver.Name, f.Waiver.Expires
		}
		one := newStanding(f.Control, record.Shorten(f.Path), d, now)
		if !slices.ContainsFunc(out, func(have standing) bool { return have.at == one.at }) {
			out = append(out, one)
		}
	}
	return out, nil
}

// become compares what fails with what stood, and tells the difference. s.mu is held.
func (s *Scan) become(o *object, seen []standing, why string) {
	o.told = cmp.Or(o.told, o.apiVersion)
	for i := range seen {
		now := &seen[i]
		at, is := now.at.Value(), now.is.Value()
		c := record.ScanChange{What: "opened", Control: at.control, Path: at.path, Outcome: is.outcome, Action: is.action, Value: is.value, Waiver: is.waiver, Expires: is.expires}
		if is.waiver != "" {
			c.What = "waived"
		}
		before := slices.IndexFunc(o.stands, func(old standing) bool { return old.at == now.at })
		switch {
		case before < 0:
		case o.stands[before].is == now.is:
			now.since = o.stands[before].since
			continue
		case (o.stands[before].is.Value().waiver == "") == (is.waiver == ""):
			c.What, now.since = "stays", o.stands[before].since
		}
		s.say(o, c)
	}
	for _, old := range o.stands {
		if !slices.ContainsFunc(seen, func(now standing) bool { return now.at == old.at }) {
			s.closed(o, old, why)
		}
	}
	if o.stands = seen; len(seen) == 0 {
		o.told = ""
	}
}
