package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/identity"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/tenant"
	"ringfence.dev/ringfence/tenant/elevation"
)

// elevationProducer is whose records of elevations are.
const elevationProducer = "elevation"

// errNotYet means that the cluster has not been reached yet.
var errNotYet = errors.New("the control plane has not reached its cluster yet; try again in a moment")

// elevations is what gives rights for a while, and the client that asks who somebody is. It gives tokens on every replica.
type elevations struct {
	*elevation.Reconciler
	client client.Client
}

// openElevations makes the reconciler, and lets Token answer.
func (s *Server) openElevations(mgr ctrl.Manager, accepted *tenant.Accepted) {
	cfg := elevation.Config{Now: s.cfg.Now, Log: s.log, Accepted: accepted.Of}
	if s.evidence != nil {
		cfg.OnStep = s.evidence.elevated
	}
	s.elevations.Store(&elevations{elevation.New(cfg, mgr.GetClient(), mgr.GetAPIReader()), mgr.GetClient()})
}

// Token gives a token of an elevation to the person who asked for it; see elevation.Reconciler.Token.
func (s *Server) Token(ctx context.Context, who identity.Person, name string) (token string, expires time.Time, err error) {
	e := s.elevations.Load()
	if e == nil {
		return "", expires, errNotYet
	}
	return e.Token(ctx, who, name)
}

// elevated records a step of an elevation and returns once the ledger holds it.
func (e *evidence) elevated(ctx context.Context, s elevation.Step) error {
	of := s.Elevation
	body := record.Elevated{Step: s.What, Namespace: of.Namespace, Name: of.Name, UID: string(of.UID), Ticket: of.Spec.Ticket, Said: s.Said, Lasts: of.Spec.Lasts.Duration.String(),
		Account: elevation.User(of), By: s.By, For: of.Spec.Requester, Until: s.Until}
	for _, right := range s.Rights {
		body.Rights = append(body.Rights, string(right))
	}
	r, err := record.Elevation(body, e.actorKey, s.At)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, keptWithin)
	defer cancel()
	err = e.queue.Put(ctx, elevationProducer, r)
	if errors.Is(err, record.ErrRejected) && !s.Until.IsZero() {
		return err // nothing is given that is not recorded
	}
	if errors.Is(err, record.ErrRejected) { // it never will be kept, and an elevation must end all the same
		e.log.Error("a step of an elevation is not recorded", "namespace", of.Namespace, "elevation", of.Name, "step", s.What, "err", err)
		return nil
	}
	return err
}

// givenToken is the answer to who asks for a token.
type givenToken struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
}

// elevationToken answers POST /elevations/NAMESPACE/NAME/token on the socket. Who asks is proved by the bearer token with which they
// speak to the API server, and told by the API server. Without one they are nobody, unless the Platform names no identity provider:
// then the owner of the socket, who runs Ringfence, stands for whoever asked for the elevation.
func (s *Server) elevationToken(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
	defer cancel()
	name := r.PathValue("namespace") + "/" + r.PathValue("name")
	who, err := s.asks(ctx, r)
	var given givenToken
	if err == nil {
		given.Token, given.Expires, err = s.Token(ctx, who, name)
	}
	switch {
	case err == nil:
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(given) // the caller has gone; there is nobody to tell
	case errors.Is(err, elevation.ErrNotFound):
		http.Error(w, err.Error(), http.StatusNotFound)
	case errors.Is(err, elevation.ErrNotLive):
		http.Error(w, err.Error(), http.StatusConflict)
	case errors.Is(err, elevation.ErrSecondFactor), errors.Is(err, errNobody):
		http.Error(w, err.Error(), http.StatusForbidden)
	default:
		s.log.Error("a token of an elevation was not given", "err", err)
		http.Error(w, "the token could not be made; Ringfence's log says why", http.StatusServiceUnavailable)
	}
}

// errNobody means that it is not known who asks.
var errNobody = errors.New("who asks is not known")

// asks is the person who asks on the socket.
func (s *Server) asks(ctx context.Context, r *http.Request) (who identity.Person, err error) {
	e := s.elevations.Load()
	if e == nil {
		return who, errNotYet
	}
	bearer, proved := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if proved {
		return reviewed(ctx, e.client, bearer)
	}
	var platform v1alpha1.Platform
	if err := e.client.Get(ctx, client.ObjectKey{Name: v1alpha1.PlatformName}, &platform); client.IgnoreNotFound(err) != nil {
		return who, fmt.Errorf("read the Platform: %w", err)
	}
	if platform.Spec.Identity.Issuer != "" || platform.Spec.Identity.MFA != "" {
		return who, fmt.Errorf("%w: the Platform names an identity provider; want the token of a sign-in: use a kubeconfig that signs in with it", errNobody)
	}
	var asked v1alpha1.Elevation
	if err := e.client.Get(ctx, client.ObjectKey{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}, &asked); client.IgnoreNotFound(err) != nil {
		return who, fmt.Errorf("read the elevation: %w", err)
	}
	return identity.Person{Name: asked.Spec.Requester, Object: asked.Spec.RequesterObject}, nil
}

// reviewed is whose a bearer token is, as the API server says.
func reviewed(ctx context.Context, c client.Client, bearer string) (who identity.Person, err error) {
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: bearer}}
	if err := c.Create(ctx, review); err != nil {
		return who, fmt.Errorf("ask the API server whose a token is: %w", err)
	}
	if !review.Status.Authenticated {
		return who, fmt.Errorf("%w: the API server does not take the token: %s", errNobody, finding.Clean(review.Status.Error))
	}
	user := review.Status.User
	mfa := user.Extra[identity.ExtraMFA]
	return identity.Person{Name: user.Username, Groups: user.Groups, Object: strings.Join(user.Extra[identity.ExtraObject], " "), MFA: len(mfa) == 1 && mfa[0] == "true"}, nil
}
