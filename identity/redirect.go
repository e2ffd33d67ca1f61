package identity

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
)

// This file is the authorization code flow with PKCE (RFC 7636) as a web server runs it for a browser; package login runs it for the
// command line. The client is a public one: what proves that the same server asks twice is proof, which never leaves it in between.

// Redirect is the address at which a person signs in to be sent back, with state. nonce will be in the ID token.
func (v *Verifier) Redirect(ctx context.Context, back, state, nonce, proof string) (string, error) {
	ends, err := v.Endpoints(ctx)
	if err != nil {
		return "", err
	}
	address, err := url.Parse(ends.Authorization)
	if err != nil || ends.Authorization == "" {
		return "", errors.New("the provider offers no sign-in in a browser (authorization_endpoint)")
	}
	sum := sha256.Sum256([]byte(proof))
	query := address.Query()
	for key, value := range map[string]string{"response_type": "code", "client_id": v.ClientID(), "redirect_uri": back, "scope": "openid profile email", "state": state, "nonce": nonce,
		"code_challenge": base64.RawURLEncoding.EncodeToString(sum[:]), "code_challenge_method": "S256"} {
		query.Set(key, value)
	}
	address.RawQuery = query.Encode()
	return address.String(), nil
}

// Return is the ID token for the code that a person came back with; issuer is what the answer says of itself (RFC 9207), "" where it does
// not. The errors are those of Verify, and GrantError where the provider takes the code for nothing.
func (v *Verifier) Return(ctx context.Context, back, code, issuer, nonce, proof string) (idToken string, err error) {
	ends, err := v.Endpoints(ctx)
	if err != nil {
		return "", err
	}
	if issuer != "" && issuer != ends.Issuer {
		return "", fmt.Errorf("%w: the answer to the sign-in is another provider's (iss)", ErrRefused)
	}
	tokens, err := v.Redeem(ctx, url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {back}, "client_id": {v.ClientID()}, "code_verifier": {proof}})
	if err != nil {
		return "", err
	}
	if tokens.ID == "" {
		return "", fmt.Errorf("%w: the provider gave no ID token; fix: let it offer the scope openid to this client", ErrRefused)
	}
	if _, err := v.Answer(ctx, tokens.ID, nonce); err != nil {
		return "", err
	}
	return tokens.ID, nil
}
