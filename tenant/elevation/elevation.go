// Package elevation gives people more rights in a namespace for a while: for each Elevation that another person approved it makes a
// ServiceAccount, binds the rights of the Platform to it, gives the requester tokens of it, and takes all away at the end.
//
// Who may ask, approve and review is held by the API server, by the policies of package tenant. Package server runs it.
package elevation

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/approval"
	"ringfence.dev/ringfence/tenant"
)

// Finalizer keeps an Elevation until its rights are taken away.
const Finalizer = "ringfence.dev/elevation"

// lookAgain is how often it is looked whether account and bindings are still as they were made.
const lookAgain = 30 * time.Second

// The steps of an elevation. Each is told once, but for StepToken.
const (
	StepRequested = "requested"
	StepApproved  = "approved"
	StepToken     = "token"
	StepExpired   = "expired"
	// StepEnded is somebody's word; StepWithdrawn too, before there were rights.
	StepEnded      = "ended"
	StepWithdrawn  = "withdrawn"
	StepUnanswered = "unanswered"
	StepDeleted    = "deleted"
	StepReviewed   = "reviewed"
	StepOverdue    = "overdue"
)

// Step is something that became of an elevation.
type Step struct {
	// What is one of the steps, and At when it was seen or done.
	What string
	At   time.Time
	// By is the user whose act it was, "" for Ringfence itself.
	By string
	// Said is what they said of it, Until when what was given ends: a token, or the rights. Zero for others.
	Said  string
	Until time.Time
	// Rights are those that StepApproved gives.
	Rights    []v1alpha1.Right
	Elevation *v1alpha1.Elevation
}

// Config is what a Reconciler needs beside a manager.
type Config struct {
	// Now is the clock. Log gets a line for each step.
	Now func() time.Time
	Log *slog.Logger
	// Accepted says which Platform is in force. Nil takes every one.
	Accepted func(*v1alpha1.Platform) (*v1alpha1.Platform, error)
	// OnStep is told of each step and returns once it is kept; an error is tried again, and what was to follow waits. Nil keeps nothing.
	OnStep func(context.Context, Step) error
}

// Reconciler brings elevations on. One instance writes at a time; every one gives tokens.
type Reconciler struct {
	cfg    Config
	client client.Client
	live   client.Reader
}

// New makes a Reconciler that writes with c and asks the cluster itself with live, because a moment that a cache is behind may be the
// moment that counts.
func New(cfg Config, c client.Client, live client.Reader) *Reconciler {
	if cfg.OnStep == nil {
		cfg.OnStep = func(context.Context, Step) error { return nil }
	}
	if cfg.Accepted == nil {
		cfg.Accepted = func(p *v1alpha1.Platform) (*v1alpha1.Platform, error) { return p, nil }
	}
	return &Reconciler{cfg: cfg, client: c, live: live}
}

// Rules are the rights that a Reconciler needs, for the ClusterRole of Ringfence's own ServiceAccount. That it may bind the rights of
// elevations, by name, and read RoleBindings and accounts is said by tenant.ServiceAccountRules. A native policy takes tokens of
// other accounts from it.
func Rules() []rbacv1.PolicyRule {
	rule := func(group, resource string, verbs ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: verbs}
	}
	return []rbacv1.PolicyRule{
		rule("ringfence.dev", "elevations", "get", "list", "watch", "update"),
		rule("ringfence.dev", "elevations/status", "update"),
		rule("ringfence.dev", "platforms", "get", "list", "watch"),
		rule("", "serviceaccounts", "get", "create", "delete"),
		rule("", "serviceaccounts/token", "create"),
		rule(rbacv1.GroupName, "rolebindings", "get", "list", "create", "delete"),
	}
}

// SetupWithManager registers the controller.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("elevations").For(&v1alpha1.Elevation{}).Complete(r)
}

// Reconcile brings one elevation on: it may have been killed after any of the writes before.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	e := &v1alpha1.Elevation{}
	if err := r.live.Get(ctx, req.NamespacedName, e); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	next, err := r.bring(ctx, e)
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) { // somebody wrote at the same time
		return ctrl.Result{RequeueAfter: 100 * time.Millisecond}, nil
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("elevation %s: %w", req.NamespacedName, err)
	}
	if next.IsZero() {
		return ctrl.Result{}, nil
	}
	return ctrl.Result{RequeueAfter: max(next.Sub(r.cfg.Now()), time.Millisecond)}, nil
}

// bring does what is due, and says when to look again.
func (r *Reconciler) bring(ctx context.Context, e *v1alpha1.Elevation) (next time.Time, err error) {
	limits, platform, err := r.limits(ctx)
	if err != nil {
		return next, err
	}
	switch {
	case e.DeletionTimestamp != nil:
		return next, r.letGo(ctx, e)
	case e.Status.Phase == v1alpha1.ElevationEnded:
		return r.follow(ctx, e)
	}
	if controllerutil.AddFinalizer(e, Finalizer) {
		if err := r.client.Update(ctx, e); err != nil {
			return next, fmt.Errorf("take it up: %w", err)
		}
	}
	if err := r.tell(ctx, e, Step{What: StepRequested, At: e.CreationTimestamp.Time, By: e.Spec.Requester, Said: e.Spec.Reason}); err != nil {
		return next, err
	}
	now, course := r.cfg.Now(), CourseOf(e, limits)
	state, ends := course.State(now)
	switch ended := e.Spec.Ended; {
	case ended != nil && e.Status.Phase == "":
		return r.end(ctx, e, limits, Step{What: StepWithdrawn, At: now, By: ended.By, Said: ended.Reason})
	case ended != nil:
		return r.end(ctx, e, limits, Step{What: StepEnded, At: now, By: ended.By, Said: ended.Reason})
	case state == approval.Ended:
		return r.end(ctx, e, limits, Step{What: StepExpired, At: now})
	case platform == nil: // which rights, how long and how soon is the Platform's word: nothing is given, and nothing of it taken away
		return earlier(ends, now.Add(lookAgain)), nil
	case state == approval.Unanswered:
		return r.end(ctx, e, limits, Step{What: StepUnanswered, At: now})
	case course.Approved && e.Status.Phase == "":
		if ends, err = r.begin(ctx, e, limits); err != nil {
			return next, err
		}
		fallthrough
	case course.Approved:
		if err := r.give(ctx, e, limits); err != nil {
			return next, err
		}
		return earlier(ends, now.Add(lookAgain)), nil
	}
	if remind := course.Remind(); now.Before(remind) {
		return remind, nil
	}
	r.cfg.Log.Warn("an elevation waits for its approval", "namespace", e.Namespace, "elevation", e.Name, "ticket", e.Spec.Ticket, "until", course.AnswerBy)
	return ends, nil
}

// CourseOf is how an elevation went so far, under a Platform's limits.
func CourseOf(e *v1alpha1.Elevation, limits tenant.ElevationLimits) approval.Course {
	c := approval.Course{Asked: e.CreationTimestamp.Time, AnswerBy: e.CreationTimestamp.Add(limits.AnswerWithin), Approved: Approved(e),
		Ended: e.Status.Phase == v1alpha1.ElevationEnded, Reviewed: e.Status.Review != nil}
	for to, from := range map[*time.Time]*metav1.Time{&c.Began: e.Status.ActiveSince, &c.Ends: e.Status.Expires, &c.ReviewBy: e.Status.ReviewBy} {
		if from != nil {
			*to = from.Time
		}
	}
	return c
}

// Approved reports whether another person approved. The API server let nobody else write it; what got in while its policy was away
// counts for nothing here either.
func Approved(e *v1alpha1.Elevation) bool {
	a := e.Status.Approval
	return a != nil && approval.Two(approval.Person{Name: e.Spec.Requester, Object: e.Spec.RequesterObject}, approval.Person{Name: a.Approver, Object: a.ApproverObject})
}

// limits are those of the Platform in force, and the Platform itself: nil where there is none, or none without a mistake is known.
func (r *Reconciler) limits(ctx context.Context) (tenant.ElevationLimits, *v1alpha1.Platform, error) {
	var p v1alpha1.Platform
	err := r.client.Get(ctx, client.ObjectKey{Name: v1alpha1.PlatformName}, &p)
	if apierrors.IsNotFound(err) {
		return tenant.ElevationOf(nil), nil, nil
	}
	if err != nil {
		return tenant.ElevationLimits{}, nil, fmt.Errorf("read the Platform: %w", err)
	}
	accepted, _ := r.cfg.Accepted(&p) // what is wrong with it stands in its own status
	return tenant.ElevationOf(accepted), accepted, nil
}

// begin says in the status that the rights are given, and until when, once the approval is kept. The end is written before it is told:
// whoever dies in between goes on with the same one, for the record of an approval is made once and must not say another.
func (r *Reconciler) begin(ctx context.Context, e *v1alpha1.Elevation, limits tenant.ElevationLimits) (ends time.Time, err error) {
	if e.Status.ActiveSince == nil || e.Status.Expires == nil {
		now, next := r.cfg.Now().UTC().Truncate(time.Second), e.DeepCopy()
		next.Status.ActiveSince, next.Status.Expires = new(metav1.NewTime(now)), new(metav1.NewTime(now.Add(min(e.Spec.Lasts.Duration, limits.Longest))))
		if err := r.save(ctx, e, next); err != nil {
			return ends, err
		}
	}
	ends = e.Status.Expires.Time
	if err := r.tell(ctx, e, Step{What: StepApproved, At: e.Status.ActiveSince.UTC(), By: e.Status.Approval.Approver, Until: ends, Rights: limits.Rights}); err != nil {
		return ends, err
	}
	next := e.DeepCopy()
	next.Status.Phase, next.Status.Account = v1alpha1.ElevationActive, tenant.AccountOf(e.Name)
	if err := r.save(ctx, e, next); err != nil {
		return ends, err
	}
	r.cfg.Log.Warn("an elevation began", "namespace", e.Namespace, "elevation", e.Name, "ticket", e.Spec.Ticket, "until", ends)
	return ends, nil
}

// end takes the rights away, and says so when they are gone.
func (r *Reconciler) end(ctx context.Context, e *v1alpha1.Elevation, limits tenant.ElevationLimits, last Step) (reviewBy time.Time, err error) {
	if err := r.take(ctx, e); err != nil {
		return reviewBy, err
	}
	if err := r.tell(ctx, e, last); err != nil {
		return reviewBy, err
	}
	now := r.cfg.Now().UTC().Truncate(time.Second)
	next := e.DeepCopy()
	next.Status.Phase, next.Status.Outcome, next.Status.EndedAt = v1alpha1.ElevationEnded, last.What, new(metav1.NewTime(now))
	if e.Status.Phase == "" { // whoever was about to give the rights never did
		next.Status.ActiveSince, next.Status.Expires = nil, nil
	}
	if next.Status.ActiveSince != nil {
		reviewBy = now.Add(limits.ReviewWithin)
		next.Status.ReviewBy = new(metav1.NewTime(reviewBy))
		apimeta.SetStatusCondition(&next.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionReviewed, Status: metav1.ConditionFalse, Reason: "Due",
			Message: "what was done is to be reviewed by another person: ringfence access review " + e.Name + " -n " + e.Namespace})
	}
	if err := r.save(ctx, e, next); err != nil {
		return reviewBy, err
	}
	r.cfg.Log.Warn("an elevation has ended", "namespace", e.Namespace, "elevation", e.Name, "ticket", e.Spec.Ticket, "outcome", last.What)
	return reviewBy, nil
}

// follow waits for the review of what has ended, and says when its time is over.
func (r *Reconciler) follow(ctx context.Context, e *v1alpha1.Elevation) (next time.Time, err error) {
	if e.Status.ActiveSince == nil || e.Status.ReviewBy == nil {
		return next, r.free(ctx, e)
	}
	now, condition := r.cfg.Now(), metav1.Condition{Type: v1alpha1.ConditionReviewed, Status: metav1.ConditionTrue, Reason: "Reviewed"}
	switch review := e.Status.Review; {
	case review != nil:
		condition.Message = "reviewed by " + review.Reviewer
		err = r.tell(ctx, e, Step{What: StepReviewed, At: now, By: review.Reviewer, Said: review.Note})
	case now.Before(e.Status.ReviewBy.Time):
		return e.Status.ReviewBy.Time, nil
	default:
		condition.Status, condition.Reason = metav1.ConditionFalse, "Overdue"
		condition.Message = "nobody has reviewed what was done; it is overdue: ringfence access review " + e.Name + " -n " + e.Namespace
		err = r.tell(ctx, e, Step{What: StepOverdue, At: now})
	}
	if err != nil {
		return next, err
	}
	after := e.DeepCopy()
	apimeta.SetStatusCondition(&after.Status.Conditions, condition)
	if err := r.save(ctx, e, after); err != nil {
		return next, err
	}
	if e.Status.Review == nil {
		return next, nil
	}
	return next, r.free(ctx, e)
}

// letGo ends an elevation whose object is being deleted: by system:masters, or with its namespace.
func (r *Reconciler) letGo(ctx context.Context, e *v1alpha1.Elevation) error {
	if err := r.take(ctx, e); err != nil {
		return err
	}
	if e.Status.Phase != v1alpha1.ElevationEnded || e.Status.ActiveSince != nil && e.Status.Review == nil {
		// Not noted in the status, which goes: where it comes again, the record has the same id.
		if err := r.cfg.OnStep(ctx, Step{What: StepDeleted, At: r.cfg.Now(), Elevation: e}); err != nil {
			return fmt.Errorf("keep that it was deleted: %w", err)
		}
	}
	return r.free(ctx, e)
}

// tell tells of a step, unless it was told, and notes it in the status that is saved next.
func (r *Reconciler) tell(ctx context.Context, e *v1alpha1.Elevation, s Step) error {
	if slices.Contains(e.Status.Recorded, s.What) {
		return nil
	}
	s.Elevation = e
	if err := r.cfg.OnStep(ctx, s); err != nil {
		return fmt.Errorf("keep that it was %s: %w", s.What, err)
	}
	next := e.DeepCopy()
	next.Status.Recorded = append(next.Status.Recorded, s.What)
	return r.save(ctx, e, next)
}

// save writes the status where it is another; e is as stored afterwards.
func (r *Reconciler) save(ctx context.Context, e, next *v1alpha1.Elevation) error {
	if equality.Semantic.DeepEqual(e.Status, next.Status) {
		return nil
	}
	if err := r.client.Status().Update(ctx, next); err != nil {
		return fmt.Errorf("write its status: %w", err)
	}
	next.DeepCopyInto(e)
	return nil
}

// free lets an elevation be deleted.
func (r *Reconciler) free(ctx context.Context, e *v1alpha1.Elevation) error {
	if controllerutil.RemoveFinalizer(e, Finalizer) {
		return client.IgnoreNotFound(r.client.Update(ctx, e))
	}
	return nil
}

// account is an elevation's ServiceAccount as it is there, nil where there is none of this very elevation. stranger is true where another
// has its name.
func (r *Reconciler) account(ctx context.Context, e *v1alpha1.Elevation) (account *corev1.ServiceAccount, stranger bool, err error) {
	account = &corev1.ServiceAccount{}
	err = r.live.Get(ctx, client.ObjectKey{Namespace: e.Namespace, Name: tenant.AccountOf(e.Name)}, account)
	if apierrors.IsNotFound(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read its account: %w", err)
	}
	return account, !owned(account, e), nil
}

// owned reports whether an object was made for this elevation, and not for one of its name before it.
func owned(o client.Object, e *v1alpha1.Elevation) bool {
	return o.GetLabels()[v1alpha1.LabelManagedBy] == v1alpha1.ManagedBy &&
		slices.ContainsFunc(o.GetOwnerReferences(), func(ref metav1.OwnerReference) bool { return ref.UID == e.UID })
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
