package signin

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// provider is an OpenID Connect provider over HTTPS on loopback. It comes and goes, at the same address, which it never gives up:
// while it is down, connections are closed as soon as they are made.
type provider struct {
	url, address string
	certificate  tls.Certificate
	ca           string // PEM
	listener     net.Listener
	// fetched counts what was asked of the address that tokens name for groups that were left out.
	fetched atomic.Int32

	mu    sync.Mutex
	up    bool       // under mu
	conns []net.Conn // those that were taken; under mu
	keys  []*key     // those it publishes; under mu
	age   string     // Cache-Control of its keys; under mu
	hold  *hold      // what its keys wait for; nil for nothing; under mu
}

// hold lets a provider take its time.
type hold struct {
	asked, release chan struct{}
	once           sync.Once
}

// slow lets it answer nothing about its keys until release is closed; asked is closed when it was asked.
func (p *provider) slow() *hold {
	h := &hold{asked: make(chan struct{}), release: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hold = h
	return h
}

// key is a signing key of a provider.
type key struct {
	id     string
	secret *rsa.PrivateKey
}

func newKey(id string) (*key, error) {
	secret, err := rsa.GenerateKey(rand.Reader, 2048)
	return &key{id, secret}, err
}

// newProvider takes an address and answers nothing there yet.
func newProvider() (*provider, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &provider{address: listener.Addr().String(), listener: listener}
	p.url = "https://" + p.address + "/directory/v2.0"
	first, err := newKey("first")
	if err != nil {
		return nil, err
	}
	p.keys = []*key{first}
	if err := p.certify(); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /directory/v2.0/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"issuer": p.url, "jwks_uri": p.url + "/keys", "id_token_signing_alg_values_supported": []string{"RS256"}})
	})
	mux.HandleFunc("GET /directory/v2.0/keys", p.publish)
	mux.HandleFunc("/groups", func(w http.ResponseWriter, _ *http.Request) {
		p.fetched.Add(1)
		http.Error(w, "gone", http.StatusGone)
	})
	s := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	go func() {
		// It ends with the process.
		_ = s.Serve(tls.NewListener(door{listener, p}, &tls.Config{Certificates: []tls.Certificate{p.certificate}, MinVersion: tls.VersionTLS12}))
	}()
	return p, nil
}

// door lets connections in while its provider is up.
type door struct {
	net.Listener
	p *provider
}

// Accept returns the next connection that may come in.
func (d door) Accept() (net.Conn, error) {
	for {
		conn, err := d.Listener.Accept()
		if err != nil || d.p.take(conn) {
			return conn, err
		}
		conn.Close()
	}
}

// take keeps a connection, if the provider is up.
func (p *provider) take(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.up {
		p.conns = append(p.conns, conn)
	}
	return p.up
}

// certify makes a certificate that signs itself.
func (p *provider) certify() error {
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "identity provider"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, secret.Public(), secret)
	if err != nil {
		return err
	}
	p.certificate = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: secret}
	p.ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return nil
}

// start lets it answer.
func (p *provider) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.up = true
}

// stop takes it away, with every connection.
func (p *provider) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.up = false
	for _, conn := range p.conns {
		conn.Close()
	}
	p.conns = nil
}

// rotate publishes other keys. age is what it says of how long they may be kept, "" for nothing.
func (p *provider) rotate(age string, keys ...*key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys, p.age = keys, age
}

// signer is the key it signs with.
func (p *provider) signer() *key {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.keys[0]
}

func (p *provider) publish(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	h := p.hold
	p.mu.Unlock()
	if h != nil {
		h.once.Do(func() { close(h.asked) })
		select {
		case <-h.release:
		case <-r.Context().Done():
			return
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var keys []map[string]string
	for _, k := range p.keys {
		keys = append(keys, map[string]string{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": k.id,
			"n": encode(k.secret.N.Bytes()), "e": encode(big.NewInt(int64(k.secret.E)).Bytes())})
	}
	if p.age != "" {
		w.Header().Set("Cache-Control", p.age)
	}
	answer(w, map[string]any{"keys": keys})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // who asked is gone otherwise
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// claims are what a token says.
type claims map[string]any

// with is a copy of it with other claims; nil takes one away.
func (c claims) with(other claims) claims {
	out := maps.Clone(c)
	for name, value := range other {
		if out[name] = value; value == nil {
			delete(out, name)
		}
	}
	return out
}

// sign makes a token as the provider does.
func (k *key) sign(c claims) string {
	text, err := json.Marshal(c)
	if err != nil {
		panic(err) // claims of these tests are JSON
	}
	return k.signText(map[string]any{"alg": "RS256", "typ": "JWT", "kid": k.id}, text)
}

// signText signs whatever payload below whatever header.
func (k *key) signText(header map[string]any, payload []byte) string {
	head, err := json.Marshal(header)
	if err != nil {
		panic(err)
	}
	text := encode(head) + "." + encode(payload)
	digest := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, k.secret, crypto.SHA256, digest[:])
	if err != nil {
		panic(err)
	}
	return text + "." + encode(signature)
}

// unsigned is a token of algorithm none.
func unsigned(c claims) string {
	text, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return encode([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + encode(text) + "."
}

// sharedSecret is a token of HS256 whose secret is the provider's public key, which everybody knows, in a form that libraries use.
func (k *key) sharedSecret(c claims, form string) string {
	text, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	secret, err := x509.MarshalPKIXPublicKey(k.secret.Public())
	if err != nil {
		panic(err)
	}
	if form == "pem" {
		secret = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: secret})
	}
	signed := encode([]byte(fmt.Sprintf(`{"alg":"HS256","typ":"JWT","kid":%q}`, k.id))) + "." + encode(text)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(signed))
	return signed + "." + encode(mac.Sum(nil))
}
