package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// TestAlone: a registry that sends its client elsewhere is not followed by one that asks nobody else. The same registry is followed by one
// that does, so that what is shown is the setting and not the registry.
func TestAlone(t *testing.T) {
	var reached atomic.Int64
	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reached.Add(1)
		fmt.Fprint(w, `{"token":"t"}`)
	}))
	t.Cleanup(stranger.Close)
	for what, h := range map[string]http.HandlerFunc{
		"redirects": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/" {
				http.Redirect(w, r, stranger.URL+r.URL.Path, http.StatusTemporaryRedirect)
			}
		},
		"gives out tokens elsewhere": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+strings.Replace(stranger.URL, "127.0.0.1", "localhost", 1)+`/token",service="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		},
	} {
		for _, alone := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, alone %v", what, alone), func(t *testing.T) {
				s := httptest.NewServer(h)
				t.Cleanup(s.Close)
				c, err := New(Options{Alone: alone})
				if err != nil {
					t.Fatal(err)
				}
				reached.Store(0)
				_, _ = c.Resolve(t.Context(), strings.TrimPrefix(s.URL, "http://")+"/a:1")
				if n := reached.Load(); (n == 0) != alone {
					t.Errorf("the other host was asked %d times", n)
				}
			})
		}
	}
	c, err := New(Options{Alone: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Resolve(t.Context(), "169.254.169.254/a:1"); err == nil || !strings.Contains(err.Error(), "hands out credentials") {
		t.Error(err)
	}
	plain := httptest.NewRequest(http.MethodGet, "http://10.0.0.1/v2/", nil)
	if _, err := (&road{next: http.DefaultTransport, hosts: []string{"10.0.0.1"}}).RoundTrip(plain); err == nil || !strings.Contains(err.Error(), "want https") {
		t.Error(err)
	}
	for address, foreign := range map[string]bool{"127.0.0.1:1": true, "[::1]:1": true, "0.0.0.0:1": true, "[::ffff:127.0.0.1]:1": true, "169.254.169.254:80": false, "[fe80::1]:1": false, "[fd00:ec2::254]:1": false} {
		if refuse(address, foreign) == nil {
			t.Errorf("a connection to %s is made", address)
		}
	}
	for _, address := range []string{"127.0.0.1:1", "10.0.0.1:1"} {
		if err := refuse(address, false); err != nil {
			t.Error(err)
		}
	}
}

// TestCredentials: a registry that wants a password gets the one that the file has for it, as the file is then, and no other registry does.
func TestCredentials(t *testing.T) {
	behind := ggcr.New()
	var shown atomic.Value
	shown.Store("")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, ok := r.BasicAuth()
		if shown.Store(password); !ok || user != "reader" || password != "secret-2" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		behind.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	host := strings.TrimPrefix(s.URL, "http://")
	file := filepath.Join(t.TempDir(), "auths.json")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"auths":{"https://` + host + `/payments":{"username":"reader","password":"secret-2"}}}`)
	image, err := random.Image(16, 1)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(host + "/payments/api:1")
	if err == nil {
		err = remote.Write(ref, image, remote.WithAuthFromKeychain(pullSecret(file)))
	}
	if err != nil {
		t.Fatal(err)
	}
	want, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Options{Alone: true, Auths: file})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Resolve(t.Context(), ref.Name()); err != nil || got.Digest() != want.String() {
		t.Errorf("%v, %v; want %s", got, err, want)
	}
	for text, word := range map[string]string{
		`{"auths":{"` + host + `":{"username":"reader","password":"secret-1"}}}`:                                                              "refuses these credentials",
		`{"auths":{"other.example":{"username":"reader","password":"secret-2"},"` + host + `0":{"username":"reader","password":"secret-2"}}}`: "refuses these credentials",
		`{"auths":{"` + host + `":{"auth":"secret-2`:                                                                                          "want {\"auths\"",
	} {
		write(text)
		shown.Store("")
		_, err := c.Resolve(t.Context(), ref.Name())
		if !errors.Is(err, ErrAway) || !strings.Contains(err.Error(), word) || strings.Contains(err.Error(), "secret-") {
			t.Errorf("%s: %v; want %q", text, err, word)
		}
		if word != "refuses these credentials" || strings.Contains(text, "secret-2") {
			if shown.Load() == "secret-2" {
				t.Error("the password of another registry was shown")
			}
		}
	}
}

// TestKept: a registry is asked once for many who ask at once, and where it gives no answer its last one counts for a while. A tag that it
// no longer has is not kept.
func TestKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		digest := "sha256:" + strings.Repeat("a", 64)
		at, err := name.NewDigest("r.example/a@" + digest)
		if err != nil {
			t.Fatal(err)
		}
		var asked atomic.Int64
		var fault error
		hangs := false
		tags := &Tags{now: time.Now, asking: make(chan struct{}, 2), known: map[string]meant{}, ask: func(ctx context.Context, _ string) (Image, error) {
			asked.Add(1)
			if hangs {
				<-ctx.Done()
				return Image{}, fmt.Errorf("%w: %w", ErrAway, ctx.Err())
			}
			time.Sleep(10 * time.Millisecond)
			return Image{at}, fault
		}}
		got := make(chan string)
		for range 50 {
			go func() {
				d, _, _ := tags.Digest(t.Context(), "r.example/a:1")
				got <- d
			}()
		}
		for range 50 {
			if d := <-got; d != digest {
				t.Errorf("got %q", d)
			}
		}
		if n := asked.Load(); n != 1 {
			t.Errorf("asked %d times", n)
		}
		began := time.Now()
		hangs = true
		time.Sleep(10 * time.Minute)
		d, since, err := tags.Digest(t.Context(), "r.example/a:1")
		if d != digest || err != nil || since.After(began) || since.IsZero() {
			t.Errorf("away: %q as of %v, %v", d, since, err)
		}
		time.Sleep(6 * time.Minute)
		if d, _, err := tags.Digest(t.Context(), "r.example/a:1"); d != "" || !errors.Is(err, ErrAway) {
			t.Errorf("away for long: %q, %v", d, err)
		}
		for i := range 5 { // no more than two are asked about, however many wait
			go func() { _, _, _ = tags.Digest(t.Context(), fmt.Sprintf("r.example/b:%d", i)) }()
		}
		synctest.Wait()
		if len(tags.asking) != 2 {
			t.Errorf("%d are asked about", len(tags.asking))
		}
		time.Sleep(tagWithin)
		synctest.Wait()
		hangs = false
		if _, _, err := tags.Digest(t.Context(), "r.example/a:1"); err != nil {
			t.Error(err)
		}
		fault = ErrMissing
		time.Sleep(time.Minute)
		if d, _, err := tags.Digest(t.Context(), "r.example/a:1"); d != "" || !errors.Is(err, ErrMissing) {
			t.Errorf("gone: %q, %v", d, err)
		}
		fault = ErrAway
		if d, _, _ := tags.Digest(t.Context(), "r.example/a:1"); d != "" {
			t.Errorf("gone, and then away: %q", d)
		}
	})
	for reference, ok := range map[string]bool{"r.example/a:1": true, "127.0.0.1:5000/a": true, "docker.io/library/a:1": true, "nginx:1": false, "harbor/a:1": false, "": false} {
		if err := spelledOut(reference); (err == nil) != ok {
			t.Errorf("%q: %v", reference, err)
		}
	}
}

// TestBounded: what is known is bounded, whatever is asked about.
func TestBounded(t *testing.T) {
	pinned, err := name.NewDigest("r.example/a@sha256:" + strings.Repeat("a", 64))
	if err != nil {
		t.Fatal(err)
	}
	tags := &Tags{now: time.Now, asking: make(chan struct{}, 1), known: map[string]meant{}, ask: func(context.Context, string) (Image, error) { return Image{pinned}, nil }}
	for i := range maxTags + 10 {
		if _, _, err := tags.Digest(t.Context(), fmt.Sprintf("r.example/a:%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(tags.known) != maxTags {
		t.Errorf("%d are known", len(tags.known))
	}
}
