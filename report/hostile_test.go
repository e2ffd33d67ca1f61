package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	sigsyaml "sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/finding"
)

// attacks are bytes that end a string, a line, an element or a command somewhere, or make a reader do something.
var attacks = []string{
	"x\n::error file=a::b", "::add-mask::x", "  ::stop-commands::x", "##[add-path]/tmp", "##vso[task.setvariable variable=a]b",
	"##VSO[task.complete result=Succeeded;]", "##teamcity[buildStatus status='SUCCESS']", "%0A::error::x", "%", "a,line=1", "a::b:c", "\r\nx",
	"]]>", "<!--", "--><failure/>", "&lt;", "</testsuite>", `"><skipped/>`, "\x1b[31mred", "\x00", "\x08", "\u202eevil", "\u2028", "\ufeff", "\ufffe", "\uffff",
	"\xff\xfe", "{0}", "[click](https://evil.example)", "](x", "${jndi:ldap://x}", "- a: b", "a: b", "# comment", "'", `"`, `\`, `\u0041`, "---", "...", "!!binary x", "&a", "*a",
	"yes", "null", "1e3", "0x1F", "12:30:45", "~", "", "|", ">", "@", "`", "{", "[", strings.Repeat("x", 5000), "ü€😀",
}

// hostile is a report whose every text from outside is an attack.
func hostile() *Report {
	r := run(true)
	for _, a := range attacks {
		s := finding.Subject{APIVersion: a, Kind: a, Namespace: a, Name: a}
		at := finding.Location{File: a, Line: 3, Column: 7}
		base := finding.Finding{Source: "vap", Control: a, Rule: a, Title: a, Severity: finding.High, Action: finding.Deny, Subject: s, Location: at, Path: "/" + a, Wanted: a, Fix: a, Message: a, Fingerprint: "0123"}
		failed, waived, errored, skipped, passed := base, base, base, base, base
		failed.Outcome, failed.Found, failed.Change, failed.Reason = finding.Fail, a, reason(a), reason(a)
		waived.Outcome, waived.Waiver, waived.Control = finding.Fail, &finding.Waiver{Name: a, Expires: a, Ticket: a, Approver: a}, a+"w"
		errored.Outcome, errored.Reason, errored.Control, errored.Message = finding.Errored, reason(a), a+"e", ""
		skipped.Outcome, skipped.Reason, skipped.Control, skipped.Message = finding.NotApplicable, reason(a), a+"s", ""
		passed.Outcome, passed.Control, passed.Message = finding.Pass, a+"p", ""
		r.Add(Object{Findings: []finding.Finding{failed, failed, waived, errored, skipped, passed}})
		r.Faults = append(r.Faults, Fault{Location: at, Message: a})
		r.Quotes[at] = NewQuote(a, 1)
	}
	r.Finish()
	return r
}

// ofCluster is the hostile report as a cluster gives it: without a file anywhere.
func ofCluster() *Report {
	r := hostile()
	r.Cluster, r.Quotes = attacks[0], nil
	for _, f := range r.Findings {
		f.Location = finding.Location{}
	}
	for i := range r.Faults {
		r.Faults[i].Location = finding.Location{}
	}
	r.Finish()
	return r
}

// written is what a format makes of a report.
func written(t *testing.T, write func(io.Writer, *Report) error, r *Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// unsafe is what no format may print: control characters but for the end of a line, formatting characters and separators
// that hide or move text, and orders to a build service.
var unsafe = regexp.MustCompile(`[\x00-\x08\x0b-\x1f\x7f\x{80}-\x{9f}\x{202a}-\x{202e}\x{2028}\x{2029}\x{feff}]|(?i)##(vso|teamcity)?\[|(?m)^[ \t]*::(add-mask|stop-commands)`)

func TestHostile(t *testing.T) {
	for _, f := range Formats() {
		text := written(t, f.Write, hostile())
		pattern := unsafe
		if f.Name == "json" { // its strings may hold any character that JSON allows, as the file had it
			pattern = regexp.MustCompile("[\x00-\x09\x0b-\x1f]|(?i)##(vso|teamcity)?\\[")
		}
		if at := pattern.FindStringIndex(text); at != nil {
			t.Errorf("%s holds %q: %q", f.Name, text[at[0]:at[1]], text[max(0, at[0]-80):min(len(text), at[1]+40)])
		}
	}
}

// TestFull shows that a disk which is full is noticed by every format, wherever it is full.
func TestFull(t *testing.T) {
	for _, f := range Formats() {
		if f.Write(full{}, run(true)) == nil {
			t.Errorf("%s: a writer that fails is not reported", f.Name)
		}
	}
}

func TestSARIFSchema(t *testing.T) {
	file, err := os.ReadFile("testdata/sarif-schema-2.1.0.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("sarif.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("sarif.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range reports() {
		log, err := jsonschema.UnmarshalJSON(strings.NewReader(written(t, SARIF, r)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := schema.Validate(log); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	broken := map[string]any{"version": "2.1.0", "runs": []any{map[string]any{}}}
	if schema.Validate(broken) == nil {
		t.Error("the schema takes a run without a tool")
	}
}

// reports are reports of every sort.
func reports() map[string]*Report {
	known := hostile()
	known.Baseline = &Baseline{}
	return map[string]*Report{"empty": {}, "few": run(false), "all": run(true), "hostile": hostile(), "baseline": known, "cluster": ofCluster()}
}

// crds are the schemas of the kinds, by kind.
func crds(t *testing.T) map[string]apiextensionsv1.JSONSchemaProps {
	t.Helper()
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) != 4 {
		t.Fatalf("%d files, want 4: %v", len(files), err)
	}
	out := map[string]apiextensionsv1.JSONSchemaProps{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := sigsyaml.Unmarshal(text, &crd); err != nil {
			t.Fatal(err)
		}
		for _, v := range crd.Spec.Versions {
			out[crd.Spec.Group+"/"+v.Name+" "+crd.Spec.Names.Kind] = *v.Schema.OpenAPIV3Schema
		}
	}
	return out
}

// TestReportSchemas holds the reports to the definitions, as the API server does: right types, and no field that it
// would drop. Each must fit into etcd.
func TestReportSchemas(t *testing.T) {
	kinds := crds(t)
	for name, r := range reports() {
		for _, text := range []string{written(t, OpenReports, r), written(t, PolicyReport, r)} {
			for _, object := range documents(t, text) {
				kind := object["apiVersion"].(string) + " " + object["kind"].(string)
				schema, known := kinds[kind]
				if !known {
					t.Fatalf("%s: there is no kind %s", name, kind)
				}
				for _, fault := range schemaFaults(t, schema, object) {
					t.Errorf("%s: %s: %s", name, kind, fault)
				}
				namespace, _ := object["metadata"].(map[string]any)["namespace"].(string)
				if cluster := strings.Contains(kind, "Cluster"); cluster != (namespace == "") {
					t.Errorf("%s: %s in namespace %q", name, kind, namespace)
				}
				if out, err := yaml.Marshal(object); err != nil || len(out) > 3<<19 {
					t.Errorf("%s: %s is %d bytes: %v", name, kind, len(out), err)
				}
			}
		}
	}
	if len(schemaFaults(t, kinds["openreports.io/v1alpha1 Report"], map[string]any{"results": []any{map[string]any{"result": "bad", "extra": 1}}})) < 3 {
		t.Error("a report without a policy, with a wrong result and an unknown field is taken")
	}
}

func schemaFaults(t *testing.T, schema apiextensionsv1.JSONSchemaProps, object map[string]any) (faults []string) {
	t.Helper()
	var props apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(&schema, &props, nil); err != nil {
		t.Fatal(err)
	}
	validator, _, err := validation.NewSchemaValidator(&props)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range validation.ValidateCustomResource(nil, object, validator) {
		faults = append(faults, e.Error())
	}
	structural, err := structuralschema.NewStructural(&props)
	if err != nil {
		t.Fatal(err)
	}
	unknown := pruning.PruneWithOptions(object, structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	return append(faults, unknown...)
}

// documents reads YAML as kubectl does, to the last document.
func documents(t *testing.T, text string) (out []map[string]any) {
	t.Helper()
	for i, doc := range strings.Split(text, "\n---\n") {
		var object map[string]any
		if err := sigsyaml.Unmarshal([]byte(doc), &object); err != nil {
			t.Fatalf("document %d: %v", i, err)
		}
		out = append(out, object)
	}
	return out
}

// TestXML reads the XML back: it holds as many elements as were meant, and no other.
func TestXML(t *testing.T) {
	r := hostile()
	dec := xml.NewDecoder(strings.NewReader(written(t, JUnit, r)))
	count := map[string]int{}
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if start, ok := token.(xml.StartElement); ok {
			count[start.Name.Local]++
		}
	}
	if n := len(attacks); count["failure"] != n+2 || count["error"] != 2*n+1 || count["testsuites"] != 1 {
		t.Errorf("%v, want %d failures and %d errors", count, n+2, 2*n+1)
	}
}

// TestWorkflowCommands reads the commands back as GitHub's runner does: one command a line, of three kinds, each with the
// properties that were meant.
func TestWorkflowCommands(t *testing.T) {
	text := written(t, GitHub, hostile())
	commands := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	unescape := strings.NewReplacer("%25", "%", "%0D", "\r", "%0A", "\n", "%3A", ":", "%2C", ",")
	form := regexp.MustCompile(`^::(error|warning|notice) ([^:]*)::(.*)$`)
	for _, line := range commands[:len(commands)-1] {
		parts := form.FindStringSubmatch(line)
		if parts == nil {
			t.Fatalf("no command: %q", line)
		}
		var keys []string
		for _, property := range strings.Split(parts[2], ",") {
			key, value, _ := strings.Cut(property, "=")
			keys = append(keys, key)
			if key == "line" && value != "3" && len(parts[2]) > 60 {
				t.Errorf("line is %s in %q", value, line)
			}
		}
		if want := []string{"file", "line", "col", "title"}; !slices.Equal(keys, want) && !slices.Equal(keys, want[3:]) {
			t.Errorf("properties %v in %q", keys, line)
		}
		if strings.ContainsAny(unescape.Replace(line), "\r\n") {
			t.Errorf("a line breaks within %q", line)
		}
	}
	if !strings.Contains(text, "%2C") || !strings.Contains(text, "%25") || !strings.Contains(text, "%3A") || strings.Contains(commands[len(commands)-1], "::") {
		t.Error("nothing is escaped")
	}
}

// TestJSONKeepsBytes shows that what is escaped for build services means what it meant.
func TestJSONKeepsBytes(t *testing.T) {
	var got struct{ Findings []finding.Finding }
	if err := json.Unmarshal([]byte(written(t, JSON, hostile())), &got); err != nil {
		t.Fatal(err)
	}
	for _, a := range attacks {
		if strings.HasPrefix(a, "##") && !slices.ContainsFunc(got.Findings, func(f finding.Finding) bool { return f.Subject.Name == a }) {
			t.Errorf("%q is not there any more", a)
		}
	}
}
