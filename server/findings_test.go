package server

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"ringfence.dev/ringfence/admission"
	reports "ringfence.dev/ringfence/evidence"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/record"
)

// withSocket is a control plane with doors and a socket over a folder that may have been another's, and a client of the socket.
func withSocket(t *testing.T, a authority, dir string, change func(*Config)) (*Server, *http.Client) {
	t.Helper()
	tokens, push := filepath.Join(dir, "tokens"), filepath.Join(dir, "push")
	for path, text := range map[string]string{tokens: token, push: "payments-ci " + pushSecret} {
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg := Config{Socket: filepath.Join(dir, "s"), Evidence: filepath.Join(dir, "evidence"), Listen: "127.0.0.1:0", TLSCert: a.cert, TLSKey: a.key, AuditTokens: tokens, PushTokens: push}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", cfg.Socket)
	}}}
	return s, client
}

// shortDir is a folder whose name is short enough for a socket in it.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// ask is the answer of the socket to a question.
func ask(t *testing.T, client *http.Client, q record.Query) record.Answer {
	t.Helper()
	answer, err := record.Fetch(t.Context(), client, "http://ringfence", q)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// shown are findings on a line each.
func shown(fs []finding.Finding) string {
	var out []string
	for _, f := range fs {
		out = append(out, fmt.Sprintf("%s %s %s %s dry=%t by %s/%s: %s", f.Outcome, f.Action, f.Control, f.Subject, f.Observed.DryRun, f.Observed.User, f.Observed.AuditID, f.Message))
	}
	return strings.Join(out, "\n")
}

// TestFindingsSurvive: what the audit stream told is listed after a restart as it was before, with who asked and whether it was a
// dry run, by every filter; runs of pipelines are not among it. Without a usable store memory answers, and says so.
func TestFindingsSurvive(t *testing.T) {
	a, dir := makeAuthority(t), shortDir(t)
	s, client := withSocket(t, a, dir, nil)
	stop := startEvidence(t, s)
	if first := ask(t, client, record.Query{}); first.From != "store" || first.Observed.LastEvent != nil || len(first.Findings) != 0 {
		t.Errorf("before the first event: %+v", first)
	}
	for _, name := range []string{"dry-run", "deployment", "no-guard", "warned"} {
		text, err := os.ReadFile(filepath.Join("../detect/auditlog/testdata/events", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		if code, _ := send(t, a.client(t), "https://"+s.DoorsAddress()+"/audit/webhook", string(text), "Authorization", "Bearer "+token); code != 200 {
			t.Fatalf("POST %s = %d, want 200", name, code)
		}
	}
	if code, _ := send(t, a.client(t), "https://"+s.DoorsAddress()+"/records/check-run", run(t, nil), "Authorization", "Bearer "+pushSecret); code != 200 {
		t.Fatalf("POST of a run = %d, want 200", code)
	}
	pod := finding.Subject{APIVersion: "v1", Kind: "Pod", Namespace: "cards-dev", Name: "reviewed"}
	s.evidence.decided(t.Context(), admission.Decision{UID: "7c5e-uid", Operation: "CREATE", Subject: pod, User: "jane", Findings: []finding.Finding{{Control: "RF-WL-01", Outcome: finding.Fail, Subject: pod}}})
	var before record.Answer
	eventually(t, "the store's last record", func() bool {
		before = ask(t, client, record.Query{})
		return before.Behind == 0 && slices.ContainsFunc(before.Findings, func(f finding.Finding) bool { return f.Subject == pod })
	})
	dry := slices.IndexFunc(before.Findings, func(f finding.Finding) bool { return f.Observed.DryRun })
	if dry < 0 || before.Findings[dry].Observed.User != "devcluster-admin" || !strings.HasPrefix(before.Findings[dry].Message, "RF-WL-02 No host namespaces: found true at /spec/hostPID; want ") {
		t.Errorf("no dry run with its user and line among\n%s", shown(before.Findings))
	}
	stop()

	s, client = withSocket(t, a, dir, nil)
	defer startEvidence(t, s)()
	after := ask(t, client, record.Query{})
	if shown(after.Findings) != shown(before.Findings) || after.From != "store" {
		t.Errorf("after a restart:\n%s\nwant\n%s", shown(after.Findings), shown(before.Findings))
	}
	events := slices.DeleteFunc(slices.Clone(after.Findings), func(f finding.Finding) bool { return f.Subject == pod }) // of no event
	if after.Observed.LastEvent == nil || !after.Observed.LastEvent.Equal(events[len(events)-1].Observed.Time) {
		t.Errorf("after a restart the newest event was %v, want that of the newest record", after.Observed.LastEvent)
	}
	if !slices.IsSortedFunc(after.Findings, func(x, y finding.Finding) int { return x.Observed.Time.Compare(y.Observed.Time) }) {
		t.Error("the findings are not in order of time")
	}
	for name, test := range map[string]struct {
		q    record.Query
		want func(finding.Finding) bool
	}{
		"namespace": {record.Query{Filter: record.Filter{Namespace: "payments-dev"}}, func(f finding.Finding) bool { return f.Subject.Namespace == "payments-dev" }},
		"control":   {record.Query{Filter: record.Filter{Control: "RF-WL-02"}}, func(f finding.Finding) bool { return f.Control == "RF-WL-02" }},
		"tenant":    {record.Query{Filter: record.Filter{Tenant: "payments"}}, func(f finding.Finding) bool { return strings.HasPrefix(f.Subject.Namespace, "payments-") }},
		"since":     {record.Query{Since: time.Minute}, func(f finding.Finding) bool { return time.Since(f.Observed.Time) < time.Minute }},
		"request":   {record.Query{Filter: record.Filter{Request: before.Findings[dry].Observed.AuditID}}, func(f finding.Finding) bool { return f.Observed.AuditID == before.Findings[dry].Observed.AuditID }},
		"review":    {record.Query{Filter: record.Filter{Request: "7c5e-uid"}}, func(f finding.Finding) bool { return f.Subject.Name == "reviewed" }},
		"undecided": {record.Query{Filter: record.Filter{Namespace: "stray"}}, func(f finding.Finding) bool { return f.Outcome == finding.Errored }},
	} {
		want := slices.DeleteFunc(slices.Clone(before.Findings), func(f finding.Finding) bool { return !test.want(f) })
		if got := ask(t, client, test.q).Findings; shown(got) != shown(want) || len(want) == 0 && name != "since" {
			t.Errorf("by %s:\n%s\nwant\n%s", name, shown(got), shown(want))
		}
	}
	if _, err := record.Fetch(t.Context(), client, "http://ringfence", record.Query{After: "x"}); err == nil || !strings.Contains(err.Error(), "want the Next of another page") {
		t.Errorf("a page after x: %v", err)
	}
}

// TestFindingsPages: more than a page is answered in pages, newest first, that hold each finding once.
func TestFindingsPages(t *testing.T) {
	s, client := withSocket(t, makeAuthority(t), shortDir(t), nil)
	defer startEvidence(t, s)()
	const n = pageLimit + 50
	for i := range n {
		o := &finding.Observed{Time: time.Unix(1_800_000_000+int64(i), 0).UTC(), User: "jane", Operation: "CREATE", Refused: true}
		f := finding.Finding{Control: "RF-WL-05", Outcome: finding.Fail, Observed: o, Subject: finding.Subject{APIVersion: "v1", Kind: "Pod", Namespace: "payments-dev", Name: fmt.Sprint("p", i)}}
		r, err := record.Refusal([]finding.Finding{f}, strings.Repeat("0", 64), []byte("key"), "webhook", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if refused := s.evidence.queue.Add(auditProducer, r); refused > 0 {
			t.Fatal("the queue is full")
		}
	}
	var first record.Answer
	eventually(t, "the store's last record", func() bool { first = ask(t, client, record.Query{}); return first.Behind == 0 })
	second := ask(t, client, record.Query{After: first.Next})
	if len(first.Findings) != pageLimit || len(second.Findings) != n-pageLimit || second.Next != "" {
		t.Fatalf("pages of %d and %d findings, then %q; want %d and %d", len(first.Findings), len(second.Findings), second.Next, pageLimit, n-pageLimit)
	}
	for i, f := range slices.Concat(second.Findings, first.Findings) {
		if f.Subject.Name != fmt.Sprint("p", i) {
			t.Fatalf("finding %d is of %s", i, f.Subject.Name)
		}
	}
}

// TestFindingsWithoutStore: where the store cannot be used memory answers, and says so.
func TestFindingsWithoutStore(t *testing.T) {
	a, dir := makeAuthority(t), shortDir(t)
	if err := os.MkdirAll(filepath.Join(dir, "evidence"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "evidence", "store.db"), []byte(strings.Repeat("no store ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	s, client := withSocket(t, a, dir, nil)
	defer startEvidence(t, s)()
	text, err := os.ReadFile("../detect/auditlog/testdata/events/dry-run.json")
	if err != nil {
		t.Fatal(err)
	}
	if code, _ := send(t, a.client(t), "https://"+s.DoorsAddress()+"/audit/webhook", string(text), "Authorization", "Bearer "+token); code != 200 {
		t.Fatalf("POST = %d, want 200", code)
	}
	if got := ask(t, client, record.Query{Filter: record.Filter{Control: "RF-WL-02"}}); got.From != "memory" || len(got.Findings) == 0 || got.Observed.LastEvent == nil {
		t.Errorf("without a store: %+v", got)
	}
}

// TestSilence: an audit stream that is not heard becomes a record, and what is asked of that time is unknown, here and in the
// answers that the ledger gives; when it is heard again the gap has an end, and stays.
func TestSilence(t *testing.T) {
	a, dir := makeAuthority(t), shortDir(t)
	s, client := withSocket(t, a, dir, func(c *Config) { c.AuditSilence = 3 * time.Second })
	defer startEvidence(t, s)()
	nowhere, err := kube.NewClient(&rest.Config{Host: "http://127.0.0.1:1"}) // its heartbeat comes back from nowhere
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.watchAudit(ctx, nowhere) }()
	defer func() { cancel(); <-done }()
	if code, _ := send(t, a.client(t), "https://"+s.DoorsAddress()+"/audit/webhook", deletion("heard"), "Authorization", "Bearer "+token); code != 200 {
		t.Fatalf("POST = %d, want 200", code)
	}
	if got := ask(t, client, record.Query{}).Unknown; len(got) != 0 {
		t.Errorf("while the stream is heard %v is unknown", got)
	}
	eventually(t, "the silence in an answer", func() bool { return len(ask(t, client, record.Query{}).Unknown) == 1 })
	if gap := ask(t, client, record.Query{}).Unknown[0]; gap.Until != nil || !strings.Contains(gap.What, "silence of audit (quiet)") {
		t.Errorf("what is unknown is %+v", gap)
	}
	report := func() (reports.RefusedAnswer, reports.InForceAnswer) {
		refused, err := reports.Refused(t.Context(), s.evidence.ledger.Source(), s.evidence.ledger.Keyring(), reports.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		inForce, err := reports.InForce(t.Context(), s.evidence.ledger.Source(), s.evidence.ledger.Keyring(), reports.Filter{Control: "RF-WL-01", Since: time.Now().Add(-time.Hour), Until: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		return refused, inForce
	}
	refused, inForce := report()
	if len(refused.Unknown) != 1 || !refused.Unknown[0].Until.IsZero() || inForce.Verdict != "unknown" || !strings.Contains(strings.Join(inForce.Reasons, "; "), "audit was not heard since") {
		t.Errorf("while it is silent: refused says %+v, in force %s %q", refused.Unknown, inForce.Verdict, inForce.Reasons)
	}
	if code, _ := send(t, a.client(t), "https://"+s.DoorsAddress()+"/audit/webhook", deletion("again"), "Authorization", "Bearer "+token); code != 200 {
		t.Fatalf("POST = %d, want 200", code)
	}
	eventually(t, "the end of the silence in an answer", func() bool {
		got := ask(t, client, record.Query{}).Unknown
		return len(got) > 0 && got[0].Until != nil
	})
	if refused, _ = report(); len(refused.Unknown) == 0 || refused.Unknown[0].Until.IsZero() || !refused.Unknown[0].Since.Before(refused.Unknown[0].Until) {
		t.Errorf("after it was silent: %+v", refused.Unknown)
	}
}
