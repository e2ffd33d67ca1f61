// Package idptest gives tests an identity provider in process: OpenID Connect with codes, devices and renewal, over TLS, and the part of
// Microsoft Graph that names groups. It does what its settings say, wrong things too; nothing but tests uses it.
package idptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// ClientID is the client that people sign in with.
	ClientID = "ringfence"
	// Directory and Object are ids as Entra ID has them: of the bank's directory, and of the person.
	Directory = "6f1c7e0a-51d1-4d0e-9a10-0c2d5c7b1a11"
	Object    = "0b54a9d4-71f2-4d5c-8a15-2d3f7f0e9c22"
	// Secret is that of the application that asks Graph.
	Secret = "the-secret-of-the-application"
)

// Settings are what the provider does. The zero value does everything right.
type Settings struct {
	// Claims are added to those of every ID token; nil takes one away.
	Claims map[string]any
	// Now is its clock, nil the machine's.
	Now func() time.Time
	// Before answers in place of the provider where it returns true.
	Before func(http.ResponseWriter, *http.Request) bool
	// Issuer is what its metadata say, "" its address.
	Issuer string
	// Pending are the answers to questions of a device, in turn, before the tokens: authorization_pending, slow_down, ...
	Pending []string
	// Groups are what Graph says of Object.
	Groups []string
	// NoRefresh gives no token to renew with.
	NoRefresh bool
}

// Provider is a running provider. Its settings are changed with Set.
type Provider struct {
	// URL is its address and issuer.
	URL string
	// CAFile holds the authority of its certificate.
	CAFile string
	server *httptest.Server

	mu       sync.Mutex // guards what follows
	settings Settings
	key      jose.JSONWebKey
	rotated  int
	codes    map[string]url.Values
	refresh  map[string]bool
	asked    map[string]int
}

// Start starts a provider, which ends with the test.
func Start(t testing.TB) *Provider {
	t.Helper()
	p := &Provider{codes: map[string]url.Values{}, refresh: map[string]bool{}, asked: map[string]int{}}
	p.Rotate()
	p.server = httptest.NewTLSServer(p)
	t.Cleanup(func() {
		p.server.CloseClientConnections()
		p.server.Close()
	})
	p.URL = p.server.URL
	p.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(p.CAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// Host is its address without the scheme.
func (p *Provider) Host() string { return strings.TrimPrefix(p.URL, "https://") }

// Client trusts the provider.
func (p *Provider) Client() *http.Client { return p.server.Client() }

// Set changes the settings.
func (p *Provider) Set(change func(*Settings)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.settings)
}

// Rotate makes a new key; the old one is shown no more.
func (p *Provider) Rotate() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // there is no randomness on this machine
	}
	p.Use(key, jose.ES256)
}

// Use makes another private key, of whatever kind, that of the provider; the old one is shown no more.
func (p *Provider) Use(key any, algorithm jose.SignatureAlgorithm) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rotated++
	p.key = jose.JSONWebKey{Key: key, KeyID: "key-" + strconv.Itoa(p.rotated), Algorithm: string(algorithm), Use: "sig"}
}

// Asked is how often a path was asked for.
func (p *Provider) Asked(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[path]
}

// Key is the private key of the moment.
func (p *Provider) Key() jose.JSONWebKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.key
}

func (p *Provider) public() jose.JSONWebKey {
	key := p.Key()
	return key.Public()
}

// Now is the provider's time.
func (p *Provider) Now() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.settings.Now != nil {
		return p.settings.Now()
	}
	return time.Now()
}

// Claims are those of a token for this provider's client, with changes; nil takes one away.
func (p *Provider) Claims(changes map[string]any) map[string]any {
	now := p.Now().Unix()
	claims := map[string]any{"iss": p.URL, "aud": ClientID, "sub": "anna", "iat": now, "exp": now + 3600, "auth_time": now}
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.Copy(claims, p.settings.Claims)
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return claims
}

// Token is a signed ID token with changed claims.
func (p *Provider) Token(changes map[string]any) string { return Sign(p.Key(), p.Claims(changes)) }

// Sign signs claims with any key.
func Sign(key jose.JSONWebKey, claims map[string]any) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(key.Algorithm), Key: key}, nil)
	if err != nil {
		panic(err) // a test names a key that cannot sign
	}
	text, _ := json.Marshal(claims)
	signed, err := signer.Sign(text)
	if err != nil {
		panic(err)
	}
	raw, _ := signed.CompactSerialize()
	return raw
}

// ServeHTTP answers as a provider does.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked[r.URL.Path]++
	before := p.settings.Before
	p.mu.Unlock()
	w.Header().Set("Date", p.Now().UTC().Format(http.TimeFormat))
	if before != nil && before(w, r) {
		return
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		p.metadata(w)
	case "/keys":
		answer(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{p.public()}})
	case "/authorize":
		p.authorize(w, r)
	case "/token":
		p.token(w, r)
	case "/device":
		answer(w, http.StatusOK, map[string]any{"device_code": "the-code-of-the-device", "user_code": "WDJB-MJHT", "verification_uri": p.URL + "/activate", "expires_in": 600, "interval": 1})
	case "/revoke":
		p.mu.Lock()
		delete(p.refresh, r.FormValue("token"))
		p.mu.Unlock()
	case "/v1.0/users/" + Object + "/getMemberObjects":
		p.members(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (p *Provider) metadata(w http.ResponseWriter) {
	p.mu.Lock()
	issuer := p.settings.Issuer
	p.mu.Unlock()
	if issuer == "" {
		issuer = p.URL
	}
	answer(w, http.StatusOK, map[string]any{"issuer": issuer, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
		"device_authorization_endpoint": p.URL + "/device", "revocation_endpoint": p.URL + "/revoke", "scopes_supported": []string{"openid", "profile", "offline_access"}})
}

// authorize signs anna in at once and sends the browser back, with a code for a request that has all that it must.
func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	back, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || !slices.Contains([]string{"localhost", "127.0.0.1"}, back.Hostname()) || q.Get("client_id") != ClientID || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" ||
		q.Get("code_challenge") == "" || q.Get("state") == "" || q.Get("nonce") == "" || !strings.Contains(q.Get("scope"), "openid") {
		http.Error(w, "this request lacks something", http.StatusBadRequest)
		return
	}
	code := rand.Text()
	p.mu.Lock()
	p.codes[code] = q
	p.mu.Unlock()
	back.RawQuery = url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {p.URL}}.Encode()
	http.Redirect(w, r, back.String(), http.StatusFound)
}

// token gives tokens for what is genuine, once.
func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.ParseForm() != nil {
		http.Error(w, "want a form", http.StatusBadRequest)
		return
	}
	switch r.PostFormValue("grant_type") {
	case "authorization_code":
		p.mu.Lock()
		q := p.codes[r.PostFormValue("code")]
		delete(p.codes, r.PostFormValue("code"))
		p.mu.Unlock()
		sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
		if q == nil || q.Get("redirect_uri") != r.PostFormValue("redirect_uri") || q.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) {
			no(w, "invalid_grant")
			return
		}
		p.give(w, map[string]any{"nonce": q.Get("nonce")})
	case "refresh_token":
		p.mu.Lock()
		ok := p.refresh[r.PostFormValue("refresh_token")]
		delete(p.refresh, r.PostFormValue("refresh_token"))
		p.mu.Unlock()
		if !ok {
			no(w, "invalid_grant")
			return
		}
		p.give(w, nil)
	case "urn:ietf:params:oauth:grant-type:device_code":
		p.device(w, r)
	case "client_credentials":
		if r.PostFormValue("client_secret") != Secret || !strings.HasSuffix(r.PostFormValue("scope"), "/.default") {
			no(w, "invalid_client")
			return
		}
		answer(w, http.StatusOK, map[string]any{"token_type": "Bearer", "expires_in": 3599, "access_token": "for-graph"})
	default:
		no(w, "unsupported_grant_type")
	}
}

func (p *Provider) device(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	next := ""
	if len(p.settings.Pending) > 0 {
		next, p.settings.Pending = p.settings.Pending[0], p.settings.Pending[1:]
	}
	p.mu.Unlock()
	if r.PostFormValue("device_code") != "the-code-of-the-device" {
		next = "invalid_grant"
	}
	if next != "" {
		no(w, next)
		return
	}
	p.give(w, nil)
}

func (p *Provider) give(w http.ResponseWriter, changes map[string]any) {
	tokens := map[string]any{"token_type": "Bearer", "expires_in": 3600, "access_token": rand.Text(), "id_token": p.Token(changes)}
	p.mu.Lock()
	if !p.settings.NoRefresh {
		refresh := rand.Text()
		p.refresh[refresh] = true
		tokens["refresh_token"] = refresh
	}
	p.mu.Unlock()
	answer(w, http.StatusOK, tokens)
}

// members answers as Microsoft documents getMemberObjects.
func (p *Provider) members(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.Header.Get("Authorization") != "Bearer for-graph" {
		GraphError(w, http.StatusUnauthorized, "InvalidAuthenticationToken")
		return
	}
	p.mu.Lock()
	groups := append([]string{}, p.settings.Groups...)
	p.mu.Unlock()
	answer(w, http.StatusOK, map[string]any{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#Collection(Edm.String)", "value": groups})
}

// GraphError answers as Microsoft Graph says no.
func GraphError(w http.ResponseWriter, status int, code string) {
	answer(w, status, map[string]any{"error": map[string]any{"code": code, "message": "No.", "innerError": map[string]any{"request-id": Object}}})
}

func no(w http.ResponseWriter, code string) {
	answer(w, http.StatusBadRequest, map[string]any{"error": code, "error_description": "The provider says no.\r\nTrace ID: 1"})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
