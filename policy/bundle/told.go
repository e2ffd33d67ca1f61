package bundle

import (
	"context"
	"fmt"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// closed tells of a gap that is closed.
func (r *Reconciler) closed(c Change, noticed time.Time) {
	kind, name, _ := strings.Cut(key(c.Object), "/")
	gap := Gap{Object: key(c.Object), APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: kind, Name: name, Cause: "changed", Noticed: noticed, Closed: r.Now()}
	if kind == "ClusterRole" {
		gap.APIVersion = rbacv1.SchemeGroupVersion.String()
	}
	if c.Stored == nil {
		gap.Cause = "missing"
	}
	seconds := gap.Closed.Sub(gap.Noticed).Seconds()
	r.Metrics.gaps.WithLabelValues(gap.Object, gap.Cause).Inc()
	r.Metrics.gapSeconds.WithLabelValues(gap.Object).Add(seconds)
	r.Log.Warn("policy gap closed", "object", gap.Object, "cause", gap.Cause, "seconds", seconds)
	if r.OnGap != nil {
		r.OnGap(gap)
	}
}

// report writes the conditions, only where they change. generation is that of the Platform that is in force.
func (r *Reconciler) report(ctx context.Context, p *v1alpha1.Platform, generation int64, reason, message string, mistake error) error {
	status, inPlace := metav1.ConditionFalse, 0.0
	if reason == reasonInPlace {
		status, inPlace = metav1.ConditionTrue, 1
	}
	r.Metrics.inPlace.Set(inPlace)
	before := p.Status.DeepCopy()
	p.Status.ObservedGeneration = p.Generation
	if reason == reasonInPlace {
		p.Status.CatalogueDigest = r.Catalogue.Digest
		if door, err := r.door(); err == nil {
			meta.SetStatusCondition(&p.Status.Conditions, mutated(door, generation))
		}
	}
	meta.SetStatusCondition(&p.Status.Conditions, metav1.Condition{
		Type: ConditionEnforced, Status: status, Reason: reason, Message: message, ObservedGeneration: generation,
	})
	meta.SetStatusCondition(&p.Status.Conditions, acceptance(p.Generation, generation, mistake))
	return r.save(ctx, p, before)
}

// save writes a status that differs from the one there was.
func (r *Reconciler) save(ctx context.Context, p *v1alpha1.Platform, before *v1alpha1.PlatformStatus) error {
	if equality.Semantic.DeepEqual(before, &p.Status) {
		return nil
	}
	if err := r.Client.Status().Update(ctx, p); err != nil {
		return fmt.Errorf("write status of platform: %w", err)
	}
	return nil
}
