// Command secrets looks for secrets in the files of a Git working tree, by the rules of gitleaks, and exits 1 where it finds one that known.txt
// beside it does not explain. It prints where, by which rule, and never the secret.
package main

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"strings"

	"github.com/zricethezav/gitleaks/v8/detect"
)

// known are lines "PATH RULE REASON": what a file has that looks like a secret and is none. A star in PATH stands for a part of a name, as in path.Match.
//
//go:embed known.txt
var known string

// maxFile is how many bytes of a file are looked at; the largest text in the tree is generated and has no place for secrets.
const maxFile = 4 << 20

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "secrets:", err)
		os.Exit(1)
	}
}

func run() error {
	list, err := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return fmt.Errorf("list the files of the working tree: %w", err)
	}
	detector, err := detect.NewDetectorDefaultConfig()
	if err != nil {
		return err
	}
	used := map[string]bool{}
	found, files := 0, 0
	for _, file := range strings.Split(strings.TrimRight(string(list), "\x00"), "\x00") {
		info, err := os.Lstat(file)
		if errors.Is(err, os.ErrNotExist) || err == nil && (!info.Mode().IsRegular() || info.Size() > maxFile) {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if bytes.IndexByte(text, 0) >= 0 {
			continue
		}
		files++
		for _, f := range detector.Detect(detect.Fragment{Raw: string(text), FilePath: file}) {
			if line := explained(file, f.RuleID); line != "" {
				used[line] = true
				continue
			}
			found++
			fmt.Printf("%s:%d: looks like a secret: %s\n", file, f.StartLine+1, f.RuleID)
		}
	}
	for line := range strings.Lines(known) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") && !used[line] {
			found++
			fmt.Printf("tools/secrets/known.txt: nothing is explained by %q; remove it\n", line)
		}
	}
	if found > 0 {
		return fmt.Errorf("%d faults in %d files; fix: take the secret out and make a new one, or say in tools/secrets/known.txt why it is none", found, files)
	}
	return nil
}

// explained is the line of known.txt that says why what a rule found in a file is no secret; "" where there is none.
func explained(file, rule string) string {
	for line := range strings.Lines(known) {
		fields := strings.Fields(line)
		if len(fields) < 3 || strings.HasPrefix(line, "#") || fields[1] != rule {
			continue
		}
		if ok, err := path.Match(fields[0], file); ok && err == nil {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
