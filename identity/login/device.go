package login

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/forward/wire"
	"ringfence.dev/ringfence/identity"
)

const (
	// pollEvery is the time between two questions where the provider names none; slowDown is what each slow_down adds (RFC 8628, 3.5).
	pollEvery, slowDown = 5 * time.Second, 5 * time.Second
	// maxPoll bounds what a provider may ask for.
	maxPoll = time.Minute
)

// deviceAnswer is the provider's answer to a device (RFC 8628, 3.2).
type deviceAnswer struct {
	DeviceCode string `json:"device_code"`
	UserCode   string `json:"user_code"`
	URI        string `json:"verification_uri"`
	URL        string `json:"verification_url"` // as drafts of the RFC had it
	Expires    int64  `json:"expires_in"`
	Interval   int64  `json:"interval"`
}

// Device signs in with a browser on any machine: the person types a code there (RFC 8628).
func (c *Client) Device(ctx context.Context) (*SignedIn, error) {
	ends, err := c.Verifier.Endpoints(ctx)
	if err != nil {
		return nil, err
	}
	if ends.Device == "" {
		return nil, errors.New("the provider offers no sign-in with a code (device_authorization_endpoint); leave --device away")
	}
	var device deviceAnswer
	if err := c.Verifier.Post(ctx, ends.Device, url.Values{"client_id": {c.Verifier.ClientID()}, "scope": {scopes(ends)}}, &device); err != nil {
		return nil, err
	}
	if device.URI == "" {
		device.URI = device.URL
	}
	where, err := wire.Endpoint("verification_uri", device.URI)
	if err != nil || device.DeviceCode == "" || device.UserCode == "" {
		return nil, fmt.Errorf("%w: the provider gave no code, or no https address to type it at", identity.ErrUndecided)
	}
	life, every := patience, pollEvery
	if device.Expires > 0 {
		life = min(life, time.Duration(min(device.Expires, 86400))*time.Second)
	}
	if device.Interval > 0 {
		every = min(maxPoll, time.Duration(min(device.Interval, 86400))*time.Second)
	}
	ctx, cancel := context.WithTimeout(ctx, life)
	defer cancel()
	c.Tell("open %s on any machine and type %s; it counts for %s. Type no code that somebody else sent you", where, finding.Value(device.UserCode), life)
	tokens, err := c.poll(ctx, device.DeviceCode, every)
	if err != nil {
		return nil, err
	}
	return c.judge(ctx, tokens, "")
}

// poll asks for the tokens until the person has typed the code.
func (c *Client) poll(ctx context.Context, code string, every time.Duration) (identity.Tokens, error) {
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {code}, "client_id": {c.Verifier.ClientID()}}
	for {
		if err := c.wait(ctx, every); err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				return identity.Tokens{}, fmt.Errorf("%w: the code was not used in time", ErrSignIn)
			}
			return identity.Tokens{}, err
		}
		tokens, err := c.Verifier.Redeem(ctx, form)
		no := (*identity.GrantError)(nil)
		switch {
		case err == nil:
			return tokens, nil
		case ctx.Err() != nil: // told at the top
		case errors.As(err, &no) && no.Code == "authorization_pending":
		case errors.As(err, &no) && no.Code == "slow_down":
			every = min(maxPoll, every+slowDown)
		case errors.As(err, &no) && no.Code == "expired_token":
			return identity.Tokens{}, fmt.Errorf("%w: the code was not used in time", ErrSignIn)
		case errors.As(err, &no):
			return identity.Tokens{}, err
		case errors.Is(err, identity.ErrUndecided): // no answer: the RFC wants fewer questions then
			every = min(maxPoll, 2*every)
		default:
			return identity.Tokens{}, err
		}
	}
}
