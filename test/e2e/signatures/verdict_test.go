package signatures

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/image"
)

// trivy writes a report on an image, with a vulnerability of a severity that was published days ago; "" is none.
func trivy(t *testing.T, pinned, severity string, days int) (file string) {
	t.Helper()
	found := ""
	if severity != "" {
		found = fmt.Sprintf(`{"VulnerabilityID": "CVE-2026-1234", "PkgName": "openssl", "InstalledVersion": "3.0", "FixedVersion": "3.1", "Severity": %q, "PublishedDate": %q}`,
			severity, time.Now().Add(-time.Duration(days)*24*time.Hour).UTC().Format(time.RFC3339))
	}
	file = filepath.Join(t.TempDir(), "trivy.json")
	text := fmt.Sprintf(`{"SchemaVersion": 2, "CreatedAt": %q, "ArtifactName": %q, "ArtifactType": "container_image", "Metadata": {"RepoDigests": [%q]},
 "Results": [{"Target": "app", "Class": "os-pkgs", "Type": "debian", "Vulnerabilities": [%s]}]}`, time.Now().Add(-time.Hour).UTC().Format(time.RFC3339), pinned, pinned, found)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestVerdict: a verdict that is signed and attached can be derived again by whoever reads it, in a registry with the referrers API and in
// one without. One that does not follow from what it says, is signed by another, or refuses the image, lets nothing in.
func TestVerdict(t *testing.T) {
	for kind, start := range map[string]func(*testing.T) string{"distribution": distribution, "referrers API": referrers} {
		t.Run(kind, func(t *testing.T) {
			host := start(t)
			_, key, pub := pair(t)
			_, other, otherPub := pair(t)
			demands := []string{"attestations: [" + image.PredicateVerdict + "]"}
			pinned := push(t, host+"/payments/api:1")
			want(t, 0, "", "image", "sign", pinned, "--key", key)
			check := func(reference string, code int, words string) {
				t.Helper()
				want(t, code, words, "image", "check", reference, "--platform", platform(t, host, pub, demands...))
			}
			check(pinned, 1, "no signed statement of type "+image.PredicateVerdict)
			verify := []string{"image", "verify", pinned, "--attestation", image.PredicateVerdict, "--key"}

			want(t, 2, "no report names", "image", "verdict", trivy(t, push(t, host+"/payments/x:1"), "", 0), "--attest", pinned, "--key", key)
			want(t, 0, "is signed", "image", "verdict", trivy(t, pinned, "", 0), "--attest", pinned, "--key", other)
			want(t, 1, "does not count", append(verify, pub)...)
			check(pinned, 1, "no signed statement of type")

			want(t, 0, "is signed", "image", "verdict", trivy(t, pinned, "HIGH", 2), "--attest", pinned, "--key", key)
			out := want(t, 0, "verdict warn at ", append(verify, pub)...)
			digest := pinned[strings.Index(pinned, "@")+1:]
			if s, err := image.ParseStatement([]byte(out), digest); err != nil || s.Outcome != image.Warn || s.Facts.Scans[0].Vulnerabilities[0].ID != "CVE-2026-1234" {
				t.Errorf("the statement is %s (%v)", out, err)
			}
			check(pinned, 0, "signed by key release")

			refused := push(t, host+"/payments/api:2")
			want(t, 0, "", "image", "sign", refused, "--key", key)
			want(t, 1, "is signed", "image", "verdict", trivy(t, refused, "CRITICAL", 60), "--attest", refused, "--key", key)
			want(t, 0, "verdict deny at ", "image", "verify", refused, "--attestation", image.PredicateVerdict, "--key", pub)
			check(refused, 1, "does not let it run now")
			forge(t, out, refused, key)
			check(refused, 1, "the verdict is of")
			want(t, 1, "does not count", "image", "verify", refused, "--attestation", image.PredicateVerdict, "--key", otherPub)
		})
	}
}

// forge signs a verdict on one image as if it were on another, which says that it may run.
func forge(t *testing.T, statement, victim, key string) {
	t.Helper()
	var s struct{ Predicate json.RawMessage }
	if err := json.Unmarshal([]byte(statement), &s); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "verdict.json")
	if err := os.WriteFile(file, s.Predicate, 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, 0, "", "image", "sign", victim, "--key", key, "--predicate", file, "--type", image.PredicateVerdict)
}
