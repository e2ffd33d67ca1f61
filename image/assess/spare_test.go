package assess

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/image"
)

// scan puts a report of image 1 into a folder under the name that the door gives.
func (b *bed) scan(n int, folder string, at time.Time, ids ...string) {
	var found []string
	for _, id := range ids {
		found = append(found, fmt.Sprintf(`{"VulnerabilityID":%q,"PkgName":"p","Severity":"CRITICAL"}`, id))
	}
	b.write(filepath.Join(folder, fmt.Sprintf("%064x.report", n)), fmt.Sprintf(`{"SchemaVersion":2,"CreatedAt":%q,"ArtifactName":"r.example/a","ArtifactType":"container_image",`+
		`"Metadata":{"RepoDigests":["r.example/a@%s"]},"Results":[{"Target":"a","Class":"os-pkgs","Type":"debian","Vulnerabilities":[%s]}]}`, at.Format(time.RFC3339), digest(1), strings.Join(found, ",")))
}

// left are the numbers of the reports of a folder that are still there, in order.
func (b *bed) left(folder string) string {
	b.t.Helper()
	entries, err := os.ReadDir(filepath.Join(b.dir, folder))
	if err != nil {
		b.t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, strings.TrimLeft(strings.TrimSuffix(e.Name(), ".report"), "0"))
	}
	return strings.Join(all, " ")
}

// TestSpare: of what says the same, the first and the last report stay, whichever came when.
func TestSpare(t *testing.T) {
	b := newBed(t)
	day := 24 * time.Hour
	ago := func(days int) time.Time { return b.now.Add(-time.Duration(days) * day) }
	step := func(what, folder, want string) {
		t.Helper()
		b.looked()
		if got := b.left(folder); got != want {
			t.Errorf("%s: reports %s are left, want %s", what, got, want)
		}
	}
	b.scan(1, "ci", ago(9))
	b.scan(2, "ci", ago(8))
	step("a first and a last", "ci", "1 2")
	b.scan(3, "ci", ago(7))
	step("a later one", "ci", "1 3")
	b.scan(4, "ci", ago(8))
	step("one between", "ci", "1 3")
	b.scan(5, "ci", ago(10))
	step("an earlier one", "ci", "3 5")
	b.scan(6, "ci", ago(7))
	step("one of the same time", "ci", "3 5")
	b.scan(7, "ci", ago(6), "CVE-2026-1")
	b.scan(8, "ci", ago(5))
	step("another says something else", "ci", "5 7 8")
	b.scan(9, "ci", b.now.Add(time.Hour))
	b.scan(10, "ci", ago(4))
	step("one from the future is not believed, and makes none superfluous", "ci", "5 7 9 a")
	b.scan(1, "other", ago(9))
	b.scan(2, "other", ago(8))
	b.write("other/by-hand.json", `{"SchemaVersion":2,"CreatedAt":"2026-11-14T13:00:00Z","ArtifactName":"r.example/a","ArtifactType":"container_image","Metadata":{"RepoDigests":["r.example/a@`+digest(1)+`"]},"Results":[]}`)
	step("what another sent, or a person put there, is left alone", "other", "1 2 by-hand.json")
	if err := os.Remove(filepath.Join(b.dir, "ci", fmt.Sprintf("%064x.report", 5))); err != nil {
		t.Fatal(err)
	}
	b.scan(11, "ci", ago(9))
	step("the first is gone: another is", "ci", "7 9 a b")
	if got := b.looked(); got != "1 admitted" {
		t.Errorf("the image is %q", got)
	}
}

// TestSpareSame: what follows is the same as if nothing had been removed, at every instant.
func TestSpareSame(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		tidy, whole := newBed(t), newBed(t)
		tidy.law.Rules[0].UndatedAsNew, whole.law.Rules[0].UndatedAsNew = seed%2 == 0, seed%2 == 0
		if strict := (image.Rule{Name: "strict", MaxScanAge: 10 * 24 * time.Hour, DenySeverity: 4, DatedBy: []string{"trivy"}}); seed%3 == 0 {
			tidy.law.Rules, whole.law.Rules = append(tidy.law.Rules, strict), append(whole.law.Rules, strict)
		}
		ids := []string{"CVE-2026-1", "CVE-2026-9", "CVE-2026-7"}
		for n := range 25 {
			at := tidy.now.Add(-time.Duration(random.IntN(80*24)) * time.Hour)
			var found []string
			for _, id := range ids {
				if random.IntN(3) == 0 {
					found = append(found, id)
				}
			}
			tidy.scan(n, "ci", at, found...)
			whole.scan(n, fmt.Sprint(n), at, found...) // in folders of their own none is superfluous
			if random.IntN(4) == 0 {
				tidy.looked()
			}
		}
		for day := range 40 {
			for _, b := range []*bed{tidy, whole} {
				b.now = b.now.Add(24 * time.Hour)
			}
			got, want := tidy.looked(), whole.looked()
			if got != want || !slices.Equal(tidy.kept, whole.kept) {
				t.Fatalf("seed %d, day %d: %q %+v, want %q %+v", seed, day, got, tidy.kept, want, whole.kept)
			}
		}
		if got := len(strings.Fields(tidy.left("ci"))); got > 16 {
			t.Errorf("seed %d: %d reports are left of 25 that say 8 things", seed, got)
		}
	}
}
