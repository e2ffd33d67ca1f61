package controls_test

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/fix"
	"ringfence.dev/ringfence/internal/casefile"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/policy/bundle"
	"ringfence.dev/ringfence/policy/cel"
)

var update = flag.Bool("update", false, "write the fixed parts of each policy.yaml anew")

func catalogue(t *testing.T) *control.Catalogue {
	t.Helper()
	cat, err := control.Load(controls.FS)
	if err != nil {
		t.Fatalf("control.Load: %v", err)
	}
	return cat
}

// TestFixedParts holds every policy.yaml to the parts that the loader owns: which kinds, which shared variables, which
// message. Run it with -update after writing a control's own variables.
func TestFixedParts(t *testing.T) {
	for _, c := range catalogue(t).Controls {
		want := bundle.Single(c)
		if *update {
			text, err := writePolicy(c, want)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(filepath.FromSlash(c.Dir), "policy.yaml"), text, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		var got admissionv1.ValidatingAdmissionPolicy
		if err := yaml.UnmarshalStrict(c.Policy, &got); err != nil {
			t.Errorf("%s/policy.yaml: %v", c.Dir, err)
		} else if diff := cmp.Diff(want, &got); diff != "" {
			t.Errorf("%s/policy.yaml differs from what the loader owns; run: go test ./controls -update\n%s", c.Dir, diff)
		}
	}
}

var known = regexp.MustCompile(`^(templates\.yaml|[a-z]+/[a-z0-9-]+/(control\.yaml|mapping\.yaml|policy\.yaml|fix\.yaml|tests/(update-)?(pass|fail)-[a-z0-9-]+\.yaml))$`)

// TestFolders holds the tree to its form: no unknown file, sources with a date, at least one case of each kind.
func TestFolders(t *testing.T) {
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !known.MatchString(name) && path.Ext(name) != ".go" {
			t.Errorf("%s: the catalogue knows no such file", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range catalogue(t).Controls {
		cases, err := casefile.Read(os.DirFS("."), c.Dir)
		if err != nil {
			t.Fatal(err)
		}
		count := map[string]int{}
		for _, one := range cases {
			if one.Connect() || one.Asked() { // nothing is stored that could be updated
				count["updatepass"]++
			}
			kind, _, _ := strings.Cut(strings.Replace(path.Base(one.File), "update-", "update", 1), "-")
			count[kind]++
		}
		for kind, least := range map[string]int{"pass": 2, "fail": 3, "updatepass": 1} {
			if count[kind] < least {
				t.Errorf("%s: %d cases %s-*, want at least %d", c.Dir, count[kind], kind, least)
			}
		}
		if len(c.Mapping) == 0 {
			t.Errorf("%s/mapping.yaml maps to no framework", c.Dir)
		}
	}
}

// caseGuard is the Guard under which the cases are judged.
func caseGuard(t testing.TB) *policy.Guard {
	g, err := policy.NewGuard(casefile.Guard())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func engine(t testing.TB, cat *control.Catalogue) *policy.Engine {
	sets, err := cel.Compile(cat)
	if err != nil {
		t.Fatal(err)
	}
	return policy.New(sets...)
}

// TestCases judges every case: a fail case trips its own control, where it says and no other; a pass case trips none.
func TestCases(t *testing.T) {
	cat := catalogue(t)
	engine, guard := engine(t, cat), caseGuard(t)
	for _, c := range cat.Controls {
		cases, err := casefile.Read(os.DirFS("."), c.Dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range cases {
			var got, others []string
			for _, f := range engine.Judge(one.Input(guard), one.Object.Subject()) {
				switch {
				case f.Outcome == finding.Errored:
					t.Errorf("%s: %s: %s", one.File, f.Control, *f.Reason)
				case f.Outcome == finding.Pass:
				case f.Control == c.ID:
					got = append(got, f.Found+" at "+f.Path)
				default:
					others = append(others, f.Control)
				}
			}
			// What a rule finds among the keys of a map has no order.
			slices.Sort(one.Want)
			slices.Sort(got)
			if diff := cmp.Diff(one.Want, got); diff != "" {
				t.Errorf("%s: found (-want +got):\n%s", one.File, diff)
			}
			if diff := cmp.Diff(one.Also, slices.Compact(others)); diff != "" && !one.AnyAlso {
				t.Errorf("%s: other controls (-want +got):\n%s", one.File, diff)
			}
		}
	}
}

// TestUnchangedPasses proves for every fail case what the update cases show for some: the object that fails at CREATE
// passes an UPDATE that leaves it as it was, also while it is being deleted.
func TestUnchangedPasses(t *testing.T) {
	cat := catalogue(t)
	engine, guard := engine(t, cat), caseGuard(t)
	for _, c := range cat.Controls {
		cases, _ := casefile.Read(os.DirFS("."), c.Dir)
		for _, one := range cases {
			if one.Update() || one.Connect() || one.Asked() || len(one.Want) == 0 {
				continue
			}
			in := one.Input(guard)
			in.Operation, in.OldObject = "UPDATE", one.Object.Value
			if fails := failing(engine, in, one); len(fails) > 0 {
				t.Errorf("%s: an unchanged object fails %v at UPDATE", one.File, fails)
			}
			in.OldObject = deepCopy(t, one.Object.Value)
			in.OldObject["metadata"].(map[string]any)["deletionTimestamp"] = "2026-01-01T00:00:00Z"
			if fails := failing(engine, in, one); len(fails) > 0 {
				t.Errorf("%s: an unchanged object that is being deleted fails %v at UPDATE", one.File, fails)
			}
		}
	}
}

func failing(e *policy.Engine, in policy.Input, c casefile.Case) (ids []string) {
	for _, f := range e.Judge(in, c.Object.Subject()) {
		if f.Outcome != finding.Pass {
			ids = append(ids, f.Control)
		}
	}
	return ids
}

func deepCopy(t *testing.T, m map[string]any) map[string]any {
	text, err := yaml.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := yaml.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestFixes proves every stated repair: where a fail case is repaired at each place that fix.yaml speaks of, the control
// finds nothing there any more, and each entry is needed by some case.
func TestFixes(t *testing.T) {
	cat := catalogue(t)
	engine, guard := engine(t, cat), caseGuard(t)
	for _, c := range cat.Controls {
		used := map[string]bool{}
		cases, _ := casefile.Read(os.DirFS("."), c.Dir)
		for _, one := range cases {
			if one.Update() || len(c.Fixes) == 0 {
				continue
			}
			in := one.Input(guard)
			in.Object = deepCopy(t, one.Object.Value)
			var stated []fix.Change
			for _, pointer := range pointers(engine, in, c.ID) {
				if f, ok := control.FixFor(c.Fixes, pointer); ok {
					used[f.At] = true
					stated = append(stated, fix.Change{Pointer: pointer, Value: f.Value(), Remove: f.Remove})
				}
			}
			if !fix.Make(in.Object, stated) {
				t.Errorf("%s: no repair could be made at one of %v", one.File, stated)
			}
			for _, pointer := range pointers(engine, in, c.ID) {
				if _, ok := control.FixFor(c.Fixes, pointer); ok {
					t.Errorf("%s: %s is still found after the repair", one.File, pointer)
				}
			}
		}
		for _, f := range c.Fixes {
			if !used[f.At] {
				t.Errorf("%s/fix.yaml: no case is repaired at %s", c.Dir, f.At)
			}
		}
	}
}

// pointers are the places that a control finds in an object.
func pointers(e *policy.Engine, in policy.Input, id string) (all []string) {
	subject := finding.Subject{}
	subject.APIVersion, _ = in.Object["apiVersion"].(string)
	subject.Kind, _ = in.Object["kind"].(string)
	for _, f := range e.Judge(in, subject) {
		if f.Control == id && f.Outcome == finding.Fail {
			all = append(all, f.Path)
		}
	}
	return all
}

// TestLines holds every refusal line to design.md: one line, at most 1,024 bytes, beginning with the id.
func TestLines(t *testing.T) {
	for _, c := range catalogue(t).Controls {
		long := strings.Repeat("x", 5000)
		line := finding.Line(c.ID, c.Title, long, "/spec/"+long, c.Wanted, c.Fix, "Deny by Tenant "+strings.Repeat("x", 63)+" (profile standard: Warn)", 12)
		if len(line) > 1024 || strings.ContainsAny(line, "\n\r\x1b") || !strings.HasPrefix(line, c.ID+" ") || !strings.HasSuffix(line, "ringfence explain "+c.ID) {
			t.Errorf("%s: refusal line of %d bytes: %s", c.ID, len(line), line)
		}
		if bytes.ContainsRune([]byte(c.Message()), '\n') {
			t.Errorf("%s: message expression has a line break", c.ID)
		}
	}
}
