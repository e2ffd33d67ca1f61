package up

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

// walk does what a page tells its readers, command by command, in the folder in which `ringfence up` runs, and wants what the page
// shows: whatever holds a digit may differ, and ... stands for lines or the rest of a line.
func walk(t *testing.T, dir, page string) {
	root, err := clustertest.Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bin", "samples", "docs"} {
		if err := os.Symlink(filepath.Join(root, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	all := steps(string(text))
	if len(all) < 20 {
		t.Errorf("%s has %d commands, want 20 or more", page, len(all))
	}
	ahead := time.Now().AddDate(0, 2, 0).Format(time.DateOnly)
	for _, s := range all {
		name, isFile := strings.CutPrefix(s.command, "cat ")
		if isFile {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Join(s.want, "\n")+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		var first string // a second try may say that it was done already
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
			cmd := exec.Command("sh", "-c", strings.ReplaceAll(s.command, "2027-01-31", ahead))
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "KUBECONFIG=.ringfence/cluster/admin.kubeconfig")
			out, _ := cmd.CombinedOutput() // what is printed says whether it went well
			got := strings.TrimSpace(string(out))
			if printed(masked(strings.Split(got, "\n")), masked(s.want)) {
				break
			}
			if first == "" {
				first = got
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %s\nprints\n%s\nand in the end\n%s\nthe page has\n%s", page, s.command, first, got, strings.Join(s.want, "\n"))
			}
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
