package pull

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"ringfence.dev/ringfence/cluster"
	"ringfence.dev/ringfence/control"
)

const (
	// lastWait bounds the time between two tries of what the API server does not answer, or take does not take; the first is firstWait.
	lastWait = 15 * time.Second
	// maxTorn is how many watches may break off one after the other before the reports are listed anew.
	maxTorn = 5
)

// Follow hands on the reports of the trivy-operator in a cluster, and then each that is written, until ctx ends. A report whose take answers
// with an error is handed on again later, as are others. failed is told why nothing is heard of a kind, each time. Both are called by
// two goroutines, which have ended when Follow returns.
func Follow(ctx context.Context, c Config, take func(context.Context, Report) error, failed func(kind string, err error)) {
	c = c.defaults()
	var all sync.WaitGroup
	for _, kind := range operatorKinds {
		f := follower{Config: c, kind: kind, take: take}
		all.Go(func() {
			for wait, torn := firstWait, 0; ctx.Err() == nil; {
				heard, err := f.once(ctx)
				if heard {
					wait, torn = firstWait, 0
				}
				if err != nil {
					torn++
				}
				if errors.Is(err, cluster.ErrForgotten) || torn > maxTorn {
					f.version, torn = "", 0
				}
				if err != nil && ctx.Err() == nil {
					failed(kind.Kind, err)
				}
				if c.Wait(ctx, wait) != nil {
					return
				}
				if err != nil {
					wait = min(2*wait, lastWait)
				}
			}
		})
	}
	all.Wait()
}

// follower follows one kind.
type follower struct {
	Config
	kind    control.Kind
	take    func(context.Context, Report) error
	version string // up to which all is taken; "" asks for a list
}

// once lists the kind, or hears what changes in it until the server ends that. heard says that something came.
func (f *follower) once(ctx context.Context) (heard bool, err error) {
	resources, faults, err := f.Cluster.Resources(ctx, []control.Kind{f.kind})
	if err = errors.Join(append(faults, err)...); err != nil {
		return false, err
	}
	if len(resources) == 0 {
		f.version = ""
		return false, errUnserved
	}
	if f.version == "" {
		return f.list(ctx, resources[0])
	}
	for e, err := range f.Cluster.Watch(ctx, resources[0], f.version) {
		if err != nil {
			return heard, err
		}
		heard = true
		if e.Object != nil && !e.Gone {
			if err := f.hand(ctx, e.Object); err != nil {
				return heard, err
			}
		}
		if e.Version != "" {
			f.version = e.Version
		}
	}
	return heard, nil
}

// errUnserved is no fault where the operator is not there yet.
var errUnserved = fmt.Errorf("the cluster does not serve it: the trivy-operator is not there")

func (f *follower) list(ctx context.Context, r cluster.Resource) (heard bool, err error) {
	all, version := f.Cluster.Snapshot(ctx, r, f.Namespace)
	for object, err := range all {
		if err == nil {
			err = f.hand(ctx, object)
		}
		if err != nil {
			return heard, err
		}
		heard = true
	}
	f.version = version()
	return true, ctx.Err()
}

func (f *follower) hand(ctx context.Context, object map[string]any) error {
	report, err := reportOf(object)
	if err != nil {
		return err
	}
	return f.take(ctx, report)
}
