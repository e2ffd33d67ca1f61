package signatures

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

const zeros = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

// TestHostile: registries that lie, fail or attack. None makes an image verified, and none holds the command for ever.
func TestHostile(t *testing.T) {
	_, _, pub := pair(t)
	var turns atomic.Int64
	index := func(entry string, n int) string {
		return `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[` +
			strings.TrimSuffix(strings.Repeat(entry+",", n), ",") + `]}`
	}
	entry := fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":2}`, zeros)
	referrersAre := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.Contains(r.URL.Path, "/referrers/"):
				w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
				fmt.Fprint(w, body)
			case strings.Contains(r.URL.Path, "/manifests/"):
				w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
				fmt.Fprint(w, `{"schemaVersion":2}`)
			}
		}
	}
	for what, c := range map[string]struct {
		answer http.HandlerFunc
		code   int
		words  string
	}{
		"lies about a digest": {referrersAre(index(entry, 1)), 3, "does not match requested digest"},
		"no end of referrers": {referrersAre(index(entry, 5000)), 2, "want at most 200"},
		"redirects to where credentials are": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data/", http.StatusTemporaryRedirect)
		}, 3, "hands out credentials"},
		"never ends": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v2/" {
				return
			}
			w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
			for r.Context().Err() == nil {
				if _, err := fmt.Fprint(w, strings.Repeat(" ", 1<<10)); err != nil {
					return
				}
				if f, ok := w.(http.Flusher); ok {
					f.Flush()
				}
			}
		}, 3, "the registry gave no answer"},
		"429 and 401 in turns": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v2/" {
				return
			}
			if turns.Add(1)%2 == 1 {
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			w.WriteHeader(http.StatusUnauthorized)
		}, 3, "the registry gave no answer"},
		"a page": {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>sign in</html>") }, 3, "the registry gave no answer"},
	} {
		t.Run(what, func(t *testing.T) {
			s := httptest.NewServer(c.answer)
			t.Cleanup(s.CloseClientConnections)
			t.Cleanup(s.Close)
			want(t, c.code, c.words, "image", "verify", strings.TrimPrefix(s.URL, "http://")+"/a@"+zeros, "--key", pub, "--timeout", "5s")
		})
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	want(t, 3, "the registry gave no answer", "image", "verify", l.Addr().String()+"/a:1", "--key", pub)
}
