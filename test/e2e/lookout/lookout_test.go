package lookout

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/image/registry"
	"ringfence.dev/ringfence/image/signature"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/server"
	"ringfence.dev/ringfence/tenant"
)

// TestLookout: the control plane sees by itself that what was refused is signed. What is unsigned, signed by another key, or bears the
// signature of another digest stays refused; so does all that a registry says which lies, fails or attacks.
func TestLookout(t *testing.T) {
	if cluster == nil {
		t.Skip(clustertest.ErrUnavailable)
	}
	dir, err := os.MkdirTemp("", "rf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := &bed{admin: ringfencetest.Client(t, cluster.Config), team: ringfencetest.As(t, cluster.Config, "oidc:dave@bank.example", "oidc:payments-admins"),
		facts: t.TempDir(), socket: filepath.Join(dir, "s")}
	host, stop := ringfencetest.Registry(t)
	key, pub := pair(t)
	stranger, _ := pair(t)
	signed, unsigned, wrong, borrowed := push(t, host+"/payments/api:1"), push(t, host+"/payments/api:2"), push(t, host+"/payments/api:3"), push(t, host+"/payments/api:4")
	sign(t, signed, key)
	sign(t, wrong, stranger)
	borrow(t, signed, borrowed)
	victim := push(t, host+"/payments/victim:1")
	b.scan(t, signed, unsigned, wrong, borrowed, victim)
	bad, elsewhere := hostile(t, host)
	var hosts []string
	for _, h := range bad {
		hosts = append(hosts, h.host)
	}
	ringfencetest.Start(t, cluster.Config, server.Config{ImageFacts: b.facts, Evidence: filepath.Join(dir, "evidence"), AuditFile: auditFile, Socket: b.socket,
		Registries: server.RegistriesConfig{Signatures: true}}, slog.LevelInfo)
	b.onboard(t, pub, append(hosts, host)...)

	t.Run("signed", func(t *testing.T) { b.becomes(t, signed) })
	t.Run("not signed as demanded", func(t *testing.T) { b.stays(t, unsigned, wrong, borrowed) })
	t.Run("hostile registries", func(t *testing.T) { b.attacked(t, bad, victim, elsewhere) })
	t.Run("signed later", func(t *testing.T) {
		sign(t, unsigned, key)
		b.becomes(t, unsigned)
	})
	t.Run("what runs, under another key", func(t *testing.T) { b.runs(t, signed) })
	t.Run("the registry is down", func(t *testing.T) {
		late := push(t, host+"/payments/api:5")
		b.scan(t, late)
		stop()
		ringfencetest.Eventually(t, "the registry to be known as down", func() error {
			if err := ringfencetest.RefusedBy(b.try(t, late), signedID); err != nil {
				return err
			}
			if n := b.metric(t, "ringfence_signature_registries_down"); n == "" || n == "0" {
				return fmt.Errorf("%s registries are down", n)
			}
			return nil
		})
		if err := b.try(t, signed); err != nil {
			t.Errorf("what was known to be signed: %v", err)
		}
	})
}

// becomes: an image is refused, and admitted moments later with nobody's help.
func (b *bed) becomes(t *testing.T, reference string) {
	t.Helper()
	ringfencetest.Eventually(t, "it to be refused for its signature", func() error { return ringfencetest.RefusedBy(b.try(t, reference), signedID) })
	begun := time.Now()
	ringfencetest.Eventually(t, "it to be admitted", func() error { return b.try(t, reference) })
	t.Logf("admitted %s after it was refused", time.Since(begun).Round(100*time.Millisecond))
}

// stays: images that do not bear what is demanded are asked about and stay refused, and nothing is kept of them.
func (b *bed) stays(t *testing.T, references ...string) {
	t.Helper()
	before, _ := b.known(t)
	ringfencetest.Eventually(t, "their registry to be asked", func() error {
		for _, r := range references {
			if err := ringfencetest.RefusedBy(b.try(t, r), signedID); err != nil {
				return err
			}
		}
		if n := b.metric(t, `ringfence_signature_images{state="unknown"}`); n != fmt.Sprint(len(references)) {
			return fmt.Errorf("%s images are unknown", n)
		}
		if n := b.metric(t, `ringfence_signature_answers_total{answer="lacking"}`); len(n) < 2 && n < fmt.Sprint(len(references)) {
			return fmt.Errorf("%s answers said that one lacks it", n)
		}
		return nil
	})
	for _, r := range references {
		if err := ringfencetest.RefusedBy(b.try(t, r), signedID); err != nil {
			t.Errorf("%s: %v", r, err)
		}
	}
	if signed, lacking := b.known(t); !slices.Equal(signed, before) || len(lacking) > 0 {
		t.Errorf("known: %q signed, %q not", signed, lacking)
	}
}

// runs: of what runs is known what it lacks under the rule as it stands now, with nobody refused, and that it was signed anew.
func (b *bed) runs(t *testing.T, reference string) {
	if err := b.team.Create(t.Context(), pod("api", reference)); err != nil {
		t.Fatal(err)
	}
	key, pub := pair(t)
	rule := ""
	ringfencetest.Eventually(t, "the Platform to demand another key", func() error {
		var p v1alpha1.Platform
		if err := b.admin.Get(t.Context(), client.ObjectKey{Name: v1alpha1.PlatformName}, &p); err != nil {
			return err
		}
		p.Spec.Images.Trust = append([]v1alpha1.TrustRule{}, trust(t, pub))
		rule = tenant.TrustRules(&p)[0].ID()
		return b.admin.Update(t.Context(), &p)
	})
	ringfencetest.Eventually(t, "it to be known that it lacks that", func() error {
		if _, lacking := b.known(t); !slices.Contains(lacking, image.DigestOf(reference)) {
			return fmt.Errorf("lacking: %q under %s", lacking, rule)
		}
		return nil
	})
	sign(t, reference, key)
	b.becomes(t, reference)
}

// borrow hangs the signature of one image on another.
func borrow(t *testing.T, from, to string) {
	t.Helper()
	c, err := registry.New(registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	source, err := c.Resolve(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	target, err := c.Resolve(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	attached, err := c.Attached(t.Context(), source)
	if err != nil || len(attached) == 0 {
		t.Fatalf("%d attached, %v", len(attached), err)
	}
	for _, a := range attached {
		if _, err := c.Attach(t.Context(), target, signature.MediaType, signature.PredicateImage, a.Content, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
}

// attacker is a registry that attacks, and how often it was asked for more than whether it is there.
type attacker struct {
	what, host string
	asked      *atomic.Int64
}

// hostile are registries in front of a real one, and how often a host was asked that they send us to.
func hostile(t *testing.T, behind string) (all []attacker, elsewhere *atomic.Int64) {
	t.Helper()
	elsewhere = &atomic.Int64{}
	far := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(far.Close)
	away := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, to+r.URL.Path, http.StatusTemporaryRedirect)
		}
	}
	var turns atomic.Int64
	real := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: behind})
	for what, attack := range map[string]http.HandlerFunc{
		"redirects to another host":  away(far.URL),
		"redirects to a cloud's own": away("http://169.254.169.254"),
		"asks for a token elsewhere": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+far.URL+`/token",service="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		},
		"401 and 429 in turns": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader([]int{http.StatusUnauthorized, http.StatusTooManyRequests}[turns.Add(1)%2])
		},
		"a body without end": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
			for block := strings.Repeat(" ", 1<<20); r.Context().Err() == nil; {
				if _, err := fmt.Fprint(w, block); err != nil {
					return
				}
			}
		},
	} {
		asked := &atomic.Int64{}
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v2/" && what != "asks for a token elsewhere" {
				real.ServeHTTP(w, r)
				return
			}
			asked.Add(1)
			attack(w, r)
		}))
		t.Cleanup(s.CloseClientConnections)
		t.Cleanup(s.Close)
		all = append(all, attacker{what, strings.TrimPrefix(s.URL, "http://"), asked})
	}
	return all, elsewhere
}

// attacked: none of them has an image admitted, none sends us elsewhere, and each is asked few times.
func (b *bed) attacked(t *testing.T, all []attacker, victim string, elsewhere *atomic.Int64) {
	before, _ := b.known(t)
	repository := victim[strings.IndexByte(victim, '/'):]
	for _, a := range all {
		ringfencetest.Eventually(t, "a registry that "+a.what+" to be asked", func() error {
			if err := ringfencetest.RefusedBy(b.try(t, a.host+repository), signedID); err != nil {
				return err
			}
			if a.asked.Load() == 0 {
				return fmt.Errorf("%s was not asked", a.what)
			}
			return nil
		})
	}
	time.Sleep(3 * time.Second) // for what they sent to have its way
	for _, a := range all {
		if err := ringfencetest.RefusedBy(b.try(t, a.host+repository), signedID); err != nil {
			t.Errorf("%s: %v", a.what, err)
		}
		t.Logf("%s: asked %d times", a.what, a.asked.Load())
	}
	if n := elsewhere.Load(); n > 0 {
		t.Errorf("another host was asked %d times", n)
	}
	if signed, lacking := b.known(t); !slices.Equal(signed, before) || len(lacking) > 0 {
		t.Errorf("known: %q signed, %q not", signed, lacking)
	}
}
