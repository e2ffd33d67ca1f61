package desk

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/tenant"
)

// NamespaceOf is the namespace of a tenant's environment, as labels say that Ringfence alone writes; where the user may not list
// namespaces, the name that it has by default.
func (d *Desk) NamespaceOf(ctx context.Context, tenantName, environment string) (string, error) {
	var t v1alpha1.Tenant
	if err := d.client.Get(ctx, client.ObjectKey{Name: tenantName}, &t); err == nil {
		for _, env := range t.Spec.Environments {
			if env.Name == environment {
				return tenant.NamespaceOf(&t, env), nil
			}
		}
		return "", fmt.Errorf("environment %s of tenant %s: %w: the tenant has none of that name", environment, tenantName, ErrNotThere)
	}
	return tenant.NamespaceOf(&v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: tenantName}}, v1alpha1.Environment{Name: environment}), nil
}

// Elevate asks for an elevation in the user's own name.
func (d *Desk) Elevate(ctx context.Context, e *v1alpha1.Elevation) error {
	who, err := d.Who(ctx)
	if err != nil {
		return err
	}
	e.Spec.Requester, e.Spec.RequesterObject = who.Name, who.Object
	if err := d.client.Create(ctx, e); err != nil {
		return fmt.Errorf("ask for an elevation in %s: %w", e.Namespace, said(err))
	}
	return nil
}

// ApproveElevation approves an elevation in the user's name, and returns it.
func (d *Desk) ApproveElevation(ctx context.Context, namespace, name string) (*v1alpha1.Elevation, error) {
	return d.writeElevation(ctx, namespace, name, "approve", func(e *v1alpha1.Elevation, user, object string, at metav1.Time) error {
		if a := e.Status.Approval; a != nil {
			return fmt.Errorf("%w: %s has approved it, and an approval is never changed", ErrRefused, a.Approver)
		}
		e.Status.Approval = &v1alpha1.ElevationApproval{Approver: user, ApproverObject: object, ApprovedAt: at}
		return nil
	})
}

// ReviewElevation says in the user's name that what was done under an elevation was looked at, and what was found.
func (d *Desk) ReviewElevation(ctx context.Context, namespace, name, note string) (*v1alpha1.Elevation, error) {
	return d.writeElevation(ctx, namespace, name, "review", func(e *v1alpha1.Elevation, user, object string, at metav1.Time) error {
		if r := e.Status.Review; r != nil {
			return fmt.Errorf("%w: %s has reviewed it, and a review is never changed", ErrRefused, r.Reviewer)
		}
		e.Status.Review = &v1alpha1.ElevationReview{Reviewer: user, ReviewerObject: object, ReviewedAt: at, Note: note}
		return nil
	})
}

// writeElevation writes the status of an elevation as it was seen; a change since then is tried again, for Ringfence writes there too.
func (d *Desk) writeElevation(ctx context.Context, namespace, name, verb string, edit func(e *v1alpha1.Elevation, user, object string, at metav1.Time) error) (*v1alpha1.Elevation, error) {
	who, err := d.Who(ctx)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		e, err := d.Elevation(ctx, namespace, name)
		if err != nil {
			return nil, err
		}
		if err := edit(e, who.Name, who.Object, metav1.NewTime(d.now().UTC().Truncate(time.Second))); err != nil {
			return nil, fmt.Errorf("%s elevation %s in %s: %w", verb, name, namespace, err)
		}
		err = d.client.Status().Update(ctx, e)
		if err == nil {
			return e, nil
		}
		if !apierrors.IsConflict(err) || try == 5 {
			return nil, fmt.Errorf("%s elevation %s in %s: %w", verb, name, namespace, said(err))
		}
	}
}

// EndElevation ends an elevation now in the user's name, and returns it. One that has ended is ErrRefused.
func (d *Desk) EndElevation(ctx context.Context, namespace, name, reason string) (*v1alpha1.Elevation, error) {
	who, err := d.Who(ctx)
	if err != nil {
		return nil, err
	}
	e, err := d.Elevation(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	switch {
	case e.Status.Phase == v1alpha1.ElevationEnded:
		return nil, fmt.Errorf("end elevation %s in %s: %w: it is over: %s", name, namespace, ErrRefused, e.Status.Outcome)
	case e.Spec.Ended != nil:
		return nil, fmt.Errorf("end elevation %s in %s: %w: %s has ended it", name, namespace, ErrRefused, e.Spec.Ended.By)
	}
	next := e.DeepCopy()
	next.Spec.Ended = &v1alpha1.ElevationEnd{By: who.Name, At: metav1.NewTime(d.now().UTC().Truncate(time.Second)), Reason: reason}
	if err := d.client.Patch(ctx, next, client.MergeFrom(e)); err != nil {
		return nil, fmt.Errorf("end elevation %s in %s: %w", name, namespace, said(err))
	}
	return next, nil
}

// Elevation is that of a name.
func (d *Desk) Elevation(ctx context.Context, namespace, name string) (*v1alpha1.Elevation, error) {
	return read[v1alpha1.Elevation](ctx, d, "elevation", namespace, name)
}

// Elevations are those of a namespace, of all for "", by namespace and name.
func (d *Desk) Elevations(ctx context.Context, namespace string) ([]v1alpha1.Elevation, error) {
	return listed(ctx, d, "elevations", namespace, func(page *v1alpha1.ElevationList) []v1alpha1.Elevation { return page.Items })
}

// AwaitElevation waits until an elevation has come to a phase or further, at most so long, and returns it as it stands then.
func (d *Desk) AwaitElevation(ctx context.Context, namespace, name string, phase v1alpha1.ElevationPhase, within time.Duration) (*v1alpha1.Elevation, error) {
	return await(ctx, within, func() (*v1alpha1.Elevation, bool, error) {
		e, err := d.Elevation(ctx, namespace, name)
		return e, err == nil && (e.Status.Phase == phase || e.Status.Phase == v1alpha1.ElevationEnded), err
	})
}

// Bearer is the token with which the kubeconfig's user speaks to the API server, "" for one who proves themselves in another way. It
// stands for the user to others who ask the API server whose it is.
func (d *Desk) Bearer(ctx context.Context) (string, error) {
	if _, err := d.Who(ctx); err != nil { // a request, by which it is seen
		return "", err
	}
	return d.bearer.get(), nil
}

// bearer remembers the token of the last request.
type bearer struct {
	mu    sync.Mutex // guards token
	token string
}

func (b *bearer) get() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.token
}

// watch looks at requests as they leave, when plug-ins have put in what proves the user.
func (b *bearer) watch(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok && r.Header.Get("Impersonate-User") == "" {
			b.mu.Lock()
			b.token = token
			b.mu.Unlock()
		}
		return next.RoundTrip(r)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
