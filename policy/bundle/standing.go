package bundle

import (
	"context"
	"errors"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// Standing is how a policy that should be in place stands, with its binding.
type Standing struct {
	// Name is that of both.
	Name string
	// What is missing or changed where one of them is not in place as built.
	What string
	// ClusterScoped says that it judges what lies in no namespace.
	ClusterScoped bool
	// Controls are the ids that it refuses for; empty for what only warns, and for what is made of no controls.
	Controls []string
}

// ErrNotBuilt is returned by Standings where Reconcile has not yet built what a Platform wants.
var ErrNotBuilt = errors.New("the policies of this Platform are not built yet")

// Standings says how what Reconcile keeps in place for a Platform stands now, in the order in which it is put in place. It writes
// nothing and reads the cache alone, so that it may be behind by a moment; which kinds the cluster serves it does not ask again.
func (r *Reconciler) Standings(ctx context.Context, p *v1alpha1.Platform) ([]Standing, error) {
	if inForce, _ := r.accepted(p); inForce != nil {
		p = inForce
	}
	want, bundles, mutates, err := r.wantedFor(p)
	if err != nil {
		return nil, err
	}
	have, err := r.existing(ctx, mutates)
	if err != nil {
		return nil, err
	}
	wrong := map[string]string{} // by name
	for _, c := range Plan(want, have) {
		switch {
		case c.Stored == nil:
			wrong[c.Object.GetName()] = "missing"
		case wrong[c.Object.GetName()] == "" && !c.Delete:
			wrong[c.Object.GetName()] = "changed"
		}
	}
	made := map[string]Bundle{}
	for _, b := range bundles {
		made[b.Policy.Name] = b
	}
	var all []Standing
	for _, o := range want {
		if _, ok := o.(*admissionv1.ValidatingAdmissionPolicy); ok {
			b := made[o.GetName()]
			all = append(all, Standing{o.GetName(), wrong[o.GetName()], b.ClusterScoped, b.Denies})
		}
	}
	return all, nil
}

// wantedFor is what Reconcile last wanted, and whether native mutations were among it, where that was for the namespaces that a Platform
// exempts.
func (r *Reconciler) wantedFor(p *v1alpha1.Platform) (want []client.Object, bundles []Bundle, mutates bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var builtFor []string
	for _, ns := range p.Spec.ExemptNamespaces {
		builtFor = append(builtFor, string(ns))
	}
	for _, b := range r.builtOf {
		builtFor = append(builtFor, b.Policy.Name)
	}
	builtFor = append(builtFor, p.Spec.Contact)
	if r.built == nil || !slices.Equal(r.builtFor, builtFor) {
		return nil, nil, false, ErrNotBuilt
	}
	return r.built, r.builtOf, r.builtDoor == NativeDoor, nil
}
