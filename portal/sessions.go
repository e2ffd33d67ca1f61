package portal

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/identity"
	"ringfence.dev/ringfence/record"
)

// signInInput is an ID token, and the session that it continues where there is one.
type signInInput struct {
	Cookie string `cookie:"__Host-ringfence" doc:"the session that the new one takes the place of"`
	Agent  string `header:"User-Agent"`
	Body   struct {
		IDToken string `json:"idToken" minLength:"1" maxLength:"400000" doc:"The ID token of the bank's identity provider."`
	}
}

// signedIn is the answer: the cookie is the session.
type signedIn struct {
	SetCookie http.Cookie `header:"Set-Cookie"`
	Body      sessionView
}

// sessionView is a session as its owner sees it.
type sessionView struct {
	ID       string    `json:"id" doc:"names the session; it is no credential"`
	Began    time.Time `json:"began"`
	LastUsed time.Time `json:"lastUsed" doc:"to the minute"`
	Expires  time.Time `json:"expires" doc:"when it ends unless it is used; never later than eight hours after it began"`
	SignIn   time.Time `json:"signInBy" doc:"from when on a new ID token is wanted: groups are believed for an hour"`
	MFA      bool      `json:"mfa" doc:"whether a second factor was proved"`
	Agent    string    `json:"agent" doc:"what the client called itself"`
	Current  bool      `json:"current" doc:"whether it is the one that asks"`
}

func viewOf(s session, a *account, current string) sessionView {
	end := s.Used.Add(idle)
	if last := s.Began.Add(absolute); last.Before(end) {
		end = last
	}
	return sessionView{ID: s.ID, Began: s.Began, LastUsed: s.Used, Expires: end, SignIn: a.Verified.Add(fresh), MFA: s.MFA, Agent: s.Agent, Current: s.ID == current}
}

// signIn makes a session of an ID token. It always has a new secret: one that a client brings along is never taken over, and ends.
func (p *Portal) signIn(ctx context.Context, in *signInInput) (*signedIn, error) {
	who, err := p.verify(ctx, in.Body.IDToken)
	if err != nil {
		return nil, err
	}
	now := p.now()
	shown, hash := secret("")
	_, id := secret("")
	s := session{ID: id[:16], Hash: hash, Began: now, Used: now, SignedIn: who.SignedIn, MFA: who.MFA, Agent: finding.Value(in.Agent)}
	if before := p.accounts.of(who); before != nil {
		if err := p.revoked(before, who); err != nil {
			return nil, err
		}
	}
	if err := p.recorded(ctx, &caller{who: who}, record.Accessed{What: record.AccessSignedIn, ID: s.ID}); err != nil {
		return nil, err
	}
	if err := p.leave(in.Cookie, who, &s, now); err != nil {
		return nil, err
	}
	err = p.accounts.change(who, now, func(a *account) error {
		if err := p.revoked(a, who); err != nil { // it may have been meanwhile
			return err
		}
		if !who.Expires.Before(a.Person.Expires) { // an older ID token says nothing new of groups
			a.Person, a.Verified = who, now
		}
		a.live(now)
		for len(a.Sessions) >= maxSessions { // the one that was used longest ago makes room
			a.Sessions = slices.Delete(a.Sessions, oldest(a.Sessions), oldest(a.Sessions)+1)
		}
		a.Sessions = append(a.Sessions, s)
		return nil
	})
	if err != nil {
		return nil, p.unkept(err)
	}
	p.metrics.signIns.WithLabelValues("ok").Inc()
	out := &signedIn{SetCookie: cookie(shown, int(s.Began.Add(absolute).Sub(now).Seconds())), Body: viewOf(s, p.accounts.of(who), s.ID)}
	return out, nil
}

// revoked is a problem where somebody authenticated before their access was revoked.
func (p *Portal) revoked(a *account, who identity.Person) error {
	if a.Revoked.IsZero() || who.SignedIn.After(a.Revoked) {
		return nil
	}
	p.metrics.signIns.WithLabelValues("refused").Inc()
	return problem(http.StatusUnauthorized, "revoked", "the access of this person was revoked after they authenticated; authenticate anew at the identity provider (prompt=login), then sign in with that ID token")
}

// oldest is the place of the session that was used longest ago.
func oldest(all []session) (at int) {
	for i, s := range all {
		if s.Used.Before(all[at].Used) {
			at = i
		}
	}
	return at
}

// leave ends the session that a client brings along. The one that follows it began when it did, where it is of the same person: signing in
// again does not lengthen eight hours.
func (p *Portal) leave(shown string, who identity.Person, s *session, now time.Time) error {
	hash := hashed(shown)
	a := p.accounts.find(hash)
	if shown == "" || a == nil {
		return nil
	}
	err := p.accounts.change(a.Person, now, func(a *account) error {
		for _, old := range a.Sessions {
			if old.Hash == hash && keyOf(a.Person) == keyOf(who) && old.ends(a, now) != whyEnded {
				s.Began = old.Began
			}
		}
		a.Sessions = slices.DeleteFunc(a.Sessions, func(old session) bool { return old.Hash == hash })
		return nil
	})
	if err != nil {
		return p.unkept(err)
	}
	return nil
}

// verify asks who an ID token speaks for. What cannot be known is 503, and never nobody in no group.
func (p *Portal) verify(ctx context.Context, raw string) (identity.Person, error) {
	if p.cfg.Verifier == nil {
		p.metrics.signIns.WithLabelValues("undecided").Inc()
		return identity.Person{}, problem(http.StatusServiceUnavailable, "no-provider", "no identity provider is set up; the platform team names it in identity.issuer of the Platform and starts ringfence serve with it")
	}
	ctx, cancel := context.WithTimeout(ctx, verifyWithin)
	defer cancel()
	who, err := p.cfg.Verifier.Verify(ctx, raw)
	switch {
	case err != nil && (p.cfg.Undecided != nil && errors.Is(err, p.cfg.Undecided) || ctx.Err() != nil):
		p.metrics.signIns.WithLabelValues("undecided").Inc()
		p.cfg.Log.Error("who signs in cannot be known now", "err", err)
		return who, problem(http.StatusServiceUnavailable, "undecided", "the identity provider cannot be asked now, so it is not known who you are or in which groups; try again, and tell the platform team if it lasts")
	case err == nil && (who.Subject == "" || who.Issuer == "" || len(who.Subject) > 1024):
		err = errors.New("the token names no account")
		fallthrough
	case err != nil:
		p.metrics.signIns.WithLabelValues("refused").Inc()
		p.cfg.Log.Warn("a sign-in is refused", "err", finding.Clean(err.Error()))
		return who, problem(http.StatusUnauthorized, "token-refused", "this ID token is not one of the bank's identity provider for Ringfence that is valid now; sign in anew and send the ID token, not the access token")
	}
	return who, nil
}

// cookie is that of a session; without a value it takes it away.
func cookie(value string, seconds int) http.Cookie {
	return http.Cookie{Name: cookieName, Value: value, Path: "/", MaxAge: seconds, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode}
}

// unkept is the problem that something could not be written.
func (p *Portal) unkept(err error) error {
	var e *huma.ErrorModel
	if errors.As(err, &e) {
		return e
	}
	p.cfg.Log.Error("sessions and tokens cannot be kept", "err", err)
	return problem(http.StatusServiceUnavailable, "not-kept", "sessions and tokens cannot be written now; try again, and see that the control plane's disk has room")
}

// none is the input of routes that take nothing.
type none struct{}

// sessionList is an answer.
type sessionList struct {
	Body struct {
		Sessions []sessionView `json:"sessions" nullable:"false"`
	}
}

func (p *Portal) listSessions(ctx context.Context, _ *none) (*sessionList, error) {
	c, out := asker(ctx), &sessionList{}
	out.Body.Sessions = []sessionView{}
	if a := p.accounts.of(c.who); a != nil {
		for _, s := range a.Sessions {
			if s.ends(a, p.now()) != whyEnded {
				out.Body.Sessions = append(out.Body.Sessions, viewOf(s, a, c.session))
			}
		}
	}
	return out, nil
}

// signedOut takes the cookie away.
type signedOut struct {
	SetCookie http.Cookie `header:"Set-Cookie"`
}

func (p *Portal) signOut(ctx context.Context, _ *none) (*signedOut, error) {
	c := asker(ctx)
	if err := p.end(ctx, c, c.session, record.AccessSignedOut); err != nil {
		return nil, err
	}
	return &signedOut{cookie("", -1)}, nil
}

// idInput names a session or a token.
type idInput struct {
	ID string `path:"id" pattern:"^[0-9a-f]{16}$" doc:"as the list has it"`
}

// nothing is the answer of routes that only do something.
type nothing struct{}

func (p *Portal) endSession(ctx context.Context, in *idInput) (*nothing, error) {
	return nil, p.end(ctx, asker(ctx), in.ID, record.AccessSessionRevoked)
}

// end ends a session of the caller, and then records it: taking rights away waits for nothing.
func (p *Portal) end(ctx context.Context, c *caller, id, what string) error {
	return p.drop(ctx, c, record.Accessed{What: what, ID: id}, "session", func(a *account) int {
		before := len(a.Sessions)
		a.Sessions = slices.DeleteFunc(a.Sessions, func(s session) bool { return s.ID == id })
		return before - len(a.Sessions)
	})
}

// drop takes something from the caller's account and records that.
func (p *Portal) drop(ctx context.Context, c *caller, act record.Accessed, what string, do func(*account) int) error {
	err := p.accounts.change(c.who, p.now(), func(a *account) error {
		if do(a) == 0 {
			return problem(http.StatusNotFound, "not-found", "you have no such "+what+"; list them: GET "+prefix+"/"+what+"s")
		}
		return nil
	})
	if err != nil {
		return p.unkept(err)
	}
	return p.recorded(ctx, c, act)
}

// subjectInput names somebody.
type subjectInput struct {
	Subject string `path:"subject" maxLength:"512" doc:"The sub or the oid of the identity provider, or the user name, with %-escapes."`
}

// revokeAccess ends everything that somebody holds. Who was authenticated before cannot sign in again with that.
func (p *Portal) revokeAccess(ctx context.Context, in *subjectInput) (*nothing, error) {
	c := asker(ctx)
	s, err := p.see(ctx, c.who)
	if err != nil {
		return nil, err
	}
	if !s.administrator {
		return nil, problem(http.StatusForbidden, "not-allowed", "only the groups of identity.administrators in the Platform may end the access of others; ask one of them")
	}
	if err := s.proved(c); err != nil {
		return nil, err
	}
	all, now := p.accounts.named(in.Subject), p.now()
	if len(all) == 0 {
		return nil, problem(http.StatusNotFound, "not-found", "nobody of that subject, object or name has signed in here; block the account at the identity provider")
	}
	var failed []error
	for _, a := range all {
		failed = append(failed, p.accounts.change(a.Person, now, func(a *account) error {
			a.Sessions, a.Tokens, a.Revoked = nil, nil, now
			return nil
		}))
	}
	kept := p.recorded(ctx, c, record.Accessed{What: record.AccessRevoked, Of: strings.TrimSpace(all[0].Person.Name)})
	if err := errors.Join(failed...); err != nil {
		return nil, p.unkept(err)
	}
	return nil, kept
}
