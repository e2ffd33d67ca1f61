package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/finding"
)

// until calls then once something was written.
type until struct {
	bytes.Buffer
	then func()
}

func (u *until) Write(p []byte) (int, error) {
	defer u.then()
	return u.Buffer.Write(p)
}

// endless is a standard input that gives a pod, what is no object, and then nothing for ever.
func endless(t *testing.T) io.Reader {
	reader, writer := io.Pipe()
	t.Cleanup(func() { writer.Close() })
	go fmt.Fprint(writer, pod+"spec: {hostPID: true, containers: []}\n---\nhello\n---\n")
	return reader
}

// TestInterrupted shows that a run which is interrupted reports what it judged, in every output, and exits neither 0 nor 1.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	file := filepath.Join(t.TempDir(), "a.json")
	var out bytes.Buffer
	prose := &until{then: cancel} // the complaint about the second document comes after the first was judged
	code := Main(ctx, []string{"check", "--only", "RF-WL-02", "-o", "text", "-o", "json=" + file, "-"}, Env{Stdin: endless(t), Stdout: &out, Stderr: prose, Now: time.Now})
	if code != 2 || !strings.Contains(prose.String(), "ringfence: interrupted") {
		t.Errorf("exit code %d, want 2; standard error: %s", code, prose.String())
	}
	if want := "1 object in 1 file: 1 refused; 1 finding; 1 invalid input; interrupted, the rest was not judged\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("standard output does not end in %q:\n%s", want, out.String())
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Findings []finding.Finding
		Summary  finding.Summary
	}
	if err := json.Unmarshal(text, &got); err != nil || len(got.Findings) != 1 || got.Summary.Exit != 2 {
		t.Errorf("%v: %s", err, text)
	}
}

// TestInterruptedAtOnce shows the same where nothing was judged yet.
func TestInterruptedAtOnce(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, prose bytes.Buffer
	code := Main(ctx, []string{"check", "-o", "github", "-"}, Env{Stdin: endless(t), Stdout: &out, Stderr: &prose, Now: time.Now})
	if code != 2 || !strings.Contains(out.String(), "::error title=not everything was judged::interrupted") || !strings.Contains(prose.String(), "interrupted") {
		t.Errorf("exit code %d; standard output: %s; standard error: %s", code, out.String(), prose.String())
	}
}

// TestProgress shows progress on a terminal alone, once a run is long, and that nothing of it is left.
func TestProgress(t *testing.T) {
	t.Setenv("TERM", "xterm")
	path := filepath.Join(t.TempDir(), "a.yaml")
	if err := os.WriteFile(path, []byte(strings.Repeat(pod+"spec: {containers: []}\n---\n", 20)), 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(watched bool, step time.Duration) string {
		clock := time.Unix(0, 0)
		now := func() time.Time { clock = clock.Add(step); return clock }
		var out, prose bytes.Buffer
		if code := Main(t.Context(), []string{"check", "--only", "RF-WL-02", path}, Env{Stdout: &out, Stderr: &prose, Now: now, Watched: watched}); code != 0 {
			t.Fatalf("exit code %d: %s", code, prose.String())
		}
		return prose.String()
	}
	if got := run(true, 300*time.Millisecond); !strings.Contains(got, "\r\x1b[Kringfence: 1 of 1 files, 4 objects, ") || !strings.HasSuffix(got, "\r\x1b[K") {
		t.Errorf("progress is %q", got)
	}
	if got := run(true, time.Millisecond); got != "" {
		t.Errorf("progress of a short run is %q", got)
	}
	if got := run(false, 300*time.Millisecond); got != "" {
		t.Errorf("progress without a terminal is %q", got)
	}
}
