package server

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ringfence.dev/ringfence/admission"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/rollout"
)

// breaks are the names of what a preflight counts of an answer, where the change would refuse all.
func breaks(answer record.Answer) (names []string) {
	p := rollout.New(rollout.Config{Was: func(finding.Subject, string) finding.Action { return finding.Warn }, Owner: func(string) (string, string) { return "", "" }})
	for _, f := range answer.Findings {
		p.Request(f, func(finding.Subject, string) bool { return true })
	}
	for _, g := range p.Report(rollout.Seen{}).Requests.Groups {
		names = append(names, g.Name)
	}
	slices.Sort(names)
	return names
}

// TestWaivedRequests: a request that a waiver let in is told with it, by the store, by the store that was made anew and by memory, and a
// preflight counts only those that none did. What the admission door decided is told the same way.
func TestWaivedRequests(t *testing.T) {
	warned, err := os.ReadFile("../detect/auditlog/testdata/events/warned.json")
	if err != nil {
		t.Fatal(err)
	}
	const rule = "ringfence explain RF-IM-01"
	let := strings.NewReplacer(rule, rule+"; waived by api-caps until 2027-02-01T00:00:00Z", `"name": "warned"`, `"name": "let-in"`, "ac052634", "bc052634").Replace(string(warned))
	a := makeAuthority(t)
	for _, kept := range []bool{true, false} {
		dir := shortDir(t)
		if !kept { // then memory answers
			if err := errors.Join(os.MkdirAll(filepath.Join(dir, "evidence"), 0o700), os.WriteFile(filepath.Join(dir, "evidence", "store.db"), []byte(strings.Repeat("no store ", 100)), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		s, client := withSocket(t, a, dir, nil)
		stop := startEvidence(t, s)
		for _, text := range []string{string(warned), let} {
			if code, _ := send(t, a.client(t), "https://"+s.DoorsAddress()+"/audit/webhook", text, "Authorization", "Bearer "+token); code != 200 {
				t.Fatalf("POST = %d, want 200", code)
			}
		}
		holds := func(answer record.Answer, from string, names ...string) {
			t.Helper()
			for _, f := range answer.Findings {
				waived := strings.HasPrefix(f.Subject.Name, "let-in")
				if (f.Waiver != nil && f.Waiver.Name == "api-caps") != waived || strings.Contains(f.Message, "; waived by api-caps") != waived {
					t.Errorf("from %s %s is waived by %+v: %s", from, f.Subject.Name, f.Waiver, f.Message)
				}
			}
			if got := breaks(answer); answer.From != from || len(answer.Findings) != 2*len(names) || !slices.Equal(got, names) {
				t.Errorf("of %d findings from %s a preflight counts %q; want %q of %s", len(answer.Findings), answer.From, got, names, from)
			}
		}
		if !kept {
			holds(ask(t, client, record.Query{}), "memory", "warned")
			stop()
			continue
		}
		for name, by := range map[string]*finding.Waiver{"reviewed": nil, "let-in-reviewed": {Name: "api-caps"}} {
			pod := finding.Subject{APIVersion: "v1", Kind: "Pod", Namespace: "cards-dev", Name: name}
			s.evidence.decided(t.Context(), admission.Decision{UID: name, Operation: "CREATE", Subject: pod, User: "jane", Allowed: true,
				Findings: []finding.Finding{{Control: "RF-WL-01", Outcome: finding.Fail, Action: finding.Warn, Subject: pod, Waiver: by}}})
		}
		var told record.Answer
		eventually(t, "the store's last record", func() bool {
			told = ask(t, client, record.Query{})
			return told.Behind == 0 && len(told.Findings) == 4
		})
		holds(told, "store", "reviewed", "warned")
		stop()
		if err := os.Remove(filepath.Join(dir, "evidence", "store.db")); err != nil { // it is made anew from the ledger
			t.Fatal(err)
		}
		s, client = withSocket(t, a, dir, nil)
		stop = startEvidence(t, s)
		eventually(t, "the store's last record", func() bool { told = ask(t, client, record.Query{}); return told.Behind == 0 })
		holds(told, "store", "reviewed", "warned")
		stop()
	}
}
