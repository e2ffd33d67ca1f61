// Package login signs a person in with the bank's identity provider from a command line: in a browser on this machine, or with a code on
// another one. It keeps the tokens in a file of the person's own, and renews them.
//
// It judges no token, package identity does. The command line calls it.
package login

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"ringfence.dev/ringfence/identity"
)

// ErrSignIn is wrapped where only the person helps, by signing in again.
var ErrSignIn = errors.New("sign in again")

// patience is how long a person is waited for.
const patience = 10 * time.Minute

// Config is what a sign-in needs.
type Config struct {
	// Verifier knows the provider and judges its tokens.
	Verifier *identity.Verifier
	// Open shows an address in a browser; nil leaves that to the person, who is told it in any case.
	Open func(address string) error
	// Tell says a line to the person.
	Tell func(format string, args ...any)
	// Port is that of the address that the browser is sent back to, for providers that want it known; 0 takes any that is free.
	Port int
	// MFA is the value that must prove a second factor, and is asked for; "" asks for none.
	MFA string
	// Directory says that the provider is Entra ID, which takes the demand for a second factor in a form of its own.
	Directory bool
}

// Client signs in.
type Client struct {
	Config
	random func() string
	wait   func(context.Context, time.Duration) error
}

// New makes a Client.
func New(cfg Config) *Client {
	return &Client{Config: cfg, random: rand.Text, wait: wait}
}

// SignedIn is what came of a sign-in.
type SignedIn struct {
	// Tokens has the ID token, and mostly one to renew it with.
	Tokens identity.Tokens
	// Person is whom the ID token speaks for. Groups is not all of them where Whole is false.
	Person identity.Person
	// Whole says that the token names every group.
	Whole bool
}

// Renew gets new tokens for old. An error wraps ErrSignIn where the provider wants to see the person; identity.ErrUndecided where it does
// not answer.
func (c *Client) Renew(ctx context.Context, refresh string, was identity.Person) (*SignedIn, error) {
	if refresh == "" {
		return nil, fmt.Errorf("%w: the provider gave no token to renew the sign-in with", ErrSignIn)
	}
	tokens, err := c.Verifier.Redeem(ctx, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}, "client_id": {c.Verifier.ClientID()}})
	if no := (*identity.GrantError)(nil); errors.As(err, &no) {
		return nil, fmt.Errorf("%w: %w", ErrSignIn, err)
	}
	if err != nil {
		return nil, err
	}
	if tokens.ID == "" {
		return nil, fmt.Errorf("%w: the provider renews no ID token", ErrSignIn)
	}
	if tokens.Refresh == "" {
		tokens.Refresh = refresh
	}
	s, err := c.judge(ctx, tokens, "")
	if err == nil && (s.Person.Issuer != was.Issuer || s.Person.Subject != was.Subject) {
		return nil, fmt.Errorf("%w: the provider renewed the token of somebody else", ErrSignIn)
	}
	return s, err
}

// judge verifies what the provider gave.
func (c *Client) judge(ctx context.Context, tokens identity.Tokens, nonce string) (*SignedIn, error) {
	if tokens.ID == "" {
		return nil, errors.New("the provider gave no ID token; fix: let it offer the scope openid to this client")
	}
	p, whole, err := c.Verifier.Account(ctx, tokens.ID, nonce)
	if err != nil {
		return nil, err
	}
	if c.MFA != "" && nonce != "" && !p.MFA {
		return nil, fmt.Errorf("%w: a second factor was asked for, and the token does not prove one with %s", identity.ErrRefused, c.MFA)
	}
	return &SignedIn{Tokens: tokens, Person: p, Whole: whole}, nil
}

// factor are the parameters that ask for a second factor.
func (c *Client) factor() (map[string]string, error) {
	switch {
	case c.MFA == "":
		return nil, nil
	case !c.Directory:
		return map[string]string{"acr_values": c.MFA}, nil
	}
	type demand struct {
		Essential bool   `json:"essential"`
		Value     string `json:"value"`
	}
	text, err := json.Marshal(map[string]any{"id_token": map[string]demand{"acrs": {true, c.MFA}}})
	return map[string]string{"claims": string(text)}, err
}

// scopes are what is asked for: the person's names, and a token to renew with, where the provider offers them.
func scopes(ends identity.Endpoints) string {
	asked := []string{"openid"}
	for _, scope := range []string{"profile", "email", "offline_access"} {
		if len(ends.Scopes) == 0 || slices.Contains(ends.Scopes, scope) {
			asked = append(asked, scope)
		}
	}
	return strings.Join(asked, " ")
}

// wait sleeps until the time is over or the context ends.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
