//go:build unix

package cli

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"
)

// TestAdoptDocs holds the transcript of docs/adopt.md to what the command prints and writes, over the estate of the script.
func TestAdoptDocs(t *testing.T) {
	doc, err := os.ReadFile("../docs/adopt.md")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("testdata/tenant-adopt.txtar")
	if err != nil {
		t.Fatal(err)
	}
	_, estate, _ := strings.Cut(string(script), "-- estate.yaml --\n")
	estate, _, found := strings.Cut(estate, "\n-- ")
	if !found {
		t.Fatal("the script has no estate.yaml")
	}
	t.Chdir(t.TempDir())
	write(t, "estate.yaml", estate+"\n")
	shown := transcripts(string(doc))
	var out bytes.Buffer
	if code := Main(t.Context(), []string{"tenant", "adopt", "estate.yaml", "-o", "adopted"}, Env{Stdout: &out, Stderr: &out, Now: time.Now}); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, out.String())
	}
	tenant, err := os.ReadFile("adopted/tenants/payments.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for command, got := range map[string]string{"ringfence tenant adopt estate.yaml -o adopted": out.String(), "cat adopted/tenants/payments.yaml": string(tenant)} {
		if want := shown[command]; len(want) == 0 || !matches(strings.Split(strings.TrimRight(got, "\n"), "\n"), want) {
			t.Errorf("%s gives\n%s\ndocs/adopt.md has\n%s", command, got, strings.Join(want, "\n"))
		}
	}
}
