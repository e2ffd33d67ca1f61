//go:build unix

package cli

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/record"
)

// books makes a ledger of n refusals and a gap in a folder, and gives a checkpoint of its first half.
func books(t *testing.T, dir string, n int) []byte {
	t.Helper()
	key, err := ledger.NewKey(filepath.Join(dir, "key"), "ringfence.dev/ledger/test")
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(ledger.Config{Dir: filepath.Join(dir, "ledger"), Key: key})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	noon := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	var half []byte
	for i := range n {
		body := fmt.Sprintf(`{"auditID":"a-%d","operation":"CREATE","refused":true,"subject":{"apiVersion":"v1","kind":"Pod","namespace":%q,"name":"p%d\u001b[31m"},"actor":{"ref":"hmac-sha256:%s"},"notPassed":[{"control":"RF-WL-05","outcome":"Fail","action":"Deny"}]}`,
			i, []string{"payments-dev", "cards-dev"}[i%2], i%6, strings.Repeat("ab", 32))
		r := record.Record{ID: fmt.Sprint("r", i), Cluster: "local", Producer: "audit", Seq: uint64(i) + 1, Time: noon.Add(time.Duration(i) * time.Minute), Kind: "native-refusal.v1",
			CatalogueDigest: "sha256:" + strings.Repeat("cd", 32), Body: json.RawMessage(body)}
		if i == 3 {
			r.Kind, r.Body = "policy-gap.v1", json.RawMessage(`{"object":{"apiVersion":"v1","kind":"ValidatingAdmissionPolicy","name":"ringfence-workloads-deny"},"what":"missing","since":"2026-11-21T12:02:00Z","until":"2026-11-21T12:03:00Z"}`)
		}
		if _, err := l.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if i == n/2 {
			half = l.Checkpoint()
		}
	}
	return half
}

// say runs a command and gives all that it said.
func say(t *testing.T, code int, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	if got := Main(t.Context(), append([]string{"evidence"}, args...), Env{Stdout: &out, Stderr: &out, Now: func() time.Time { return now }}); got != code {
		t.Errorf("%v: exit code %d, want %d\n%s", args, got, code, &out)
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("%v: an escape sequence of a record reaches the terminal", args)
	}
	return out.String()
}

// TestEvidenceCommands: each command answers, from a folder and over HTTP, and says what is unknown.
func TestEvidenceCommands(t *testing.T) {
	dir := t.TempDir()
	books(t, dir, 20)
	key, err := ledger.LoadKey(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(ledger.Config{Dir: filepath.Join(dir, "ledger"), Key: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	server := httptest.NewServer(ledger.Handler(l))
	t.Cleanup(server.Close)
	for _, from := range []string{dir, filepath.Join(dir, "ledger"), server.URL} {
		at := func(code int, args ...string) string { return say(t, code, append(args, "--ledger", from)...) }
		for _, test := range []struct{ got, want string }{
			{at(0, "list"), "20 of 20 entries"},
			{at(0, "list", "--tenant", "payments"), "10 of 20 entries"},
			{at(0, "list", "--since", "2026-11-21T12:05:00Z", "--until", "2026-11-21"), "15 of 20 entries"},
			{at(0, "list", "--since", "11h50m"), "10 of 20 entries"},
			{at(0, "list", "--namespace", "cards-dev", "--control", "RF-WL-05"), "9 of 20 entries"},
			{at(0, "list", "--kind", "policy-gap"), "unknown: 2026-11-21T12:02:00Z to 2026-11-21T12:03:00Z: ValidatingAdmissionPolicy ringfence-workloads-deny was missing"},
			{at(0, "list", "--request", "a-7"), "1 of 20 entries"},
			{at(0, "list", "-o", "json"), `"moreUnknown":0`},
			{at(0, "show", "r7"), "entry 7 of 20, proved by 5 hashes"},
			{at(0, "show", "12", "-o", "json"), `"index": 12`},
			{at(0, "list", "--kind", "canary.v2"), "0 of 20 entries"},
			{at(2, "list", "--kind", "policy-gaps"), "--kind policy-gaps: no record is of this kind; want one of access.v1, "},
			{at(2, "verify", "--key", "evidence_test.go"), "--key evidence_test.go: keyring line 1"},
			{at(2, "show", "r99"), "none of 20 has this id"},
			{at(2, "show", "20"), "the ledger has 20"},
			{at(0, "verify"), "verified: all 20 entries"},
			{at(0, "ask", "refused", "--tenant", "cards"), "3 times since"},
			{at(0, "ask", "refused", "--tenant", "cards"), "whether it was put right is unknown"},
			{at(0, "ask", "refused", "--tenant", "nobody"), "no refusal is recorded"},
			{at(3, "ask", "changed"), "no change records exist in this ledger"},
			{at(3, "ask", "in-force", "RF-WL-05", "--at", "2026-11-21"), "seen at work in cards-dev: 9 refused"},
			{at(3, "ask", "in-force", "RF-WL-05", "--at", "2026-11-21"), "ringfence-workloads-deny was missing from 2026-11-21T12:02:00Z"},
			{at(3, "ask", "in-force", "RF-WL-05", "--at", "2025-01-01"), "the ledger holds no posture"},
		} {
			if !strings.Contains(test.got, test.want) {
				t.Errorf("from %s:\n%s\nwant %s", from, test.got, test.want)
			}
		}
	}
	for _, args := range [][]string{{"list", "--since", "yesterday"}, {"list", "--since", "2026-11-22", "--until", "2026-11-20"}, {"list", "--control", "x"}, {"list", "-o", "xml"},
		{"export"}, {"verify", "a.zip", "--ledger", "x"}, {"ask", "in-force", "RF-WL-05"}, {"ask", "in-force", "x", "--at", "1h"}, {"lst"},
		{"list", "--ledger", t.TempDir()}, {"list", "--dir", t.TempDir()}, {"verify", filepath.Join(dir, "nothing.zip")}, {"verify", dir}, {"verify", filepath.Join(dir, "key")}} {
		say(t, 2, args...)
	}
}

// TestEvidenceUnreached: a ledger that cannot be reached, or whose reader has gone, is not called damaged: the exit code is 2.
func TestEvidenceUnreached(t *testing.T) {
	dir := t.TempDir()
	books(t, dir, 300)
	key, err := ledger.LoadKey(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(ledger.Config{Dir: filepath.Join(dir, "ledger"), Key: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	for name, fail := range map[string]func(w http.ResponseWriter, r *http.Request, gone func()){
		"busy": func(w http.ResponseWriter, _ *http.Request, _ func()) {
			http.Error(w, "busy", http.StatusServiceUnavailable)
		},
		"broken":      func(http.ResponseWriter, *http.Request, func()) { panic(http.ErrAbortHandler) },
		"interrupted": func(_ http.ResponseWriter, r *http.Request, gone func()) { gone(); <-r.Context().Done() },
	} {
		for _, part := range []string{"/tile/entries/001", "/tile/0/"} {
			ctx, gone := context.WithCancel(t.Context())
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, part) {
					fail(w, r, gone)
				}
				ledger.Handler(l).ServeHTTP(w, r)
			}))
			for _, args := range [][]string{{"verify"}, {"export", "-o", filepath.Join(dir, "never.zip")}, {"ask", "refused"}} {
				var out bytes.Buffer
				code := Main(ctx, append(append([]string{"evidence"}, args...), "--ledger", server.URL), Env{Stdout: &out, Stderr: &out, Now: time.Now})
				if code != 2 || strings.Contains(out.String(), "damaged") {
					t.Errorf("%s at %s: %v: exit code %d, want 2, and no word of damage: %s", name, part, args, code, &out)
				}
			}
			server.Close()
			gone()
		}
	}
}

// TestCanaryLine: the list says what came of a try of the rules, and names the first object that did not come out as it must.
func TestCanaryLine(t *testing.T) {
	dir := t.TempDir()
	books(t, dir, 1)
	key, err := ledger.LoadKey(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(ledger.Config{Dir: filepath.Join(dir, "ledger"), Key: key})
	if err != nil {
		t.Fatal(err)
	}
	run := record.CanaryRun{Why: "hourly", Held: 71, LetIn: 1, Faults: []record.CanaryFault{{Namespace: "cards-dev", Control: "RF-WL-01", Kind: "Pod", Outcome: "let-in", Detail: "it was stored"}}}
	for at, faults := range [][]record.CanaryFault{run.Faults, nil} {
		if run.Faults = faults; faults == nil {
			run.Held, run.LetIn = 72, 0
		}
		r, err := record.Canary(run, strings.Repeat("cd", 32), time.Date(2026, 11, 21, 12+at, 0, 0, 0, time.UTC))
		if err != nil {
			t.Fatal(err)
		}
		r.Cluster, r.Producer, r.Seq = "local", "canary", uint64(at)+1
		if _, err := l.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	l.Close()
	got := say(t, 0, "list", "--kind", "canary", "--ledger", dir)
	for _, want := range []string{"canary.v1  71 held, 1 let in, 0 refused good, 0 not asked; first let-in: RF-WL-01 Pod in cards-dev  id ", "canary.v1  72 held, 0 let in, 0 refused good, 0 not asked  id "} {
		if !strings.Contains(got, want) {
			t.Errorf("%s\nwant %q", got, want)
		}
	}
}

// TestEvidenceTampered: through the commands, a bit in any file of the ledger or of a bundle is found; a checkpoint from outside
// and a key are held to.
func TestEvidenceTampered(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	half, foreign := books(t, dir, 300), books(t, other, 20)
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	zipped, early, strange := filepath.Join(dir, "b.zip"), file("early", half), file("strange", foreign)
	keyring := filepath.Join(dir, "ledger", "keyring")
	say(t, 0, "export", "--ledger", dir, "--tenant", "payments", "--checkpoint", early, "-o", zipped)
	say(t, 1, "export", "--ledger", dir, "--checkpoint", strange, "-o", filepath.Join(dir, "never.zip"))
	if left, _ := filepath.Glob(filepath.Join(dir, ".ringfence-*")); len(left) > 0 {
		t.Errorf("export leaves %v", left)
	}
	if got := say(t, 0, "verify", zipped); !strings.Contains(got, "not independently anchored") || !strings.Contains(got, "key: its own") || !strings.Contains(got, "unknown: 2026-11-21T12:02:00Z") {
		t.Error(got)
	}
	if got := say(t, 0, "verify", zipped, "--checkpoint", early, "--key", keyring); !strings.Contains(got, "anchored: its first 151 entries") || !strings.Contains(got, "key: yours") {
		t.Error(got)
	}
	say(t, 1, "verify", zipped, "--checkpoint", strange)
	say(t, 1, "verify", zipped, "--key", filepath.Join(other, "ledger", "keyring"))
	say(t, 1, "verify", "--ledger", dir, "--checkpoint", strange)
	say(t, 0, "verify", "--ledger", dir, "--checkpoint", early)

	whole, err := os.ReadFile(zipped)
	if err != nil {
		t.Fatal(err)
	}
	say(t, 2, "verify", file("cut.zip", whole[:len(whole)-30]))
	for name, text := range unzipped(t, whole) {
		changed := unzipped(t, whole)
		changed[name] = append([]byte{}, text...)
		at := len(text) / 2
		if name == "entries.jsonl" { // in what an entry says, not in its id
			at += bytes.Index(text[at:], []byte("payments"))
		}
		changed[name][at] ^= 2
		got := say(t, 1, "verify", file("bad.zip", rezipped(t, changed)))
		if name == "entries.jsonl" && !strings.Contains(got, `(id "r`) {
			t.Errorf("%s: want the entry named", got)
		}
	}
	for _, name := range []string{"checkpoint", "tile/0/000", "tile/entries/000", "tile/entries/001.part"} {
		path := filepath.Join(dir, "ledger", filepath.FromSlash(name))
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bad := append([]byte{}, text...)
		bad[len(bad)/2] ^= 2
		for _, data := range [][]byte{bad, text[:len(text)-1]} {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if got := say(t, 1, "verify", "--ledger", dir); name == "tile/entries/000" && !strings.Contains(got, "entr") {
				t.Error(got)
			}
			say(t, 1, "export", "--ledger", dir, "-o", filepath.Join(dir, "never.zip"))
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "never.zip")); err == nil {
		t.Error("a bundle of a damaged ledger was written")
	}
}

// unzipped are the files of a zip file.
func unzipped(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, f := range r.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		if _, err := text.ReadFrom(in); err != nil {
			t.Fatal(err)
		}
		files[f.Name] = text.Bytes()
	}
	return files
}

// rezipped makes a zip file.
func rezipped(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for name, text := range files {
		f, err := w.Create(name)
		if err == nil {
			_, err = f.Write(text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
