package evidence_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ringfence.dev/ringfence/evidence"
	"ringfence.dev/ringfence/ledger"
)

// TestPython: the verifier in docs, which shares no code with this one, verifies what is right and finds what is not.
func TestPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("skipped: python3 is not installed")
	}
	b, other := newBook(t, 310), newBook(t, 310)
	data := b.export(t, evidence.Filter{Tenant: "payments"}, b.early)
	files, names := parts(t, data)
	dir := t.TempDir()
	put := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	run := func(what string, code int, want string, data []byte, more ...string) {
		t.Helper()
		cmd := exec.Command(python, append([]string{"../docs/verify.py", put("bundle.zip", data)}, more...)...)
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != code || !strings.Contains(string(out), want) {
			t.Errorf("%s: exit code %d, want %d and %q:\n%.600s", what, got, code, want, out)
		}
	}
	first, early := put("key", []byte(b.keys[0]+"\n")), put("early", b.early)
	run("right", 0, "not independently anchored", data)
	run("right, with key and checkpoint", 0, "key: yours; anchored", data, "--key", first, "--checkpoint", early)
	run("right, with the second key", 0, "key: yours", data, "--key", put("second", []byte(b.keys[1]+"\n")))
	run("another key", 1, "another key", data, "--key", put("other", []byte(other.keys[0]+"\n")))
	run("another checkpoint", 1, "none of the keys", data, "--checkpoint", put("past", other.early))
	forged, honest := forge(t)
	run("signed anew", 0, "not independently anchored", forged)
	run("signed anew, and a checkpoint from outside", 1, "history was rewritten", forged, "--checkpoint", put("honest", honest))
	run("not comparable", 1, "leaves out", b.export(t, evidence.Filter{Kind: "overflow"}), "--checkpoint", early)
	run("cut", 2, "unreadable", data[:len(data)/2])
	run("no file", 2, "unreadable", nil)
	for _, name := range names {
		text := files[name]
		for _, at := range []int{0, len(text) / 3, len(text) - 2} {
			files[name] = slices.Clone(text)
			files[name][at] ^= 4
			run("a bit of "+name, 1, "NOT VERIFIED", pack(t, files, names))
		}
		files[name] = text
	}
	entries := strings.SplitAfter(string(files["entries.jsonl"]), "\n")
	entries[5], entries[6] = entries[6], entries[5]
	files["entries.jsonl"] = []byte(strings.Join(entries, ""))
	run("swapped entries", 1, "is not what was signed at this place", pack(t, files, names))
	files["entries.jsonl"] = bytes.Repeat([]byte("a"), 64<<20)
	run("a bomb", 1, "NOT VERIFIED", pack(t, files, names))
}

// forge makes a bundle of a ledger from which the second refusal is missing, signed by the
// key of the honest one, and a checkpoint of the honest one.
func forge(t *testing.T) (bundle, honest []byte) {
	t.Helper()
	k := key(t, "ringfence.dev/ledger/test")
	for _, from := range []int{1, 2} {
		b := book{dir: filepath.Join(t.TempDir(), "ledger"), keys: ledger.Keyring{k.Public}}
		l := opened(t, b.dir, k)
		for i := range 10 {
			if from == 2 && i == 1 {
				continue
			}
			if _, err := l.Append(t.Context(), refusal(i, "payments-dev")); err != nil {
				t.Fatal(err)
			}
			if from == 1 && i == 4 {
				honest = l.Checkpoint()
			}
		}
		bundle = b.export(t, evidence.Filter{})
	}
	return bundle, honest
}
