package portal

import (
	"bytes"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"ringfence.dev/ringfence/finding"
)

// TestAnswers: what is answered keeps to the document, problems too.
func TestAnswers(t *testing.T) {
	b := newBank(t)
	whole := found("payments-dev")
	whole.Waiver, whole.Observed = &finding.Waiver{Name: "w"}, nil
	b.set(func() { b.findings = append(b.findings, whole) })
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(b.Document()))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	if err := compiler.AddResource("doc", document); err != nil {
		t.Fatal(err)
	}
	jane := b.in("jane")
	b.made(jane, readFindings)
	for _, test := range []struct {
		method, path, at, status, media, body string
		headers                               []string
	}{
		{"GET", "me", "me", "200", "application/json", "", jane}, {"GET", "tenants", "tenants", "200", "application/json", "", jane},
		{"GET", "tenants/payments", "tenants~1%7Bname%7D", "200", "application/json", "", jane}, {"GET", "namespaces", "namespaces", "200", "application/json", "", jane},
		{"GET", "findings", "findings", "200", "application/json", "", jane}, {"GET", "findings", "findings", "200", "application/json", "", b.in("eve")},
		{"GET", "waivers", "waivers", "200", "application/json", "", jane}, {"GET", "sessions", "sessions", "200", "application/json", "", jane},
		{"GET", "tokens", "tokens", "200", "application/json", "", jane}, {"POST", "sessions", "sessions", "201", "application/json", `{"idToken":"rob"}`, nil},
		{"GET", "me", "me", "401", "application/problem+json", "", nil}, {"GET", "tenants/cards", "tenants~1%7Bname%7D", "404", "application/problem+json", "", jane},
		{"POST", "sessions", "sessions", "422", "application/problem+json", `{}`, nil},
	} {
		schema, err := compiler.Compile("doc#/paths/~1api~1v1~1" + test.at + "/" + strings.ToLower(test.method) + "/responses/" + test.status + "/content/" + strings.ReplaceAll(test.media, "/", "~1") + "/schema")
		if err != nil {
			t.Errorf("%s %s %s: %v", test.method, test.path, test.status, err)
			continue
		}
		r := b.send(test.method, "/api/v1/"+test.path, test.body, test.headers...)
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(r.body))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("%s %s: %s: %v", test.method, test.path, r.body, err)
		}
	}
}
