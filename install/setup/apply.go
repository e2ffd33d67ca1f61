package setup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/policy/bundle"
)

// owner is whom the API server knows as the one who applied.
const owner = "ringfence-install"

// pollEvery is how often it is looked whether something came about.
const pollEvery = 500 * time.Millisecond

// Installer applies and removes, as the user of a configuration.
type Installer struct {
	// Say is told of each step, for people. It must not be nil.
	Say func(format string, args ...any)
	// Now is the clock.
	Now func() time.Time

	client client.Client
}

// Open makes an Installer. The cluster is asked which kinds it has.
func Open(on *rest.Config, now func() time.Time, say func(format string, args ...any)) (*Installer, error) {
	c, err := kube.NewClient(on)
	if err != nil {
		return nil, err
	}
	return &Installer{Say: say, Now: now, client: c}, nil
}

// Apply applies objects, in order, by server-side apply, and then removes what is Stale. Fields that others set are taken over, for the chart
// says how Ringfence runs. Where something is refused, as a right of a new release, no process is started or changed. Nothing is applied
// where there are Obstacles.
func (i *Installer) Apply(ctx context.Context, objects []*unstructured.Unstructured) error {
	obstacles, err := i.Obstacles(ctx, objects)
	if err != nil {
		return err
	}
	if len(obstacles) > 0 {
		return errors.New("install: " + strings.Join(obstacles, "; "))
	}
	var faults []error
	for _, o := range objects { // processes come last
		if len(faults) > 0 && isProcess(o) {
			faults = append(faults, errors.New("processes are left as they are: they would run without it"))
			break
		}
		err := i.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(o.DeepCopy()), client.ForceOwnership, client.FieldOwner(owner))
		if apimeta.IsNoMatchError(err) {
			err = fmt.Errorf("%w; fix: install what serves this kind first, or leave it out with the values", err)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("apply %s %s: %w", o.GetKind(), o.GetName(), err))
			continue
		}
		i.Say("applied %s %s", o.GetKind(), o.GetName())
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	stale, err := i.stale(ctx, objects)
	if err != nil {
		return err
	}
	return i.remove(ctx, stale)
}

func isProcess(o *unstructured.Unstructured) bool {
	return slices.ContainsFunc(processes[:], func(kind schema.GroupVersionKind) bool { return kind.Kind == o.GetKind() })
}

// errNotYet begins what is still awaited.
var errNotYet = errors.New("not yet")

// Await waits until Ringfence is in force: a process leads, the kinds are served and, where there is a Platform, its rules are in force.
// What it lacks at the end is the error. It says whether there is a Platform: without one nothing is refused yet.
func (i *Installer) Await(ctx context.Context) (guards bool, err error) {
	var last error
	said := ""
	err = wait.PollUntilContextCancel(ctx, pollEvery, true, func(ctx context.Context) (bool, error) {
		guards, last = i.inForce(ctx)
		if last == nil {
			return true, nil
		}
		if text := last.Error(); text != said && ctx.Err() == nil {
			said = text
			i.Say("waiting: %s", text)
		}
		return false, nil
	})
	if err != nil {
		return false, fmt.Errorf("wait for Ringfence to be in force: %w", last)
	}
	return guards, nil
}

// inForce has no error where Ringfence guards, or would with the first Platform.
func (i *Installer) inForce(ctx context.Context) (guards bool, err error) {
	who, err := i.leader(ctx)
	if err != nil {
		return false, err
	}
	if who == "" {
		if why := i.hinders(ctx); why != nil {
			return false, fmt.Errorf("%w: no process of Ringfence leads: %w", errNotYet, why)
		}
		return false, fmt.Errorf("%w: no process of Ringfence leads; look at: kubectl -n %s get pods", errNotYet, v1alpha1.SystemNamespace)
	}
	var p v1alpha1.Platform
	err = i.client.Get(ctx, client.ObjectKey{Name: v1alpha1.PlatformName}, &p)
	switch {
	case apierrors.IsNotFound(err):
		return false, nil // there is nothing to enforce yet
	case err != nil:
		return false, fmt.Errorf("read the Platform: %w", err)
	}
	if c := apimeta.FindStatusCondition(p.Status.Conditions, bundle.ConditionEnforced); c == nil || c.Status != "True" || c.ObservedGeneration != p.Generation {
		if c == nil {
			return false, fmt.Errorf("%w: the Platform has no condition %s", errNotYet, bundle.ConditionEnforced)
		}
		return false, fmt.Errorf("%w: %s %s: %s", errNotYet, c.Type, c.Reason, c.Message)
	}
	return true, nil
}

// leader is the process that writes, "" for none.
func (i *Installer) leader(ctx context.Context) (string, error) {
	var l coordinationv1.Lease
	err := i.client.Get(ctx, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: Account}, &l)
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read who leads: %w", err)
	}
	s := l.Spec
	if s.HolderIdentity == nil || s.RenewTime == nil || s.LeaseDurationSeconds == nil ||
		i.Now().After(s.RenewTime.Add(time.Duration(*s.LeaseDurationSeconds)*time.Second)) {
		return "", nil
	}
	return *s.HolderIdentity, nil
}
