package portal

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
)

// maxLife is how long a token may live.
const maxLife = 90 * 24 * time.Hour

// tokenInput is a wish for a token.
type tokenInput struct {
	Body struct {
		Name    string    `json:"name" pattern:"^[a-z0-9]([a-z0-9._-]{0,30}[a-z0-9])?$" doc:"Names the program that has it. It stands in records, for ever."`
		Scopes  []string  `json:"scopes" minItems:"1" maxItems:"4" uniqueItems:"true" nullable:"false" enum:"read:tenants,read:findings,read:waivers,push:runs" doc:"What it may do, at most what its owner may at that moment."`
		Expires time.Time `json:"expires" doc:"When it ends, at most 90 days from now."`
	}
}

// tokenView is a token as its owner sees it.
type tokenView struct {
	ID       string     `json:"id" doc:"names the token; it is no credential"`
	Name     string     `json:"name"`
	Scopes   []string   `json:"scopes" nullable:"false"`
	Made     time.Time  `json:"made"`
	Expires  time.Time  `json:"expires"`
	LastUsed *time.Time `json:"lastUsed" doc:"to the minute; null where it never was"`
}

// tokenMade is the answer: the only one with the token itself.
type tokenMade struct {
	Body struct {
		Token string    `json:"token" doc:"The token. It is shown now and never again."`
		Info  tokenView `json:"info"`
	}
}

func (t token) view() tokenView {
	v := tokenView{ID: t.ID, Name: t.Name, Scopes: t.Scopes, Made: t.Made, Expires: t.Expires}
	if !t.Used.IsZero() {
		v.LastUsed = &t.Used
	}
	return v
}

// makeToken makes a token for a person who is signed in; a token makes none.
func (p *Portal) makeToken(ctx context.Context, in *tokenInput) (*tokenMade, error) {
	c, now := asker(ctx), p.now()
	expires := in.Body.Expires.UTC().Truncate(time.Second)
	if !expires.After(now) || expires.Sub(now) > maxLife {
		return nil, problem(http.StatusUnprocessableEntity, "bad-request", fmt.Sprintf("expires: want an instant within 90 days, until %s", now.Add(maxLife).Format(time.RFC3339)))
	}
	s, err := p.see(ctx, c.who)
	if err != nil {
		return nil, err
	}
	if err := s.proved(c); err != nil {
		return nil, err
	}
	if slices.Contains(in.Body.Scopes, pushRuns) && !s.anyAdmin() {
		return nil, problem(http.StatusForbidden, "not-allowed", "runs of pipelines are sent in by admins of a tenant; leave push:runs out, or ask one")
	}
	shown, hash := secret(tokenPrefix)
	_, id := secret("")
	t := token{ID: id[:16], Hash: hash, Name: in.Body.Name, Scopes: in.Body.Scopes, Made: now, Expires: expires}
	if err := p.recorded(ctx, c, record.Accessed{What: record.AccessTokenMade, ID: t.ID, Name: t.Name, Scopes: t.Scopes, Expires: t.Expires}); err != nil {
		return nil, err
	}
	err = p.accounts.change(c.who, now, func(a *account) error {
		a.live(now)
		if !slices.ContainsFunc(a.Sessions, func(s session) bool { return s.ID == c.session }) {
			return problem(http.StatusUnauthorized, "sign-in", "this session has ended meanwhile; sign in again")
		}
		if len(a.Tokens) >= maxTokens {
			return problem(http.StatusConflict, "too-many-tokens", fmt.Sprintf("you have %d tokens; revoke one first: DELETE %s/tokens/{id}", maxTokens, prefix))
		}
		a.Tokens = append(a.Tokens, t)
		return nil
	})
	if err != nil {
		return nil, p.unkept(err)
	}
	out := &tokenMade{}
	out.Body.Info, out.Body.Token = t.view(), shown
	return out, nil
}

// tokenList is an answer.
type tokenList struct {
	Body struct {
		Tokens []tokenView `json:"tokens" nullable:"false"`
	}
}

func (p *Portal) listTokens(ctx context.Context, _ *none) (*tokenList, error) {
	out := &tokenList{}
	out.Body.Tokens = []tokenView{}
	if a := p.accounts.of(asker(ctx).who); a != nil {
		for _, t := range a.Tokens {
			if t.ends(a, p.now()) != whyEnded {
				out.Body.Tokens = append(out.Body.Tokens, t.view())
			}
		}
	}
	return out, nil
}

func (p *Portal) revokeToken(ctx context.Context, in *idInput) (*nothing, error) {
	return nil, p.drop(ctx, asker(ctx), record.Accessed{What: record.AccessTokenRevoked, ID: in.ID}, "token", func(a *account) int {
		before := len(a.Tokens)
		a.Tokens = slices.DeleteFunc(a.Tokens, func(t token) bool { return t.ID == in.ID })
		return before - len(a.Tokens)
	})
}

// elevationInput names an elevation.
type elevationInput struct {
	Namespace string `path:"namespace" pattern:"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$" doc:"The elevation's namespace."`
	Name      string `path:"name" pattern:"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$" doc:"The elevation's name."`
}

// elevated is a token of an elevation.
type elevated struct {
	Body struct {
		Token   string    `json:"token" doc:"A token for the Kubernetes API. It is not kept here."`
		Expires time.Time `json:"expires"`
	}
}

// elevationToken passes a token of a break-glass session on. Whether there is one, and for whom, is Elevations' to say.
func (p *Portal) elevationToken(ctx context.Context, in *elevationInput) (*elevated, error) {
	c := asker(ctx)
	if p.cfg.Elevations == nil {
		return nil, problem(http.StatusNotFound, "not-found", "break-glass is not set up on this control plane; ask the platform team")
	}
	shown, expires, err := p.cfg.Elevations.Token(ctx, c.who, in.Namespace+"/"+in.Name)
	switch {
	case errors.Is(err, ErrNotThere):
		return nil, problem(http.StatusNotFound, "not-found", "there is no such elevation of yours; ask for one: ringfence access elevate")
	case errors.Is(err, ErrForbidden):
		return nil, problem(http.StatusForbidden, "not-allowed", finding.Clean(err.Error()))
	case err != nil:
		p.cfg.Log.Error("a token of an elevation is not given out", "namespace", in.Namespace, "elevation", in.Name, "err", err)
		return nil, problem(http.StatusServiceUnavailable, "undecided", "the token cannot be made now; try again, and tell the platform team if it lasts")
	}
	if err := p.recorded(ctx, c, record.Accessed{What: record.AccessElevationToken, Name: in.Namespace + "/" + in.Name, Expires: expires}); err != nil {
		return nil, err
	}
	out := &elevated{}
	out.Body.Token, out.Body.Expires = shown, expires
	return out, nil
}
