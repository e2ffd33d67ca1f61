// Package desk asks a cluster for waivers, elevations and imports of images, approves, ends and lists them, opens, confirms, lifts and lists quarantines,
// and shows, cordons and ends tenants, as the user whom a kubeconfig names.
//
// It decides nothing: who may what is said by the API server, whose words it passes on. The command line calls it.
package desk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/approval"
	"ringfence.dev/ringfence/identity"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/tenant"
)

// timeout bounds each request: an API server answers in milliseconds, and nobody waits for one that does not.
const timeout = 30 * time.Second

// Errors of every method.
var (
	// ErrRefused means that the API server said no, and why.
	ErrRefused = errors.New("refused")
	// ErrNotThere means that there is no such object.
	ErrNotThere = errors.New("not there")
)

// Desk is a cluster and a user.
type Desk struct {
	client client.Client
	now    func() time.Time
	bearer *bearer
}

// Open reads a kubeconfig: the file named, else those of KUBECONFIG, else the user's own, else the pod this process runs in;
// context "" is the current one. It asks the server nothing yet.
func Open(kubeconfig, context, agent string, now func() time.Time) (*Desk, error) {
	config, err := kube.User(kubeconfig, context)
	if err != nil {
		return nil, err
	}
	ctrllog.SetLogger(logr.Discard()) // else it complains on standard error that nobody reads what it says
	config.UserAgent, config.Timeout, config.WarningHandlerWithContext = agent, timeout, rest.NoWarnings{}
	seen := &bearer{}
	config.Wrap(seen.watch)
	c, err := kube.NewClient(config)
	if err != nil {
		return nil, fmt.Errorf("%w; check --context, the network, and that the cluster runs", err)
	}
	return &Desk{c, now, seen}, nil
}

// User is the name by which the API server knows the user.
func (d *Desk) User(ctx context.Context) (string, error) {
	who, err := d.Who(ctx)
	return who.Name, err
}

// Who is the user as the API server knows them, and who is behind the account where the identity provider says so.
func (d *Desk) Who(ctx context.Context) (approval.Person, error) {
	review := &authenticationv1.SelfSubjectReview{}
	if err := d.client.Create(ctx, review); err != nil {
		return approval.Person{}, fmt.Errorf("ask the API server who you are: %w", said(err))
	}
	user := review.Status.UserInfo
	return approval.Person{Name: user.Username, Object: strings.Join(user.Extra[identity.ExtraObject], " ")}, nil
}

// Request asks for a waiver in the user's own name; an empty owner is the user too.
func (d *Desk) Request(ctx context.Context, w *v1alpha1.Waiver) error {
	who, err := d.Who(ctx)
	if err != nil {
		return err
	}
	w.Spec.Requester, w.Spec.RequesterObject = who.Name, who.Object
	if w.Spec.Owner == "" {
		w.Spec.Owner = who.Name
	}
	if err := d.client.Create(ctx, w); err != nil {
		return fmt.Errorf("request waiver %s in %s: %w", w.Name, w.Namespace, said(err))
	}
	return nil
}

// Approve approves a waiver in the user's name, and returns it.
func (d *Desk) Approve(ctx context.Context, namespace, name string) (*v1alpha1.Waiver, error) {
	who, err := d.Who(ctx)
	if err != nil {
		return nil, err
	}
	w, err := read[v1alpha1.Waiver](ctx, d, "waiver", namespace, name)
	if err != nil {
		return nil, err
	}
	if a := w.Status.Approval; a != nil {
		return nil, fmt.Errorf("approve waiver %s in %s: %w: %s has approved it, and an approval is never changed", name, namespace, ErrRefused, a.Approver)
	}
	w.Status.Approval = &v1alpha1.WaiverApproval{Approver: who.Name, ApproverObject: who.Object, ApprovedAt: metav1.NewTime(d.now().UTC().Truncate(time.Second))}
	if err := d.client.Status().Update(ctx, w); err != nil { // of what was seen: a change since then is a conflict
		return nil, fmt.Errorf("approve waiver %s in %s: %w", name, namespace, said(err))
	}
	return w, nil
}

// Revoke ends a waiver now, unless it has ended, and returns it as it was. It stays readable; approval and reason are evidence.
func (d *Desk) Revoke(ctx context.Context, namespace, name string) (*v1alpha1.Waiver, error) {
	w, err := read[v1alpha1.Waiver](ctx, d, "waiver", namespace, name)
	if err != nil {
		return nil, err
	}
	if end, err := tenant.Expiry(w.Spec.Expires); err == nil && !d.now().Before(end) {
		return w, nil
	}
	patch := fmt.Appendf(nil, `{"spec":{"expires":%q}}`, d.now().UTC().Truncate(time.Second).Format(time.RFC3339))
	if err := d.client.Patch(ctx, w.DeepCopy(), client.RawPatch(types.MergePatchType, patch)); err != nil {
		return nil, fmt.Errorf("end waiver %s in %s: %w", name, namespace, said(err))
	}
	return w, nil
}

// List is the waivers of a namespace, of all for "", by namespace and name.
func (d *Desk) List(ctx context.Context, namespace string) ([]v1alpha1.Waiver, error) {
	return listed(ctx, d, "waivers", namespace, func(page *v1alpha1.WaiverList) []v1alpha1.Waiver { return page.Items })
}

// Guard is what holds in a namespace.
func (d *Desk) Guard(ctx context.Context, namespace string) (*v1alpha1.Guard, error) {
	g := &v1alpha1.Guard{}
	if err := d.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: v1alpha1.GuardName}, g); err != nil {
		return nil, fmt.Errorf("read the Guard of %s: %w", namespace, said(err))
	}
	return g, nil
}

// Object reads one object of a kind as the API server has it; ErrNotThere where there is none, or no such kind.
func (d *Desk) Object(ctx context.Context, apiGroup, kind, namespace, name string) (map[string]any, error) {
	mapping, err := d.client.RESTMapper().RESTMapping(schema.GroupKind{Group: apiGroup, Kind: kind})
	if err != nil {
		return nil, fmt.Errorf("ask for kind %s: %w", kind, said(err))
	}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(mapping.GroupVersionKind)
	if err := d.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, u); err != nil {
		return nil, fmt.Errorf("read %s %s/%s: %w", kind, namespace, name, said(err))
	}
	return u.Object, nil
}

// denied is how the API server begins the words of a native policy.
var denied = regexp.MustCompile(`(?s)^.*? is forbidden: ValidatingAdmissionPolicy '[^']*'(?: with binding '[^']*')? denied request: `)

// said is what the API server said, as one of this package's errors where it is a decision.
func said(err error) error {
	var status apierrors.APIStatus
	switch {
	case apierrors.IsNotFound(err) || apimeta.IsNoMatchError(err):
		return fmt.Errorf("%w: %s", ErrNotThere, err.Error())
	case apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err):
		text := err.Error()
		return fmt.Errorf("%w: %s", ErrRefused, text[len(denied.FindString(text)):])
	case errors.As(err, &status) || errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, io.EOF) || errors.Is(err, context.DeadlineExceeded):
		return errors.New("the API server does not answer; check --context, the network, and that the cluster runs")
	}
	return fmt.Errorf("%w; check --context, the network, and that the cluster runs", err)
}
