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

// TestReadme runs the `ringfence check` commands of the README and compares what they print with what stands there; a
// line of ... stands for any lines.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	samples, err := filepath.Abs("../samples")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := os.Symlink(samples, "samples"); err != nil {
		t.Fatal(err)
	}
	write(t, "shell.yaml", shellPod)
	ran := 0
	for command, want := range transcripts(string(text)) {
		args := strings.Fields(command)
		if args[0] != "bin/ringfence" || args[1] != "check" || len(want) == 0 {
			continue
		}
		ran++
		var out bytes.Buffer // both, as a terminal shows them
		Main(t.Context(), args[1:], Env{Stdout: &out, Stderr: &out, Now: time.Now})
		if got := strings.Split(strings.TrimRight(out.String(), "\n"), "\n"); !matches(got, want) {
			t.Errorf("%s\nprints\n%s\nthe README has\n%s", command, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	if ran < 2 {
		t.Errorf("ran %d commands of the README, want 2 or more", ran)
	}
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
