//go:build unix

package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestReadme runs the `ringfence check` commands of the pages that begin, and compares what they print with what stands there; a
// line of ... stands for any lines. Files are what `cat` shows of them on the page.
func TestReadme(t *testing.T) {
	samples, err := filepath.Abs("../samples")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range []string{"README.md", "docs/getting-started.md"} {
		t.Run(page, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(filepath.Dir(samples), page))
			if err != nil {
				t.Fatal(err)
			}
			t.Chdir(t.TempDir())
			if err := os.Symlink(samples, "samples"); err != nil {
				t.Fatal(err)
			}
			shown := transcripts(string(text))
			write(t, "shell.yaml", shellPod)
			for command, lines := range shown {
				if name, ok := strings.CutPrefix(command, "cat "); ok {
					write(t, name, strings.Join(lines, "\n")+"\n")
				}
			}
			if ran := runShown(t, shown); ran < 2 {
				t.Errorf("ran %d commands, want 2 or more", ran)
			}
		})
	}
}

// shellPod is what `kubectl run shell --image=nginx --dry-run=client -o yaml` writes.
const shellPod = `apiVersion: v1
kind: Pod
metadata:
  name: shell
spec:
  containers:
    - name: shell
      image: nginx
`

// runShown runs what checks, and says how many commands that were.
func runShown(t *testing.T, shown map[string][]string) (ran int) {
	for command, want := range shown {
		args := strings.Fields(command)
		if args[0] != "bin/ringfence" || args[1] != "check" || len(want) == 0 {
			continue
		}
		ran++
		var out bytes.Buffer // both, as a terminal shows them
		Main(t.Context(), args[1:], Env{Stdout: &out, Stderr: &out, Now: time.Now})
		if got := strings.Split(strings.TrimRight(out.String(), "\n"), "\n"); !matches(got, want) {
			t.Errorf("%s\nprints\n%s\nthe page has\n%s", command, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	return ran
}

// transcripts are the commands of indented blocks, with the lines that follow each.
func transcripts(text string) map[string][]string {
	out := map[string][]string{}
	command := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		body, indented := strings.CutPrefix(line, "    ")
		switch next, isCommand := strings.CutPrefix(body, "$ "); {
		case !indented && line != "":
			command = ""
		case isCommand:
			command = next
			out[command] = nil
		case command != "":
			out[command] = append(out[command], body)
		}
	}
	for command, lines := range out {
		for len(lines) > 0 && lines[len(lines)-1] == "" {
			lines = lines[:len(lines)-1]
		}
		out[command] = lines
	}
	return out
}

// matches compares lines; ... among those wanted stands for any number.
func matches(got, want []string) bool {
	switch {
	case len(want) == 0:
		return len(got) == 0
	case strings.TrimSpace(want[0]) == "...":
		for i := range len(got) + 1 {
			if matches(got[i:], want[1:]) {
				return true
			}
		}
		return false
	}
	return len(got) > 0 && got[0] == want[0] && matches(got[1:], want[1:])
}
