// Package softhsm gives tests a token: SoftHSM, an HSM in software, in a folder of the test's own. It is for tests alone.
// A test is skipped, with the reason, where Debian's packages softhsm2 and opensc are not installed.
package softhsm

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// PIN is the token's.
const PIN = "13579135"

// label is the token's.
const label = "ringfence-test"

// Token is a token with the files that belong to it.
type Token struct {
	// PINFile holds the PIN.
	PINFile     string
	dir, module string
}

// New makes a token without keys. It sets SOFTHSM2_CONF for the test.
func New(t testing.TB) *Token {
	t.Helper()
	for _, program := range []string{"softhsm2-util", "pkcs11-tool"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("skipped: %v; install Debian's packages softhsm2 and opensc to test keys in tokens", err)
		}
	}
	dir := t.TempDir()
	h := &Token{PINFile: filepath.Join(dir, "pin"), dir: filepath.Join(dir, "tokens")}
	for _, module := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so"} {
		if _, err := os.Stat(module); err == nil {
			h.module = module
		}
	}
	if h.module == "" {
		t.Skip("skipped: found no libsofthsm2.so")
	}
	if err := os.Mkdir(h.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "softhsm2.conf")
	if err := os.WriteFile(conf, []byte("directories.tokendir = "+h.dir+"\nlog.level = ERROR\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	h.SetPIN(t, PIN)
	run(t, "softhsm2-util", "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "24682468")
	return h
}

// MakeKey makes an Ed25519 key in the token; id is in hexadecimal.
func (h *Token) MakeKey(t testing.TB, object, id string) {
	t.Helper()
	run(t, "pkcs11-tool", "--module", h.module, "--token-label", label, "--login", "--pin", PIN, "--keypairgen", "--key-type", "EC:edwards25519", "--label", object, "--id", id)
}

// URI is the address of the key with an attribute, for instance object=ledger.
func (h *Token) URI(attribute string) string {
	return "pkcs11:token=" + label + ";" + attribute + "?module-path=" + h.module + "&pin-source=file:" + h.PINFile
}

// SetPIN writes the file with the PIN, and leaves the token's as it is.
func (h *Token) SetPIN(t testing.TB, pin string) {
	t.Helper()
	if err := os.WriteFile(h.PINFile, []byte(pin+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Remove takes the token away until back is called.
func (h *Token) Remove(t testing.TB) (back func()) {
	t.Helper()
	aside := h.dir + ".aside"
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	move(h.dir, aside)
	if err := os.Mkdir(h.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := os.RemoveAll(h.dir); err != nil {
			t.Fatal(err)
		}
		move(aside, h.dir)
	}
}

// run runs a program that must succeed.
func run(t testing.TB, program string, args ...string) {
	t.Helper()
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", program, err, out)
	}
}
