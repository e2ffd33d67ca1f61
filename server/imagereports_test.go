package server

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	reports "ringfence.dev/ringfence/image/scanner"
)

// trivyReport is one of n vulnerabilities, with spaces behind it.
func trivyReport(n int, tail string) string {
	found := make([]string, n)
	for i := range found {
		found[i] = fmt.Sprintf(`{"VulnerabilityID":"CVE-2026-%d","PkgName":"p","Severity":"HIGH"}`, i)
	}
	return `{"SchemaVersion":2,"CreatedAt":"2026-11-20T10:00:00Z","ArtifactName":"r.example/a","ArtifactType":"container_image","Metadata":{"RepoDigests":["r.example/a@sha256:` +
		strings.Repeat("2", 64) + `"]},"Results":[{"Target":"a","Class":"os-pkgs","Type":"debian","Vulnerabilities":[` + strings.Join(found, ",") + `]}]}` + tail
}

// zipOf is a file that unpacks to n bytes of a report.
func zipOf(t *testing.T, n int) string {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	w, err := z.Create("report.csv")
	if err == nil {
		_, err = io.CopyN(w, endless{}, int64(n))
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// endless are spaces.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, bytes.Repeat([]byte(" "), len(p))), nil }

// TestImageReports: who proves to be a pipeline leaves a report below its name, once, and it is what image report reads. Nobody else does,
// and one that is no report, too large or a bomb leaves nothing.
func TestImageReports(t *testing.T) {
	a := makeAuthority(t)
	dir := t.TempDir()
	into, tokens := filepath.Join(dir, "reports"), filepath.Join(dir, "push")
	for _, err := range []error{os.Mkdir(into, 0o700), os.WriteFile(tokens, []byte("payments/ci "+pushSecret+"\n"), 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := New(Config{Evidence: filepath.Join(dir, "evidence"), Listen: "127.0.0.1:0", TLSCert: a.cert, TLSKey: a.key, PushTokens: tokens, ImageReports: into}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer startEvidence(t, s)()
	at, mine := "https://"+s.DoorsAddress()+"/images/reports", []string{"Authorization", "Bearer " + pushSecret}
	deep := strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000)
	for _, c := range []struct {
		what, body string
		headers    []string
		code       int
	}{
		{"nobody's", trivyReport(1, ""), nil, 401},
		{"another token", trivyReport(1, ""), []string{"Authorization", "Bearer payments/ci"}, 401},
		{"nothing", "", mine, 400},
		{"no report", `{"a": 1}`, mine, 400},
		{"half a report", trivyReport(1, "")[:200], mine, 400},
		{"two", trivyReport(1, trivyReport(2, "")), mine, 400},
		{"deep", deep, mine, 400},
		{"of no image", `{"apiVersion":"aquasecurity.github.io/v1alpha1","kind":"ConfigAuditReport","report":{}}`, mine, 400},
		{"too many vulnerabilities", trivyReport(100_001, ""), mine, 400},
		{"a bomb of a zip file", zipOf(t, 8<<20), mine, 400},
		{"a report", trivyReport(3, ""), mine, 200},
		{"the same again", trivyReport(3, ""), mine, 200},
		{"another", trivyReport(4, "\n"), mine, 200},
	} {
		if code, _ := send(t, a.client(t), at, c.body, c.headers...); code != c.code {
			t.Errorf("%s: %d, want %d", c.what, code, c.code)
		}
	}
	kept, err := filepath.Glob(filepath.Join(into, "*", "*.report"))
	if err != nil || len(kept) != 2 {
		t.Fatalf("%q are kept (%v), want two", kept, err)
	}
	if left, _ := filepath.Glob(filepath.Join(into, ".part*")); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
	for _, file := range kept {
		if folder := filepath.Base(filepath.Dir(file)); folder != "payments%2Fci" {
			t.Errorf("it is kept below %s", folder)
		}
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		facts, err := reports.Read(t.Context(), file, f)
		if f.Close(); err != nil || len(facts) != 1 || len(facts[0].Scans) != 1 {
			t.Errorf("%v, %v", facts, err)
		}
	}
}

// TestImageReportsBounded: one report is read at a time, its bytes are bounded whatever it says of them, and a full disk is no fault of the
// pipeline's.
func TestImageReportsBounded(t *testing.T) {
	var said []string
	kept := 0
	door := &imageReports{dir: t.TempDir(), most: 8 << 20, limits: reportLimits(), turn: make(chan struct{}, 1), known: func(*http.Request) (string, bool) { return "ci", true },
		failed: func(sender string, err error) { said = append(said, sender+": "+err.Error()) }, taken: func() { kept++ }}
	post := func(body io.Reader) (code int, a reportAnswer) {
		in, out := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/images/reports", body), httptest.NewRecorder()
		door.ServeHTTP(out, in)
		if err := json.Unmarshal(out.Body.Bytes(), &a); err != nil {
			t.Fatalf("%s: %v", out.Body, err)
		}
		return out.Code, a
	}
	if code, a := post(endless{}); code != http.StatusRequestEntityTooLarge {
		t.Errorf("without an end: %d %s", code, a.Error)
	}
	if code, a := post(strings.NewReader(trivyReport(3, ""))); code != http.StatusOK || len(a.Images) != 1 || a.Images[0].Vulnerabilities != 3 || a.Images[0].Scans != 1 ||
		a.Images[0].Digests[0] != "sha256:"+strings.Repeat("2", 64) || !strings.HasPrefix(a.ID, "sha256:") {
		t.Errorf("a report: %d %+v", code, a)
	}
	door.limits.Bytes = 1 << 20
	if code, a := post(strings.NewReader(zipOf(t, 64<<20))); code != http.StatusBadRequest {
		t.Errorf("a bomb: %d %+v", code, a)
	}
	left := filepath.Join(door.dir, ".part-of-a-killed-process")
	if err := os.WriteFile(left, make([]byte, 10), 0o600); err != nil {
		t.Fatal(err)
	}
	door.counted = time.Time{} // the next process has counted nothing
	if code, _ := post(strings.NewReader(trivyReport(3, ""))); code != http.StatusOK {
		t.Errorf("after a process was killed: %d", code)
	}
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a killed process had begun is kept: %v", err)
	}
	door.turn <- struct{}{}
	if code, _ := post(strings.NewReader(trivyReport(1, ""))); code != http.StatusTooManyRequests {
		t.Errorf("two at once: %d", code)
	}
	<-door.turn
	door.dir = filepath.Join(door.dir, "gone")
	if code, a := post(strings.NewReader(trivyReport(1, ""))); code != http.StatusServiceUnavailable || strings.Contains(a.Error, door.dir) || len(said) != 1 {
		t.Errorf("no folder: %d %s; logged %q", code, a.Error, said)
	}
	if kept != 2 {
		t.Errorf("told of %d reports, want those two that are kept", kept)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := door.take(ended, "ci", strings.NewReader(trivyReport(1, ""))); err == nil {
		t.Error("it is taken of who has gone")
	}
}
