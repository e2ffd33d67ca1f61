package sentinel_test

import (
	"compress/gzip"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/forward/sentinel"
	"ringfence.dev/ringfence/internal/sinktest"
)

const (
	tenant = "aaaaaaaa-0000-0000-0000-000000000001"
	client = "bbbbbbbb-0000-0000-0000-000000000002"
	rule   = "dcr-000a00a000a00000a000000aa000a0aa"
)

// azure is Entra and the Logs Ingestion API, by their documents.
type azure struct {
	t        *testing.T
	ingest   http.HandlerFunc // in place of taking the batch
	token    http.HandlerFunc // in place of giving a token
	form     map[string][]string
	given    int
	valid    string // the token that is taken; "" any
	rows     []map[string]any
	requests int
}

func (a *azure) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/" + tenant + "/oauth2/v2.0/token":
		if err := r.ParseForm(); err != nil {
			a.t.Error(err)
		}
		a.form = r.PostForm
		a.given++
		if a.token != nil {
			a.token(w, r)
			return
		}
		fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":"token-%d"}`, a.given)
	case "/dataCollectionRules/" + rule + "/streams/Custom-Ringfence_CL":
		a.requests++
		if r.URL.RawQuery != "api-version=2023-01-01" || r.Header.Get("Content-Type") != "application/json" {
			a.t.Errorf("POST %s, %v", r.URL, r.Header)
		}
		if a.ingest != nil {
			a.ingest(w, r)
			return
		}
		if a.valid != "" && r.Header.Get("Authorization") != "Bearer "+a.valid {
			w.Header().Set("x-ms-error-code", "InvalidToken")
			w.WriteHeader(401)
			return
		}
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			var err error
			if body, err = gzip.NewReader(r.Body); err != nil {
				a.t.Error(err)
				return
			}
		}
		var rows []map[string]any
		if err := json.NewDecoder(body).Decode(&rows); err != nil {
			a.t.Errorf("the body is no array: %v", err)
		}
		a.rows = append(a.rows, rows...)
		w.WriteHeader(204)
	default:
		http.NotFound(w, r)
	}
}

func open(t *testing.T, a *azure, now func() time.Time, change ...func(*sentinel.Config)) forward.Sink {
	t.Helper()
	server := sinktest.Serve(t, a.ServeHTTP)
	cfg := sentinel.Config{
		Endpoint: server.URL, Authority: server.URL, RuleID: rule, Stream: "Custom-Ringfence_CL", TenantID: tenant, ClientID: client,
		ClientSecretFile: sinktest.File(t, sinktest.Secret),
	}
	cfg.TLS.CAFile = sinktest.CA(t, server)
	for _, c := range change {
		c(&cfg)
	}
	sink, err := sentinel.New(cfg, now)
	if err != nil {
		t.Fatal(err)
	}
	return sink
}

// TestSend: rows in the stream's form, plain and compressed, with a token by the secret.
func TestSend(t *testing.T) {
	for _, packed := range []bool{false, true} {
		a := &azure{t: t}
		if err := open(t, a, sinktest.Noon, func(c *sentinel.Config) { c.Gzip = packed }).Send(t.Context(), sinktest.Batch(3)); err != nil {
			t.Fatal(err)
		}
		row, _ := json.Marshal(a.rows[2])
		const want = `{"Cluster":"prod-1","Event":{"n":2,"text":"\u003cb\u003e \u0026 = | \\ é"},"Kind":"native-refusal.v1","RecordId":"r-0002","SyslogSeverity":3,"TimeGenerated":"2026-11-21T12:00:00Z"}`
		if len(a.rows) != 3 || string(row) != want {
			t.Errorf("%d rows, row = %s, want %s", len(a.rows), row, want)
		}
		if form := fmt.Sprint(a.form); form != "map[client_id:["+client+"] client_secret:["+sinktest.Secret+"] grant_type:[client_credentials] scope:[https://monitor.azure.com//.default]]" {
			t.Errorf("form = %s", form)
		}
	}
}

// TestToken: a token is kept, renewed five minutes before its end, and thrown away when it is refused.
func TestToken(t *testing.T) {
	a := &azure{t: t}
	now := sinktest.Noon()
	sink := open(t, a, func() time.Time { return now })
	for _, step := range []struct {
		at    time.Duration
		valid string
		given int
	}{{0, "", 1}, {54 * time.Minute, "", 1}, {55 * time.Minute, "", 2}, {56 * time.Minute, "token-3", 3}, {57 * time.Minute, "token-3", 3}} {
		now, a.valid = sinktest.Noon().Add(step.at), step.valid
		if err := sink.Send(t.Context(), sinktest.Batch(1)); err != nil || a.given != step.given {
			t.Errorf("after %s: Send = %v with %d tokens, want %d", step.at, err, a.given, step.given)
		}
	}
	a.valid = "none"
	a.requests = 0
	if fault := sinktest.Fault(t, sink.Send(t.Context(), sinktest.Batch(1))); fault.Refused || a.requests != 2 || !strings.Contains(fault.Error(), "InvalidToken") {
		t.Errorf("refused for ever: %v after %d requests, want a fault after 2", fault, a.requests)
	}
}

// TestTokenFails: whatever Entra answers, the batch is not at fault and the secret is not told.
func TestTokenFails(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"invalid client": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(401)
			fmt.Fprint(w, `{"error":"invalid_client","error_description":"AADSTS7000215: `+sinktest.Secret+`"}`)
		},
		"bad request": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(400)
			fmt.Fprint(w, `{"error":"invalid_request"}`)
		},
		"busy":     func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", "9"); w.WriteHeader(429) },
		"half":     func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"access_token":"ab`) },
		"no token": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"token_type":"Bearer","expires_in":9}`) },
		"redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "https://evil.example/", 307) },
	} {
		a := &azure{t: t, token: answer}
		fault := sinktest.Fault(t, open(t, a, sinktest.Noon).Send(t.Context(), sinktest.Batch(1)))
		if fault.Refused || a.requests != 0 || strings.Contains(fault.Error(), sinktest.Secret) || name == "busy" && fault.After != 9*time.Second {
			t.Errorf("%s: %v, refused %v, after %s", name, fault, fault.Refused, fault.After)
		}
	}
}

// TestAssertion: with a certificate the application proves itself by a PS256 assertion, with a workload identity by its
// token, read anew each time.
func TestAssertion(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	a := &azure{t: t}
	sink := open(t, a, sinktest.Noon, func(c *sentinel.Config) {
		c.ClientSecretFile = ""
		c.CertificateFile = sinktest.File(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
		c.CertificateKeyFile = sinktest.File(t, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
	})
	if err := sink.Send(t.Context(), sinktest.Batch(1)); err != nil {
		t.Fatal(err)
	}
	if a.form["client_assertion_type"][0] != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || a.form["client_secret"] != nil {
		t.Errorf("form = %v", a.form)
	}
	parts := strings.Split(a.form["client_assertion"][0], ".")
	var text [3][]byte
	for i, p := range parts {
		if text[i], err = base64.RawURLEncoding.DecodeString(p); err != nil {
			t.Fatal(err)
		}
	}
	thumb := sha256.Sum256(der)
	if want := `{"alg":"PS256","typ":"JWT","x5t#S256":"` + base64.RawURLEncoding.EncodeToString(thumb[:]) + `"}`; string(text[0]) != want {
		t.Errorf("header = %s, want %s", text[0], want)
	}
	var claims map[string]any
	if err := json.Unmarshal(text[1], &claims); err != nil || claims["iss"] != client || claims["sub"] != client || claims["jti"] == "" ||
		!strings.HasSuffix(claims["aud"].(string), "/"+tenant+"/oauth2/v2.0/token") || claims["exp"].(float64)-claims["nbf"].(float64) != 600 {
		t.Errorf("claims = %s, %v", text[1], err)
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPSS(&key.PublicKey, crypto.SHA256, sum[:], text[2], nil); err != nil {
		t.Errorf("signature: %v", err)
	}
	a = &azure{t: t}
	sink = open(t, a, sinktest.Noon, func(c *sentinel.Config) {
		c.ClientSecretFile, c.FederatedTokenFile = "", sinktest.File(t, "projected-token")
	})
	if err := sink.Send(t.Context(), sinktest.Batch(1)); err != nil || a.form["client_assertion"][0] != "projected-token" {
		t.Errorf("Send = %v, form %v", err, a.form)
	}
}

// TestBad throws every bad answer at the sink, and a body that is at fault.
func TestBad(t *testing.T) {
	sinktest.HTTP(t, func(t *testing.T, bad http.HandlerFunc) forward.Sink {
		return open(t, &azure{t: t, ingest: bad}, sinktest.Noon)
	})
	a := &azure{t: t, ingest: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("x-ms-error-code", "InvalidStream")
		w.WriteHeader(400)
	}}
	if fault := sinktest.Fault(t, open(t, a, sinktest.Noon).Send(t.Context(), sinktest.Batch(1))); !fault.Refused || !strings.Contains(fault.Error(), "InvalidStream") {
		t.Errorf("Send = %v", fault)
	}
}

// TestLimit: a batch that the limits allow is at most 1 MB as a body, even of the smallest messages.
func TestLimit(t *testing.T) {
	a := &azure{t: t}
	size := int64(0)
	a.ingest = func(w http.ResponseWriter, r *http.Request) { size = r.ContentLength; w.WriteHeader(204) }
	sink := open(t, a, sinktest.Noon)
	l := sink.Limits()
	batch := sinktest.Batch(l.Messages)
	each := l.Bytes/len(batch) - l.Overhead
	for i := range batch {
		batch[i].ID, batch[i].Data = strings.Repeat("i", 140), []byte(`"`+strings.Repeat("x", each-2)+`"`)
		batch[i].Kind, batch[i].Cluster = strings.Repeat("k", 63), strings.Repeat("c", 63)
	}
	if err := sink.Send(t.Context(), batch); err != nil || size > 1_000_000 || size < 500_000 {
		t.Errorf("Send = %v, body of %d bytes, want at most 1,000,000", err, size)
	}
}
