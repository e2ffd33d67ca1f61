package cli

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/local"
	"ringfence.dev/ringfence/record"
)

// answering is a control plane that knows of findings.
func answering(t *testing.T, a record.Answer) (dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "rf") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", local.SocketPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(a) })}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	return dir
}

func seen(id, audit string, at time.Time, refused bool) finding.Finding {
	return finding.Finding{Control: id, Title: "Title of " + id, Outcome: finding.Fail, Action: finding.Deny, Found: "found" + audit, Path: "/spec", Wanted: "wanted", Fix: "fix",
		Subject:  finding.Subject{APIVersion: "v1", Kind: "Pod", Namespace: "payments-dev", Name: "a"},
		Observed: &finding.Observed{Time: at, User: "alice", Operation: "CREATE", Refused: refused, AuditID: audit}}
}

func warnedOf(f finding.Finding) finding.Finding {
	f.Action = finding.Warn
	return f
}

func TestLastDenial(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	known := record.Answer{SchemaVersion: finding.SchemaVersion, Observed: record.Source{LastEvent: &now}, Findings: []finding.Finding{
		seen("RF-WL-01", "first", now.Add(-time.Hour), true),
		seen("RF-WL-08", "second", now, true), warnedOf(seen("RF-ID-07", "second", now, true)), seen("RF-WL-02", "second", now, true),
		seen("RF-WL-15", "third", now.Add(time.Minute), false),
	}}
	file := filepath.Join(t.TempDir(), "pod.yaml")
	write(t, file, pod+"spec:\n  hostPID: true\n  containers: []\n")
	for name, c := range map[string]struct {
		answer record.Answer
		args   []string
		code   int
		want   []string
		never  string
	}{
		"newest":       {known, []string{"-n", "payments-dev"}, 0, []string{"CREATE of payments-dev/Pod/a was refused; alice asked", "RF-WL-02  Title", "RF-WL-08  Title", "FILE"}, "RF-WL-01"},
		"with a file":  {known, []string{"-n", "payments-dev", file}, 1, []string{"RF-WL-02", "+  automountServiceAccountToken: false", "1 object in 1 file: 1 refused"}, ""},
		"none":         {record.Answer{SchemaVersion: finding.SchemaVersion, Observed: known.Observed}, []string{"-n", "payments-dev"}, 1, []string{"nothing was refused in payments-dev"}, ""},
		"not observed": {record.Answer{SchemaVersion: finding.SchemaVersion}, []string{"-n", "payments-dev"}, 3, []string{"refusals not observed"}, ""},
		"no namespace": {known, nil, 2, []string{"want --namespace"}, ""},
		"bad file":     {known, []string{"-n", "payments-dev", "none.yaml"}, 2, []string{"none.yaml"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			code := Main(t.Context(), append([]string{"explain", "--last-denial", "--dir", answering(t, c.answer)}, c.args...), Env{Stdout: &out, Stderr: &out, Now: time.Now})
			for _, want := range c.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("want %q", want)
				}
			}
			if text := out.String(); strings.Contains(text, "RF-ID-07  Title") && strings.Index(text, "RF-ID-07  Title") < strings.Index(text, "RF-WL-08  Title") {
				t.Error("what only warns comes before what refused")
			}
			if code != c.code || c.never != "" && strings.Contains(out.String(), c.never) || t.Failed() {
				t.Errorf("exit code %d, want %d:\n%s", code, c.code, out.String())
			}
		})
	}
}
