//go:build unix

package render

import (
	"context"
	"errors"
	"strings"
	"testing"
	"text/template"
	"time"
)

// TestStoppable shows that a loop which calls a function ends soon after its time is up.
func TestStoppable(t *testing.T) {
	for _, text := range []string{
		`{{ range until 1000000 }}{{ range until 1000000 }}{{ end }}{{ end }}`,
		`{{ range 1000000000000 }}{{ $x := default "a" "b" }}{{ end }}`,
		`{{ define "a" }}{{ $x := list }}{{ template "b" }}{{ template "b" }}{{ end }}{{ define "b" }}{{ template "a" }}{{ end }}{{ template "a" }}`,
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		start := time.Now()
		parsed := template.Must(template.New("top").Funcs(stoppable(ctx)).Parse(text))
		err := parsed.Execute(&strings.Builder{}, nil)
		cancel()
		if took := time.Since(start); err == nil || took > 30*time.Second {
			t.Errorf("%s ended after %v with %v", text, took, err)
		}
	}
}

// TestCounts shows that functions do as sprig has it, up to a bound.
func TestCounts(t *testing.T) {
	for text, want := range map[string]string{
		`{{ until 3 }} {{ untilStep 1 7 2 }} {{ seq 1 2 5 }} {{ "ab" | repeat 2 }} {{ "a" | indent 2 }}`: "[0 1 2] [1 3 5] 1 3 5 abab   a",
		`{{ len (randAlphaNum 5) }} {{ default "x" "" }} {{ list 1 2 }} {{ add 1 2 3 }}`:                 "5 x [1 2] 6",
		`{{ until 9000000 }}`: "", `{{ untilStep -9000000 1 1 }}`: "", `{{ seq 1 9000000 }}`: "", `{{ repeat 9000000 "a" }}`: "", `{{ randAscii 9000000 }}`: "",
	} {
		var out strings.Builder
		err := template.Must(template.New("a").Funcs(stoppable(t.Context())).Parse(text)).Execute(&out, nil)
		if want == "" && (err == nil || !strings.Contains(err.Error(), "want a count of at most 1048576")) || want != "" && (err != nil || out.String() != want) {
			t.Errorf("%s = %q, %v; want %q", text, out.String(), err, want)
		}
	}
}

// TestRunaway shows that what takes too much memory is told apart from what takes too long.
func TestRunaway(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	_, err := bounded(t.Context(), func(context.Context) ([]byte, error) {
		held := make([]byte, 2*renderMemory)
		<-stop
		return held, nil
	})
	if !errors.Is(err, ErrRunaway) {
		t.Errorf("error %v, want ErrRunaway", err)
	}
}

// TestInterrupted: who ends the rendering is told so, and not to look for a loop.
func TestInterrupted(t *testing.T) {
	for name, work := range map[string]func(context.Context) (int, error){
		"a function sees it": func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, errSlow },
		"nothing sees it":    func(context.Context) (int, error) { time.Sleep(time.Second); return 0, nil },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		if _, err := bounded(ctx, work); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
