package identity

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"ringfence.dev/ringfence/finding"
)

// Tokens are what the provider's token endpoint gave. However it is printed or logged, no token is shown.
type Tokens struct {
	// ID is for this client to read, Access for others, Refresh to get new ones with. Each may be "".
	ID, Access, Refresh string
	// Lifetime is how long Access counts, 0 where the provider does not say.
	Lifetime time.Duration
}

// Format shows nothing of the tokens.
func (Tokens) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("redacted")) }

// LogValue shows nothing of the tokens.
func (Tokens) LogValue() slog.Value { return slog.StringValue("redacted") }

// MarshalJSON shows nothing of the tokens: who keeps them names each.
func (Tokens) MarshalJSON() ([]byte, error) { return []byte(`"redacted"`), nil }

// GrantError is a no of the provider to a request of OAuth 2.0.
type GrantError struct {
	// Code is the provider's word for it, as access_denied; it is one of RFC 6749, RFC 8628 or the provider's own.
	Code string
	// Description is what it says to people, in one line.
	Description string
}

// Error is the code with its description.
func (e *GrantError) Error() string {
	text := "the provider says " + e.Code
	if e.Description != "" {
		text += ": " + e.Description
	}
	return text
}

// Redeem sends a form to the provider's token endpoint: a code, a refresh token, a device's code. A no of the provider is a *GrantError;
// any other error wraps ErrUndecided. The caller adds client_id.
func (v *Verifier) Redeem(ctx context.Context, form url.Values) (Tokens, error) {
	ends, err := v.Endpoints(ctx)
	if err != nil {
		return Tokens{}, err
	}
	return redeem(ctx, v.provider.client, ends.Token, form)
}

func redeem(ctx context.Context, client *http.Client, address string, form url.Values) (Tokens, error) {
	var answer struct {
		ID      string          `json:"id_token"`
		Access  string          `json:"access_token"`
		Refresh string          `json:"refresh_token"`
		Expires json.RawMessage `json:"expires_in"` // a number, and with some a string
	}
	if err := post(ctx, client, address, form, &answer); err != nil {
		return Tokens{}, err
	}
	t := Tokens{ID: answer.ID, Access: answer.Access, Refresh: answer.Refresh}
	var seconds int64
	if json.Unmarshal([]byte(strings.Trim(string(answer.Expires), `"`)), &seconds) == nil && seconds > 0 && seconds < 1<<31 {
		t.Lifetime = time.Duration(seconds) * time.Second
	}
	if t.ID == "" && t.Access == "" {
		return Tokens{}, undecided("%s gave no token", hostOf(address))
	}
	return t, nil
}

// Post sends a form to an endpoint of the provider and reads the JSON that it answers. Errors are those of Redeem.
func (v *Verifier) Post(ctx context.Context, address string, form url.Values, into any) error {
	return post(ctx, v.provider.client, address, form, into)
}

func post(ctx context.Context, client *http.Client, address string, form url.Values, into any) error {
	if address == "" {
		return undecided("the provider offers no address for this request")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return undecided("the provider's address cannot be read")
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", "application/json")
	body, status, _, err := send(client, request)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return grantError(request.URL.Host, status, body)
	}
	if into != nil && json.Unmarshal(body, into) != nil {
		return undecided("what %s answered cannot be read", request.URL.Host)
	}
	return nil
}

// grantError is what an answer with another status than 200 says.
func grantError(host string, status int, body []byte) error {
	var said struct {
		Code        string `json:"error"`
		Description string `json:"error_description"`
	}
	if status >= 500 || status == http.StatusTooManyRequests || json.Unmarshal(body, &said) != nil || said.Code == "" {
		return undecided("%s answered with status %d", host, status)
	}
	first, _, _ := strings.Cut(said.Description, "\n") // Entra ID adds trace ids on lines of their own
	runes := []rune(finding.Clean(strings.TrimSpace(first)))
	return &GrantError{Code: finding.Value(said.Code), Description: string(runes[:min(len(runes), 300)])}
}
