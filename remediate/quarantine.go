package remediate

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/tenant"
)

// FinalizerQuarantine keeps a Quarantine until all that it closed is given back.
const FinalizerQuarantine = "ringfence.dev/quarantine"

// lookAgain is how often what a quarantine closed is looked at though no watch said anything: a label or a policy that only
// system:masters can take away.
const lookAgain = 10 * time.Second

// maxNamed is how many pods a status names, as its schema says.
const maxNamed = 5000

// The steps of a quarantine. Each is told once, but for StepKept, which is told of each object.
const (
	StepOpened    = "opened"
	StepKept      = "kept"
	StepConfirmed = "confirmed"
	StepLifted    = "lifted"
	StepExpired   = "expired"
	StepDeleted   = "deleted"
)

// Step is something that became of a quarantine.
type Step struct {
	// What is one of the steps, and At when it was seen or decided.
	What string
	At   time.Time
	// By is the user who decided it, "" for Ringfence itself.
	By string
	// Reason is what they said of it.
	Reason     string
	Quarantine *v1alpha1.Quarantine
	// Kept is the object of StepKept; nil for the others.
	Kept *Kept
}

// Quarantine closes the network of quarantined workloads, keeps it closed, and gives everything back at the end. That nothing of
// them is changed is held by the API server itself, by the policies of package tenant, from the moment a Quarantine is stored and
// until this reconciler says that it has ended.
type Quarantine struct {
	// Client writes; Live asks the cluster, because a moment that a cache is behind may be the moment that counts.
	Client client.Client
	Live   client.Reader
	Now    func() time.Time
	Log    *slog.Logger
	// OnStep is told of each step and returns once it is kept; an error is tried again. Nil keeps nothing.
	OnStep func(context.Context, Step) error
}

// QuarantineRules are the rights that Quarantine needs, for the ClusterRole of Ringfence's own ServiceAccount.
func QuarantineRules() []rbacv1.PolicyRule {
	rule := func(group string, resources []string, verbs ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: resources, Verbs: verbs}
	}
	return []rbacv1.PolicyRule{
		rule("ringfence.dev", []string{"quarantines"}, "get", "list", "watch", "update"),
		rule("ringfence.dev", []string{"quarantines/status"}, "update"),
		rule("ringfence.dev", []string{"platforms"}, "get", "list", "watch"),
		rule("", []string{"pods"}, "get", "list", "patch"),
		rule("", []string{"events"}, "list"),
		rule("apps", []string{"deployments", "statefulsets", "daemonsets", "replicasets"}, "get", "list"),
		rule("batch", []string{"jobs", "cronjobs"}, "get", "list"),
		rule("networking.k8s.io", []string{"networkpolicies"}, "get", "list", "watch", "create", "update", "patch", "delete"),
		rule("cilium.io", []string{"ciliumnetworkpolicies"}, "get", "create", "update", "delete"),
	}
}

// SetupWithManager registers the controller.
func (r *Quarantine) SetupWithManager(mgr ctrl.Manager) error {
	r.Client, r.Live = mgr.GetClient(), mgr.GetAPIReader()
	return ctrl.NewControllerManagedBy(mgr).Named("quarantines").
		For(&v1alpha1.Quarantine{}).
		Watches(&networkingv1.NetworkPolicy{}, handler.EnqueueRequestsFromMapFunc(r.inNamespace)).
		Complete(r)
}

// inNamespace are the quarantines of the namespace in which a policy was written.
func (r *Quarantine) inNamespace(ctx context.Context, o client.Object) (all []reconcile.Request) {
	var there v1alpha1.QuarantineList
	if err := r.Client.List(ctx, &there, client.InNamespace(o.GetNamespace())); err != nil {
		r.Log.Error("a changed network policy is looked at with the next round only", "namespace", o.GetNamespace(), "err", err)
	}
	for i := range there.Items {
		if there.Items[i].Status.Phase != v1alpha1.QuarantineEnded {
			all = append(all, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&there.Items[i])})
		}
	}
	return all
}

// Reconcile brings one quarantine on: it may have been killed after any of the writes before.
func (r *Quarantine) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	q := &v1alpha1.Quarantine{}
	if err := r.Live.Get(ctx, req.NamespacedName, q); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	result, err := r.bring(ctx, q)
	if apierrors.IsConflict(err) { // somebody wrote at the same time
		return ctrl.Result{RequeueAfter: 100 * time.Millisecond}, nil
	}
	if err != nil {
		return result, fmt.Errorf("quarantine %s: %w", req.NamespacedName, err)
	}
	return result, nil
}

func (r *Quarantine) bring(ctx context.Context, q *v1alpha1.Quarantine) (ctrl.Result, error) {
	if q.Status.Phase == v1alpha1.QuarantineEnded {
		return ctrl.Result{}, r.free(ctx, q)
	}
	if q.DeletionTimestamp == nil && controllerutil.AddFinalizer(q, FinalizerQuarantine) {
		if err := r.Client.Update(ctx, q); err != nil {
			return ctrl.Result{}, fmt.Errorf("take it up: %w", err)
		}
	}
	end, last := r.over(q)
	if last != nil {
		return ctrl.Result{}, r.end(ctx, q, last)
	}
	if err := r.hold(ctx, q); err != nil {
		return ctrl.Result{}, err
	}
	after := lookAgain
	if left := end.Sub(r.Now()); !end.IsZero() {
		after = max(min(after, left), time.Millisecond)
	}
	return ctrl.Result{RequeueAfter: after}, nil
}

// over is when a quarantine ends by itself, zero for never, and the step with which it has ended; nil where it lasts.
func (r *Quarantine) over(q *v1alpha1.Quarantine) (end time.Time, last *Step) {
	now := r.Now()
	switch lifted := q.Spec.Lifted; {
	case lifted != nil:
		return end, &Step{What: StepLifted, At: now, By: lifted.By, Reason: lifted.Reason, Quarantine: q}
	case q.DeletionTimestamp != nil: // by system:masters, or with its namespace
		return end, &Step{What: StepDeleted, At: now, Quarantine: q}
	case q.Spec.Confirmed != nil:
		return end, nil
	}
	end, err := tenant.Expiry(q.Spec.Expires)
	if err != nil { // the schema sees to it; what cannot be read must not open anything
		r.Log.Error("a quarantine whose end cannot be read lasts until it is lifted", "namespace", q.Namespace, "quarantine", q.Name, "err", err)
		return time.Time{}, nil
	}
	if !now.Before(end) {
		return end, &Step{What: StepExpired, At: end, Quarantine: q}
	}
	return end, nil
}

// hold closes the network of the workload's pods and keeps what they were. The network comes first: evidence can wait, because
// nothing of it can be changed.
func (r *Quarantine) hold(ctx context.Context, q *v1alpha1.Quarantine) error {
	model, message, err := r.close(ctx, q)
	if err != nil {
		return err
	}
	members, err := FindMembers(ctx, r.Live, q)
	if err != nil {
		return err
	}
	for i := range members.Pods {
		if err := r.mark(ctx, q, &members.Pods[i], true); err != nil {
			return err
		}
	}
	if model == v1alpha1.NetworkKubernetes {
		if err := r.leaveOut(ctx, q, members.Pods); err != nil {
			return err
		}
	}
	if members.Workload == nil && message == "" {
		message = fmt.Sprintf("there is no %s %s; none can be made until the quarantine is lifted", q.Spec.Subject.Kind, q.Spec.Subject.Name)
	}
	next := q.DeepCopy()
	next.Status.Phase, next.Status.Network, next.Status.Message, next.Status.Pods = v1alpha1.QuarantineActive, model, message, members.podNames()
	if next.Status.ActiveSince == nil {
		next.Status.ActiveSince = new(metav1.NewTime(r.Now().UTC().Truncate(time.Second)))
		r.Log.Warn("quarantined", "namespace", q.Namespace, "quarantine", q.Name, "kind", q.Spec.Subject.Kind, "name", q.Spec.Subject.Name, "pods", len(members.Pods), "network", model)
	}
	if err := r.save(ctx, q, next); err != nil {
		return err
	}
	return r.opened(ctx, next, members)
}

// end gives everything back, then says that it has ended: until then the API server holds the freeze, so that no controller makes
// a pod of its own in between.
func (r *Quarantine) end(ctx context.Context, q *v1alpha1.Quarantine, last *Step) error {
	members, err := FindMembers(ctx, r.Live, q)
	if err != nil {
		return err
	}
	if err := r.opened(ctx, q, members); err != nil { // it may be over before it began
		return err
	}
	if err := r.takeIn(ctx, q); err != nil {
		return err
	}
	var pods corev1.PodList
	if err := r.Live.List(ctx, &pods, client.InNamespace(q.Namespace), client.HasLabels{labelOf(q)}); err != nil {
		return fmt.Errorf("list its pods: %w", err)
	}
	for i := range pods.Items {
		if err := r.mark(ctx, q, &pods.Items[i], false); err != nil {
			return err
		}
	}
	if err := r.open(ctx, q); err != nil {
		return err
	}
	if err := r.tell(ctx, q, *last); err != nil {
		return err
	}
	next := q.DeepCopy()
	next.Status.Phase, next.Status.Outcome, next.Status.Message = v1alpha1.QuarantineEnded, last.What, ""
	next.Status.EndedAt = new(metav1.NewTime(r.Now().UTC().Truncate(time.Second)))
	if err := r.save(ctx, q, next); err != nil {
		return err
	}
	r.Log.Warn("a quarantine has ended", "namespace", q.Namespace, "quarantine", q.Name, "outcome", last.What, "pods", len(pods.Items))
	return r.free(ctx, next)
}

// mark puts the quarantine's label on a pod, or takes it off. A pod that is gone, or another of its name, is left alone.
func (r *Quarantine) mark(ctx context.Context, q *v1alpha1.Quarantine, pod *corev1.Pod, on bool) error {
	if _, is := pod.Labels[labelOf(q)]; is == on {
		return nil
	}
	value := "null"
	if on {
		value = `"true"`
	}
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"uid":%q,"labels":{%q:%s}}}`, pod.UID, labelOf(q), value))
	err := r.Client.Patch(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}, patch)
	if err := client.IgnoreNotFound(err); err != nil {
		return fmt.Errorf("label pod %s: %w", pod.Name, err)
	}
	return nil
}

// save writes the status where it is another; q and next are both as stored afterwards.
func (r *Quarantine) save(ctx context.Context, q, next *v1alpha1.Quarantine) error {
	if equality.Semantic.DeepEqual(q.Status, next.Status) {
		return nil
	}
	if err := r.Client.Status().Update(ctx, next); err != nil {
		return fmt.Errorf("write its status: %w", err)
	}
	next.DeepCopyInto(q)
	return nil
}

// free lets a quarantine that has ended be deleted.
func (r *Quarantine) free(ctx context.Context, q *v1alpha1.Quarantine) error {
	if controllerutil.RemoveFinalizer(q, FinalizerQuarantine) {
		return client.IgnoreNotFound(r.Client.Update(ctx, q))
	}
	return nil
}

// labelOf is the key of the label that marks its pods.
func labelOf(q *v1alpha1.Quarantine) string { return v1alpha1.QuarantineLabel + q.Name }
