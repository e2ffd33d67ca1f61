package ringfencetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/internal/clustertest"
)

// step is a command of a page and what is printed below it.
type step struct {
	command string
	want    []string
}

// Page is a page of the docs whose commands are run, one after the other.
type Page struct {
	// File is the page, as the repository's root names it, and Dir the folder in which its commands are run.
	File, Dir string
	// Section is the heading below which they stand; empty for the whole page.
	Section string
	// Env is what commands find in their environment beside the test's own.
	Env []string
	// Before and After are told of each command; nil for nothing.
	Before, After func(command string)
}

// Walk does what a page tells its readers, command by command, and wants what the page shows: whatever holds a digit may differ, and ...
// stands for lines or the rest of a line. Files that the page shows by cat are written. It returns how many commands there were.
func Walk(t *testing.T, p Page) int {
	t.Helper()
	root, err := clustertest.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, p.File))
	if err != nil {
		t.Fatal(err)
	}
	part := string(text)
	if p.Section != "" {
		_, rest, found := strings.Cut(part, "\n## "+p.Section+"\n")
		if !found {
			t.Fatalf("%s has no section %s", p.File, p.Section)
		}
		part, _, _ = strings.Cut(rest, "\n## ")
	}
	all := steps(part)
	ahead := time.Now().AddDate(0, 2, 0).Format(time.DateOnly)
	for _, s := range all {
		if p.Before != nil {
			p.Before(s.command)
		}
		if name, isFile := strings.CutPrefix(s.command, "cat "); isFile {
			if err := os.WriteFile(filepath.Join(p.Dir, name), []byte(strings.Join(s.want, "\n")+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		p.tried(t, s, strings.ReplaceAll(s.command, "2027-01-31", ahead))
		if p.After != nil {
			p.After(s.command)
		}
	}
	return len(all)
}

// tried runs a command until it prints what the page has: what a command waits for may come a moment later.
func (p Page) tried(t *testing.T, s step, command string) {
	t.Helper()
	var first string // a second try may say that it was done already
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir, cmd.Env = p.Dir, append(os.Environ(), p.Env...)
		out, _ := cmd.CombinedOutput() // what is printed says whether it went well
		got := strings.TrimSpace(string(out))
		if printed(masked(strings.Split(got, "\n")), masked(s.want)) {
			return
		}
		if first == "" {
			first = got
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %s\nprints\n%s\nand in the end\n%s\nthe page has\n%s", p.File, s.command, first, got, strings.Join(s.want, "\n"))
		}
	}
}

// steps are the commands of a page's indented blocks, in order.
func steps(text string) (all []step) {
	open := false
	for line := range strings.Lines(text) {
		body, indented := strings.CutPrefix(strings.TrimRight(line, "\n"), "    ")
		command, isCommand := strings.CutPrefix(body, "$ ")
		switch {
		case !indented && strings.TrimSpace(line) != "":
			open = false
		case isCommand:
			all, open = append(all, step{command: command}), true
		case open:
			s := &all[len(all)-1]
			s.want = append(s.want, body)
		}
	}
	for i, s := range all {
		for len(s.want) > 0 && s.want[len(s.want)-1] == "" {
			s.want = s.want[:len(s.want)-1]
		}
		all[i] = s
	}
	return all
}

var (
	variable = regexp.MustCompile(`ringfence\.dev/ledger/[\w+/=]+|[\w+/=.:-]*[0-9][\w+/=.:-]*`)
	spaces   = regexp.MustCompile(`\s+`)
)

// masked makes alike what differs from run to run: words with a digit, the ledger's name, and how wide columns are.
func masked(lines []string) (out []string) {
	for _, line := range lines {
		line = strings.TrimSpace(spaces.ReplaceAllString(line, " "))
		out = append(out, variable.ReplaceAllString(line, "#"))
	}
	return out
}

// printed wants the page's warnings among those that came, in any order, for the API server has none; and the other lines as they stand.
func printed(got, want []string) bool {
	warning := func(line string) bool { return strings.HasPrefix(line, "Warning: ") }
	for _, line := range want {
		if warning(line) && !slices.Contains(got, line) {
			return false
		}
	}
	return shows(slices.DeleteFunc(got, warning), slices.DeleteFunc(want, warning))
}

// shows matches lines; a wanted line of ... stands for any number, and one that ends so for its beginning.
func shows(got, want []string) bool {
	switch {
	case len(want) == 0:
		return len(got) == 0 || len(got) == 1 && got[0] == ""
	case want[0] == "...":
		for i := range len(got) + 1 {
			if len(want) == 1 || shows(got[i:], want[1:]) {
				return true
			}
		}
		return false
	case len(got) == 0:
		return false
	}
	begin, cut := strings.CutSuffix(want[0], " ...")
	return (got[0] == want[0] || cut && strings.HasPrefix(got[0], begin)) && shows(got[1:], want[1:])
}
