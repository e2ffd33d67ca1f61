package auditlog

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/policy/bundle"
)

var update = flag.Bool("update", false, "write the golden files anew")

// catalogue is the catalogue as it was when the events were captured.
func catalogue(t testing.TB) func(string) (control.Control, bool) {
	t.Helper()
	text, err := os.ReadFile("testdata/catalogue.json")
	if err != nil {
		t.Fatal(err)
	}
	// Dir is not part of a control's own JSON.
	var entries []struct {
		ID, Title, Severity, Wanted, Fix, Dir string
	}
	if err := json.Unmarshal(text, &entries); err != nil {
		t.Fatal(err)
	}
	var cat control.Catalogue
	for _, e := range entries {
		cat.Controls = append(cat.Controls, control.Control{
			ID: e.ID, Title: e.Title, Severity: finding.Severity(e.Severity), Wanted: e.Wanted, Fix: e.Fix, Dir: e.Dir,
		})
	}
	return cat.Find
}

// guards are the actions of the Guards under which the events were captured.
func guards(namespace, id string) finding.Action {
	switch {
	case namespace == "payments-prod" && (id == "RF-WL-05" || id == "RF-WL-16"):
		return finding.Warn
	case namespace == "payments-prod", namespace == "payments-dev" && (id == "RF-WL-01" || id == "RF-WL-02"):
		return finding.Deny
	case namespace == "payments-dev":
		return finding.Warn
	}
	return ""
}

// events decodes a file of captured events.
func events(t testing.TB, file string) []Event {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []Event
	err = Decode(bytes.NewReader(text), func(e Event, err error) {
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
		out = append(out, e)
	})
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return out
}

// TestFindings turns events captured from an API server of Kubernetes 1.37.1 into findings.
func TestFindings(t *testing.T) {
	files, err := filepath.Glob("testdata/events/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no captured events: %v", err)
	}
	know := Knowledge{Find: catalogue(t), Action: guards}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			got := []finding.Finding{}
			for _, e := range events(t, file) {
				got = append(got, Findings(e, know)...)
			}
			text, err := json.MarshalIndent(got, "", " ")
			if err != nil {
				t.Fatal(err)
			}
			text = append(text, '\n')
			golden := filepath.Join("testdata/findings", filepath.Base(file))
			if *update {
				if err := os.WriteFile(golden, text, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(text)); diff != "" {
				t.Errorf("findings differ from %s (-want +got):\n%s", golden, diff)
			}
		})
	}
}

// row is what most cases ask of a finding.
type row struct {
	Control string
	Outcome finding.Outcome
	Action  finding.Action
}

func rows(fs []finding.Finding) []row {
	var out []row
	for _, f := range fs {
		out = append(out, row{f.Control, f.Outcome, f.Action})
	}
	return out
}

// TestActions: what the event says stands; what it leaves open is asked, and denies where nobody knows.
func TestActions(t *testing.T) {
	fail := func(id string, a finding.Action) row { return row{id, finding.Fail, a} }
	unknown := func(string, string) finding.Action { return "" }
	warns := func(string, string) finding.Action { return finding.Warn }
	denies := func(string, string) finding.Action { return finding.Deny }
	const six = "testdata/events/refused-six-controls.json"
	allDeny := []row{fail("RF-IM-01", finding.Deny), fail("RF-WL-01", finding.Deny), fail("RF-WL-02", finding.Deny),
		fail("RF-WL-03", finding.Deny), fail("RF-WL-05", finding.Deny), fail("RF-WL-16", finding.Deny)}
	named := []row{fail("RF-IM-01", finding.Deny), fail("RF-WL-01", finding.Warn), fail("RF-WL-02", finding.Warn),
		fail("RF-WL-03", finding.Warn), fail("RF-WL-05", finding.Warn), fail("RF-WL-16", finding.Warn)}
	for name, c := range map[string]struct {
		file   string
		action func(string, string) finding.Action
		want   []row
	}{
		"nobody to ask":             {six, nil, allDeny},
		"unknown":                   {six, unknown, allDeny},
		"the named control denies":  {six, warns, named},
		"let through is a warning":  {"testdata/events/warned.json", denies, []row{fail("RF-IM-01", finding.Warn)}},
		"another's refusal":         {"testdata/events/refused-by-quota.json", denies, []row{fail("RF-IM-01", finding.Warn)}},
		"a missing Guard":           {"testdata/events/no-guard.json", warns, []row{{"", finding.Errored, finding.Deny}, {"", finding.Errored, finding.Deny}}},
		"refused by Pod Security":   {"testdata/events/refused-by-pod-security.json", denies, nil},
		"refused by RBAC, forged":   {"testdata/events/hostile-names-refused-by-rbac.json", denies, nil},
		"one audit id for requests": {"testdata/events/same-audit-id.json", unknown, []row{fail("RF-WL-02", finding.Deny), fail("RF-WL-02", finding.Deny)}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []finding.Finding
			for _, e := range events(t, c.file) {
				got = append(got, Findings(e, Knowledge{Find: catalogue(t), Action: c.action})...)
			}
			if diff := cmp.Diff(c.want, rows(got)); diff != "" {
				t.Errorf("Findings(%s) (-want +got):\n%s", c.file, diff)
			}
		})
	}
}

// TestFindingsOfWhatIsMissing changes a captured event as other servers, gaps and attackers would.
func TestFindingsOfWhatIsMissing(t *testing.T) {
	deny := row{"RF-WL-01", finding.Fail, finding.Deny}
	for name, c := range map[string]struct {
		change func(*Event)
		want   []row
	}{
		"as captured":                     {func(*Event) {}, []row{deny}},
		"no Warn bundle":                  {func(e *Event) { delete(e.Annotations, annotation) }, []row{deny}},
		"annotation cut":                  {func(e *Event) { e.Annotations[annotation] = e.Annotations[annotation][:40] }, []row{{"", finding.Errored, finding.Deny}, deny}},
		"request received":                {func(e *Event) { e.Stage = "RequestReceived" }, nil},
		"no object":                       {func(e *Event) { e.ObjectRef = nil }, nil},
		"no response, as in a panic":      {func(e *Event) { e.Stage, e.ResponseStatus = "Panic", nil }, []row{{"RF-WL-01", finding.Fail, finding.Warn}}},
		"policy of another":               {func(e *Event) { replace(e, "ringfence-workloads", "other") }, nil},
		"policy with a name like ours":    {func(e *Event) { replace(e, "ringfence-workloads", "ringfence-workloads-x") }, nil},
		"refused by another's policy too": {func(e *Event) { replaceMessage(e, "ringfence-workloads-deny", "other") }, []row{deny}},
		"unknown control":                 {func(e *Event) { replace(e, "RF-WL-01", "RF-WL-77") }, []row{{"RF-WL-77", finding.Fail, finding.Deny}}},
	} {
		t.Run(name, func(t *testing.T) {
			e := events(t, "testdata/events/refused.json")[0]
			c.change(&e)
			got := Findings(e, Knowledge{Find: catalogue(t)})
			if diff := cmp.Diff(c.want, rows(got)); diff != "" {
				t.Errorf("Findings (-want +got):\n%s", diff)
			}
			for _, f := range got {
				if f.Control == "RF-WL-77" && (f.Found != "true" || f.Wanted == "" || f.Fix == "" || f.Severity != finding.High || f.Title != "No privileged containers") {
					t.Errorf("Findings of an unknown control = %+v, want what its message says", f)
				}
			}
		})
	}
}

func replaceMessage(e *Event, old, with string) {
	status := *e.ResponseStatus
	status.Message = strings.ReplaceAll(status.Message, old, with)
	e.ResponseStatus = &status
}

func replace(e *Event, old, with string) {
	replaceMessage(e, old, with)
	e.Annotations[annotation] = strings.ReplaceAll(e.Annotations[annotation], old, with)
}

// TestHostileNames: what users and clients choose is cleaned and bounded wherever it ends up.
func TestHostileNames(t *testing.T) {
	e := events(t, "testdata/events/refused.json")[0]
	bad := "a\x1b[2J\n\u202e" + strings.Repeat("é", 2000)
	e.AuditID, e.User.Username, e.ImpersonatedUser = bad, bad, &User{Username: bad}
	e.ObjectRef = &ObjectRef{Resource: bad, Namespace: bad, Name: bad, APIGroup: bad, APIVersion: bad}
	for _, f := range Findings(e, Knowledge{}) {
		for _, s := range []string{f.Subject.APIVersion, f.Subject.Kind, f.Subject.Namespace, f.Subject.Name, f.Observed.User, f.Observed.ImpersonatedUser, f.Observed.AuditID} {
			if len(s) > maxName || strings.ContainsAny(s, "\x1b\n\u202e") || !strings.HasSuffix(s, "…") {
				t.Errorf("cleaned name = %q (%d bytes), want at most %d bytes without control characters", s, len(s), maxName)
			}
		}
	}
}

// TestBundles holds this package to what policy/bundle and control write: names, gates and messages.
func TestBundles(t *testing.T) {
	cat, err := control.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bundle.Build(cat, nil) {
		if !(Knowledge{Groups: cat.Groups()}).isBundle(b.Policy.Name) {
			t.Errorf("isBundle(%s) = false, want true", b.Policy.Name)
		}
		for _, v := range b.Policy.Spec.Validations {
			want, _ := parseLine(v.Message, cat.Find)
			if id, ok := undecidedControl("expression '" + v.Expression + "' resulted in error: x"); !ok || id != want.id {
				t.Errorf("%s: undecidedControl(%s) = %q, want %q", b.Policy.Name, v.Expression, id, want.id)
			}
		}
	}
	for _, c := range cat.Controls {
		want := line{id: c.ID, title: c.Title, wanted: c.Wanted, fix: c.Fix}
		for _, find := range []func(string) (control.Control, bool){cat.Find, nil} {
			if got, ok := parseLine(c.PlainMessage(), find); !ok || got != want {
				t.Errorf("parseLine(%s) = %+v, want %+v", c.PlainMessage(), got, want)
			}
			const change = "Deny by Tenant payments (profile mvp: Warn)"
			for _, note := range []string{change, change + "; ask: platform-team@bank.example", change + "; ask: https://portal.bank.example/help?a=b"} {
				full := finding.Line(c.ID, c.Title, "a: b; c", "/spec/x", c.Wanted, c.Fix, note, 3)
				wantFull := want
				wantFull.found, wantFull.path, wantFull.change = "a: b; c", "/spec/x", change
				if got, ok := parseLine(full, find); !ok || got != wantFull {
					t.Errorf("parseLine(%s) = %+v, want %+v", full, got, wantFull)
				}
			}
		}
	}
}
