package registry

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// TestDown: what would be answered to whatever was asked is told from what is one repository's or one image's affair.
func TestDown(t *testing.T) {
	answering := func(h http.HandlerFunc) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/" {
				h(w, r)
			}
		}))
		t.Cleanup(s.CloseClientConnections)
		t.Cleanup(s.Close)
		return strings.TrimPrefix(s.URL, "http://")
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	c, err := New(Options{Alone: true})
	if err != nil {
		t.Fatal(err)
	}
	for what, tc := range map[string]struct {
		host string
		want bool
	}{
		"nobody listens":        {strings.TrimPrefix(gone.URL, "http://"), true},
		"too many questions":    {answering(status(http.StatusTooManyRequests)), true},
		"a fault of its own":    {answering(status(http.StatusNotImplemented)), true},
		"where credentials are": {"169.254.169.254", false},
		"not these credentials": {answering(status(http.StatusUnauthorized)), false},
		"no such image":         {answering(status(http.StatusNotFound)), false},
		"leads elsewhere": {answering(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1"+r.URL.Path, http.StatusTemporaryRedirect)
		}), false},
	} {
		_, err := c.Resolve(t.Context(), tc.host+"/a:1")
		if err == nil || Down(err) != tc.want {
			t.Errorf("%s: down is %v, want %v: %v", what, Down(err), tc.want, err)
		}
	}
	if Down(nil) || Down(ErrMissing) {
		t.Error("no error is down")
	}
}

// TestHost: the registry is the one that the reference itself names.
func TestHost(t *testing.T) {
	for reference, want := range map[string]string{"r.example:5000/a/b@sha256:" + strings.Repeat("a", 64): "r.example:5000", "docker.io/library/a:1": "index.docker.io",
		"payments/api:1": "", "bank/payments/api:1": "", "!!": ""} {
		if got, err := Host(reference); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; want %q", reference, got, err, want)
		}
	}
}

// TestAttachedBounded: of all that is attached to one image only so much is read, in one piece or in many.
func TestAttachedBounded(t *testing.T) {
	s := httptest.NewServer(ggcr.New(ggcr.WithReferrersSupport(true)))
	t.Cleanup(s.Close)
	open, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	tight, err := New(Options{Attached: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	tag := strings.TrimPrefix(s.URL, "http://") + "/payments/api:1"
	made, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	at, err := open.Resolve(t.Context(), tag)
	if !errors.Is(err, ErrMissing) {
		t.Fatalf("%v, %v", at, err)
	}
	ref, err := name.ParseReference(tag)
	if err == nil {
		err = remote.Write(ref, made)
	}
	if err != nil {
		t.Fatal(err)
	}
	if at, err = open.Resolve(t.Context(), tag); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		bundle := strings.Repeat(" ", 4000) + strings.Repeat("a", n)
		if _, err := open.Attach(t.Context(), at, bundleType+".v0.3+json", "x", []byte(bundle), time.Unix(int64(n), 0)); err != nil {
			t.Fatal(err)
		}
		all, err := tight.Attached(t.Context(), at)
		if fits := n < 2; (err == nil) != fits || fits && len(all) != n+1 {
			t.Errorf("of %d attached %d are read, %v", n+1, len(all), err)
		}
	}
	if all, err := open.Attached(t.Context(), at); err != nil || len(all) != 3 {
		t.Errorf("%d attached, %v", len(all), err)
	}
}
