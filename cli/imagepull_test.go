package cli

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/finding"
)

// TestImagePull fetches from a fake of Clair over TLS into a folder, and judges what is there: an image that was fetched may run, one that Clair
// does not know counts as not scanned, and a report on another image is not kept.
func TestImagePull(t *testing.T) {
	digest := func(c string) string { return "sha256:" + strings.Repeat(c, 64) }
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		of := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		switch {
		case of == digest("2"):
			w.WriteHeader(http.StatusNotFound)
		case strings.HasPrefix(r.URL.Path, "/indexer/"):
			fmt.Fprintf(w, `{"manifest_hash": %q, "state": "IndexFinished", "success": true}`, of)
		case of == digest("3"):
			fmt.Fprintf(w, `{"manifest_hash": %q, "packages": {}, "vulnerabilities": {}, "package_vulnerabilities": {}}`, digest("4"))
		default:
			fmt.Fprintf(w, `{"manifest_hash": %q, "packages": {"1": {"name": "zlib", "version": "1.2"}},
				"vulnerabilities": {"7": {"name": "CVE-2026-1", "issued": "2026-11-10T00:00:00Z", "normalized_severity": "High"}}, "package_vulnerabilities": {"1": ["7"]}}`, of)
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	dir := t.TempDir()
	ca, out := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "reports")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (code int, stdout, stderr string) {
		t.Helper()
		var o, e bytes.Buffer
		code = Main(t.Context(), args, Env{Stdin: strings.NewReader(""), Stdout: &o, Stderr: &e, Now: func() time.Time { return time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC) }})
		return code, o.String(), e.String()
	}
	kept := func() []string {
		names, err := filepath.Glob(filepath.Join(out, "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	from := []string{"image", "pull", "--from", "clair", "--url", server.URL, "--ca", ca, "--out", out}
	for _, try := range []struct {
		args   []string
		code   int
		stdout string
		stderr string
		kept   int
	}{
		{[]string{digest("1")}, finding.ExitAllowed, "clair: 1 report fetched, 1 new, 0 unreadable, 0 images not scanned", "", 1},
		{[]string{digest("1")}, finding.ExitAllowed, "clair: 1 report fetched, 0 new, 0 unreadable, 0 images not scanned", "", 1},
		{[]string{digest("1"), digest("2")}, finding.ExitUndecided, "1 image not scanned", digest("2") + ": not scanned: Clair has not indexed it", 1},
		{[]string{digest("3"), digest("2")}, finding.ExitUsage, "1 unreadable, 1 image not scanned", digest("3") + ": the report is about another image", 1},
		{[]string{digest("1"), "-o", "json"}, finding.ExitAllowed, `"ended": null`, "", 1},
		{[]string{digest("1"), "--within", "1ns"}, finding.ExitUndecided, "0 reports fetched", "longer than 1ns", 1},
		{[]string{"payments/api:1"}, finding.ExitUsage, "", "want sha256:", 1},
	} {
		code, stdout, stderr := run(append(from, try.args...)...)
		if code != try.code || !strings.Contains(stdout, try.stdout) || !strings.Contains(stderr, try.stderr) || len(kept()) != try.kept {
			t.Errorf("pull %v: %d %q %q, kept %v; want %d, %q, %q and %d kept", try.args, code, stdout, stderr, kept(), try.code, try.stdout, try.stderr, try.kept)
		}
	}
	code, stdout, stderr := run("image", "report", "-o", "json", kept()[0])
	if code != finding.ExitAllowed || !strings.Contains(stdout, `"scannedAt": "2026-11-21T08:00:00Z"`) || !strings.Contains(stdout, digest("1")) {
		t.Errorf("report: %d %q %q; want the image, scanned when it was asked for", code, stdout, stderr)
	}
	if code, stdout, stderr = run("image", "verdict", kept()[0]); code != finding.ExitAllowed || !strings.Contains(stdout, "warn") {
		t.Errorf("verdict: %d %q %q; want a warning of a vulnerability of 11 days", code, stdout, stderr)
	}
}

// TestImagePullUsage refuses flags that cannot be meant, before anything is asked or written.
func TestImagePullUsage(t *testing.T) {
	out := filepath.Join(t.TempDir(), "reports")
	for want, args := range map[string]string{
		"--from":                           "",
		"no --out":                         "--from clair --out=",
		"--url: want an address https":     "--from clair --url http://clair.example",
		"are not for trivy-operator":       "--from trivy-operator --url https://x.example",
		"--filter is for qualys":           "--from clair --url https://x.example --filter x",
		"digests and --running are for":    "--from qualys --url https://x.example --running",
		"want a user and a password":       "--from qualys --url https://x.example",
		"--password-file: read a secret":   "--from qualys --url https://x.example --user u --password-file /dev/null",
		"--ca: read caFile":                "--from qualys --url https://x.example --ca /dev/null/ca",
		"--within 0s: want a time above 0": "--from qualys --url https://x.example --within 0s",
		"want text or json":                "--from qualys --url https://x.example -o yaml",
		"found 0 images":                   "--from clair --url https://x.example",
	} {
		var o, e bytes.Buffer
		code := Main(t.Context(), append([]string{"image", "pull", "--out", out}, strings.Fields(args)...), Env{Stdin: strings.NewReader(""), Stdout: &o, Stderr: &e, Now: time.Now})
		if code != finding.ExitUsage || o.Len() > 0 || !strings.Contains(e.String(), want) {
			t.Errorf("%s: %d %q %q; want %d and %q", args, code, o.String(), e.String(), finding.ExitUsage, want)
		}
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("a folder was made")
	}
}
