package up

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ringfence.dev/ringfence/evidence"
	"ringfence.dev/ringfence/ledger"
)

// kept holds the ledger of an `up --once` that has ended to what it told: the last refusals are those of the story, none is lost
// because something stopped too early, and the commands it named verify them.
func kept(t *testing.T, dir, out string) {
	t.Helper()
	if !regexp.MustCompile(`evidence: the first refusal is entry [0-9]+ of the ledger, verified by`).MatchString(out) {
		t.Errorf("up does not show its first refusal as evidence\n%s", out)
	}
	var want []string
	for _, m := range regexp.MustCompile(`refused: [a-z]+ [a-z-]+/([a-z-]+)\.`).FindAllStringSubmatch(out, -1) {
		want = append(want, m[1])
	}
	text, err := os.ReadFile(filepath.Join(dir, "evidence", "ledger", "keyring"))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ledger.ParseKeyring(text)
	if err != nil {
		t.Fatal(err)
	}
	var items []evidence.Item
	if _, err := ledger.Verify(t.Context(), ledger.Folder(filepath.Join(dir, "evidence", "ledger")), keys, func(e ledger.Entry) error {
		i, err := evidence.ItemOf(e)
		if i.Is("native-refusal") && i.About.Refused { // what is let through with a warning is an entry too
			items = append(items, i)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(items, func(a, b evidence.Item) int { return a.Time.Compare(b.Time) })
	var got []string
	for _, i := range items[max(0, len(items)-len(want)):] {
		got = append(got, i.Where().Name)
	}
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("the last refusals in the ledger are %q, want %q", got, want)
	}
	bundle := filepath.Join(dir, "bundle.zip")
	for _, args := range [][]string{{"list", "--dir", dir}, {"export", "--dir", dir, "-o", bundle}, {"verify", bundle}} {
		if out, prose, code := run(t, append([]string{"evidence"}, args...)...); code != 0 || !strings.Contains(out+prose, "entries") {
			t.Errorf("evidence %v = %d\n%s%s", args, code, out, prose)
		}
	}
}
