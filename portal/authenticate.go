package portal

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"ringfence.dev/ringfence/identity"
)

const (
	// cookieName begins with __Host-: a browser takes it over TLS alone, for this host alone, and from no subdomain.
	cookieName = "__Host-ringfence"
	// tokenPrefix begins every token, so that scanners of secrets find one that was published.
	tokenPrefix = "rf_"

	// bySession and byToken name the two ways to be known in the OpenAPI document, which the checks read.
	bySession, byToken = "session", "token"
)

// The scopes of tokens.
const (
	readTenants  = "read:tenants"
	readFindings = "read:findings"
	readWaivers  = "read:waivers"
	pushRuns     = "push:runs"
	// anyToken is no scope: a route that every token may use.
	anyToken = "any"
)

// caller is who asks: a person, by a session or a token.
type caller struct {
	who identity.Person
	// session is its id, and token; one of them is "".
	session, token string
	name           string
	scopes         []string
}

// callerKey is the key of the caller in a request's context.
type callerKey struct{}

// asker is the caller of a request that was let in.
func asker(ctx context.Context) *caller {
	c, _ := ctx.Value(callerKey{}).(*caller)
	if c == nil {
		return &caller{} // nobody: in no group
	}
	return c
}

var _ http.Handler = (*Portal)(nil)

// ServeHTTP answers a request. Who asks is found out before the path is looked at: the only paths that are open are compared whole.
func (p *Portal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Strict-Transport-Security", "max-age=31536000")
	if r.ContentLength > maxBody {
		h.Set("Connection", "close") // what follows is not read
		answer(w, problem(http.StatusRequestEntityTooLarge, "too-large", fmt.Sprintf("a body has at most %d bytes; send less", maxBody)))
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody+1)
	if p.origins.Check(r) != nil {
		p.refuse(w, r, whyOrigin)
		return
	}
	switch safe := r.Method == http.MethodGet || r.Method == http.MethodHead; {
	case safe && r.URL.EscapedPath() == "/healthz":
		fmt.Fprintln(w, "ok")
	case safe && r.URL.EscapedPath() == prefix+"/openapi.json":
		h.Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(p.document) // the caller has gone; there is nobody to tell
	case r.Method == http.MethodPost && r.URL.EscapedPath() == prefix+"/sessions":
		if !p.signIns.allow(address(r)) {
			p.refuse(w, r, whyTooOften)
			return
		}
		p.route(p.entering, p.routes, w, r)
	case p.browser(w, r):
	default:
		p.serveKnown(w, r)
	}
}

// route answers where there is room: strangers, who may be slow, take none from those who are known.
func (p *Portal) route(room chan struct{}, to http.Handler, w http.ResponseWriter, r *http.Request) {
	select {
	case room <- struct{}{}:
		defer func() { <-room }()
		to.ServeHTTP(w, r)
	default:
		answer(w, problem(http.StatusTooManyRequests, "too-many", "too many requests at once; come again"))
	}
}

// serveKnown answers whoever shows a credential that counts.
func (p *Portal) serveKnown(w http.ResponseWriter, r *http.Request) {
	c, why := p.authenticate(r)
	switch {
	case why != "":
		p.refuse(w, r, why)
	case !p.asking.allow(keyOf(c.who)):
		p.refuse(w, r, whyTooOften)
	default:
		p.route(p.free, p.routes, w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
	}
}

// refuse answers somebody who is not let in, and counts why. An address that fails too often is told to wait.
func (p *Portal) refuse(w http.ResponseWriter, r *http.Request, why string) {
	from := address(r)
	if why != whyTooOften && why != whyOrigin && !p.failed.allow(from) {
		why = whyTooOften
	}
	p.metrics.refused.WithLabelValues(why).Inc()
	if why != whyTooOften { // who fails too often does not fill the log too
		p.cfg.Log.Warn("a request to the API was not let in", "why", why, "from", from)
	}
	switch why {
	case whyTooOften:
		answer(w, problem(http.StatusTooManyRequests, "too-many", "too many requests; wait some seconds, then come again"))
	case whyOrigin:
		answer(w, problem(http.StatusForbidden, "cross-origin", "a page of another site sent this; use the API from its own host, or without a browser"))
	case whyBroken:
		answer(w, problem(http.StatusUnauthorized, "ambiguous", "show one credential, once: the cookie of a session, or Authorization: Bearer with a token"))
	case whyStale:
		answer(w, problem(http.StatusUnauthorized, "sign-in-again", "what groups this person is in was verified too long ago; sign in again: POST "+prefix+"/sessions with a new ID token"))
	default: // what is unknown and what has ended are told alike: it is nobody's business which
		answer(w, problem(http.StatusUnauthorized, "sign-in", "sign in: POST "+prefix+"/sessions with an ID token, or show a token that lives"))
	}
}

// address is where a connection comes from. What headers say of it is not believed.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// authenticate finds out who asks, or says why nobody does.
func (p *Portal) authenticate(r *http.Request) (*caller, string) {
	cookies, headers := r.CookiesNamed(cookieName), r.Header.Values("Authorization")
	switch {
	case len(cookies)+len(headers) == 0:
		return nil, whyNone
	case len(cookies)+len(headers) > 1:
		return nil, whyBroken
	case len(cookies) == 1:
		return p.bySession(cookies[0].Value)
	}
	shown, ok := strings.CutPrefix(headers[0], "Bearer ")
	if !ok {
		return nil, whyBroken
	}
	return p.byToken(shown)
}

// bySession is the caller of a session's cookie.
func (p *Portal) bySession(shown string) (*caller, string) {
	hash, now := hashed(shown), p.now()
	a := p.accounts.find(hash)
	if a == nil {
		return nil, whyUnknown
	}
	i := slices.IndexFunc(a.Sessions, func(s session) bool { return s.Hash == hash })
	if i < 0 { // it is the hash of a token, shown as a cookie
		return nil, whyUnknown
	}
	s := a.Sessions[i]
	if why := s.ends(a, now); why != "" {
		return nil, why
	}
	if now.Sub(s.Used) >= touched {
		p.touch(a, now, func(a *account) {
			for i := range a.Sessions {
				if a.Sessions[i].Hash == hash {
					a.Sessions[i].Used = now
				}
			}
		})
	}
	c := &caller{who: a.Person, session: s.ID}
	c.who.MFA, c.who.SignedIn = s.MFA, s.SignedIn // what was proved in this session, not in another
	return c, ""
}

// byToken is the caller of a token.
func (p *Portal) byToken(shown string) (*caller, string) {
	if !strings.HasPrefix(shown, tokenPrefix) {
		return nil, whyUnknown
	}
	hash, now := hashed(shown), p.now()
	a := p.accounts.find(hash)
	if a == nil {
		return nil, whyUnknown
	}
	i := slices.IndexFunc(a.Tokens, func(t token) bool { return t.Hash == hash })
	if i < 0 {
		return nil, whyUnknown
	}
	t := a.Tokens[i]
	if why := t.ends(a, now); why != "" {
		return nil, why
	}
	if now.Sub(t.Used) >= touched {
		p.touch(a, now, func(a *account) {
			for i := range a.Tokens {
				if a.Tokens[i].Hash == hash {
					a.Tokens[i].Used = now
				}
			}
		})
	}
	c := &caller{who: a.Person, token: t.ID, name: t.Name, scopes: t.Scopes}
	c.who.MFA = false // a program shows no second factor
	return c, ""
}

// touch keeps a last use. Where that fails a session ends earlier, which harms nobody.
func (p *Portal) touch(a *account, now time.Time, do func(*account)) {
	if err := p.accounts.change(a.Person, now, func(a *account) error { do(a); return nil }); err != nil {
		p.cfg.Log.Error("the last use of a credential is not kept", "err", err)
	}
}

// scoped lets a token do what one of its scopes names, as the route's own line of the document says.
func (p *Portal) scoped(api huma.API) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		c := asker(ctx.Context())
		if c.token == "" {
			next(ctx)
			return
		}
		for _, way := range ctx.Operation().Security {
			if scopes, ok := way[byToken]; ok && (len(scopes) == 0 || slices.ContainsFunc(scopes, func(s string) bool { return slices.Contains(c.scopes, s) })) {
				next(ctx)
				return
			}
		}
		p.metrics.refused.WithLabelValues(whyScope).Inc()
		e := problem(http.StatusForbidden, "scope", "this token may not do that; sign in yourself, or use one with the scope that "+prefix+"/openapi.json names for the route")
		ctx.SetHeader("Content-Type", "application/problem+json")
		ctx.SetStatus(e.Status)
		_ = api.Marshal(ctx.BodyWriter(), "application/json", e) // the caller has gone; there is nobody to tell
	}
}

// Pipeline is the name under which whoever shows a token may send runs of check in: its id and name, which nobody else's has. It is
// false where the token lacks the scope push:runs, or its owner is no tenant's admin now.
func (p *Portal) Pipeline(ctx context.Context, shown string) (sender string, ok bool) {
	c, why := p.byToken(shown)
	if why != "" || !slices.Contains(c.scopes, pushRuns) {
		p.metrics.refused.WithLabelValues(cmp.Or(why, whyScope)).Inc()
		return "", false
	}
	s, err := p.see(ctx, c.who)
	if err != nil || !s.anyAdmin() {
		return "", false
	}
	return "token/" + c.token + "/" + c.name, true
}
