package portal

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"ringfence.dev/ringfence/finding"
)

// This file signs people in with a browser: to the identity provider and back, authorization code with PKCE. What comes of it is the
// session that an ID token makes, with the same limits.

const (
	// signInPath sends to the provider, returnPath takes back, signOutPath ends the session.
	signInPath, returnPath, signOutPath = "/signin", "/signin/callback", "/signout"
	// awayCookie binds a sign-in to the browser that began it: nobody is signed in as somebody else by a link.
	awayCookie = "__Host-ringfence-signin"
	// awayFor is how long a person may take at the provider; maxAway of them may be there at once.
	awayFor, maxAway = 10 * time.Minute, 1000
)

// Redirects send browsers to the identity provider and take what they bring back.
type Redirects interface {
	// Redirect is where a person signs in, to be sent back with state.
	Redirect(ctx context.Context, back, state, nonce, proof string) (address string, err error)
	// Return is the ID token for the code that a person came back with, verified, nonce included.
	Return(ctx context.Context, back, code, issuer, nonce, proof string) (idToken string, err error)
}

// away are the people at the provider, by the hash of their state. They are in memory alone: who is there while the server starts anew
// begins again.
type away struct {
	mu  sync.Mutex // guards all
	all map[string]attempt
}

type attempt struct {
	nonce, proof string
	until        time.Time
}

// add keeps an attempt, and false where too many are on their way.
func (a *away) add(state string, t attempt, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all == nil {
		a.all = map[string]attempt{}
	}
	if len(a.all) >= maxAway {
		for key, old := range a.all {
			if !now.Before(old.until) {
				delete(a.all, key)
			}
		}
	}
	if len(a.all) >= maxAway {
		return false
	}
	a.all[hashed(state)] = t
	return true
}

// take is the attempt of a state, once.
func (a *away) take(state string, now time.Time) (t attempt, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t, ok = a.all[hashed(state)]
	delete(a.all, hashed(state))
	return t, ok && now.Before(t.until)
}

// browser answers the three paths of people with a browser, and false for every other.
func (p *Portal) browser(w http.ResponseWriter, r *http.Request) bool {
	if p.cfg.Redirects == nil {
		return false
	}
	var do http.HandlerFunc
	switch path := r.URL.EscapedPath(); {
	case r.Method == http.MethodGet && path == signInPath:
		do = p.sendAway
	case r.Method == http.MethodGet && path == returnPath:
		do = p.takeBack
	case r.Method == http.MethodPost && path == signOutPath:
		p.signOutBrowser(w, r)
		return true
	default:
		return false
	}
	if !p.signIns.allow(address(r)) {
		p.refuse(w, r, whyTooOften)
		return true
	}
	p.route(p.entering, do, w, r)
	return true
}

func (p *Portal) sendAway(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), verifyWithin)
	defer cancel()
	state, _ := secret("")
	t := attempt{nonce: rand.Text(), proof: rand.Text() + rand.Text(), until: p.now().Add(awayFor)}
	to, err := p.cfg.Redirects.Redirect(ctx, p.cfg.URL+returnPath, state, t.nonce, t.proof)
	if err != nil {
		p.unsigned(w, err)
		return
	}
	if !p.away.add(state, t, p.now()) {
		answer(w, problem(http.StatusTooManyRequests, "too-many", "too many people are signing in; come again in some minutes"))
		return
	}
	// Lax: the provider's redirect, which another site sends, brings it along.
	http.SetCookie(w, &http.Cookie{Name: awayCookie, Value: state, Path: "/", MaxAge: int(awayFor.Seconds()), Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// signedInPage goes on by itself, as a request of this site: a cookie that is strict comes along with no other.
const signedInPage = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Ringfence</title><meta http-equiv="refresh" content="0;url=` + prefix + `/me"></head>
<body><p>You are signed in. <a href="` + prefix + `/me">Go on</a></p><form method="post" action="` + signOutPath + `"><button>Sign out</button></form></body></html>
`

// takeBack makes a session of what the provider sent back: of the state that this browser was given, once, within its time.
func (p *Portal) takeBack(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Referrer-Policy", "no-referrer") // the address holds a code
	query := r.URL.Query()
	state, brought := query["state"], r.CookiesNamed(awayCookie)
	if len(state) != 1 || len(brought) != 1 || subtle.ConstantTimeCompare([]byte(state[0]), []byte(brought[0].Value)) != 1 {
		p.notBegun(w, "this answers a sign-in that this browser did not begin")
		return
	}
	http.SetCookie(w, &http.Cookie{Name: awayCookie, Path: "/", MaxAge: -1, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	t, ok := p.away.take(state[0], p.now())
	switch {
	case !ok:
		p.notBegun(w, fmt.Sprintf("this sign-in was answered before, or took longer than %s", awayFor))
		return
	case query.Get("error") != "" || query.Get("code") == "":
		p.notBegun(w, "the identity provider did not sign you in: "+finding.Value(query.Get("error")+" "+query.Get("error_description")))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), verifyWithin)
	defer cancel()
	in := &signInInput{Agent: r.UserAgent()}
	var err error
	if in.Body.IDToken, err = p.cfg.Redirects.Return(ctx, p.cfg.URL+returnPath, query.Get("code"), query.Get("iss"), t.nonce, t.proof); err != nil {
		p.unsigned(w, err)
		return
	}
	if before := r.CookiesNamed(cookieName); len(before) == 1 {
		in.Cookie = before[0].Value
	}
	out, err := p.signIn(ctx, in)
	if err != nil {
		p.tell(w, err)
		return
	}
	http.SetCookie(w, &out.SetCookie)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; form-action 'self'; frame-ancestors 'none'")
	_, _ = w.Write([]byte(signedInPage)) // the browser has gone; there is nobody to tell
}

// signOutBrowser ends the session of a browser that asks from a page of this host; see origins.
func (p *Portal) signOutBrowser(w http.ResponseWriter, r *http.Request) {
	c, why := p.authenticate(r)
	if why != "" {
		p.refuse(w, r, why)
		return
	}
	out, err := p.signOut(context.WithValue(r.Context(), callerKey{}, c), &none{})
	if err != nil {
		p.tell(w, err)
		return
	}
	http.SetCookie(w, &out.SetCookie)
	fmt.Fprintln(w, "You are signed out of Ringfence. The identity provider may still know you.")
}

func (p *Portal) notBegun(w http.ResponseWriter, why string) {
	p.metrics.signIns.WithLabelValues("refused").Inc()
	answer(w, problem(http.StatusBadRequest, "sign-in-again", why+"; begin anew: "+signInPath))
}

// unsigned answers where the provider could not be asked, or did not sign the person in.
func (p *Portal) unsigned(w http.ResponseWriter, err error) {
	if p.cfg.Undecided != nil && errors.Is(err, p.cfg.Undecided) || errors.Is(err, context.DeadlineExceeded) {
		p.metrics.signIns.WithLabelValues("undecided").Inc()
		p.cfg.Log.Error("who signs in cannot be known now", "err", finding.Clean(err.Error()))
		answer(w, problem(http.StatusServiceUnavailable, "undecided", "the identity provider cannot be asked now; try again in a minute"))
		return
	}
	p.cfg.Log.Warn("a sign-in is refused", "err", finding.Clean(err.Error()))
	p.metrics.signIns.WithLabelValues("refused").Inc()
	answer(w, problem(http.StatusUnauthorized, "token-refused", "the identity provider's answer does not sign anybody in here; begin anew: "+signInPath))
}

// tell answers a problem, which every error of a route is.
func (p *Portal) tell(w http.ResponseWriter, err error) {
	var e *huma.ErrorModel
	if !errors.As(err, &e) {
		e = problem(http.StatusInternalServerError, "internal", "something went wrong, and the log says what")
		p.cfg.Log.Error("a sign-in came to nothing", "err", finding.Clean(err.Error()))
	}
	answer(w, e)
}
