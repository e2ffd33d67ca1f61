package images

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/cli"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/server"
)

// Both were published long ago; the weak one is of low severity.
const vulnerable, weak = "CVE-2021-44228", "CVE-2026-7777"

// TestReports: from the report that a pipeline sends to the API server's answer nobody does anything: an image that nobody scanned is refused, runs
// once its report is there, and is refused when another finds an old vulnerability in it or the advisories say that one is exploited.
func TestReports(t *testing.T) {
	b := open(t)
	dir := t.TempDir()
	cert, key := httpsPair(t, dir)
	cfg := server.Config{Evidence: filepath.Join(dir, "evidence"), Listen: "127.0.0.1:0", TLSCert: cert, TLSKey: key, PushTokens: filepath.Join(dir, "tokens"),
		ImageReports: filepath.Join(dir, "reports"), ImageFacts: b.dir, ImageVerdicts: true, ImageAdvisories: filepath.Join(dir, "advisories.gz")}
	if short, err := os.MkdirTemp("", "rf"); err != nil {
		t.Fatal(err)
	} else {
		t.Cleanup(func() { os.RemoveAll(short) })
		cfg.Socket = filepath.Join(short, "s") // the kernel bounds its path
	}
	const token = "a-token-of-a-pipeline-in-a-test"
	for _, err := range []error{os.Mkdir(cfg.ImageReports, 0o700), os.WriteFile(cfg.PushTokens, []byte("payments/ci "+token+"\n"), 0o600),
		os.WriteFile(filepath.Join(dir, "token"), []byte(token), 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	publish(t, dir)
	srv, _ := ringfencetest.Start(t, cluster.Config, cfg, slog.LevelWarn)
	b.onboard(t)
	push := func(found string) {
		file := filepath.Join(dir, "trivy.json")
		report := fmt.Sprintf(`{"SchemaVersion":2,"CreatedAt":%q,"ArtifactName":"r","ArtifactType":"container_image","Metadata":{"RepoDigests":[%q]},"Results":[{"Target":"a","Class":"os-pkgs","Type":"debian",`+
			`"Vulnerabilities":[%s]}]}`, time.Now().UTC().Format(time.RFC3339Nano), at('7'), found)
		if err := os.WriteFile(file, []byte(report), 0o600); err != nil {
			t.Fatal(err)
		}
		ringfence(t, "image", "report", file, "--push", "https://"+srv.DoorsAddress(), "--push-token-file", filepath.Join(dir, "token"), "--push-ca", cert)
	}
	becomes := func(what, control string) { t.Helper(); b.judged(t, at('7'), what, control) }
	becomes("not scanned", scanID)
	push("")
	becomes("scanned and clean", "")
	push(`{"VulnerabilityID":"` + vulnerable + `","PkgName":"log4j","Severity":"CRITICAL"}`)
	becomes("an old vulnerability", vulnerabilityID)
	push(`{"VulnerabilityID":"` + weak + `","PkgName":"p","Severity":"LOW"}`)
	becomes("mended", "")
	b.rules(t, at('7'))
	metrics := ringfencetest.Scrape(t, cfg.Socket)
	for _, want := range []string{`ringfence_image_reports{state="judged"} 3`, `ringfence_image_reports{state="unread"} 0`, "ringfence_image_report_digests 1",
		"ringfence_image_reports_judged_timestamp_seconds ", `ringfence_images_refused{tenant="payments",within="14d"} `} {
		if !strings.Contains(metrics, "\n"+want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	publish(t, dir, weak)
	becomes("exploited", vulnerabilityID)
}

// judged waits until the API server admits an image, or refuses it by a control.
func (b *bed) judged(t *testing.T, image, what, control string) {
	t.Helper()
	began := time.Now()
	ringfencetest.Eventually(t, what, func() error {
		err := b.team.Create(t.Context(), pod("x", image), client.DryRunAll)
		if control == "" {
			return err
		}
		return ringfencetest.RefusedBy(err, control)
	})
	t.Logf("%s after %v", what, time.Since(began).Round(100*time.Millisecond))
}

// publish makes the advisories of what the world knows: two vulnerabilities of long ago, and which of them are exploited.
func publish(t *testing.T, dir string, exploited ...string) {
	t.Helper()
	mirror := filepath.Join(dir, "mirror")
	var known []string
	for _, id := range exploited {
		known = append(known, fmt.Sprintf(`{"cveID":%q,"dateAdded":"2026-11-01"}`, id))
	}
	files := map[string]string{"kev.json": `{"vulnerabilities":[` + strings.Join(known, ",") + `]}`}
	for _, id := range []string{vulnerable, weak} {
		files[id+".json"] = fmt.Sprintf(`{"id":%q,"published":"2021-12-10T00:00:00Z","modified":"2021-12-10T00:00:00Z"}`, id)
	}
	if err := os.MkdirAll(mirror, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(mirror, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ringfence(t, "image", "advisories", "import", mirror, "--out", filepath.Join(dir, "advisories.gz"))
}

// ringfence runs a command that must do what it is asked.
func ringfence(t *testing.T, args ...string) {
	t.Helper()
	var out bytes.Buffer
	if code := cli.Main(t.Context(), args, cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Now: time.Now}); code != 0 {
		t.Fatalf("ringfence %s: exit code %d\n%s", strings.Join(args[:2], " "), code, out.String())
	}
}

// httpsPair writes the certificate and key for loopback that net/http/httptest has.
func httpsPair(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	pair := s.TLS.Certificates[0]
	private, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}
