package cli

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/internal/sinktest"
)

// sinksExample is the configuration in docs/forward.md.
func sinksExample(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docs/forward.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), "```yaml\n")
	yaml, _, ended := strings.Cut(after, "```")
	if !found || !ended {
		t.Fatal("docs/forward.md holds no example")
	}
	return yaml
}

// loadSinks writes a configuration and loads it.
func loadSinks(t *testing.T, text string) ([]forward.Opened, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sinks.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := forward.Load(file, SinkTypes(nil))
	if err != nil && !strings.HasPrefix(err.Error(), file+":") {
		t.Errorf("Load = %v, want file and line first", err)
	}
	if err != nil {
		err = trimmed(strings.ReplaceAll(err.Error(), file, "sinks.yaml"))
	}
	return all, err
}

type trimmed string

func (t trimmed) Error() string { return string(t) }

// TestExample: the documented configuration loads, and names every type of sink.
func TestExample(t *testing.T) {
	all, err := loadSinks(t, sinksExample(t))
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]bool{}
	for _, o := range all {
		types[o.Type] = true
		if o.Make == nil || o.Sink == nil || o.Sink.Limits().Bytes == 0 {
			t.Errorf("%s is not whole", o.Name)
		}
		_ = o.Sink.Close()
	}
	for name := range SinkTypes(nil).Sinks {
		if !types[name] {
			t.Errorf("docs/forward.md shows no sink of type %s", name)
		}
	}
}

// TestBadSinks: each mistake is told with its line and field, and no value that may be a secret.
func TestBadSinks(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"", "sinks.yaml:1: found nothing"},
		{"sink: []\n", `sinks.yaml:1: : found the unknown field "sink"; want sinks`},
		{"sinks:\n  - 5\n", "sinks.yaml:2: sinks[0]: want name, type and more"},
		{"sinks: 5\n", "sinks.yaml:1: cannot unmarshal"},
		{"sinks:\n  - name: a\n    type: kafka\n", `sinks.yaml:3: sinks[0].type: found "kafka"; want one of file, sentinel, splunk, syslog, webhook`},
		{"sinks:\n  - name: A b\n    type: file\n", `sinks.yaml:2: sinks[0].name: found "A b"`},
		{"sinks:\n  - name: a\n    type: file\n    path: x\n    format: xml\n", `sinks.yaml:5: sinks[0].format: found "xml"; want one of cef, ocsf, record`},
		{"sinks:\n  - name: a\n    type: file\n    kinds: [Bad Kind]\n    path: x\n", `sinks.yaml:4: sinks[0].kinds: found "Bad Kind"`},
		{"sinks:\n  - name: a\n    type: file\n    path: x\n    pth: y\n", `sinks.yaml:5: sinks[0]: found the unknown field "pth"; want format, keep, kinds, maxBytes, name, path, type`},
		{"sinks:\n  - name: a\n    type: splunk\n    url: https://h\n    tokenFile: f\n    tls:\n      insecure: true\n", `sinks.yaml:7: sinks[0].tls: found the unknown field "insecure"; want caFile, certFile, keyFile, serverName`},
		{"sinks:\n  - name: a\n    type: splunk\n    url: http://h\n    tokenFile: f\n", `sinks.yaml:2: sinks[0] (a): url: want an address https://`},
		{"sinks:\n  - name: a\n    type: file\n    path: x\n    keep: hunter2\n", "sinks.yaml:5: cannot unmarshal !!str a value into int"},
		{"sinks:\n  - name: a\n    type: file\n    path: x\n  - name: a\n    type: file\n    path: y\n", `sinks.yaml:5: sinks[1].name: found "a", which line 2 has too`},
		{"sinks:\n  - name: a\n    name: b\n    type: file\n    path: x\n", `already defined`},
		{"sinks: []\n---\nsinks: []\n", "sinks.yaml: found more than one document"},
		{"sinks: [\n", "sinks.yaml:"},
	} {
		_, err := loadSinks(t, test.text)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q:\n%v\nwant %s", test.text, err, test.want)
		}
	}
	if _, err := loadSinks(t, "sinks:\n  - name: a\n    type: x\n  - name: b\n    type: y\n"); err == nil || strings.Count(err.Error(), "want one of") != 2 {
		t.Errorf("two faults: %v, want both", err)
	}
}

// TestFollowConfigured: from a configuration to lines in a file: only the wanted kind, each record once, over a restart.
func TestFollowConfigured(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out.jsonl")
	ledger := &sinktest.Ledger{}
	for round := range 2 {
		for i := range 50 {
			n := round*50 + i
			kind := "change.v1"
			if n%5 == 0 {
				kind = "check-run.v1"
			}
			ledger.Add(sinktest.Record(n, kind, `{"operation":"UPDATE"}`))
		}
		all, err := loadSinks(t, "sinks:\n  - name: archive\n    type: file\n    kinds: [change.v1]\n    path: "+out+"\n")
		if err != nil {
			t.Fatal(err)
		}
		f, err := forward.New(t.Context(), forward.Options{Name: all[0].Name, Source: ledger, Sink: all[0].Sink, Format: all[0].Make, Kinds: all[0].Kinds,
			Dir: dir, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Catch(t.Context()), all[0].Sink.Close()); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(out)
	if n := strings.Count(string(text), "\n"); err != nil || n != 80 || strings.Count(string(text), `"class_uid":6003`) != 80 || strings.Count(string(text), `"uid":"r-0099"`) != 1 {
		t.Errorf("%d lines, %v, want 80 of class 6003, each record once:\n%.600s", n, err, text)
	}
}
