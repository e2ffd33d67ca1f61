//go:build unix

package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The bounds that any input must keep to, hostile ones first of all: 2 s of processor time, 300 MiB of memory.
const (
	maxTime   = 2 * time.Second
	maxMemory = 300 << 20
)

var update = flag.Bool("update", false, "write the golden files of the scripts anew")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"ringfence": func() { os.Exit(run(os.Args[1:])) },
		"exits":     exits,
		// as kubectl calls it
		"kubectl-ringfence": func() { os.Exit(plugin(os.Args[1:])) },
		"make":              makeFile,
		"ledger":            makeLedger,
	})
}

func TestScripts(t *testing.T) {
	params := testscript.Params{
		Dir:           "testdata",
		UpdateScripts: *update,
		// Where root runs the tests every file can be read.
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("no condition %q", cond)
		},
	}
	if raceDetector { // every command compiles the catalogue, which takes ten times as long; these judge much side by side
		params.Dir, params.Files = "", []string{"testdata/check.txtar", "testdata/folder.txtar", "testdata/helm.txtar"}
	}
	testscript.Run(t, params)
}

func run(args []string) int { return runAs("ringfence", args) }

// plugin runs the program as kubectl does.
func plugin(args []string) int { return runAs("/usr/local/bin/kubectl-ringfence", args) }

func runAs(argv0 string, args []string) int {
	return Main(context.Background(), args, Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Now: time.Now, Plugin: IsPlugin(argv0)})
}

// exits is `exits CODE ringfence ARG...`: it fails unless the command exits with that code within the bounds.
func exits() {
	want, err := strconv.Atoi(os.Args[1])
	if err != nil || os.Args[2] != "ringfence" {
		fmt.Println("usage: exits CODE ringfence ARG...")
		os.Exit(1)
	}
	got := run(os.Args[3:])
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	cpu := time.Duration(used.Utime.Nano() + used.Stime.Nano())
	memory := used.Maxrss << 10 // KiB on Linux; on macOS bytes, which then says nothing
	if raceDetector && got == want {
		return // it costs ten times the time and memory
	}
	if got != want || cpu > maxTime || memory > maxMemory && memory < 1<<40 {
		fmt.Printf("exit code %d, want %d; %s of %s processor time; %d MiB of %d\n", got, want, cpu, maxTime, memory>>20, maxMemory>>20)
		os.Exit(1)
	}
}

// TestOrder holds check to one order of output, however its goroutines are scheduled: that of the inputs for faults, that
// of files and lines for findings.
func TestOrder(t *testing.T) {
	dir := t.TempDir()
	for i := range 4 {
		var text strings.Builder
		for j := range 100 {
			switch {
			case j%7 == 3:
				text.WriteString("hello\n---\n")
			case j%2 == 0:
				text.WriteString(pod + "spec: {hostPID: true, containers: []}\n---\n")
			default:
				text.WriteString(pod + "spec:\n" + strings.Repeat("  # a comment\n", 40*j) + "  hostIPC: true\n  containers: []\n---\n")
			}
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.yaml", i)), []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var first, faults string
	for round := range 5 {
		var out, prose bytes.Buffer
		code := Main(t.Context(), []string{"check", "--only", "RF-WL-02", "-o", "json", dir}, Env{Stdout: &out, Stderr: &prose, Now: time.Now})
		if code != 2 || strings.Count(prose.String(), "\n") != 56 {
			t.Fatalf("exit code %d, want 2; standard error:\n%s", code, prose.String())
		}
		if round > 0 && (out.String() != first || prose.String() != faults) {
			t.Fatalf("round %d differs", round)
		}
		first, faults = out.String(), prose.String()
	}
	if !slices.IsSortedFunc(strings.Split(strings.TrimSpace(faults), "\n"), byPlace) {
		t.Errorf("faults are not in order:\n%s", faults)
	}
}

// byPlace compares file:line:column: message by file and line.
func byPlace(a, b string) int {
	fileA, restA, _ := strings.Cut(a, ":")
	fileB, restB, _ := strings.Cut(b, ":")
	var lineA, lineB int
	fmt.Sscan(strings.ReplaceAll(restA, ":", " "), &lineA)
	fmt.Sscan(strings.ReplaceAll(restB, ":", " "), &lineB)
	return cmp.Or(cmp.Compare(fileA, fileB), cmp.Compare(lineA, lineB))
}

const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: payments-dev}\n"

// makeFile is `make WHAT FILE`: it writes a file that is too large, or too odd, to stand in a script.
func makeFile() {
	var text string
	switch os.Args[1] {
	case "20MB": // one document
		text = pod + "data:\n" + strings.Repeat("  - "+strings.Repeat("x", 75)+"\n", 20<<20/80)
	case "20MB-line": // one line, not YAML at all
		text = strings.Repeat("x", 20<<20)
	case "20MB-documents": // legal, and large
		text = strings.Repeat("---\n"+pod+"spec: {containers: []}\n#"+strings.Repeat("x", 2000)+"\n", 20<<20/2100)
	case "bomb": // each level ten times the one before
		text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
		for i := range 12 {
			text += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 10), ", "))
		}
	case "merge-bomb": // the same of merge keys
		text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\na0: &a0 {x: y}\n"
		for i := range 12 {
			text += fmt.Sprintf("a%d: &a%d {<<: [%s]}\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 10), ", "))
		}
	case "containers": // more than any pod has: what is looked up must not cost the square of their number
		text = pod + "spec:\n  containers:\n" + strings.Repeat("    - {name: c, image: nginx}\n", 50_000)
	case "deep-flow":
		text = pod + "a: " + strings.Repeat("[", 1_000_000)
	case "deep-block":
		text = pod + "a:\n" + strings.Repeat("- ", 1_000_000)
	case "deep-json":
		text = `{"apiVersion":"v1","kind":"Pod","a":` + strings.Repeat(`{"a":`, 300_000) + "1" + strings.Repeat("}", 300_001)
	case "binary":
		text = "\x7fELF\x02\x01\x01\x00\x00\x00" + strings.Repeat("\x00\xff\xfe", 1000)
	case "pipe":
		if err := syscall.Mkfifo(os.Args[2], 0o644); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	case "1GB": // of zeros, which take no room on the disk
		f, err := os.Create(os.Args[2])
		if err == nil {
			err = errors.Join(f.Truncate(1<<30), f.Close())
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	case "tgz", "tgz-large", "tgz-bomb":
		text = packedChart(map[string]int{"tgz-large": 4, "tgz-bomb": 100}[os.Args[1]])
	case "utf16":
		text = "\xff\xfea\x00:\x00 \x00b\x00\n\x00"
	case "bom-crlf":
		text = "\ufeff" + strings.ReplaceAll(pod+"spec:\n  hostPID: true\n  containers: []\n", "\n", "\r\n")
	default:
		fmt.Println("make what?")
		os.Exit(1)
	}
	if err := os.WriteFile(os.Args[2], []byte(text), 0o644); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
