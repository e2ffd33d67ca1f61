package tenant

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// This file is about the end of a tenant. A native policy of ours sees to who asks and who approves; see offboarding.yaml.

// over reports whether what a tenant that ends had was kept as long as was asked for.
func (in Input) over() bool {
	s := in.Tenant.Status.Offboarding
	return ends(in.Tenant) && s != nil && !in.Now.Before(s.Deletes.Time)
}

// offboardingOf is how far the end of a tenant is, nil for one that does not end. done says that nobody has rights any more.
func offboardingOf(t *v1alpha1.Tenant, done bool, now time.Time) *v1alpha1.OffboardingStatus {
	switch {
	case !ends(t):
		return nil
	case t.Status.Offboarding != nil:
		return &v1alpha1.OffboardingStatus{AccessRemoved: t.Status.Offboarding.AccessRemoved, Deletes: metav1.NewTime(t.Status.Offboarding.AccessRemoved.Add(t.Spec.Offboarding.Keep.Duration))}
	case !done:
		return nil
	}
	now = now.UTC().Truncate(time.Second)
	return &v1alpha1.OffboardingStatus{AccessRemoved: metav1.NewTime(now), Deletes: metav1.NewTime(now.Add(t.Spec.Offboarding.Keep.Duration))}
}

// offboardingMessage says what happens to an environment of a tenant that ends. elevated says that somebody has an elevation there.
func (in Input) offboardingMessage(elevated bool) string {
	o := in.Tenant.Spec.Offboarding
	if elevated {
		return fmt.Sprintf("the tenant ends under %s: nobody has rights here any more but by an elevation, and what runs is kept for %s from its end; to end it: ringfence access end", o.Ticket, o.Keep.Duration)
	}
	end := in.Now.Add(o.Keep.Duration)
	if s := in.Tenant.Status.Offboarding; s != nil {
		end = s.Deletes.Time
	}
	return fmt.Sprintf("the tenant ends under %s: nobody has rights here any more, what runs stays, and the namespace goes with all in it at %s; to stop that: remove spec.offboarding", o.Ticket, end.UTC().Format(time.RFC3339))
}

// untilDeletion looks at a tenant again when its namespaces go, where that is sooner.
func untilDeletion(t *v1alpha1.Tenant, result reconcile.Result, now time.Time) reconcile.Result {
	s := t.Status.Offboarding
	if s == nil || !now.Before(s.Deletes.Time) {
		return result
	}
	if after := max(s.Deletes.Sub(now), time.Millisecond); result.RequeueAfter == 0 || after < result.RequeueAfter {
		result.RequeueAfter = after
	}
	return result
}
