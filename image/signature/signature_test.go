package signature_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"ringfence.dev/ringfence/image/signature"
)

const digest = "sha256:1111111111111111111111111111111111111111111111111111111111111111"

// keys makes a private key and its public one in PEM.
func keys(t testing.TB) (private, public []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := cryptoutils.MarshalPublicKeyToPEM(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), shown
}

// TestSign: what a key signs counts where the key does, for that digest alone.
func TestSign(t *testing.T) {
	private, public := keys(t)
	_, stranger := keys(t)
	signer, err := signature.NewSigner(private, nil)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := signer.Sign("registry.bank.example/api", digest, signature.PredicateImage, nil)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(key []byte, text, digest string) (signature.Signature, error) {
		v, err := signature.New(signature.Trust{Keys: []signature.Key{{Name: "bank", PEM: key}}})
		if err != nil {
			t.Fatal(err)
		}
		return v.Bundle([]byte(text), digest)
	}
	s, err := verify(public, string(bundle), digest)
	if err != nil || s.Key != "bank" || s.Predicate != signature.PredicateImage || !s.At.IsZero() {
		t.Fatalf("%+v, %v", s, err)
	}
	for what, text := range map[string]string{
		"a changed statement": strings.Replace(string(bundle), `"payload":"`, `"payload":"IA`, 1),
		"no signature":        strings.Replace(string(bundle), `"signatures":`, `"x":`, 1),
		"half of it":          string(bundle[:len(bundle)/2]),
		"nothing":             "",
		"null":                "null",
	} {
		if s, err := verify(public, text, digest); err == nil {
			t.Errorf("%s counts: %+v", what, s)
		}
	}
	if _, err := verify(stranger, string(bundle), digest); err == nil {
		t.Error("it counts as a stranger's")
	}
	for _, other := range []string{strings.Replace(digest, "1", "2", 1), "sha256:11", "sha512:" + digest[7:], ""} {
		if _, err := verify(public, string(bundle), other); err == nil {
			t.Errorf("it counts for %q", other)
		}
	}
}

// TestPassword: an encrypted key asks for its password, and does not show it.
func TestPassword(t *testing.T) {
	private, _, err := cryptoutils.GeneratePEMEncodedECDSAKeyPair(elliptic.P256(), cryptoutils.StaticPasswordFunc([]byte("correct horse")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signature.NewSigner(private, nil); !errors.Is(err, signature.ErrPassword) {
		t.Errorf("got %v", err)
	}
	if _, err := signature.NewSigner(private, []byte("wrong horse")); err == nil || strings.Contains(err.Error(), "horse") {
		t.Errorf("got %v", err)
	}
	if _, err := signature.NewSigner(private, []byte("correct horse")); err != nil {
		t.Error(err)
	}
}

// FuzzBundle: bytes from outside end in an error, never in a panic.
func FuzzBundle(f *testing.F) {
	private, public := keys(f)
	signer, err := signature.NewSigner(private, nil)
	if err != nil {
		f.Fatal(err)
	}
	bundle, err := signer.Sign("a", digest, signature.PredicateImage, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bundle, "")
	f.Add([]byte(`{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[{"sig":"MEUC"}]}`), `{"SignedEntryTimestamp":"AA==","Payload":{"body":"e30=","integratedTime":1,"logIndex":1,"logID":"aa"}}`)
	files, _ := filepath.Glob(filepath.Join(fixtures(), "sigstore", "bundle-verify", "*", "bundle.sigstore.json"))
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil {
			f.Add(text, string(text))
		}
	}
	v, err := signature.New(signature.Trust{Keys: []signature.Key{{Name: "bank", PEM: public}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte, log string) {
		if s, err := v.Bundle(text, digest); err == nil && s.Key != "bank" {
			t.Errorf("%+v", s)
		}
		annotations := map[string]string{"dev.cosignproject.cosign/signature": "MEUC", "dev.sigstore.cosign/bundle": log}
		if _, err := v.Cosign(text, annotations, digest); err == nil {
			t.Error("what nobody signed counts")
		}
		if _, err := v.Attestation(text, annotations, digest); err == nil {
			t.Error("what nobody signed counts")
		}
	})
}
