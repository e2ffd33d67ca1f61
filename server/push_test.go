package server

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
)

const pushSecret = "a-token-of-the-payments-pipeline"

// run is a check run of now that refuses something.
func run(t *testing.T, change func(*record.Pushed)) string {
	t.Helper()
	p := record.Pushed{Kind: record.CheckRunKind, Time: time.Now().UTC().Truncate(time.Second), CatalogueDigest: "sha256:" + strings.Repeat("0", 64),
		Body: record.CheckRun{Repository: "git.bank.example/payments", Revision: "9b1f", ExitCode: 1, Objects: 1, Refused: 1}}
	p.Body.List([]*finding.Finding{{Control: "RF-WL-01", Outcome: finding.Fail, Found: "true", Path: "/spec"}})
	if change != nil {
		change(&p)
	}
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// withPush is a control plane to which pipelines may send.
func withPush(t *testing.T, a authority) *Server {
	t.Helper()
	dir := t.TempDir()
	tokens, audit := filepath.Join(dir, "push"), filepath.Join(dir, "audit")
	for path, text := range map[string]string{tokens: "# pipelines\npayments-ci " + pushSecret + "\n\ncards-ci another-token-of-a-pipeline\n", audit: token + "\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := New(Config{Evidence: filepath.Join(dir, "evidence"), Listen: "127.0.0.1:0", TLSCert: a.cert, TLSKey: a.key, AuditTokens: audit, AuditClientCA: a.ca, PushTokens: tokens}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestPush: who proves to be a pipeline leaves one record a run, with its name, however often it is sent; nobody else leaves
// any, and a pipeline's token opens no other door.
func TestPush(t *testing.T) {
	a := makeAuthority(t)
	s := withPush(t, a)
	defer startEvidence(t, s)()
	base := "https://" + s.DoorsAddress()
	one := run(t, nil)
	mine := []string{"Authorization", "Bearer " + pushSecret}
	for _, test := range []struct {
		name, path, body string
		client           *http.Client
		headers          []string
		code             int
	}{
		{"nothing", "/records/check-run", one, a.client(t), nil, 401},
		{"a token of audit events", "/records/check-run", one, a.client(t), []string{"Authorization", "Bearer " + token}, 401},
		{"a certificate for audit events", "/records/check-run", one, a.client(t, a.pair), nil, 401},
		{"a name as a token", "/records/check-run", one, a.client(t), []string{"Authorization", "Bearer payments-ci"}, 401},
		{"audit events of a pipeline", "/audit/webhook", deletion("push"), a.client(t), mine, 401},
		{"another kind", "/records/change", one, a.client(t), mine, 404},
		{"another form", "/records/check-run", one, a.client(t), append([]string{"Content-Type", "text/plain"}, mine...), 415},
		{"a field that is wrong", "/records/check-run", strings.Replace(one, `"exitCode":1`, `"exitCode":7`, 1), a.client(t), mine, 400},
		{"a record as another sender", "/records/check-run", strings.Replace(one, `"repository"`, `"sender":"cards-ci","repository"`, 1), a.client(t), mine, 400},
		{"too much", "/records/check-run", one + strings.Repeat(" ", record.MaxPushed), a.client(t), mine, 413},
		{"a run", "/records/check-run", one, a.client(t), mine, 200},
		{"the same again", "/records/check-run", one, a.client(t), mine, 200},
		{"another run", "/records/check-run", run(t, func(p *record.Pushed) { p.Body.Revision = "9b20" }), a.client(t), mine, 200},
		{"the same run of another", "/records/check-run", one, a.client(t), []string{"Authorization", "Bearer another-token-of-a-pipeline"}, 200},
	} {
		if code, _ := send(t, test.client, base+test.path, test.body, test.headers...); code != test.code {
			t.Errorf("%s: POST = %d, want %d", test.name, code, test.code)
		}
	}
	runs := kept(t, s, record.CheckRunKind)
	if len(runs) != 3 {
		t.Fatalf("%d runs are in the ledger, want 3", len(runs))
	}
	var body struct{ Sender, Revision string }
	if err := json.Unmarshal(runs[0].Body, &body); err != nil || body.Sender != "payments-ci" || body.Revision != "9b1f" || runs[0].Producer != "check" {
		t.Errorf("the record is of %s and says %s, %v", runs[0].Producer, runs[0].Body, err)
	}
	if n := len(kept(t, s, "change.v1")); n != 0 {
		t.Errorf("a pipeline made %d records of changes", n)
	}
	if err := os.WriteFile(s.cfg.PushTokens, []byte("cards-ci another-token-of-a-pipeline\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _ := send(t, a.client(t), base+"/records/check-run", one, mine...); code != 401 {
		t.Errorf("POST with a token that was taken out = %d, want 401", code)
	}
}

// TestPushDiskGone: while the ledger cannot be written a run is answered 503 with when to come again, and is kept once when it
// does.
func TestPushDiskGone(t *testing.T) {
	a := makeAuthority(t)
	s := withPush(t, a)
	defer startEvidence(t, s)()
	eventually(t, "the first record", func() bool { return s.evidence.ledger.Size() > 0 })
	dir := filepath.Join(s.cfg.Evidence, "ledger")
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	url, one := "https://"+s.DoorsAddress()+"/records/check-run", run(t, nil)
	code, header := send(t, a.client(t), url, one, "Authorization", "Bearer "+pushSecret)
	if code != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
		t.Errorf("POST while the disk is away = %d, Retry-After %q; want 503 and when to come again", code, header.Get("Retry-After"))
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	if code, _ := send(t, a.client(t), url, one, "Authorization", "Bearer "+pushSecret); code != http.StatusOK {
		t.Errorf("POST when the disk is back = %d, want 200", code)
	}
	if n := len(kept(t, s, record.CheckRunKind)); n != 1 {
		t.Errorf("%d runs are in the ledger, want the one that was sent twice", n)
	}
}

// TestPushRefused: files of tokens that would open a door to everybody, or the wrong one.
func TestPushRefused(t *testing.T) {
	a, dir := makeAuthority(t), t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	audit := file("audit", token+"\n")
	for name, want := range map[string]string{
		"": "holds none", "hunter2-hunter2-hunter2": ":1: want a name and a token", "a\nb": ":1: want a name and a token", "ci hunter2": "at least 20 characters for ci",
		"C hunter2-hunter2-hunter2": ":1: want a name of at most", "ci " + token: "that of ci is one for audit events too",
		"a hunter2-hunter2-hunter2\nb hunter2-hunter2-hunter2": ":2: want another token for b",
	} {
		s, err := New(Config{Evidence: filepath.Join(dir, "evidence"), Listen: "127.0.0.1:0", TLSCert: a.cert, TLSKey: a.key, AuditTokens: audit, PushTokens: file("push", name)}, slog.New(slog.DiscardHandler))
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v, want %s", name, err, want)
		}
	}
	push := file("push", "ci hunter2-hunter2-hunter2\n")
	for name, cfg := range map[string]Config{
		"no address":  {Evidence: filepath.Join(dir, "evidence"), PushTokens: push},
		"no evidence": {Listen: "127.0.0.1:0", TLSCert: a.cert, TLSKey: a.key, PushTokens: push},
	} {
		if s, err := New(cfg, slog.New(slog.DiscardHandler)); err == nil {
			s.Close()
			t.Errorf("%s: New = nil, want an error", name)
		}
	}
}
