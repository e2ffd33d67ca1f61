package assess

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/image/scanner"
)

// bed is a folder of reports, a law, a clock, and what was kept last.
type bed struct {
	*Assessor
	t     testing.TB
	dir   string
	law   Law
	now   time.Time
	kept  []image.Admitted
	times int   // that something was kept
	full  error // what keeping answers
	log   bytes.Buffer
	reads int
}

func newBed(t testing.TB) *bed {
	b := &bed{t: t, dir: t.TempDir(), now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	day := 24 * time.Hour
	b.law = Law{Edition: "1", Rules: []image.Rule{{MaxScanAge: 30 * day, DenySeverity: 4, Grace: 30 * day}},
		Known: func(id string) (image.Advisory, bool) {
			if id != "CVE-2026-1" {
				return image.Advisory{}, false
			}
			return image.Advisory{ID: id, Published: []image.Dated{{Source: "osv", At: time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)}}}, true
		}}
	b.Assessor = New(Config{Folder: b.dir, Now: func() time.Time { return b.now }, Log: slog.New(slog.NewTextHandler(&b.log, nil)),
		Law: func(context.Context) (Law, error) { return b.law, nil },
		Read: func(ctx context.Context, name string, r io.Reader) ([]image.Facts, error) {
			b.reads++
			return scanner.ReadWithin(ctx, name, r, scanner.Limits{Bytes: 1 << 20, Vulnerabilities: 100, Kept: 1 << 20, Nodes: 10_000, Packed: 1 << 20})
		},
		Keep: func(all []image.Admitted) error {
			if b.full == nil {
				b.kept, b.times = all, b.times+1
			}
			return b.full
		}})
	return b
}

func digest(n int) string { return fmt.Sprintf("sha256:%064x", n) }

// report puts a report of Trivy's into the folder, of an image with some digests and vulnerabilities.
func (b *bed) report(name string, vulnerabilities []string, digests ...int) {
	var names, found []string
	for _, n := range digests {
		names = append(names, fmt.Sprintf("%q", "r.example/a@"+digest(n)))
	}
	for _, id := range vulnerabilities {
		found = append(found, fmt.Sprintf(`{"VulnerabilityID":%q,"PkgName":"p","Severity":"CRITICAL"}`, id))
	}
	text := fmt.Sprintf(`{"SchemaVersion":2,"CreatedAt":"2026-11-20T10:00:00Z","ArtifactName":"r.example/a","ArtifactType":"container_image","Metadata":{"RepoDigests":[%s]},`+
		`"Results":[{"Target":"a","Class":"os-pkgs","Type":"debian","Vulnerabilities":[%s]}]}`, strings.Join(names, ","), strings.Join(found, ","))
	b.write(name, text)
}

func (b *bed) write(name, text string) {
	path := filepath.Join(b.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Chtimes(path, b.now, b.now); err != nil { // the kernel's clock is coarse, and the sizes may be the same
		b.t.Fatal(err)
	}
}

// looked is what is kept after a look, as digest numbers with what becomes of them.
func (b *bed) looked() string {
	b.t.Helper()
	if err := b.look(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	var out []string
	for _, a := range b.kept {
		is := "refused"
		switch {
		case a.Until().Equal(time.Time{}):
		case a.Warn != "":
			is = "warned"
		default:
			is = "admitted"
		}
		if a.Rule != "" {
			is = a.Rule + " " + is
		}
		out = append(out, strings.TrimLeft(strings.TrimPrefix(a.Digest, "sha256:"), "0")+" "+is)
	}
	return strings.Join(out, ", ")
}

// TestAssess: what is known follows reports that come, change and go, the rules and the clock, and is kept where it is another.
func TestAssess(t *testing.T) {
	b := newBed(t)
	step := func(what, want string, times int) {
		t.Helper()
		if got := b.looked(); got != want || b.times != times {
			t.Errorf("%s: %q after keeping %d times; want %q after %d", what, got, b.times, want, times)
		}
	}
	step("no report", "", 1)
	b.report("ci/1.report", nil, 1, 2)
	b.write("ci/.part-1", "{")
	step("a report of two digests", "1 admitted, 2 admitted", 2)
	step("nothing new", "1 admitted, 2 admitted", 2)
	b.report("other/2.report", []string{"CVE-2026-1"}, 2, 3)
	step("another, of one of them and of a third", "1 warned, 2 warned, 3 warned", 3)
	b.report("ci/4.report", []string{"CVE-2026-9"}, 4)
	step("a vulnerability without a date", "1 warned, 2 warned, 3 warned, 4 refused", 4)
	b.law.Rules[0].UndatedAsNew, b.law.Edition = true, "2"
	step("another rule", "1 warned, 2 warned, 3 warned, 4 warned", 5)
	b.now = b.now.Add(12 * 24 * time.Hour)
	reads := b.reads
	step("the grace is over", "1 refused, 2 refused, 3 refused, 4 warned", 6)
	if got := b.reads - reads; got != 2 {
		t.Errorf("%d reports are read again; want the two that the clock touched", got)
	}
	if err := os.Remove(filepath.Join(b.dir, "other/2.report")); err != nil {
		t.Fatal(err)
	}
	step("a report that goes", "1 admitted, 2 admitted, 4 warned", 7)
	b.law.Rules = append(b.law.Rules, image.Rule{Name: "strict", MaxScanAge: 30 * 24 * time.Hour, DenySeverity: 4})
	b.law.Edition = "3"
	step("a rule for some", "1 admitted, 1 strict admitted, 2 admitted, 2 strict admitted, 4 warned, 4 strict refused", 8)
	b.law.Rules[1].MaxScanAge, b.law.Edition = 15*24*time.Hour, "4"
	step("by which a scan counts for less time", "1 admitted, 1 strict admitted, 2 admitted, 2 strict admitted, 4 warned, 4 strict refused", 9)
	b.now = b.now.Add(3 * 24 * time.Hour)
	step("and is over", "1 admitted, 1 strict refused, 2 admitted, 2 strict refused, 4 warned, 4 strict refused", 10)
	b.law.Rules, b.law.Edition = b.law.Rules[:1], "5"
	step("and no such rule any more", "1 admitted, 2 admitted, 4 warned", 11)
	b.law.Edition = ""
	b.report("ci/5.report", nil, 5)
	step("no law", "1 admitted, 2 admitted, 4 warned", 11)
	if s := b.Stats(); s.Reports != 2 || s.Digests != 3 || s.Unread != 0 || !s.Judged.Equal(b.now) {
		t.Errorf("%+v", s)
	}
}

// TestAssessFaults: a report that cannot be read is left out and told of once, what cannot be kept is kept later, and a report that changes to
// nonsense takes back what it said.
func TestAssessFaults(t *testing.T) {
	b := newBed(t)
	b.report("1.report", nil, 1)
	b.write("2.report", "{")
	b.full = errors.New("the disk is full")
	if err := b.look(t.Context()); !errors.Is(err, b.full) {
		t.Errorf("what cannot be kept: %v", err)
	}
	b.full = nil
	if got := b.looked(); got != "1 admitted" {
		t.Errorf("kept later: %q", got)
	}
	if got := strings.Count(b.log.String(), "a report on images is left out"); got != 1 {
		t.Errorf("told of %d times:\n%s", got, b.log.String())
	}
	b.now = b.now.Add(time.Second)
	b.write("1.report", "[")
	if got := b.looked(); got != "" {
		t.Errorf("of a report that is nonsense now: %q", got)
	}
	if s := b.Stats(); s.Unread != 2 || s.Reports != 0 {
		t.Errorf("%+v", s)
	}
	if err := os.RemoveAll(b.dir); err != nil {
		t.Fatal(err)
	}
	if err := b.look(t.Context()); err == nil {
		t.Error("a folder that is gone is taken for one without reports")
	}
}

// TestAssessHostile: no report has more than some others read with it, and an image of which too much is told is refused; others are judged.
func TestAssessHostile(t *testing.T) {
	b := newBed(t)
	b.maxJoined, b.maxFound = 3, 5
	all := []int{}
	for n := range 4 {
		b.report(fmt.Sprintf("%d.report", n), nil, 10+n)
		all = append(all, 10+n)
	}
	b.looked()
	b.now = b.now.Add(time.Second)
	b.report("joins.report", nil, all...)
	b.report("found.report", slices.Repeat([]string{"CVE-2026-1"}, 6), 30)
	if got := b.looked(); got != "a admitted, b admitted, c admitted, d admitted, 1e refused" {
		t.Errorf("%q", got)
	}
	if text := b.log.String(); !strings.Contains(text, "joins more than 3 reports") || !strings.Contains(text, "more than") || b.Stats().Unread != 1 {
		t.Errorf("%+v\n%s", b.Stats(), text)
	}
}
