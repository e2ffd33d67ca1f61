package record_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
)

// aRun is a run with n findings, the last of which denies.
func aRun(n int) record.Pushed {
	p := record.Pushed{Kind: "check-run.v1", Time: noon, CatalogueDigest: "sha256:" + strings.Repeat("0a", 32),
		Body: record.CheckRun{Repository: "git.bank.example/payments", Revision: "9b1f", Pipeline: "4711", ExitCode: 1, Objects: 3, Refused: 1, Narrowed: []string{"since"}}}
	fs := []*finding.Finding{{Control: "RF-WL-09", Outcome: finding.Pass}}
	for i := range n {
		f := finding.Finding{Control: "RF-WL-02", Outcome: finding.Fail, Action: finding.Warn, Found: "\x1b[31m" + strings.Repeat("é", 600), Subject: finding.Subject{APIVersion: "v1", Kind: "Pod", Name: "a"}}
		if i == n-1 {
			f.Control, f.Action = "RF-WL-01", finding.Deny
		}
		fs = append(fs, &f)
	}
	p.Body.List(fs)
	return p
}

// TestCheckRun: what is made of a run is read again, keeps to its kind's schema, has one id for one sender, and fits an entry
// with what denies in it.
func TestCheckRun(t *testing.T) {
	for _, n := range []int{0, 2, 500} {
		p := aRun(n)
		text, err := json.Marshal(p)
		if err != nil || len(text) > record.MaxPushed {
			t.Fatalf("%d findings: %d bytes, %v; want at most %d", n, len(text), err, record.MaxPushed)
		}
		if len(p.Body.NotPassed)+p.Body.More != n || n > 0 && p.Body.NotPassed[0].Control != "RF-WL-01" {
			t.Errorf("%d findings: %d are listed and %d not; want the one that denies first", n, len(p.Body.NotPassed), p.Body.More)
		}
		read, err := record.ParsePushed(text, noon.Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		r, err := read.Record("payments-ci")
		if err != nil {
			t.Fatal(err)
		}
		again, _ := p.Record("payments-ci")
		other, _ := p.Record("cards-ci")
		if again.ID != r.ID || other.ID == r.ID || bytes.Contains(r.Body, []byte(`\u001b`)) {
			t.Errorf("ids are %s, %s, and of another sender %s; body %.200s", r.ID, again.ID, other.ID, r.Body)
		}
		r.Cluster, r.Producer, r.Seq = "local", "check", 1
		if err := r.Validate(); err != nil {
			t.Error(err)
		}
		schema, _ := record.KindSchema(r.Kind)
		body, err := jsonschema.UnmarshalJSON(bytes.NewReader(r.Body))
		if err != nil {
			t.Fatal(err)
		}
		if err := compileKind(t, r.Kind, schema).Validate(body); err != nil {
			t.Error(err)
		}
	}
}

// TestPushedRefused: what is not as the schema says is refused, and its field is named.
func TestPushedRefused(t *testing.T) {
	good, err := json.Marshal(aRun(2))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ old, new, want string }{
		{`"kind":"check-run.v1"`, `"kind":"change.v1"`, "kind:"},
		{`"kind":"check-run.v1"`, `"id":"native-refusal:1","kind":"check-run.v1"`, `unknown field "id"`},
		{`"exitCode":1`, `"exitCode":4`, "body.exitCode:"},
		{`"exitCode":1`, `"exitCode":0`, "body.exitCode: found 0 with 1 refused"},
		{`"exitCode":1`, `"exitCode":"1"`, "exitCode: found string"},
		{`"exitCode":1,`, ``, "body.exitCode: is missing"},
		{`"objects":3`, `"objects":-3`, "body.objects:"},
		{`"repository":"git.bank.example/payments"`, `"repository":"a\u001bb"`, "body.repository:"},
		{`"pipeline":"4711"`, `"pipeline":"` + strings.Repeat("x", 600) + `"`, "body.pipeline:"},
		{`"pipeline":"4711"`, `"sender":"cards-ci"`, `unknown field "sender"`},
		{`"narrowed":["since"]`, `"narrowed":["since","since"]`, "body.narrowed:"},
		{`"outcome":"Fail"`, `"outcome":"Pass"`, "body.notPassed[0].outcome:"},
		{`"action":"Deny"`, `"action":""`, "body.notPassed[0].action:"},
		{`"control":"RF-WL-01"`, `"control":""`, "body.notPassed[0].control:"},
		{`"time":"` + noon.Format(time.RFC3339), `"time":"2020-01-01T00:00:00Z`, "time:"},
		{`"time":"` + noon.Format(time.RFC3339), `"time":"2099-01-01T00:00:00Z`, "time:"},
		{`sha256:`, `md5:`, "catalogueDigest:"},
		{string(good), `[` + string(good) + `]`, "the whole"},
		{string(good), `null`, "kind: is missing"},
		{string(good), string(good) + `{}`, "nothing after it"},
		{string(good), `{"kind":`, "want one JSON object"},
	} {
		if !bytes.Contains(good, []byte(test.old)) {
			t.Fatalf("%s is not in %s", test.old, good)
		}
		_, err := record.ParsePushed([]byte(strings.Replace(string(good), test.old, test.new, 1)), noon)
		if !errors.Is(err, record.ErrInvalid) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%.60s: %v, want %s", test.new, err, test.want)
		}
	}
}

// FuzzPushed: whatever is sent in is refused with an error, or becomes a record that is valid.
func FuzzPushed(f *testing.F) {
	good, err := json.Marshal(aRun(2))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := record.ParsePushed(text, noon)
		if err != nil {
			return
		}
		r, err := p.Record("a")
		if err != nil {
			t.Fatal(err)
		}
		r.Cluster, r.Producer, r.Seq = "local", "check", 1
		if err := r.Validate(); err != nil {
			t.Error(err)
		}
	})
}
