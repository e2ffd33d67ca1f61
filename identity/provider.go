package identity

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/forward/wire"
)

const (
	// timeout bounds one request to the provider or to Graph with its answer.
	timeout = 10 * time.Second
	// maxAnswer bounds an answer: keys and metadata are some KB, 11,000 groups are 430 KB.
	maxAnswer = 1 << 20
	// maxKeys bounds the keys of a provider: Entra ID shows about ten.
	maxKeys = 50
	// freshFor is how long keys count unasked: what the provider withdraws counts no longer than that. keptFor is how long they count
	// while the provider does not answer.
	freshFor, keptFor = 15 * time.Minute, time.Hour
	// again is the time between two questions, whatever tokens arrive: a key that nobody knows costs the provider no more.
	again = 5 * time.Second
)

// Endpoints is where the provider is asked for what, as its metadata say. Each is https; what it does not offer is "".
type Endpoints struct {
	// Issuer is what its tokens say in iss.
	Issuer string
	// Authorization, Token, Device and Revocation are those of OAuth 2.0, RFC 8628 and RFC 7009; EndSession is where a person signs out.
	Authorization, Token, Device, Revocation, EndSession string
	// Scopes are those that it offers; empty where it does not say.
	Scopes []string
}

// knowledge is what the provider said once. It is never changed.
type knowledge struct {
	endpoints Endpoints
	keys      []jose.JSONWebKey
	read      time.Time
	// ahead is how far this machine's clock was ahead of the provider's.
	ahead time.Duration
}

func anything(*knowledge) bool { return true }

// fitting are the public keys that a signature with this id and algorithm may have been made with; every key where it names none.
func (k *knowledge) fitting(id, algorithm string) (keys []crypto.PublicKey) {
	for _, key := range k.keys {
		if (id == "" || key.KeyID == id) && (key.Algorithm == "" || key.Algorithm == algorithm) {
			keys = append(keys, key.Key)
		}
	}
	return keys
}

// provider asks the provider, seldom, and remembers.
type provider struct {
	cfg    Config
	client *http.Client
	flight singleflight.Group

	mu     sync.Mutex // guards what follows
	last   *knowledge
	asking bool
	asked  time.Time
	fault  error // of the last question
}

// known is what the provider says: from memory where that is fresh and wanted likes it; asked for otherwise, where it was not asked just
// now. What is not liked is returned too once the provider has said it anew.
func (p *provider) known(ctx context.Context, wanted func(*knowledge) bool) (*knowledge, error) {
	now := p.cfg.Now()
	p.mu.Lock()
	last, asking, asked, fault := p.last, p.asking, p.asked, p.fault
	p.mu.Unlock()
	if last != nil && now.Sub(last.read) <= freshFor && last.clock() == nil && wanted(last) {
		return last, nil
	}
	justNow := !asked.IsZero() && now.Sub(asked) < again && now.Sub(asked) >= 0
	if asking || !justNow {
		var k *knowledge
		if k, fault = p.refresh(ctx); fault == nil {
			return k, k.clock()
		}
		if errors.Is(fault, errMisled) {
			return nil, fault
		}
	}
	switch {
	case last != nil && now.Sub(last.read) <= keptFor && last.clock() == nil && wanted(last):
		return last, nil
	case fault != nil:
		return nil, fault
	case last != nil && last.clock() != nil:
		return nil, last.clock()
	}
	return nil, undecided("the token's key is not known, and the provider was asked less than %s ago; try again", again)
}

// refresh asks the provider, one question at a time, however many wait for the answer.
func (p *provider) refresh(ctx context.Context) (*knowledge, error) {
	answer := p.flight.DoChan("", func() (any, error) {
		p.mu.Lock()
		p.asking, p.asked = true, p.cfg.Now()
		p.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*timeout)
		defer cancel()
		k, err := p.ask(ctx)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.asking, p.fault = false, err
		if err == nil {
			p.last = k
		}
		return k, err
	})
	select {
	case <-ctx.Done():
		return nil, undecided("the provider has not answered yet: %s", context.Cause(ctx))
	case a := <-answer:
		if a.Err != nil {
			return nil, a.Err
		}
		return a.Val.(*knowledge), nil
	}
}

// errMisled is wrapped where the settings name another provider than the one that answers: no waiting helps.
var errMisled = errors.New("the settings are wrong")

func misled(format string, args ...any) error {
	return fmt.Errorf("%w: %w: %s", ErrUndecided, errMisled, fmt.Sprintf(format, args...))
}

// ask reads metadata and keys.
func (p *provider) ask(ctx context.Context) (*knowledge, error) {
	k := &knowledge{}
	issuer := strings.ReplaceAll(p.cfg.Issuer, "{tenantid}", p.cfg.Directory)
	meta, err := p.metadata(ctx, issuer, k)
	if err != nil {
		return nil, err
	}
	if strings.Contains(meta.Issuer, "{tenantid}") { // Entra ID's common and organizations
		if p.cfg.Directory == "" {
			return nil, misled("the issuer %s is that of every directory; name the bank's own in spec.identity.directory", issuer)
		}
		own := strings.ReplaceAll(meta.Issuer, "{tenantid}", p.cfg.Directory)
		if a, b := hostOf(own), hostOf(issuer); a != b {
			return nil, undecided("the provider at %s says that its tokens are %s's", b, finding.Value(a))
		}
		issuer = own
		if meta, err = p.metadata(ctx, issuer, k); err != nil {
			return nil, err
		}
	}
	if meta.Issuer != issuer {
		return nil, misled("the provider at %s says that its issuer is %s; want %s, to the letter: a slash at the end counts", hostOf(issuer), inert(errors.New(meta.Issuer)), issuer)
	}
	k.endpoints = Endpoints{Issuer: issuer, Authorization: meta.Authorization, Token: meta.Token, Device: meta.Device, Revocation: meta.Revocation,
		EndSession: meta.EndSession, Scopes: meta.Scopes}
	for _, address := range []*string{&meta.Keys, &k.endpoints.Authorization, &k.endpoints.Token, &k.endpoints.Device, &k.endpoints.Revocation, &k.endpoints.EndSession} {
		if *address == "" {
			continue
		}
		if _, err := wire.Endpoint("its metadata", *address); err != nil {
			return nil, undecided("the provider at %s: %s", hostOf(issuer), err)
		}
	}
	if meta.Keys == "" {
		return nil, undecided("the provider at %s names no keys (jwks_uri)", hostOf(issuer))
	}
	if err := p.readKeys(ctx, meta.Keys, k); err != nil {
		return nil, err
	}
	return k, nil
}

// metadata are those of OpenID Connect Discovery that are used.
type metadata struct {
	Issuer        string   `json:"issuer"`
	Authorization string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	Device        string   `json:"device_authorization_endpoint"`
	Revocation    string   `json:"revocation_endpoint"`
	EndSession    string   `json:"end_session_endpoint"`
	Keys          string   `json:"jwks_uri"`
	Scopes        []string `json:"scopes_supported"`
}

// metadata reads a provider's metadata, and what time it has.
func (p *provider) metadata(ctx context.Context, issuer string, k *knowledge) (m metadata, err error) {
	body, header, err := fetch(ctx, p.client, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return m, undecided("what %s answered is no metadata of OpenID Connect", hostOf(issuer))
	}
	k.read = p.cfg.Now()
	k.ahead = ahead(k.read, header)
	return m, nil
}

// readKeys reads the provider's public keys. Those that are shared, or of a kind unknown here, are left out.
func (p *provider) readKeys(ctx context.Context, address string, k *knowledge) error {
	body, _, err := fetch(ctx, p.client, address)
	if err != nil {
		return err
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return undecided("what %s answered is no set of keys", hostOf(address))
	}
	if len(set.Keys) > maxKeys {
		return undecided("%s shows %d keys; want at most %d", hostOf(address), len(set.Keys), maxKeys)
	}
	for _, text := range set.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(text, &key) == nil && key.Valid() && key.IsPublic() && key.Use != "enc" {
			k.keys = append(k.keys, key)
		}
	}
	if len(k.keys) == 0 {
		return undecided("%s shows no public key that signatures can be checked with", hostOf(address))
	}
	return nil
}

// ahead is how far now is ahead of the clock of whoever answered; 0 where he does not say.
func ahead(now time.Time, h http.Header) time.Duration {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0
	}
	if age, err := strconv.ParseUint(h.Get("Age"), 10, 31); err == nil { // from a cache on the way
		date = date.Add(time.Duration(age) * time.Second)
	}
	return now.Sub(date).Truncate(time.Second)
}

// clock says that no time in a token can be judged here.
func (k *knowledge) clock() error {
	switch {
	case k.ahead > skew:
		return undecided("this machine's clock is %s ahead of the provider's; want at most %s; fix the clock", k.ahead, skew)
	case k.ahead < -skew:
		return undecided("this machine's clock is %s behind the provider's; want at most %s; fix the clock", -k.ahead, skew)
	}
	return nil
}

// newClient makes the client for the provider. No redirect is followed.
func newClient(t wire.TLS) (*http.Client, error) {
	config, err := t.Config()
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 2,
			IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: timeout, MaxResponseHeaderBytes: 64 << 10},
	}, nil
}

// fetch reads an address. Every error wraps ErrUndecided.
func fetch(ctx context.Context, client *http.Client, address string) ([]byte, http.Header, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, nil, undecided("the provider's address cannot be read")
	}
	request.Header.Set("Accept", "application/json")
	body, status, header, err := send(client, request)
	switch {
	case err != nil:
		return nil, nil, err
	case status >= 300 && status <= 399:
		return nil, nil, undecided("%s answered with a redirect, status %d, which is not followed", request.URL.Host, status)
	case status != http.StatusOK:
		return nil, nil, undecided("%s answered with status %d", request.URL.Host, status)
	}
	return body, header, nil
}

// send sends a request and reads the whole answer, within bounds. An error holds the host, and no path, query or header.
func send(client *http.Client, request *http.Request) ([]byte, int, http.Header, error) {
	response, err := client.Do(request)
	if err != nil {
		if u := (*url.Error)(nil); errors.As(err, &u) {
			err = u.Err
		}
		return nil, 0, nil, undecided("reach %s: %s", request.URL.Host, inert(err))
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, 0, nil, undecided("read what %s answers: %s", request.URL.Host, inert(err))
	case len(body) > maxAnswer:
		return nil, 0, nil, undecided("%s answers with more than %d bytes", request.URL.Host, maxAnswer)
	}
	return body, response.StatusCode, response.Header, nil
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "an address that cannot be read"
	}
	return u.Host
}
