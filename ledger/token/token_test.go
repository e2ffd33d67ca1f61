//go:build linux

package token_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/internal/softhsm"
	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/ledger/token"
	"ringfence.dev/ringfence/record"
)

const origin = "ringfence.dev/ledger/test"

func openKey(t testing.TB, uri string) ledger.Key {
	t.Helper()
	k, err := token.Open(t.Context(), uri, origin)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func openLog(t *testing.T, dir string, k ledger.Key) *ledger.Log {
	t.Helper()
	l, err := ledger.Open(ledger.Config{Dir: dir, Key: k})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func add(t *testing.T, l *ledger.Log, id string) error {
	t.Helper()
	_, err := l.Append(t.Context(), record.Record{ID: id, Cluster: "local", Producer: "audit", Seq: 1, Time: time.Unix(1, 0).UTC(), Kind: "change.v1", Body: []byte("{}")})
	return err
}

// TestSign: a signature of the token verifies as Ed25519, by a key found by its id among others, and the
// right label is no harm; a label of another key, and a message that is too long, are refused.
func TestSign(t *testing.T) {
	hsm := softhsm.New(t)
	hsm.MakeKey(t, "other", "01")
	hsm.MakeKey(t, "ledger", "02")
	k := openKey(t, hsm.URI("id=%02"))
	if same := openKey(t, hsm.URI("id=%02;object=ledger")); same.Public != k.Public || same.KeyHash() != k.KeyHash() {
		t.Errorf("by id %s, with the label %s", k.Public, same.Public)
	}
	for _, uri := range []string{hsm.URI("id=%02;object=other"), hsm.URI("id=%03"), strings.Replace(hsm.URI("id=%02"), "token=ring", "token=string", 1)} {
		if _, err := token.Open(t.Context(), uri, origin); !errors.Is(err, token.ErrToken) {
			t.Errorf("Open(%s) = %v, want ErrToken", uri, err)
		}
	}
	parts := strings.SplitN(k.Public, "+", 3)
	public, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	for _, message := range []string{"a", "ringfence.dev/ledger/test\n3\nabc=\n", strings.Repeat("x", 1024)} {
		signature, err := k.Sign([]byte(message))
		if err != nil || !ed25519.Verify(public[1:], []byte(message), signature) {
			t.Errorf("Sign of %d bytes = %x, %v", len(message), signature, err)
		}
	}
	if _, err := k.Sign(make([]byte, 1025)); !errors.Is(err, token.ErrToken) {
		t.Errorf("Sign of 1025 bytes = %v, want ErrToken", err)
	}
}

// TestPIN: the PIN is in no argument and no environment of the program, and in no error; a wrong one is tried once, and then not
// before its file changes, so that the token does not lock itself.
func TestPIN(t *testing.T) {
	hsm := softhsm.New(t)
	hsm.MakeKey(t, "ledger", "01")
	dir := t.TempDir()
	real, err := exec.LookPath("pkcs11-tool")
	if err != nil {
		t.Fatal(err)
	}
	seen := filepath.Join(dir, "seen")
	script := fmt.Sprintf("#!/bin/sh\ntr '\\0' '\\n' </proc/$$/cmdline >>%[1]s\ntr '\\0' '\\n' </proc/$$/environ >>%[1]s\nexec %[2]s \"$@\"\n", seen, real)
	if err := os.WriteFile(filepath.Join(dir, "pkcs11-tool"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	k := openKey(t, hsm.URI("id=%01"))
	if _, err := k.Sign([]byte("a")); err != nil {
		t.Fatal(err)
	}
	hsm.SetPIN(t, "86420864")
	for range 20 {
		if _, err = k.Sign([]byte("a")); !errors.Is(err, token.ErrPIN) || strings.Contains(err.Error(), "86420864") || !strings.Contains(err.Error(), "CKR_PIN_INCORRECT") {
			t.Fatalf("with a wrong PIN: %v, want ErrPIN that does not hold it", err)
		}
	}
	hsm.SetPIN(t, softhsm.PIN)
	if _, err := k.Sign([]byte("a")); err != nil {
		t.Errorf("with the right PIN again: %v", err)
	}
	text, err := os.ReadFile(seen)
	if err != nil || bytes.Contains(text, []byte(softhsm.PIN)) || bytes.Contains(text, []byte("86420864")) || bytes.Count(text, []byte("\n--sign\n")) != 3 {
		t.Errorf("%v; the program was started %d times to sign, want 3: one before, one with the wrong PIN, one after; and no PIN in\n%s", err, bytes.Count(text, []byte("\n--sign\n")), text)
	}
	if err := os.Chmod(hsm.PINFile, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Sign([]byte("a")); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("with a file that others may read: %v", err)
	}
}

// TestLedger: a ledger that a token signs; the token goes away and comes back, and nothing is lost; a key that is not the
// ledger's is refused; keys follow one another from a file into the token and back, and all stays verifiable.
func TestLedger(t *testing.T) {
	hsm := softhsm.New(t)
	hsm.MakeKey(t, "ledger", "01")
	hsm.MakeKey(t, "other", "02")
	first, err := ledger.NewKey(filepath.Join(t.TempDir(), "key"), origin)
	if err != nil {
		t.Fatal(err)
	}
	last, err := ledger.NewKey(filepath.Join(t.TempDir(), "key"), origin)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	l := openLog(t, dir, first)
	inToken := openKey(t, hsm.URI("id=%01"))
	if err := errors.Join(add(t, l, "a"), l.Rotate(inToken, "local", time.Unix(2, 0)), add(t, l, "b"), l.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.Open(ledger.Config{Dir: dir, Key: openKey(t, hsm.URI("id=%02"))}); !errors.Is(err, ledger.ErrWrongKey) {
		t.Errorf("Open with another key of the token = %v, want ErrWrongKey", err)
	}
	l = openLog(t, dir, inToken)
	back := hsm.Remove(t)
	if err := add(t, l, "c"); !errors.Is(err, token.ErrToken) || !strings.Contains(err.Error(), "Token gone") {
		t.Errorf("Append without the token = %v, want ErrToken that names the runbook", err)
	}
	back()
	for try := 0; ; try++ { // a failed ledger is read anew after a second
		if err = add(t, l, "c"); err == nil || try == 50 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err := errors.Join(err, l.Rotate(last, "local", time.Unix(3, 0)), add(t, l, "d")); err != nil {
		t.Fatal(err)
	}
	v, err := ledger.Verify(t.Context(), l.Source(), ledger.Keyring{first.Public}, nil)
	if err != nil || len(v.Keys) != 3 || v.Tree.N != 6 {
		t.Errorf("Verify = %+v, %v; want 6 entries and 3 keys", v, err)
	}
}

// TestURI: what cannot be used is refused, and no value of it is told.
func TestURI(t *testing.T) {
	const rest = "?module-path=/m.so&pin-source=file:/pin"
	for _, uri := range []string{"", "file:x", "pkcs11:", "pkcs11:token=t;id=%01", "pkcs11:id=%01" + rest, "pkcs11:token=t" + rest, "pkcs11:token=t;object=o" + rest, "pkcs11:token=t;token=u;id=%01" + rest,
		"pkcs11:token=t;id=%01;serial=1" + rest, "pkcs11:token=t;id=%01;type=public" + rest, "pkcs11:token=t;id=%zz" + rest, "pkcs11:token=;id=%01" + rest,
		"pkcs11:token=t;id=%01?module-path=m.so&pin-source=file:/pin", "pkcs11:token=t;id=%01?module-path=/m.so&pin-source=pin",
		"pkcs11:token=t;id=%01?module-path=/m.so&pin-value=975310", "pkcs11:token=t%00;id=%01" + rest} {
		if _, err := token.Open(t.Context(), uri, origin); !errors.Is(err, token.ErrURI) || strings.Contains(err.Error(), "975310") {
			t.Errorf("Open(%q) = %v, want ErrURI", uri, err)
		}
	}
}

// BenchmarkSign is one signature: a start of pkcs11-tool, a login and a signature. SoftHSM itself takes a small part of it.
func BenchmarkSign(b *testing.B) {
	hsm := softhsm.New(b)
	hsm.MakeKey(b, "ledger", "01")
	k := openKey(b, hsm.URI("id=%01"))
	for b.Loop() {
		if _, err := k.Sign([]byte("a")); err != nil {
			b.Fatal(err)
		}
	}
}
