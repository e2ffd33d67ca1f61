// Package portal is the signed-in API: who asks is known, and what they may see follows from their groups.
//
// It decides nothing about controls, writes nothing to a cluster and approves nothing: whoever approves does so at the Kubernetes
// API with credentials of their own. `server` serves it; the command line and pages call it.
package portal

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/identity"
	"ringfence.dev/ringfence/record"
)

// Verifier says who an ID token of the bank's identity provider speaks for.
type Verifier interface {
	Verify(ctx context.Context, rawIDToken string) (identity.Person, error)
}

// Errors of Elevations that are answered in their own words; every other one is answered 503.
var (
	// ErrNotThere means that there is no such elevation, or none that this person may know of.
	ErrNotThere = errors.New("no such elevation")
	// ErrForbidden means that this person may not, or not now; what wraps it says why.
	ErrForbidden = errors.New("not allowed")
)

// Elevations give out the short-lived tokens of break-glass sessions.
type Elevations interface {
	// Token is a token of an elevation, NAMESPACE/NAME, for the person who asked for it, and when it ends.
	Token(ctx context.Context, who identity.Person, name string) (token string, expires time.Time, err error)
}

// Place is whose a guarded namespace is.
type Place struct {
	// Tenant and Environment are as its Guard says. Tenant is "" where it is no tenant's.
	Tenant, Environment string
	// Production marks real money and real data.
	Production bool
}

// Estate is what the cluster says of tenants. Every call may fail while the cluster is not read yet; then nobody sees anything.
type Estate interface {
	// Platform is the bank's settings; nil where there are none.
	Platform(context.Context) (*v1alpha1.Platform, error)
	// Tenants are all of them. They are not changed.
	Tenants(context.Context) ([]v1alpha1.Tenant, error)
	// Owned are the guarded namespaces and whose they are.
	Owned(context.Context) (map[string]Place, error)
	// Waivers are those of a namespace, or of all with "".
	Waivers(ctx context.Context, namespace string) ([]v1alpha1.Waiver, error)
}

// Config is what the API needs. All but Verifier and Elevations must be there.
type Config struct {
	// Dir is the folder that keeps sessions and tokens; it is made where it is missing. One process may have it.
	Dir string
	// Verifier verifies ID tokens. Nil: nobody can sign in, and whoever tries is told so.
	Verifier Verifier
	// URL is where browsers find the API, https://host[:port], and Redirects send them to the identity provider to sign in. Nil: nobody signs
	// in with a browser.
	URL       string
	Redirects Redirects
	// Undecided is what errors of Verifier wrap where it cannot be known who somebody is or what their groups are: that is answered
	// 503, and never taken for "no groups". Nil: every error refuses.
	Undecided error
	// Estate is what the cluster says.
	Estate Estate
	// Findings answers questions about findings.
	Findings record.Ask
	// Elevations give out tokens of break-glass. Nil: there are none.
	Elevations Elevations
	// Record keeps an act on rights as evidence, and returns once it is kept.
	Record func(context.Context, record.Accessed) error
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Log takes what nobody is told.
	Log *slog.Logger
}

// Portal is the API. It is safe for many goroutines.
type Portal struct {
	cfg      Config
	accounts *accounts
	metrics  *metrics
	routes   *http.ServeMux
	document []byte
	origins  *http.CrossOriginProtection
	free     chan struct{} // one value for each request of somebody known that is answered now
	entering chan struct{} // the same of sign-ins
	signIns  *limiter      // by address
	failed   *limiter      // by address
	asking   *limiter      // by person
	away     away
}

const (
	// prefix begins every path but that of health.
	prefix = "/api/v1"
	// maxAtOnce requests of people who are known are answered at once, and maxEntering sign-ins; more are told to come back.
	maxAtOnce, maxEntering = 64, 16
	// maxBody is 512 KiB: an ID token with 5,000 groups by GUID has 260 KB.
	maxBody = 512 << 10
	// verifyWithin is how long the identity provider may take.
	verifyWithin = 15 * time.Second
)

// New reads what is kept in the folder and makes the routes.
func New(cfg Config) (*Portal, error) {
	if cfg.Estate == nil || cfg.Findings == nil || cfg.Record == nil || cfg.Log == nil {
		return nil, errors.New("make the signed-in API: want an estate, findings, a road for records and a log")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	kept, err := openAccounts(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open the sessions and tokens of the API: %w", err)
	}
	p := &Portal{cfg: cfg, accounts: kept, metrics: newMetrics(kept), routes: http.NewServeMux(), origins: http.NewCrossOriginProtection(),
		free: make(chan struct{}, maxAtOnce), entering: make(chan struct{}, maxEntering), signIns: newLimiter(5, 60), failed: newLimiter(1, 30), asking: newLimiter(20, 100)}
	api := humago.New(p.routes, p.settings())
	api.UseMiddleware(p.scoped(api))
	p.register(api)
	p.routes.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		answer(w, problem(http.StatusNotFound, "not-found", "there is no such route or method; see "+prefix+"/openapi.json"))
	})
	nullable(api.OpenAPI())
	text, err := json.Marshal(api.OpenAPI())
	if err != nil {
		return nil, fmt.Errorf("write the OpenAPI document: %w", err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, text, "", "  "); err != nil {
		return nil, fmt.Errorf("write the OpenAPI document: %w", err)
	}
	indented.WriteByte('\n')
	p.document = indented.Bytes()
	return p, nil
}

// settings are huma's, without its pages and its links to schemas.
func (p *Portal) settings() huma.Config {
	c := huma.DefaultConfig("Ringfence", "v1")
	c.OpenAPIPath, c.DocsPath, c.SchemasPath, c.CreateHooks = "", "", "", nil
	c.RejectUnknownQueryParameters = true
	c.Formats = map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat} // the second is of application/problem+json
	c.Transformers = []huma.Transformer{p.polish}
	c.Info.Description = "The signed-in API of Ringfence. What is seen follows from the groups of who asks. Errors are application/problem+json (RFC 9457)."
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		bySession: {Type: "apiKey", In: "cookie", Name: cookieName, Description: "A session, from POST /api/v1/sessions."},
		byToken:   {Type: "http", Scheme: "bearer", Description: "A token, from POST /api/v1/tokens, with the scopes that a route names."},
	}
	return c
}

// Document is the OpenAPI document.
func (p *Portal) Document() []byte { return bytes.Clone(p.document) }

// nullable says of pointers to objects that they may be null, which huma does of scalars alone.
func nullable(doc *huma.OpenAPI) {
	finding := doc.Components.Schemas.Map()["Finding"]
	if finding == nil {
		return
	}
	for _, name := range []string{"waiver", "observed"} {
		if s := finding.Properties[name]; s != nil && s.Ref != "" {
			finding.Properties[name] = &huma.Schema{AnyOf: []*huma.Schema{{Ref: s.Ref}, {Type: "null"}}, Description: s.Description}
		}
	}
}

// route is what the routes have in common. scope is what a token needs; "" is for sessions alone, anyToken for every token.
func route(method, path, id, summary, scope string, also ...int) huma.Operation {
	security := []map[string][]string{{bySession: {}}}
	switch scope {
	case "":
	case anyToken:
		security = append(security, map[string][]string{byToken: {}})
	default:
		security = append(security, map[string][]string{byToken: {scope}})
	}
	return huma.Operation{Method: method, Path: prefix + path, OperationID: id, Summary: summary, Security: security, MaxBodyBytes: maxBody,
		Errors: append([]int{http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusServiceUnavailable}, also...)}
}

// register makes all routes.
func (p *Portal) register(api huma.API) {
	huma.Register(api, route("GET", "/me", "me", "Who asks, and what follows from it", anyToken), p.me)
	huma.Register(api, route("GET", "/tenants", "listTenants", "The tenants that the person is in", readTenants), p.listTenants)
	huma.Register(api, route("GET", "/tenants/{name}", "getTenant", "One of them", readTenants, http.StatusNotFound), p.getTenant)
	huma.Register(api, route("GET", "/namespaces", "listNamespaces", "The namespaces that the person may look into", readTenants), p.listNamespaces)
	huma.Register(api, route("GET", "/findings", "listFindings", "Findings in those namespaces", readFindings), p.listFindings)
	huma.Register(api, route("GET", "/waivers", "listWaivers", "Waivers in those namespaces", readWaivers), p.listWaivers)
	signIn := route("POST", "/sessions", "signIn", "Sign in with an ID token: a session in a cookie", "")
	signIn.Security, signIn.DefaultStatus = []map[string][]string{}, http.StatusCreated
	huma.Register(api, signIn, p.signIn)
	huma.Register(api, route("GET", "/sessions", "listSessions", "The person's own sessions", ""), p.listSessions)
	huma.Register(api, route("DELETE", "/sessions/current", "signOut", "End the session that asks", ""), p.signOut)
	huma.Register(api, route("DELETE", "/sessions/{id}", "endSession", "End one of the person's sessions", "", http.StatusNotFound), p.endSession)
	made := route("POST", "/tokens", "makeToken", "Make a token; it is shown once", "", http.StatusConflict)
	made.DefaultStatus = http.StatusCreated
	huma.Register(api, made, p.makeToken)
	huma.Register(api, route("GET", "/tokens", "listTokens", "The person's own tokens", ""), p.listTokens)
	huma.Register(api, route("DELETE", "/tokens/{id}", "revokeToken", "Revoke one of them", "", http.StatusNotFound), p.revokeToken)
	huma.Register(api, route("DELETE", "/people/{subject}/access", "revokeAccess", "End all sessions and tokens of somebody", "", http.StatusNotFound), p.revokeAccess)
	huma.Register(api, route("POST", "/elevations/{namespace}/{name}/token", "elevationToken", "A token of a break-glass elevation", "", http.StatusNotFound), p.elevationToken)
}

// now is the time, without what a process alone knows of it: it is compared with what was read from files.
func (p *Portal) now() time.Time { return p.cfg.Now().UTC().Round(0) }

// recorded keeps an act of a caller, or is the problem that it could not be.
func (p *Portal) recorded(ctx context.Context, c *caller, a record.Accessed) error {
	a.By, a.MFA, a.At = cmp.Or(c.who.Name, c.who.Subject), c.who.MFA, p.now()
	if err := p.cfg.Record(ctx, a); err != nil {
		p.cfg.Log.Error("an act is not recorded", "what", a.What, "err", err)
		return problem(http.StatusServiceUnavailable, "not-recorded", "the evidence cannot be kept now, and without it nothing is given out; try again, and see that the control plane's ledger can be written")
	}
	return nil
}
