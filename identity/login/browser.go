package login

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/identity"
)

// callback is the path that the browser is sent back to.
const callback = "/callback"

// Browser signs in with a browser on this machine: authorization code with PKCE (RFC 7636) over a loopback address (RFC 8252).
func (c *Client) Browser(ctx context.Context) (*SignedIn, error) {
	ends, err := c.Verifier.Endpoints(ctx)
	if err != nil {
		return nil, err
	}
	if ends.Authorization == "" {
		return nil, errors.New("the provider offers no sign-in in a browser (authorization_endpoint); give --device")
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	back, err := listen(ctx, c.Port)
	if err != nil {
		return nil, err
	}
	defer back.close()
	state, nonce, verifier := c.random(), c.random(), c.random()+c.random()
	address, err := c.address(ends, back.uri, state, nonce, verifier)
	if err != nil {
		return nil, err
	}
	back.serve(state, ends.Issuer)
	c.Tell("sign in at: %s", address)
	if c.Open != nil {
		if err := c.Open(address.String()); err != nil {
			c.Tell("no browser could be opened (%s): open the address yourself, on this machine; elsewhere use --device", finding.Clean(err.Error()))
		}
	}
	code, err := back.wait(ctx)
	if err != nil {
		return nil, err
	}
	tokens, err := c.Verifier.Redeem(ctx, url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {back.uri}, "client_id": {c.Verifier.ClientID()}, "code_verifier": {verifier}})
	if err != nil {
		return nil, err
	}
	return c.judge(ctx, tokens, nonce)
}

// address is where the person signs in.
func (c *Client) address(ends identity.Endpoints, back, state, nonce, verifier string) (*url.URL, error) {
	address, err := url.Parse(ends.Authorization)
	if err != nil {
		return nil, errors.New("the provider's address for sign-in cannot be read")
	}
	factor, err := c.factor()
	if err != nil {
		return nil, fmt.Errorf("ask for a second factor: %w", err)
	}
	sum := sha256.Sum256([]byte(verifier))
	query := address.Query()
	for _, part := range []map[string]string{factor, {"response_type": "code", "client_id": c.Verifier.ClientID(), "redirect_uri": back, "scope": scopes(ends), "state": state, "nonce": nonce,
		"code_challenge": base64.RawURLEncoding.EncodeToString(sum[:]), "code_challenge_method": "S256"}} {
		for key, value := range part {
			query.Set(key, value)
		}
	}
	address.RawQuery = query.Encode()
	return address, nil
}

// loopback is where the browser is sent back to. It answers the one request that carries its state, and once.
type loopback struct {
	listeners []net.Listener
	uri       string
	port      int
	server    *http.Server
	used      atomic.Bool
	answer    chan answer // of one
}

type answer struct {
	code string
	err  error
}

// listen opens a port of this machine's loopback, of IPv4 and, where there is one, of IPv6: a browser may take either for localhost, and
// no other program must have it.
func listen(ctx context.Context, port int) (*loopback, error) {
	var l net.ListenConfig
	for try := 1; ; try++ {
		four, err := l.Listen(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return nil, fmt.Errorf("wait for the browser: %w", err)
		}
		at := four.Addr().(*net.TCPAddr).Port
		b := &loopback{listeners: []net.Listener{four}, port: at, uri: "http://localhost:" + strconv.Itoa(at) + callback, answer: make(chan answer, 1)}
		six, err := l.Listen(ctx, "tcp6", net.JoinHostPort("::1", strconv.Itoa(at)))
		if err == nil {
			b.listeners = append(b.listeners, six)
			return b, nil
		}
		if conn, err := net.DialTimeout("tcp6", net.JoinHostPort("::1", strconv.Itoa(at)), time.Second); err != nil {
			return b, nil // there is no IPv6, and nobody listens
		} else {
			conn.Close()
		}
		four.Close()
		if port != 0 || try == 5 {
			return nil, fmt.Errorf("wait for the browser: another program has port %d of ::1", at)
		}
	}
}

// serve answers browsers until close.
func (b *loopback) serve(state, issuer string) {
	b.server = &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.handle(w, r, state, issuer) }),
		ReadHeaderTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10,
	}
	for _, l := range b.listeners {
		go func() { _ = b.server.Serve(l) }() // ends with close
	}
}

// handle takes the provider's answer out of the address. What has another state, another host or comes again changes nothing.
func (b *loopback) handle(w http.ResponseWriter, r *http.Request, state, issuer string) {
	head := w.Header()
	head.Set("Content-Type", "text/plain; charset=utf-8")
	head.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	head.Set("Cache-Control", "no-store")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("X-Content-Type-Options", "nosniff")
	host, port, _ := net.SplitHostPort(r.Host)
	query := r.URL.Query()
	switch {
	case r.URL.Path != callback || r.Method != http.MethodGet:
		http.Error(w, "nothing is here", http.StatusNotFound)
		return
	case port != strconv.Itoa(b.port) || host != "localhost" && host != "127.0.0.1" && host != "::1":
		http.Error(w, "this is not the address that was asked for", http.StatusBadRequest)
		return
	case len(query["state"]) != 1 || subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(state)) != 1:
		http.Error(w, "this answers another sign-in; use the address that the command shows", http.StatusBadRequest)
		return
	case !b.used.CompareAndSwap(false, true):
		http.Error(w, "this sign-in was answered before", http.StatusGone)
		return
	}
	var a answer
	switch iss := query.Get("iss"); {
	case iss != "" && iss != issuer: // RFC 9207
		a.err = fmt.Errorf("%w: the answer to the sign-in is another provider's (iss)", identity.ErrRefused)
	case query.Get("error") != "":
		a.err = &identity.GrantError{Code: finding.Value(query.Get("error")), Description: finding.Value(query.Get("error_description"))}
	case query.Get("code") == "":
		a.err = fmt.Errorf("%w: the answer to the sign-in has no code", identity.ErrRefused)
	default:
		a.code = query.Get("code")
	}
	if a.err != nil {
		fmt.Fprintln(w, "Ringfence: the sign-in did not succeed. The terminal says more. You can close this window.")
	} else {
		fmt.Fprintln(w, "Ringfence: go on in the terminal. You can close this window.")
	}
	b.answer <- a
}

// wait is the code, once the browser has brought it.
func (b *loopback) wait(ctx context.Context) (string, error) {
	select {
	case a := <-b.answer:
		return a.code, a.err
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return "", fmt.Errorf("%w: nobody signed in within %s", ErrSignIn, patience)
		}
		return "", context.Cause(ctx)
	}
}

// close lets an answer that is being written get out, and ends.
func (b *loopback) close() {
	if b.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = b.server.Shutdown(ctx)
		_ = b.server.Close()
	}
	for _, l := range b.listeners {
		_ = l.Close()
	}
}
