// Package signatures shows, on real registries, who is found to have signed an image. It shows what a signature counts for, what it does not, and
// what registries that lie, fail or attack get.
package signatures

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"

	"ringfence.dev/ringfence/cli"
	"ringfence.dev/ringfence/image/registry"
	"ringfence.dev/ringfence/image/signature"
	"ringfence.dev/ringfence/internal/ringfencetest"
)

// distribution runs the OCI distribution registry, which has no referrers API, until the test ends.
func distribution(t *testing.T) (host string) {
	t.Helper()
	host, _ = ringfencetest.Registry(t)
	return host
}

// referrers runs a registry with the referrers API.
func referrers(t *testing.T) (host string) {
	t.Helper()
	s := httptest.NewServer(ggcr.New(ggcr.WithReferrersSupport(true)))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// push pushes a new image, and returns it by its digest.
func push(t *testing.T, reference string) (pinned string) {
	t.Helper()
	image, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(reference)
	if err == nil {
		err = remote.Write(ref, image)
	}
	if err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return ref.Context().Digest(digest.String()).Name()
}

// pair writes a key pair into a folder and returns the files.
func pair(t *testing.T) (private *ecdsa.PrivateKey, key, pub string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	key, pub = filepath.Join(dir, "bank.key"), filepath.Join(dir, "bank.pub")
	for file, block := range map[string]*pem.Block{key: {Type: "PRIVATE KEY", Bytes: der}, pub: {Type: "PUBLIC KEY", Bytes: public}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return private, key, pub
}

// ringfence runs a command and returns its exit code and what it printed.
func ringfence(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = cli.Main(t.Context(), args, cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Now: time.Now})
	return code, out.String(), errs.String()
}

// want runs a command that must end with an exit code and say words.
func want(t *testing.T, code int, words string, args ...string) (stdout string) {
	t.Helper()
	got, out, errs := ringfence(t, args...)
	if got != code || !strings.Contains(out+errs, words) {
		t.Errorf("ringfence %s: exit code %d, want %d with %q; it said\n%s%s", strings.Join(args, " "), got, code, words, out, errs)
	}
	return out
}

// TestSigned: what is signed is verified, in a registry with the referrers API and in one without.
func TestSigned(t *testing.T) {
	for kind, start := range map[string]func(*testing.T) string{"distribution": distribution, "referrers API": referrers} {
		t.Run(kind, func(t *testing.T) {
			host := start(t)
			_, key, pub := pair(t)
			_, _, other := pair(t)
			tag := host + "/payments/api:1"
			image := push(t, tag)
			want(t, 1, "nobody who counts has signed it", "image", "verify", image, "--key", pub)

			if out := want(t, 0, "signed; the bundle is", "image", "sign", tag, "--key", key); strings.TrimSpace(out) != image {
				t.Errorf("it signed %s; want %s", out, image)
			}
			if out := want(t, 0, "signed by key bank.pub", "image", "verify", tag, "--key", pub); strings.TrimSpace(out) != image {
				t.Errorf("it verified %s; want %s", out, image)
			}
			want(t, 0, "signed by key bank.pub", "image", "verify", image, "--key", other, "--key", pub)
			want(t, 1, "does not count", "image", "verify", image, "--key", other)

			moved := push(t, tag)
			want(t, 1, moved, "image", "verify", tag, "--key", pub)
			want(t, 0, image, "image", "verify", image, "--key", pub)
			t.Run("statement", func(t *testing.T) { statement(t, image, key, pub) })
			t.Run("of another image", func(t *testing.T) { ofAnother(t, host, image, pub) })
			t.Run("json", func(t *testing.T) { asJSON(t, image, pub) })
		})
	}
}

// statement: a statement is no signature of the image, and is found by its type.
func statement(t *testing.T, image, key, pub string) {
	file := filepath.Join(t.TempDir(), "provenance.json")
	if err := os.WriteFile(file, []byte(`{"builder":{"id":"https://ci.bank.example"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	const slsa = "https://slsa.dev/provenance/v1"
	want(t, 1, "not what was asked for", "image", "verify", image, "--key", pub, "--attestation", slsa)
	want(t, 1, "nobody who counts has signed a statement of predicate "+slsa, "image", "verify", image, "--key", pub, "--attestation", slsa)
	want(t, 0, "", "image", "sign", image, "--key", key, "--predicate", file, "--type", slsa)
	out := want(t, 0, "https://ci.bank.example", "image", "verify", image, "--key", pub, "--attestation", slsa)
	var s struct {
		Subject []struct{ Digest map[string]string }
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil || len(s.Subject) != 1 || "sha256:"+s.Subject[0].Digest["sha256"] != image[strings.Index(image, "@")+1:] {
		t.Errorf("the statement is %s (%v)", out, err)
	}
}

// ofAnother: a bundle that signs one image, hung on another, does not count there.
func ofAnother(t *testing.T, host, signed, pub string) {
	c, err := registry.New(registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	resolve := func(reference string) registry.Image {
		image, err := c.Resolve(t.Context(), reference)
		if err != nil {
			t.Fatal(err)
		}
		return image
	}
	attached, err := c.Attached(t.Context(), resolve(signed))
	if err != nil || len(attached) == 0 {
		t.Fatalf("%d attached, %v", len(attached), err)
	}
	victim := push(t, host+"/payments/api:victim")
	for _, a := range attached {
		if _, err := c.Attach(t.Context(), resolve(victim), signature.MediaType, signature.PredicateImage, a.Content, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	want(t, 1, "does not count", "image", "verify", victim, "--key", pub)
}

func asJSON(t *testing.T, image, pub string) {
	out := want(t, 0, "", "image", "verify", image, "--key", pub, "-o", "json")
	var answer struct {
		SchemaVersion, Image string
		Verified             bool
		Signatures           []struct{ Key string }
		Refused              []any
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatal(err)
	}
	if !answer.Verified || answer.Image != image || len(answer.Signatures) != 1 || answer.Signatures[0].Key != "bank.pub" || answer.Refused == nil {
		t.Errorf("%s", out)
	}
}

// TestCosign: what cosign attached to tags before there were bundles counts, and only of the image that it names.
func TestCosign(t *testing.T) {
	host := distribution(t)
	private, _, pub := pair(t)
	image := push(t, host+"/payments/api:1")
	digest := image[strings.Index(image, "@")+1:]
	signed := func(of string) ([]byte, string) {
		text := fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":""},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, of)
		sum := sha256.Sum256(text)
		sig, err := private.Sign(rand.Reader, sum[:], crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		return text, base64.StdEncoding.EncodeToString(sig)
	}
	attach := func(tag string, text []byte, sig string) {
		layer := static.NewLayer(text, "application/vnd.dev.cosign.simplesigning.v1+json")
		carrier, err := mutate.Append(empty.Image, mutate.Addendum{Layer: layer, Annotations: map[string]string{"dev.cosignproject.cosign/signature": sig}})
		if err != nil {
			t.Fatal(err)
		}
		ref, err := name.NewTag(tag)
		if err == nil {
			err = remote.Write(ref, carrier)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	tag := host + "/payments/api:" + strings.Replace(digest, ":", "-", 1) + ".sig"
	text, sig := signed(digest)
	attach(tag, text, sig)
	want(t, 0, "signed by key bank.pub", "image", "verify", image, "--key", pub)

	attach(tag, bytes.Replace(text, []byte("null"), []byte("{}"), 1), sig)
	want(t, 1, "does not count", "image", "verify", image, "--key", pub)

	text, sig = signed("sha256:" + strings.Repeat("0", 64))
	attach(tag, text, sig)
	want(t, 1, "it signs another image", "image", "verify", image, "--key", pub)
}

// TestUsage: what cannot be read is told, and no password is shown.
func TestUsage(t *testing.T) {
	_, key, pub := pair(t)
	host := distribution(t)
	image := push(t, host+"/a:1")
	for words, args := range map[string][]string{
		"nobody's signature would count":        {"verify", image},
		"an identity counts by its certificate": {"verify", image, "--identity", "a", "--issuer", "b"},
		"want both, or neither":                 {"verify", image, "--identity", "a"},
		"want PEM":                              {"verify", image, "--key", "signatures_test.go"},
		"no such file":                          {"verify", image, "--key", "absent"},
		"could not parse reference":             {"verify", "!!", "--key", pub},
		"the registry has no such image":        {"verify", host + "/absent:1", "--key", pub},
		"want --digest with it":                 {"verify", "--bundle", "x", "--key", pub},
		"no --key":                              {"sign", image},
		"read the private key":                  {"sign", image, "--key", pub},
		"--predicate and --type":                {"sign", image, "--key", key, "--predicate", "x"},
	} {
		want(t, 2, words, slices.Concat([]string{"image"}, args)...)
	}
}
