package elevation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/identity"
	"ringfence.dev/ringfence/tenant"
)

// Errors of Token.
var (
	// ErrNotFound means that the person has asked for no such elevation. Whether others have is not said.
	ErrNotFound = errors.New("no such elevation of yours")
	// ErrNotLive means that it gives no tokens: not yet, or no more.
	ErrNotLive = errors.New("the elevation does not live")
	// ErrSecondFactor means that the sign-in shows no second factor and the Platform wants one.
	ErrSecondFactor = errors.New("want a second factor")
)

const (
	// shortest is the shortest life of a token that an API server gives.
	shortest = 10 * time.Minute
	// leeway is how long after its end an API server still takes a token (DefaultLeeway of go-jose), so that tokens end before.
	leeway = time.Minute
)

// Token gives a token of an elevation to the one person who asked for it, while it lives. name is NAMESPACE/NAME, or NAME alone where
// the person has one of that name. The token is dead at the end of the elevation, also while Ringfence is down: its exp is a minute
// earlier, because API servers take tokens for a minute longer. What is left of less than 11 minutes gives none, nor does a cluster
// without a Platform in force, which says whether a second factor is wanted. Each token is recorded before it is given. Safe for many
// goroutines, on every replica.
func (r *Reconciler) Token(ctx context.Context, who identity.Person, name string) (token string, expires time.Time, err error) {
	e, err := r.of(ctx, who, name)
	if err != nil {
		return "", expires, err
	}
	_, platform, err := r.limits(ctx)
	if err != nil {
		return "", expires, err
	}
	if platform == nil {
		return "", expires, fmt.Errorf("%w: there is no Platform in force, which says whether a second factor is wanted; have the platform team look: kubectl describe platform %s", ErrNotLive, v1alpha1.PlatformName)
	}
	if platform.Spec.Identity.MFA != "" && !who.MFA {
		return "", expires, fmt.Errorf("%w; sign in again with one: ringfence login", ErrSecondFactor)
	}
	now := r.cfg.Now()
	switch {
	case e.Status.Phase == "" && !Approved(e):
		return "", expires, fmt.Errorf("%w: nobody has approved it; have a colleague: ringfence access approve %s -n %s", ErrNotLive, e.Name, e.Namespace)
	case e.Status.Phase != v1alpha1.ElevationActive || e.Spec.Ended != nil || e.DeletionTimestamp != nil || e.Status.Expires == nil || !Approved(e):
		return "", expires, fmt.Errorf("%w: look: ringfence access list -n %s", ErrNotLive, e.Namespace)
	}
	end := e.Status.Expires.Time
	left := end.Sub(now).Truncate(time.Second) - leeway - time.Second // now is a little ago
	if left < shortest {
		return "", expires, fmt.Errorf("%w: it ends at %s, and a token lives 10 minutes and ends a minute before it; request another one", ErrNotLive, end.UTC().Format(time.RFC3339))
	}
	account, stranger, err := r.account(ctx, e)
	if err != nil {
		return "", expires, err
	}
	if account == nil || stranger {
		return "", expires, fmt.Errorf("%w yet: its account is being made; try again in a moment", ErrNotLive)
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(left / time.Second))}}
	if err := r.client.SubResource("token").Create(ctx, account, request); err != nil {
		return "", expires, fmt.Errorf("make a token of %s/%s: %w", account.Namespace, account.Name, err)
	}
	expires = request.Status.ExpirationTimestamp.Time
	if expires.After(end.Add(-leeway)) { // the clocks differ; nobody gets what would outlive the elevation
		return "", expires, fmt.Errorf("make a token of %s/%s: it would end at %s, after the elevation (%s); check the clocks of Ringfence and of the API server",
			account.Namespace, account.Name, expires.UTC().Format(time.RFC3339), end.UTC().Format(time.RFC3339))
	}
	if err := r.cfg.OnStep(ctx, Step{What: StepToken, At: now, By: who.Name, Until: expires, Elevation: e}); err != nil {
		return "", expires, fmt.Errorf("keep that a token was given: %w", err)
	}
	r.cfg.Log.Warn("a token of an elevation was given", "namespace", e.Namespace, "elevation", e.Name, "ticket", e.Spec.Ticket, "until", expires)
	return request.Status.Token, expires, nil
}

// of is the elevation of a name that a person asked for.
func (r *Reconciler) of(ctx context.Context, who identity.Person, name string) (*v1alpha1.Elevation, error) {
	namespace, alone, qualified := strings.Cut(name, "/")
	if !qualified {
		namespace, alone = "", name
	}
	var all v1alpha1.ElevationList
	if err := r.live.List(ctx, &all, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("list elevations: %w", err)
	}
	var found *v1alpha1.Elevation
	for i := range all.Items {
		e := &all.Items[i]
		if who.Name == "" || e.Name != alone || e.Spec.Requester != who.Name || e.Spec.RequesterObject != who.Object {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("%w: you have several named %s; name one as NAMESPACE/%s", ErrNotFound, alone, alone)
		}
		found = e
	}
	if found == nil {
		return nil, fmt.Errorf("%w; list them: ringfence access list -A", ErrNotFound)
	}
	return found, nil
}

// User is the user name of an elevation's account: what audit events call whoever acts under it.
func User(e *v1alpha1.Elevation) string { return tenant.UserOf(e.Namespace, e.Name) }
