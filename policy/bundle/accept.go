package bundle

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// The condition Accepted of a Platform. Positive polarity: True is well.
//
//	True   NoMistake  nothing to do
//	False  Mistake    correct what the message names; until then the last Platform without a mistake is in force
const (
	ConditionAccepted = "Accepted"

	reasonNoMistake = "NoMistake"
	reasonMistake   = "Mistake"
)

// maxMessage bounds the message of a condition, of which the API server takes 32,768 characters.
const maxMessage = 4096

// accepted is the Platform that is in force, and what is wrong with p.
func (r *Reconciler) accepted(p *v1alpha1.Platform) (*v1alpha1.Platform, error) {
	if r.Accept == nil {
		return p, nil
	}
	return r.Accept(p)
}

// Prepare builds and compiles what the Platform wants, and writes nothing: a replica that comes to lead need not do it then.
func (r *Reconciler) Prepare(ctx context.Context) error {
	var platform v1alpha1.Platform
	if err := r.Client.Get(ctx, client.ObjectKey{Name: v1alpha1.PlatformName}, &platform); err != nil {
		return client.IgnoreNotFound(err)
	}
	p, _ := r.accepted(&platform)
	if p == nil {
		return nil
	}
	bundles, builtFor, err := r.bundles(p)
	if err != nil {
		return err
	}
	mutates, err := r.mutates()
	if err != nil {
		return err
	}
	if _, err = r.existing(ctx, mutates); err != nil { // so that the cache has them
		return err
	}
	door, err := r.door()
	if err != nil {
		return err
	}
	_, err = r.wanted(bundles, p, door, builtFor)
	return err
}

// refuse says what is wrong with a Platform while no earlier one is known: what is in place is left alone.
func (r *Reconciler) refuse(ctx context.Context, p *v1alpha1.Platform, mistake error) error {
	before := p.Status.DeepCopy()
	meta.SetStatusCondition(&p.Status.Conditions, acceptance(p.Generation, 0, mistake))
	if err := r.save(ctx, p, before); !apierrors.IsConflict(err) {
		return err
	}
	return nil // the cache is behind, and its next event comes here
}

// acceptance is the condition of a Platform of a generation while that of another may be in force, 0 for one of an earlier process.
func acceptance(generation, inForce int64, mistake error) metav1.Condition {
	c := metav1.Condition{Type: ConditionAccepted, Status: metav1.ConditionTrue, Reason: reasonNoMistake, Message: "it is in force", ObservedGeneration: generation}
	if mistake == nil {
		return c
	}
	c.Status, c.Reason = metav1.ConditionFalse, reasonMistake
	kept := "what was compiled before stays in force as it is"
	if inForce != 0 {
		kept = fmt.Sprintf("generation %d stays in force", inForce)
	}
	c.Message = strings.ReplaceAll(mistake.Error(), "\n", "; ") + "; " + kept
	if len(c.Message) > maxMessage {
		c.Message = strings.ToValidUTF8(c.Message[:maxMessage-3], "") + "..."
	}
	return c
}
