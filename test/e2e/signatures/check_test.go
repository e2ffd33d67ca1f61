package signatures

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"ringfence.dev/ringfence/image"
)

// platform writes a Platform whose rule demands the signature of a key for all below a host, and more lines of the rule.
func platform(t *testing.T, host, pub string, more ...string) (file string) {
	t.Helper()
	text, err := os.ReadFile(pub)
	if err != nil {
		t.Fatal(err)
	}
	rule := fmt.Sprintf("- name: bank\n  repositories: [%q]\n  keys:\n    - name: release\n      pem: |\n        %s\n", host+"/payments",
		strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", "\n        "))
	for _, line := range more {
		rule += "  " + line + "\n"
	}
	file = filepath.Join(t.TempDir(), "platform.yaml")
	whole := "apiVersion: ringfence.dev/v1alpha1\nkind: Platform\nmetadata: {name: platform}\nspec:\n  profile: standard\n  registries: [" + host + "]\n  images:\n    trust:\n      " +
		strings.ReplaceAll(strings.TrimSpace(rule), "\n", "\n      ") + "\n"
	if err := os.WriteFile(file, []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// pod writes a Pod of an image.
func pod(t *testing.T, reference string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "pod.yaml")
	text := "apiVersion: v1\nkind: Pod\nmetadata: {name: api, namespace: payments-dev}\nspec:\n  containers:\n    - {name: api, image: \"" + reference + "\"}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// signedID is the control that asks for signatures.
const signedID = "RF-IM-05"

// TestCheck: what a registry shows of an image becomes what `check` judges its digest by, and no other digest.
func TestCheck(t *testing.T) {
	host := distribution(t)
	_, key, pub := pair(t)
	_, stranger, _ := pair(t)
	bank := platform(t, host, pub)
	facts := filepath.Join(t.TempDir(), "signatures.json")
	tag := host + "/payments/api:1"
	signed := push(t, tag)
	want(t, 1, "signed by 0 who count, want 1", "image", "check", tag, "--platform", bank, "--signatures", facts)
	want(t, 1, "no signature that counts of", "check", pod(t, signed), "--platform", bank, "--platform", facts, "--only", signedID)

	want(t, 0, "", "image", "sign", tag, "--key", stranger)
	want(t, 1, "does not count", "image", "check", tag, "--platform", bank)
	want(t, 0, "", "image", "sign", tag, "--key", key)
	want(t, 0, "signed by key release", "image", "check", tag, "--platform", bank, "--signatures", facts)
	want(t, 0, "", "check", pod(t, signed), "--platform", bank, "--platform", facts, "--only", signedID)
	t.Run("the tag moves between resolve and pull", func(t *testing.T) {
		moved := push(t, tag)
		for _, reference := range []string{tag, moved, tag + "@" + moved[strings.Index(moved, "@")+1:]} {
			want(t, 1, "no signature known of", "check", pod(t, reference), "--platform", bank, "--platform", facts, "--only", signedID)
		}
		want(t, 1, moved, "image", "check", tag, "--platform", bank)
	})
	t.Run("another key", func(t *testing.T) {
		_, _, other := pair(t)
		want(t, 1, "no signature known of", "check", pod(t, signed), "--platform", platform(t, host, other), "--platform", facts, "--only", signedID)
	})
	t.Run("more is demanded", func(t *testing.T) {
		const slsa = "https://slsa.dev/provenance/v1"
		strict := platform(t, host, pub, "attestations: [\""+slsa+"\"]")
		want(t, 1, "no signed statement of type "+slsa, "image", "check", signed, "--platform", strict)
		file := filepath.Join(t.TempDir(), "provenance.json")
		if err := os.WriteFile(file, []byte(`{"builder":{"id":"https://ci.bank.example"}}`), 0o600); err != nil {
			t.Fatal(err)
		}
		want(t, 0, "", "image", "sign", signed, "--key", key, "--predicate", file, "--type", slsa)
		want(t, 0, "signed by key release", "image", "check", signed, "--platform", strict)
		want(t, 2, "minimum is more than there are keys", "image", "check", signed, "--platform", platform(t, host, pub, "minimum: 2"))
		want(t, 2, "want trustedRoot", "image", "check", signed, "--platform", platform(t, host, pub, "identities: [{subject: a, issuer: b}]"))
	})
	t.Run("covered by no rule", func(t *testing.T) {
		want(t, 1, "no trust rule covers it", "image", "check", push(t, host+"/other:1"), "--platform", bank, "-n", "payments-dev")
	})
	t.Run("unanswered", func(t *testing.T) { unanswered(t, host, signed, bank, facts) })
}

// unanswered: a registry that answers no more changes nothing of what is known, and lets in nothing new.
func unanswered(t *testing.T, host, signed, bank, facts string) {
	before, err := os.ReadFile(facts)
	if err != nil {
		t.Fatal(err)
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	away := strings.TrimPrefix(gone.URL, "http://")
	moved := filepath.Join(t.TempDir(), "platform.yaml")
	text, err := os.ReadFile(bank)
	if err == nil {
		err = os.WriteFile(moved, []byte(strings.ReplaceAll(string(text), host, away)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	want(t, 3, "the registry gave no answer", "image", "check", strings.Replace(signed, host, away, 1), "--platform", moved, "--signatures", facts)
	if after, err := os.ReadFile(facts); err != nil || string(after) != string(before) {
		t.Errorf("what was known became\n%s (%v)", after, err)
	}
}

// TestCheckHostile: a registry in the middle that lies, attacks or fails gets no image allowed, and sends us nowhere.
func TestCheckHostile(t *testing.T) {
	behind := distribution(t)
	_, key, pub := pair(t)
	other := push(t, behind+"/payments/other:1")
	want(t, 0, "", "image", "sign", other, "--key", key)
	victim := push(t, behind+"/payments/api:1")
	of := func(reference string) string { return reference[strings.Index(reference, "@")+1:] }
	var elsewhere atomic.Int64
	stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(stranger.Close)
	var turns atomic.Int64
	away := func(to string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/v2/" {
				return false
			}
			http.Redirect(w, r, to+r.URL.Path, http.StatusTemporaryRedirect)
			return true
		}
	}
	for what, attack := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"shows the signature of another digest": func(_ http.ResponseWriter, r *http.Request) bool {
			r.URL.Path = strings.NewReplacer("payments/api", "payments/other", of(victim), of(other), strings.Replace(of(victim), ":", "-", 1), strings.Replace(of(other), ":", "-", 1)).Replace(r.URL.Path)
			return false
		},
		"redirects to another host":  away(stranger.URL),
		"redirects to a cloud's own": away("http://169.254.169.254"),
		"asks for a token elsewhere": func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+stranger.URL+`/token",service="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		},
		"401 and 429 in turns": func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/v2/" {
				w.WriteHeader([]int{http.StatusUnauthorized, http.StatusTooManyRequests}[turns.Add(1)%2])
			}
			return r.URL.Path != "/v2/"
		},
		"a body without end": func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/v2/" {
				return false
			}
			w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
			block := strings.Repeat(" ", 1<<20)
			for r.Context().Err() == nil {
				if _, err := fmt.Fprint(w, block); err != nil {
					break
				}
			}
			return true
		},
	} {
		t.Run(what, func(t *testing.T) {
			to := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: behind})
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !attack(w, r) {
					to.ServeHTTP(w, r)
				}
			}))
			t.Cleanup(s.CloseClientConnections)
			t.Cleanup(s.Close)
			host := strings.TrimPrefix(s.URL, "http://")
			facts := filepath.Join(t.TempDir(), "signatures.json")
			reference := host + "/payments/api@" + of(victim)
			code, out, errs := ringfence(t, "image", "check", reference, "--platform", platform(t, host, pub), "--signatures", facts, "--timeout", "5s", "-o", "json")
			var answer struct {
				Images []struct{ Outcome image.Outcome }
			}
			if code == 0 || json.Unmarshal([]byte(out), &answer) != nil || len(answer.Images) != 1 || answer.Images[0].Outcome == image.Allow {
				t.Errorf("exit code %d\n%s%s", code, out, errs)
			}
			if n := elsewhere.Load(); n > 0 {
				t.Errorf("another host was asked %d times", n)
			}
			text, err := os.ReadFile(facts)
			if err != nil || strings.Contains(string(text), `"until"`) {
				t.Errorf("it is known that %s (%v)", text, err)
			}
			want(t, 1, "", "check", pod(t, reference), "--platform", platform(t, host, pub), "--platform", facts, "--only", signedID)
		})
	}
}
