//go:build unix

package cli

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: payments-dev}\n"

// hostileTexts are the texts of `make NAME FILE`: what breaks readers, or costs them more than it should.
var hostileTexts = map[string]func() string{
	// one document
	"20MB": func() string { return pod + "data:\n" + strings.Repeat("  - "+strings.Repeat("x", 75)+"\n", 20<<20/80) },
	// one line, not YAML at all
	"20MB-line": func() string { return strings.Repeat("x", 20<<20) },
	// legal, and large
	"20MB-documents": func() string {
		return strings.Repeat("---\n"+pod+"spec: {containers: []}\n#"+strings.Repeat("x", 2000)+"\n", 20<<20/2100)
	},
	// each level ten times the one before, and the same of merge keys
	"bomb": func() string {
		return levels("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n", "a%d: &a%d [%s]\n")
	},
	"merge-bomb": func() string { return levels("a0: &a0 {x: y}\n", "a%d: &a%d {<<: [%s]}\n") },
	// more than any pod has: what is looked up must not cost the square of their number
	"containers": func() string {
		return pod + "spec:\n  containers:\n" + strings.Repeat("    - {name: c, image: nginx}\n", 50_000)
	},
	"deep-flow":  func() string { return pod + "a: " + strings.Repeat("[", 1_000_000) },
	"deep-block": func() string { return pod + "a:\n" + strings.Repeat("- ", 1_000_000) },
	"deep-json": func() string {
		return `{"apiVersion":"v1","kind":"Pod","a":` + strings.Repeat(`{"a":`, 300_000) + "1" + strings.Repeat("}", 300_001)
	},
	"binary":    func() string { return "\x7fELF\x02\x01\x01\x00\x00\x00" + strings.Repeat("\x00\xff\xfe", 1000) },
	"tgz":       func() string { return packedChart(0) },
	"tgz-large": func() string { return packedChart(4) },
	"tgz-bomb":  func() string { return packedChart(100) },
	"utf16":     func() string { return "\xff\xfea\x00:\x00 \x00b\x00\n\x00" },
	"bom-crlf": func() string {
		return "\ufeff" + strings.ReplaceAll(pod+"spec:\n  hostPID: true\n  containers: []\n", "\n", "\r\n")
	},
}

// levels is a ConfigMap of twelve levels, each with ten aliases of the one below.
func levels(first, next string) string {
	text := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n" + first
	for i := range 12 {
		text += fmt.Sprintf(next, i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 10), ", "))
	}
	return text
}

// makeFile is `make NAME FILE`.
func makeFile() {
	if err := makeNamed(os.Args[1], os.Args[2]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func makeNamed(name, file string) error {
	switch name {
	case "pipe":
		return syscall.Mkfifo(file, 0o644)
	case "1GB": // of zeros, which take no room on the disk
		f, err := os.Create(file)
		if err != nil {
			return err
		}
		return errors.Join(f.Truncate(1<<30), f.Close())
	}
	text, ok := hostileTexts[name]
	if !ok {
		return fmt.Errorf("make %s: no such text", name)
	}
	return os.WriteFile(file, []byte(text()), 0o644)
}

// BenchmarkHostile is the processor time of check for each of hostileTexts, beside that for one good Pod in turn with it: most of either is
// the compiling of the catalogue.
func BenchmarkHostile(b *testing.B) {
	good := filepath.Join("..", "policy", "cel", "testdata", "good-pod.yaml")
	for _, name := range slices.Sorted(maps.Keys(hostileTexts)) {
		b.Run(name, func(b *testing.B) {
			file := filepath.Join(b.TempDir(), "in.yaml")
			if strings.HasPrefix(name, "tgz") {
				file = filepath.Join(b.TempDir(), "in.tgz")
			}
			if err := makeNamed(name, file); err != nil {
				b.Fatal(err)
			}
			var hostile, plain time.Duration
			for b.Loop() {
				hostile += checkTime(b, file)
				plain += checkTime(b, good)
			}
			b.ReportMetric(hostile.Seconds()/plain.Seconds(), "x-good-pod")
			b.ReportMetric(hostile.Seconds()*1000/float64(b.N), "cpu-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// checkTime is the processor time, of user and system, that this process takes to check a file, whatever the verdict.
func checkTime(b *testing.B, file string) time.Duration {
	runtime.GC()
	began := processorTime(b)
	Main(b.Context(), []string{"check", file}, Env{Stdout: io.Discard, Stderr: io.Discard, Now: time.Now})
	return processorTime(b) - began
}

func processorTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
