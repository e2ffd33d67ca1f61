package registry_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ringfence.dev/ringfence/image/registry"
)

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	indexType    = "application/vnd.oci.image.index.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

func sum(text string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text))) }

func descriptor(kind, text string) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, kind, sum(text), len(text))
}

func manifest(config string, layers ...string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`, manifestType, config, strings.Join(layers, ","))
}

// shelf is a registry that serves what it has by digest, and does what it is told before.
type shelf struct {
	kept   map[string][2]string // media type and text, by digest
	before http.HandlerFunc     // true answers come after; nil: none
	asked  atomic.Int64
}

func (s *shelf) put(kind, text string) string {
	s.kept[sum(text)] = [2]string{kind, text}
	return sum(text)
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v2/" {
		return
	}
	s.asked.Add(1)
	if s.before != nil {
		s.before(w, r)
		return
	}
	s.serve(w, r)
}

func (s *shelf) serve(w http.ResponseWriter, r *http.Request) {
	one, ok := s.kept[filepath.Base(r.URL.Path)]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", one[0])
	w.Header().Set("Content-Length", fmt.Sprint(len(one[1])))
	if r.Method != http.MethodHead {
		fmt.Fprint(w, one[1])
	}
}

// newShelf has one good image.
func newShelf() (s *shelf, digest string) {
	s = &shelf{kept: map[string][2]string{}}
	s.put(configType, "{}")
	s.put(layerType, "layer")
	return s, s.put(manifestType, manifest(descriptor(configType, "{}"), descriptor(layerType, "layer")))
}

// fetch fetches an image of a registry into a folder.
func fetch(t *testing.T, handler http.Handler, digest string, within time.Duration) (*registry.Fetched, string, error) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	c, err := registry.New(registry.Options{Alone: true})
	if err != nil {
		t.Fatal(err)
	}
	at, err := registry.At(strings.TrimPrefix(server.URL, "http://")+"/ext/redis", digest)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	folder, err := registry.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	got, err := c.Fetch(ctx, at, folder, 1<<20)
	return got, dir, err
}

// TestFetch: what is there already is not fetched again, unless it is not what it is called.
func TestFetch(t *testing.T) {
	s, digest := newShelf()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	c, err := registry.New(registry.Options{Alone: true})
	if err != nil {
		t.Fatal(err)
	}
	at, err := registry.At(strings.TrimPrefix(server.URL, "http://")+"/ext/redis", digest)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	round := func(wanted int64) {
		t.Helper()
		folder, err := registry.OpenFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		before := s.asked.Load()
		got, err := c.Fetch(t.Context(), at, folder, 1<<20)
		if err != nil || got.Root.Digest.String() != digest || len(got.Platforms) != 1 || got.Size != int64(len("{}")+len("layer")) {
			t.Fatalf("Fetch: %+v, %v", got, err)
		}
		if asked := s.asked.Load() - before; asked != wanted {
			t.Errorf("%d requests, want %d", asked, wanted)
		}
	}
	round(3)
	round(0)
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.WriteFile(filepath.Join(blobs, strings.TrimPrefix(sum("layer"), "sha256:")), []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(blobs, "part-1"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	round(1)
	if _, err := os.Stat(filepath.Join(blobs, "part-1")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was interrupted is still there: %v", err)
	}
}

// TestForms: what is no image that may be taken is refused before its blobs are fetched.
func TestForms(t *testing.T) {
	config, layer := descriptor(configType, "{}"), descriptor(layerType, "layer")
	for what, c := range map[string]struct{ kind, text string }{
		"many layers":           {manifestType, manifest(config, strings.Split(strings.Repeat(layer+";", 300), ";")[:300]...)},
		"no layer":              {manifestType, manifest(config)},
		"too large":             {manifestType, manifest(config, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, layerType, sum("layer"), 2<<20))},
		"sizes that overflow":   {manifestType, manifest(config, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, layerType, sum("layer"), int64(1<<63-1)), fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, layerType, sum("x"), int64(1<<63-1)))},
		"a size below zero":     {manifestType, manifest(config, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":-5}`, layerType, sum("layer")))},
		"a layer elsewhere":     {manifestType, manifest(config, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":5,"urls":["https://elsewhere.example/x"]}`, layerType, sum("layer")))},
		"a foreign layer":       {manifestType, manifest(config, descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "layer"))},
		"a chart":               {manifestType, manifest(descriptor("application/vnd.cncf.helm.config.v1+json", "{}"), layer)},
		"about another image":   {manifestType, strings.TrimSuffix(manifest(config, layer), "}") + `,"subject":` + descriptor(manifestType, "x") + "}"},
		"both index and image":  {manifestType, strings.TrimSuffix(manifest(config, layer), "}") + `,"manifests":[` + descriptor(manifestType, "x") + "]}"},
		"schema 1":              {"application/vnd.docker.distribution.manifest.v1+json", `{"schemaVersion":1,"name":"x"}`},
		"not JSON":              {manifestType, "<html>"},
		"a media type of lies":  {manifestType, strings.Replace(manifest(config, layer), manifestType, "text/plain", 1)},
		"an empty index":        {indexType, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[]}`, indexType)},
		"an index in an index":  {indexType, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, indexType, descriptor(indexType, "x"))},
		"an index of thousands": {indexType, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, indexType, strings.TrimSuffix(strings.Repeat(descriptor(manifestType, "x")+",", 2000), ","))},
	} {
		t.Run(what, func(t *testing.T) {
			s, _ := newShelf()
			got, dir, err := fetch(t, s, s.put(c.kind, c.text), time.Minute)
			if !errors.Is(err, registry.ErrForm) {
				t.Errorf("Fetch = %+v, %v; want ErrForm", got, err)
			}
			if _, err := os.Stat(filepath.Join(dir, "blobs", "sha256", strings.TrimPrefix(sum("layer"), "sha256:"))); err == nil {
				t.Error("its layer was fetched")
			}
		})
	}
}

// TestHostile: a registry that lies, sends us elsewhere, never ends or cannot decide gives no image.
func TestHostile(t *testing.T) {
	away := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("another host was asked") }))
	t.Cleanup(away.Close)
	var turns atomic.Int64
	blob := "/blobs/" + sum("layer")
	for what, c := range map[string]struct {
		at     string // the path that is answered so; the rest is good
		before http.HandlerFunc
		wanted error
		words  string
	}{
		"another manifest than asked for": {"/manifests/", answer(manifestType, `{"schemaVersion":2}`), registry.ErrAway, "does not match"},
		"another blob than asked for":     {blob, answer(layerType, "liar!"), registry.ErrAway, ""},
		"a longer blob":                   {blob, answer(layerType, "layer and more"), nil, ""},
		"a shorter blob":                  {blob, answer(layerType, "lay"), nil, ""},
		"to another host": {blob, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, away.URL+"/x", http.StatusTemporaryRedirect)
		}, registry.ErrAway, "another host"},
		"to where credentials are": {blob, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data/iam/security-credentials/", http.StatusTemporaryRedirect)
		}, registry.ErrAway, "169.254.169.254"},
		"429 and 401 in turns": {"/", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader([]int{http.StatusTooManyRequests, http.StatusUnauthorized}[turns.Add(1)%2])
		}, registry.ErrAway, ""},
		"a body that never ends": {blob, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", layerType)
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<10)); err != nil {
					return
				}
			}
		}, nil, ""},
		"a body that stands still": {blob, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, nil, ""},
	} {
		t.Run(what, func(t *testing.T) {
			s, digest := newShelf()
			s.before = func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, c.at) {
					c.before(w, r)
					return
				}
				s.serve(w, r)
			}
			got, dir, err := fetch(t, s, digest, 5*time.Second)
			if err == nil || c.wanted != nil && !errors.Is(err, c.wanted) || !strings.Contains(err.Error(), c.words) {
				t.Errorf("Fetch = %+v, %v; want %v with %q", got, err, c.wanted, c.words)
			}
			if _, err := os.Stat(filepath.Join(dir, "blobs", "sha256", strings.TrimPrefix(sum("layer"), "sha256:"))); err == nil {
				t.Error("what it gave was kept")
			}
		})
	}
}

func answer(kind, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		fmt.Fprint(w, text)
	}
}

// TestMetadataThroughProxy: a proxy would connect in our place, so the address is refused before it is asked.
func TestMetadataThroughProxy(t *testing.T) {
	c, err := registry.New(registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Resolve(t.Context(), "169.254.169.254/latest/meta-data:1"); err == nil || !strings.Contains(err.Error(), "hands out credentials") {
		t.Errorf("Resolve: %v", err)
	}
}

// TestPullSecret: the credentials of a pull secret reach its registry, and a bad one is told without what is in it.
func TestPullSecret(t *testing.T) {
	s, digest := newShelf()
	s.before = func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "desk" || password != "of this test" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		s.serve(w, r)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	for secret, wanted := range map[string]error{fmt.Sprintf(`{"auths":{%q:{"username":"desk","password":"of this test"}}}`, host): nil,
		fmt.Sprintf(`{"auths":{%q:{"username":"desk","password":"another"}}}`, host): registry.ErrAway} {
		c, err := registry.New(registry.Options{Alone: true, Auths: secretFile(t, secret)})
		if err != nil {
			t.Fatal(err)
		}
		at, err := registry.At(host+"/ext/redis", digest)
		if err != nil {
			t.Fatal(err)
		}
		folder, err := registry.OpenFolder(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Fetch(t.Context(), at, folder, 1<<20); !errors.Is(err, wanted) || err != nil && strings.Contains(err.Error(), "another") {
			t.Errorf("Fetch: %v, want %v", err, wanted)
		}
	}
	if _, err := registry.New(registry.Options{Auths: secretFile(t, `{"auths": "hunter2"}`)}); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("New with a bad pull secret: %v", err)
	}
}

func secretFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "auths.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestFetchToken: a token is longer than a small blob, and its bound is not the blob's. It serves all of an image.
func TestFetchToken(t *testing.T) {
	s, digest := newShelf()
	token, tokens := strings.Repeat("t", 4000), atomic.Int64{}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token":
			tokens.Add(1)
			fmt.Fprintf(w, `{"token":%q}`, token)
		case r.Header.Get("Authorization") != "Bearer "+token:
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			s.ServeHTTP(w, r)
		}
	})
	if _, _, err := fetch(t, handler, digest, time.Minute); err != nil {
		t.Fatal(err)
	}
	if n := tokens.Load(); n != 1 {
		t.Errorf("%d tokens were asked for; want 1", n)
	}
}
