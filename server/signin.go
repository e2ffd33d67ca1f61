package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"ringfence.dev/ringfence/forward/wire"
	"ringfence.dev/ringfence/identity"
	"ringfence.dev/ringfence/portal"
)

// signIn verifies ID tokens as the Platform says at that moment. What Ringfence itself must know beside it comes from flags.
type signIn struct {
	estate estate
	cfg    APIConfig

	mu       sync.Mutex // guards what follows
	rules    string     // those that verifier was made of
	verifier *identity.Verifier
}

var _ portal.Verifier = (*signIn)(nil)

// Verify implements portal.Verifier. Where there is no Platform, or it names no provider that can be asked, it is undecided.
func (s *signIn) Verify(ctx context.Context, raw string) (identity.Person, error) {
	v, err := s.current(ctx)
	if err != nil {
		return identity.Person{}, fmt.Errorf("%w: %w", identity.ErrUndecided, err)
	}
	return v.Verify(ctx, raw)
}

var _ portal.Redirects = (*signIn)(nil)

// Redirect implements portal.Redirects.
func (s *signIn) Redirect(ctx context.Context, back, state, nonce, proof string) (string, error) {
	v, err := s.current(ctx)
	if err != nil {
		return "", fmt.Errorf("%w: %w", identity.ErrUndecided, err)
	}
	return v.Redirect(ctx, back, state, nonce, proof)
}

// Return implements portal.Redirects.
func (s *signIn) Return(ctx context.Context, back, code, issuer, nonce, proof string) (string, error) {
	v, err := s.current(ctx)
	if err != nil {
		return "", fmt.Errorf("%w: %w", identity.ErrUndecided, err)
	}
	return v.Return(ctx, back, code, issuer, nonce, proof)
}

// current is the verifier of the Platform's rules, made anew when they change: its keys and groups are those of a provider.
func (s *signIn) current(ctx context.Context) (*identity.Verifier, error) {
	platform, err := s.estate.Platform(ctx)
	if err != nil {
		return nil, err
	}
	if platform == nil || platform.Spec.Identity.Issuer == "" {
		return nil, errors.New("the Platform names no identity provider; set spec.identity.issuer and clientID")
	}
	rules, err := json.Marshal(platform.Spec.Identity)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	have, same := s.verifier, s.rules == string(rules)
	s.mu.Unlock()
	if same {
		return have, nil
	}
	cfg := identity.ConfigOf(platform.Spec.Identity)
	cfg.TLS, cfg.Graph.SecretFile, cfg.Graph.ClientID = wire.TLS{CAFile: s.cfg.ProviderCA}, s.cfg.GraphSecret, s.cfg.GraphClient
	made, err := identity.New(ctx, cfg)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verifier, s.rules = made, string(rules)
	return made, nil
}
