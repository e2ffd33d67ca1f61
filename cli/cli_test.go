//go:build unix

package cli

import (
	"bytes"
	"cmp"
	"context"
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

// The bounds that any input must keep to, hostile ones first of all. The memory is that of design.md. The processor time only ends
// what goes round for ever: what an input costs is for BenchmarkHostile to say, as a busy machine takes twice the time for the same work.
const (
	maxMemory  = 300 << 20
	maxSeconds = 30
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
	if !raceDetector { // it costs ten times the time and memory
		limit := syscall.Rlimit{Cur: maxSeconds, Max: maxSeconds + 1}
		if err := syscall.Setrlimit(syscall.RLIMIT_CPU, &limit); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	got := run(os.Args[3:])
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	memory := used.Maxrss << 10 // KiB on Linux; on macOS bytes, which then says nothing
	if got != want || !raceDetector && memory > maxMemory && memory < 1<<40 {
		fmt.Printf("exit code %d, want %d; %d MiB of %d\n", got, want, memory>>20, maxMemory>>20)
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
