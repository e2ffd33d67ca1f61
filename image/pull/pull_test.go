package pull

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// password stands in no error, whatever a source answers.
const password = "the-bank's-password-of-the-scanner"

// one and two are images; what they are called differs in all digits.
var one, two = strings.Repeat("1", 64), strings.Repeat("2", 64)

var now = time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)

// source is a fake over TLS, and the Config that reaches it. Nothing is waited for: what is asked for is added up.
func source(t *testing.T, h http.HandlerFunc) (Config, *time.Duration) {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	trust := x509.NewCertPool()
	trust.AddCert(server.Certificate())
	waited := new(time.Duration)
	return Config{
		URL: at, TLS: &tls.Config{RootCAs: trust, MinVersion: tls.VersionTLS12}, User: "ringfence", Password: func() (string, error) { return password, nil },
		Now:  func() time.Time { return now },
		Wait: func(ctx context.Context, d time.Duration) error { *waited += d; return ctx.Err() },
	}, waited
}

// fetched is what came of a source: reports and missing ones by what they are about, and the error that ended it.
func fetched(t *testing.T, open func(Config) (Reports, error), c Config) (texts, missing map[string]string, ended error) {
	t.Helper()
	reports, err := open(c)
	if err != nil {
		t.Fatal(err)
	}
	texts, missing = map[string]string{}, map[string]string{}
	for r, err := range reports(t.Context()) {
		switch {
		case err == nil:
			texts[r.About] = string(r.Text)
		case errors.Is(err, ErrMissing):
			missing[r.About] = err.Error()
		default:
			ended = err
		}
		if err != nil && (strings.Contains(err.Error(), password) || strings.Contains(err.Error(), "token-")) {
			t.Errorf("the error shows a secret: %v", err)
		}
	}
	return texts, missing, ended
}

// platform answers as Qualys documents it: a token for four hours, a list with a link, details by image.
type platform struct {
	logins, lists, details atomic.Int64
	// expires is after how many requests a token is good no more; 0 for never.
	expires int64
	used    atomic.Int64
}

func (p *platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost && r.URL.Path == "/auth" {
		if r.PostFormValue("username") != "ringfence" || r.PostFormValue("password") != password || r.PostFormValue("token") != "true" || r.Header.Get("Authorization") != "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		p.used.Store(0)
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "token-%d\n", p.logins.Add(1))
		return
	}
	if r.Header.Get("Authorization") != fmt.Sprintf("Bearer token-%d", p.logins.Load()) || p.expires > 0 && p.used.Add(1) > p.expires {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	switch at, _ := strings.CutPrefix(r.URL.Path, "/csapi/v1.3/images/"); {
	case at == "list" && r.URL.Query().Get("paginationQuery") == "":
		if p.lists.Add(1) == 1 {
			w.Header().Set("X-RateLimit-ToWait-Sec", "7")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		// The host is another, there is no TLS, and the bracket is wrong: as in Qualys' sample.
		w.Header().Set("Link", `<http://qualysapi.example/csapi/v1.3/images/list?limit=50&paginationQuery=updated%3E%3D15+AND+not+uuid%3A+%5Bbc09%5D<;rel=next`)
		fmt.Fprintf(w, `{"data": [{"sha": %q, "vulnerabilities": [{"qid": 1}]}]}`, one)
	case at == "list" && r.URL.Query().Get("paginationQuery") == "updated>=15 AND not uuid: [bc09]":
		w.Header().Set("Link", "null")
		fmt.Fprintf(w, `{"data": [{"sha": %q}, {"sha": %q}]}`, one, two) // one was updated meanwhile
	case at == one:
		p.details.Add(1)
		fmt.Fprintf(w, `{"sha": %q, "vulnerabilities": []}`, one)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// TestQualys follows the list to its end on the bank's own gateway, waits as long as it is told, gets a new token when the old one is refused,
// and asks for each image once.
func TestQualys(t *testing.T) {
	for _, expires := range []int64{0, 1, 2} {
		p := &platform{expires: expires}
		c, waited := source(t, p.ServeHTTP)
		texts, missing, err := fetched(t, openQualys, c)
		if err != nil || len(texts) != 1 || len(missing) != 1 || p.details.Load() != 1 {
			t.Errorf("tokens for %d requests: %d reports, missing %v, %d details, %v; want one of each", expires, len(texts), missing, p.details.Load(), err)
		}
		if got := texts["sha256:"+one]; got != fmt.Sprintf(`{"sha": %q, "vulnerabilities": []}`, one) {
			t.Errorf("the report is %q; want it as it came", got)
		}
		if missing["sha256:"+two] == "" || *waited != 7*time.Second {
			t.Errorf("missing %v, waited %s; want the second image and 7s", missing, *waited)
		}
	}
}

// TestClair takes a report only of an image whose index ended well, with the time at which it was asked for, and shows who asks.
func TestClair(t *testing.T) {
	d := func(n int) string { return "sha256:" + strings.Repeat(fmt.Sprint(n), 64) }
	key := []byte("a key of Clair's psk, 32 bytes..")
	c, _ := source(t, func(w http.ResponseWriter, r *http.Request) {
		if fault := unsigned(r.Header.Get("Authorization"), key); fault != "" {
			t.Errorf("the token %s", fault)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		digest := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		index := strings.HasPrefix(r.URL.Path, "/indexer/api/v1/index_report/")
		switch {
		case digest == d(2):
			w.WriteHeader(http.StatusNotFound)
		case digest == d(3) && index:
			fmt.Fprintf(w, `{"manifest_hash": %q, "state": "IndexError", "success": false, "err": "no layer"}`, digest)
		case digest == d(4) && index:
			fmt.Fprintf(w, `{"manifest_hash": %q, "state": "IndexFinished", "success": true}`, d(1))
		case index:
			fmt.Fprintf(w, `{"manifest_hash": %q, "state": "IndexFinished", "success": true}`, digest)
		default:
			w.Header().Set("Age", "90")
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, "\n {\"manifest_hash\": %q, \"vulnerabilities\": {}}", digest)
		}
	})
	c.Password = func() (string, error) { return base64.StdEncoding.EncodeToString(key), nil }
	c.Images = []string{d(1), d(2), d(3), d(4)}
	texts, missing, err := fetched(t, openClair, c)
	if err != nil || len(missing) != 3 || len(texts) != 1 {
		t.Errorf("reports %v, missing %v, %v; want one and three", texts, missing, err)
	}
	want := fmt.Sprintf(`{"ringfenceScannedAt":"2026-11-21T07:58:30Z","manifest_hash": %q, "vulnerabilities": {}}`, d(1))
	if texts[d(1)] != want {
		t.Errorf("the report is %s\nwant %s", texts[d(1)], want)
	}
}

// unsigned says what is wrong with a token of Clair's psk.
func unsigned(header string, key []byte) string {
	parts := strings.Split(strings.TrimPrefix(header, "Bearer "), ".")
	if len(parts) != 3 {
		return "has not three parts"
	}
	sum := hmac.New(sha256.New, key)
	sum.Write([]byte(parts[0] + "." + parts[1]))
	if base64.RawURLEncoding.EncodeToString(sum.Sum(nil)) != parts[2] {
		return "is not signed with the key"
	}
	var claims struct {
		Issuer  string `json:"iss"`
		Expires int64  `json:"exp"`
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(text, &claims) != nil || claims.Issuer != "ringfence" || claims.Expires != now.Add(5*time.Minute).Unix() {
		return "has other claims: " + string(text)
	}
	return ""
}
