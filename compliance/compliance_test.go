package compliance_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/compliance"
)

const good = "title: Good Rules\nversion: \"1\"\npublisher: Us\nsource: https://rules.example/1\nretrieved: \"2026-11-21\"\n"

func tree(framework, clauses string) fstest.MapFS {
	return fstest.MapFS{"good-1/framework.yaml": {Data: []byte(framework)}, "good-1/clauses.yaml": {Data: []byte(clauses)}}
}

// TestLoad reads a framework, and what it shows of its clauses.
func TestLoad(t *testing.T) {
	fs, err := compliance.Load(tree(good, `
- {id: "1.1", title: Doors, verified: true, source: "https://rules.example/1#1.1", retrieved: "2026-11-21"}
- {id: "1.2", title: Windows, verified: false, seenIn: "https://others.example/", retrieved: "2026-11-21"}
- {id: "1.3", title: Roofs, verified: false}
`))
	if err != nil {
		t.Fatal(err)
	}
	all, faults := fs.Of(map[string][]string{"good-1": {"1.2", "1.1"}})
	if len(faults) > 0 {
		t.Error(faults)
	}
	var got []string
	for _, s := range all {
		for _, c := range s.Clauses {
			got = append(got, s.Framework.Name()+": "+c.String())
		}
	}
	if diff := cmp.Diff([]string{"Good Rules 1: 1.2 Windows (not verified)", "Good Rules 1: 1.1 Doors"}, got); diff != "" {
		t.Error(diff)
	}
	if _, ok := fs.Find("GOOD-1"); !ok {
		t.Error("Find(GOOD-1) found nothing")
	}
}

// TestFaults shows that each mistake is named, and that they are reported together.
func TestFaults(t *testing.T) {
	const clause = `- {id: "1.1", title: Doors, verified: false}`
	for _, c := range []struct{ name, framework, clauses, want string }{
		{"unknown field", good + "edition: 2\n", clause, "edition"},
		{"unknown field of a clause", good, `- {id: "1.1", title: Doors, verified: false, page: 3}`, "page"},
		{"no title", strings.Replace(good, "Good Rules", `""`, 1), clause, "title: want"},
		{"no version", strings.Replace(good, `version: "1"`, `version: ""`, 1), clause, "version: want"},
		{"no publisher", strings.Replace(good, "publisher: Us\n", "", 1), clause, "publisher: want"},
		{"no source", strings.Replace(good, "https://rules.example/1", "http:rules", 1), clause, "source: want"},
		{"no date", strings.Replace(good, "2026-11-21", "lately", 1), clause, "retrieved: want"},
		{"no clause", good, "[]", "want at least one clause"},
		{"twice", good, clause + "\n" + clause, "1.1: the id is there twice"},
		{"no id", good, `- {title: Doors, verified: false}`, "want an id"},
		{"verified without source", good, `- {id: "1.1", title: Doors, verified: true, retrieved: "2026-11-21"}`, "want a source"},
		{"verified without date", good, `- {id: "1.1", title: Doors, verified: true, source: "https://rules.example"}`, "want retrieved"},
		{"verified by another", good, `- {id: "1.1", title: Doors, verified: true, seenIn: "https://others.example", retrieved: "2026-11-21"}`, "want a source"},
		{"source but not verified", good, `- {id: "1.1", title: Doors, verified: false, source: "https://rules.example", retrieved: "2026-11-21"}`, "want no source"},
		{"seen nowhere", good, `- {id: "1.1", title: Doors, verified: false, seenIn: memory, retrieved: "2026-11-21"}`, "seenIn"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := compliance.Load(tree(c.framework, c.clauses)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Load = %v, want a fault with %q", err, c.want)
			}
		})
	}
	_, err := compliance.Load(tree(strings.Replace(good, "publisher: Us\n", "", 1), `- {id: "1.1", title: Doors, verified: true}`+"\n"+clause))
	for _, want := range []string{"publisher", "want a source", "there twice"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Load = %v, want %q among the faults", err, want)
		}
	}
	if _, err := compliance.Load(fstest.MapFS{}); err == nil {
		t.Error("Load of an empty tree reports no fault")
	}
	if _, err := compliance.Load(fstest.MapFS{"good-1/framework.yaml": {Data: []byte(good)}}); err == nil {
		t.Error("Load of a framework without clauses.yaml reports no fault")
	}
}

// TestUnknown shows that a mapping to what does not exist is a fault and is still listed, as not verified.
func TestUnknown(t *testing.T) {
	fs, err := compliance.Load(tree(good, `- {id: "1.1", title: Doors, verified: false}`))
	if err != nil {
		t.Fatal(err)
	}
	all, faults := fs.Of(map[string][]string{"good-1": {"1.1", "9.9", "1.1"}, "bad": {"1"}})
	if len(faults) != 3 {
		t.Errorf("faults = %v, want one for the framework, one for the clause, one for the repetition", faults)
	}
	if len(all) != 2 || len(all[0].Clauses) != 1 || len(all[1].Clauses) != 3 || all[1].Clauses[1].Verified {
		t.Errorf("Of = %v", all)
	}
}
