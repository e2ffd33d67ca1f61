package signature_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ringfence.dev/ringfence/image/signature"
)

// Whom the cases of sigstore-conformance are signed by where they do not say.
const (
	usualIdentity = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main"
	usualIssuer   = "https://token.actions.githubusercontent.com"
)

// disagree are the cases in which the answer is another than the case wants, and why.
var disagree = map[string]string{
	"managed-key-happy-path": "its timestamp is of an authority that joined the public instance after the root that the module carries was written",
}

// TestConformance runs the verification cases of sigstore-conformance as they are. Those without a trusted root of their own are for the
// public instance, whose root comes with the module that verifies.
func TestConformance(t *testing.T) {
	cases := filepath.Join(fixtures(), "sigstore", "bundle-verify")
	dirs, err := filepath.Glob(filepath.Join(cases, "*", "bundle.sigstore.json"))
	if err != nil || len(dirs) == 0 {
		t.Skipf("skipped: no cases of sigstore-conformance in %s; RINGFENCE_FIXTURES names another folder", cases)
	}
	public := publicRoot(t)
	own, agreed, total, agreedOwn := 0, 0, 0, 0
	for _, file := range dirs {
		dir := filepath.Dir(file)
		name := filepath.Base(dir)
		_, err := os.Stat(filepath.Join(dir, "trusted_root.json"))
		has := err == nil
		wrong := conforms(t, dir, public)
		total++
		if has {
			own++
		}
		if why, known := disagree[name]; known {
			t.Logf("%s: disagrees: %s: %v", name, why, wrong)
			if wrong == nil {
				t.Errorf("%s agrees now: take it out of the list", name)
			}
			continue
		}
		if (wrong != nil) == strings.HasSuffix(name, "_fail") {
			agreed++
			if has {
				agreedOwn++
			}
			continue
		}
		t.Errorf("%s: verified with %v", name, wrong)
	}
	t.Logf("sigstore-conformance: %d of %d cases agree, %d of %d of those with a trusted root of their own", agreed, total, agreedOwn, own)
}

// conforms is nil where a case verifies.
func conforms(t *testing.T, dir string, public []byte) error {
	optional := func(name string) []byte {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return text
	}
	artifact := optional("artifact")
	if artifact == nil {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(dir), "a.txt"))
		if err != nil {
			t.Fatal(err)
		}
		artifact = text
	}
	trust := signature.Trust{Root: optional("trusted_root.json")}
	if trust.Root == nil {
		trust.Root = public
	}
	if key := optional("key.pub"); key != nil {
		trust.Keys = []signature.Key{{Name: "key.pub", PEM: key}}
	} else {
		who := signature.Identity{Subject: usualIdentity, Issuer: usualIssuer}
		if text := optional("identity"); text != nil {
			who.Subject = strings.TrimSpace(string(text))
		}
		if text := optional("issuer"); text != nil {
			who.Issuer = strings.TrimSpace(string(text))
		}
		trust.Identities = []signature.Identity{who}
	}
	v, err := signature.New(trust)
	if err != nil {
		return err
	}
	_, err = v.Content(optional("bundle.sigstore.json"), artifact)
	return err
}

// publicRoot is the trusted root of sigstore's public instance, which lies among the examples of the module.
func publicRoot(t *testing.T) []byte {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/sigstore/sigstore-go").Output()
	if err != nil {
		t.Fatalf("ask where the module lies: %v", err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "examples", "trusted-root-public-good.json"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// fixtures is the folder of what others wrote.
func fixtures() string {
	if dir := os.Getenv("RINGFENCE_FIXTURES"); dir != "" {
		return dir
	}
	return filepath.Join("..", "..", "..", "shared", "fixtures")
}
