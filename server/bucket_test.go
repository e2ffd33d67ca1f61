package server

import (
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/record"
)

// TestBucketSettings: region, endpoint, CA and credentials come from where AWS's own programs read them, credentials anew at
// every checkpoint; a certificate that nobody vouched for is refused, and no error tells a secret.
func TestBucketSettings(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var authorization, path string
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		authorization, path = r.Header.Get("Authorization"), r.URL.Path
		w.WriteHeader(http.StatusForbidden)
	}))
	defer s.Close()
	ca := write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	write(".aws/config", "[default]\nregion = eu-west-1\n[profile audit]\n# a comment\nregion=eu-central-1\n")
	write(".aws/credentials", "[default]\naws_access_key_id = ID1\naws_secret_access_key = hidden1\n[audit]\naws_access_key_id=ID2\naws_secret_access_key=hidden2\n")
	key, err := ledger.NewKey(filepath.Join(dir, "key"), "ringfence.dev/ledger/test")
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(ledger.Config{Dir: filepath.Join(dir, "ledger"), Key: key})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.Append(t.Context(), record.Record{ID: "a", Cluster: "local", Producer: "audit", Seq: 1, Time: time.Unix(1, 0).UTC(), Kind: "change.v1", Body: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		env  map[string]string
		want string // in what is sent, else in the error
	}{
		"profile":        {map[string]string{"AWS_ENDPOINT_URL_S3": s.URL, "AWS_CA_BUNDLE": ca, "AWS_PROFILE": "audit"}, "Credential=ID2/DAY/eu-central-1/s3/"},
		"default":        {map[string]string{"AWS_ENDPOINT_URL": s.URL, "AWS_CA_BUNDLE": ca}, "Credential=ID1/DAY/eu-west-1/s3/"},
		"environment":    {map[string]string{"AWS_ENDPOINT_URL": s.URL, "AWS_CA_BUNDLE": ca, "AWS_REGION": "r", "AWS_ACCESS_KEY_ID": "ID3", "AWS_SECRET_ACCESS_KEY": "hidden3"}, "Credential=ID3/DAY/r/s3/"},
		"nobody's":       {map[string]string{"AWS_ENDPOINT_URL": s.URL}, "x509"},
		"no credentials": {map[string]string{"AWS_ENDPOINT_URL": s.URL, "AWS_CA_BUNDLE": ca, "AWS_PROFILE": "other"}, `found no credentials`},
		"no CA":          {map[string]string{"AWS_ENDPOINT_URL": s.URL, "AWS_CA_BUNDLE": write("rubbish", "x")}, "found no certificate"},
		"plain":          {map[string]string{"AWS_ENDPOINT_URL": "http://s3.bank.example"}, "want https://HOST"},
		"password":       {map[string]string{"AWS_ENDPOINT_URL": "https://a:hidden4@s3.bank.example"}, "want https://HOST"},
		"no region":      {map[string]string{"AWS_PROFILE": "other"}, "AWS_REGION"},
	} {
		t.Run(name, func(t *testing.T) {
			authorization = ""
			place, err := bucketSettings{func(k string) string { return c.env[k] }, dir}.bucketPlace("bank-evidence/prod", l.Source())
			if err == nil {
				err = place.Publish(t.Context(), l.Checkpoint())
			}
			if err == nil || strings.Contains(err.Error(), "hidden") {
				t.Fatalf("error %v; want one without a secret", err)
			}
			got := authorization
			if got == "" {
				got = err.Error()
			} else if path != "/bank-evidence/prod/latest" {
				t.Errorf("path %s", path)
			}
			if want := strings.ReplaceAll(c.want, "DAY", time.Now().UTC().Format("20060102")); !strings.Contains(got, want) {
				t.Errorf("found %q, want %q in it", got, want)
			}
		})
	}
}
