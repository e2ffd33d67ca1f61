package remediate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// page is how many objects one answer of the API server holds, and mostEvents how many events are looked through.
const page, mostEvents = 500, 5000

// Members are a quarantined workload and what Kubernetes made of it.
type Members struct {
	// Workload is nil where there is no such object.
	Workload *unstructured.Unstructured
	// Between are the ReplicaSets or Jobs between the workload and its pods.
	Between []unstructured.Unstructured
	// Pods are its own: by their owners, or by the quarantine's label; by name.
	Pods []corev1.Pod
	// Events are those of all of them, oldest first as far as the API server has them in order.
	Events []corev1.Event
}

// kindOf is the kind of a subject, and the kind between it and its pods; empty for none.
func kindOf(s v1alpha1.QuarantineSubject) (kind, between schema.GroupVersionKind) {
	apps, batch := schema.GroupVersion{Group: "apps", Version: "v1"}, schema.GroupVersion{Group: "batch", Version: "v1"}
	switch s.Kind {
	case "Pod":
		return corev1.SchemeGroupVersion.WithKind("Pod"), between
	case "CronJob":
		return batch.WithKind("CronJob"), batch.WithKind("Job")
	case "Job":
		return batch.WithKind("Job"), between
	case "Deployment":
		return apps.WithKind("Deployment"), apps.WithKind("ReplicaSet")
	}
	return apps.WithKind(s.Kind), between
}

// FindMembers asks a cluster for what a quarantine is of, by the name of its subject and by owners as Kubernetes' controllers write
// them. Of the quarantine only namespace, name and subject count.
func FindMembers(ctx context.Context, from client.Reader, q *v1alpha1.Quarantine) (Members, error) {
	var m Members
	kind, between := kindOf(q.Spec.Subject)
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(kind)
	err := from.Get(ctx, client.ObjectKey{Namespace: q.Namespace, Name: q.Spec.Subject.Name}, u)
	switch {
	case err == nil:
		m.Workload = u
	case !apierrors.IsNotFound(err):
		return m, fmt.Errorf("read %s %s: %w", kind.Kind, q.Spec.Subject.Name, err)
	}
	owners := map[string]bool{q.Spec.Subject.Kind + "/" + q.Spec.Subject.Name: true}
	if between.Kind != "" {
		var list unstructured.UnstructuredList
		list.SetGroupVersionKind(between.GroupVersion().WithKind(between.Kind + "List"))
		if err := from.List(ctx, &list, client.InNamespace(q.Namespace)); err != nil {
			return m, fmt.Errorf("list each %s: %w", between.Kind, err)
		}
		m.Between = slices.DeleteFunc(list.Items, func(o unstructured.Unstructured) bool { return !ownedBy(&o, owners) })
		for _, o := range m.Between {
			owners[o.GetKind()+"/"+o.GetName()] = true
		}
	}
	var pods corev1.PodList
	if err := from.List(ctx, &pods, client.InNamespace(q.Namespace)); err != nil {
		return m, fmt.Errorf("list pods: %w", err)
	}
	for _, p := range pods.Items {
		_, marked := p.Labels[labelOf(q)]
		if q.Name != "" && marked || ownedBy(&p, owners) || kind.Kind == "Pod" && p.Name == q.Spec.Subject.Name {
			m.Pods = append(m.Pods, p)
		}
	}
	slices.SortFunc(m.Pods, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return m, nil
}

// ownedBy reports whether one of the owners, each Kind/name, controls an object.
func ownedBy(o client.Object, owners map[string]bool) bool {
	c := metav1.GetControllerOf(o)
	return c != nil && owners[c.Kind+"/"+c.Name]
}

// podNames are the names of its pods, as many as a status holds.
func (m Members) podNames() (names []string) {
	for _, p := range m.Pods[:min(len(m.Pods), maxNamed)] {
		names = append(names, p.Name)
	}
	return names
}

// objects are all of them, each once, with its kind.
func (m Members) objects() (all []*unstructured.Unstructured, err error) {
	if m.Workload != nil {
		all = append(all, m.Workload)
	}
	for i := range m.Between {
		all = append(all, &m.Between[i])
	}
	for i := range m.Pods {
		p := &m.Pods[i]
		if m.Workload != nil && m.Workload.GetUID() == p.UID {
			continue
		}
		object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(p)
		if err != nil {
			return nil, fmt.Errorf("write pod %s as it is: %w", p.Name, err)
		}
		u := &unstructured.Unstructured{Object: object}
		u.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Pod"))
		all = append(all, u)
	}
	return all, nil
}

// findEvents looks up the events of a namespace, as far as they are looked through, by the object that they are about.
func findEvents(ctx context.Context, from client.Reader, namespace string) (map[string][]corev1.Event, error) {
	about := map[string][]corev1.Event{}
	var list corev1.EventList
	for n := 0; n < mostEvents; n += page {
		next := list.Continue
		list = corev1.EventList{}
		if err := from.List(ctx, &list, client.InNamespace(namespace), client.Limit(page), client.Continue(next)); err != nil {
			return nil, fmt.Errorf("list events: %w", err)
		}
		for _, e := range list.Items {
			about[string(e.InvolvedObject.UID)] = append(about[string(e.InvolvedObject.UID)], e)
		}
		if list.Continue == "" {
			break
		}
	}
	return about, nil
}

// errNotKept says that a step is not in the ledger; it is tried again.
var errNotKept = errors.New("keep the evidence of it")

// opened tells of the quarantine's begin, of each object as it was, and of its confirmation, each once.
func (r *Quarantine) opened(ctx context.Context, q *v1alpha1.Quarantine, m Members) error {
	if r.OnStep == nil {
		return nil
	}
	if !slices.Contains(q.Status.Recorded, StepOpened) {
		if err := r.keep(ctx, q, m); err != nil {
			return err
		}
		if err := r.tell(ctx, q, Step{What: StepOpened, At: q.CreationTimestamp.Time, By: q.Spec.Requester, Reason: q.Spec.Reason, Quarantine: q}); err != nil {
			return err
		}
	}
	if c := q.Spec.Confirmed; c != nil {
		return r.tell(ctx, q, Step{What: StepConfirmed, At: c.At.Time, By: c.By, Reason: c.Reason, Quarantine: q})
	}
	return nil
}

// keep tells of each object as it is: it is what it was, for nothing of it can be changed.
func (r *Quarantine) keep(ctx context.Context, q *v1alpha1.Quarantine, m Members) error {
	objects, err := m.objects()
	if err != nil {
		return err
	}
	events, err := findEvents(ctx, r.Live, q.Namespace)
	if err != nil {
		return err
	}
	for _, o := range objects {
		kept := &Kept{Object: o, Events: events[string(o.GetUID())]}
		if err := r.OnStep(ctx, Step{What: StepKept, At: q.CreationTimestamp.Time, Quarantine: q, Kept: kept}); err != nil {
			return fmt.Errorf("%w: %s %s: %w", errNotKept, o.GetKind(), o.GetName(), err)
		}
	}
	return nil
}

// tell tells of a step once: the status says which were told. Killed in between, it is told again, with the same id.
func (r *Quarantine) tell(ctx context.Context, q *v1alpha1.Quarantine, s Step) error {
	if r.OnStep == nil || slices.Contains(q.Status.Recorded, s.What) {
		return nil
	}
	if err := r.OnStep(ctx, s); err != nil {
		return fmt.Errorf("%w: %s: %w", errNotKept, s.What, err)
	}
	next := q.DeepCopy()
	next.Status.Recorded = append(next.Status.Recorded, s.What)
	return r.save(ctx, q, next)
}
