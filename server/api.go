package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/identity"
	"ringfence.dev/ringfence/portal"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/tenant/elevation"
)

// APIConfig is the signed-in API: where it listens, and what of the identity provider is in no Platform.
type APIConfig struct {
	// Listen is the host:port of /api/v1 and /healthz, over TLS 1.3. Empty is none.
	Listen string
	// Cert and Key are files with its certificate and key; they are read anew when they are renewed.
	Cert, Key string
	// URL is where browsers find it, https://host[:port], for people to sign in with one; "" is not with a browser.
	URL string
	// ProviderCA is a file with the CA of the identity provider's certificate; "" trusts the machine's.
	ProviderCA string
	// GraphClient and GraphSecret are the application that asks Microsoft Graph and the file of its secret; "" is the client that people
	// sign in with, and never to ask.
	GraphClient, GraphSecret string
}

const (
	// apiProducer is who makes records of acts at the API.
	apiProducer = "api"
	// estateWithin is how long the cache of the cluster may take to answer: it is in memory, and waits only while it is filled.
	estateWithin = 2 * time.Second
	// maxAPIHeader is 32 KiB: a session's cookie has 60 bytes.
	maxAPIHeader = 32 << 10
)

// api is the signed-in API while it runs.
type api struct {
	portal *portal.Portal
	at     string
}

// checkAPI finds what cannot be in the settings of the API.
func checkAPI(cfg Config) error {
	a := cfg.API
	switch {
	case a.Listen == "" && a != (APIConfig{}):
		return errors.New("signed-in API: certificates, keys and secrets are for an address to listen on; want that too")
	case a.Listen == "":
		return nil
	case a.Cert == "" || a.Key == "":
		return errors.New("signed-in API: want a certificate and its key too: what people show is secret")
	case a.URL != "" && !strings.HasPrefix(a.URL, "https://"), strings.Count(a.URL, "/") > 2:
		return fmt.Errorf("signed-in API: %s: want its address as https://host or https://host:port, without a path", finding.Value(a.URL))
	case cfg.Evidence == "":
		return errors.New("signed-in API: want a folder for evidence too: sessions and tokens lie in it, and what is done with them is kept there")
	}
	return nil
}

// listenAPI opens the address of the signed-in API.
func (s *Server) listenAPI() error {
	cfg := s.cfg.API
	if cfg.Listen == "" {
		return nil
	}
	certificate, err := newCertificate(cfg.Cert, cfg.Key)
	if err != nil {
		return err
	}
	people := &signIn{estate: estate{s}, cfg: cfg}
	var redirects portal.Redirects
	if cfg.URL != "" {
		redirects = people
	}
	p, err := portal.New(portal.Config{Dir: filepath.Join(s.cfg.Evidence, "portal"), Verifier: people, URL: cfg.URL, Redirects: redirects, Undecided: identity.ErrUndecided, Estate: estate{s},
		Findings: s.asked(), Elevations: apiElevations{s}, Record: s.evidence.accessed, Now: s.cfg.Now, Log: s.log})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen for the signed-in API on %s: %w", cfg.Listen, err)
	}
	s.api = &api{p, l.Addr().String()}
	s.serve(tls.NewListener(l, &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: certificate.get}), s.doorMetrics.measured("api", p))
	s.listeners[len(s.listeners)-1].server.MaxHeaderBytes = maxAPIHeader
	return nil
}

// APIAddress is the host:port of Config.API, with the port that was taken; "" where there is none.
func (s *Server) APIAddress() string {
	if s.api == nil {
		return ""
	}
	return s.api.at
}

// accessed records an act at the API and returns once the ledger holds it.
func (e *evidence) accessed(ctx context.Context, a record.Accessed) error {
	r, err := record.Access(a, e.actorKey)
	if err != nil {
		return err
	}
	if e.answers.store != nil {
		e.answers.names(ctx, finding.Observed{User: a.By, ImpersonatedUser: a.Of}, e.actorKey)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keptWithin) // who hangs up does not leave an act unrecorded
	defer cancel()
	return e.queue.Put(ctx, apiProducer, r)
}

// apiElevations give out tokens of elevations at the API.
type apiElevations struct{ s *Server }

// Token is Server.Token, in the API's errors.
func (e apiElevations) Token(ctx context.Context, who identity.Person, name string) (token string, expires time.Time, err error) {
	token, expires, err = e.s.Token(ctx, who, name)
	switch {
	case errors.Is(err, elevation.ErrNotFound):
		err = portal.ErrNotThere
	case errors.Is(err, elevation.ErrNotLive), errors.Is(err, elevation.ErrSecondFactor):
		err = fmt.Errorf("%w: %w", portal.ErrForbidden, err)
	}
	return token, expires, err
}

// estate is what the cache of the cluster says.
type estate struct{ s *Server }

var _ portal.Estate = estate{}

// list reads all objects of a kind. They are shared, and not changed.
func (e estate) list(ctx context.Context, into client.ObjectList, options ...client.ListOption) error {
	reader := e.s.guards.Load()
	if reader == nil {
		return errors.New("the cluster is not read yet")
	}
	ctx, cancel := context.WithTimeout(ctx, estateWithin)
	defer cancel()
	return (*reader).List(ctx, into, append(options, client.UnsafeDisableDeepCopy)...)
}

// Platform implements portal.Estate.
func (e estate) Platform(ctx context.Context) (*v1alpha1.Platform, error) {
	var all v1alpha1.PlatformList
	if err := e.list(ctx, &all); err != nil || len(all.Items) == 0 {
		return nil, err
	}
	return &all.Items[0], nil
}

// Tenants implements portal.Estate.
func (e estate) Tenants(ctx context.Context) ([]v1alpha1.Tenant, error) {
	var all v1alpha1.TenantList
	err := e.list(ctx, &all)
	return all.Items, err
}

// Owned implements portal.Estate.
func (e estate) Owned(ctx context.Context) (map[string]portal.Place, error) {
	var all v1alpha1.GuardList
	if err := e.list(ctx, &all); err != nil {
		return nil, err
	}
	out := make(map[string]portal.Place, len(all.Items))
	for i := range all.Items {
		if g := &all.Items[i]; g.Name == v1alpha1.GuardName {
			out[g.Namespace] = portal.Place{Tenant: g.Spec.Tenant, Environment: g.Spec.Environment, Production: g.Spec.Production}
		}
	}
	return out, nil
}

// Waivers implements portal.Estate.
func (e estate) Waivers(ctx context.Context, namespace string) ([]v1alpha1.Waiver, error) {
	var all v1alpha1.WaiverList
	err := e.list(ctx, &all, client.InNamespace(namespace))
	return all.Items, err
}
