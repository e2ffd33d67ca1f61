package manifest

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// read gives a line for each object or error of a text.
func read(r io.Reader) (got []string) {
	for o, err := range Read(r, "f") {
		if err != nil {
			got = append(got, err.Error())
			continue
		}
		s := o.Subject()
		got = append(got, s.APIVersion+" "+s.String()+" at "+o.Locate("").String())
	}
	return got
}

func TestRead(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       []string
	}{
		{"documents", "# a\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\n# none\n--- # two\napiVersion: v1\nkind: Pod\nmetadata: {generateName: b-, namespace: ns}\n...\n",
			[]string{"v1 Pod/a at f:3:1", "v1 ns/Pod/b- at f:9:1"}},
		{"list", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n- {apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Job}]}\n- {kind: Job}\n",
			[]string{"v1 Pod/ at f:4:3", "v1 Job/ at f:6:40", "f:7:3: apiVersion: found nothing; want a Kubernetes object with apiVersion and kind"}},
		{"list of one kind", "apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: a}\n- metadata: {name: b}\n", []string{"v1 Pod/a at f:4:3", "v1 Pod/b at f:5:3"}},
		{"empty list", "apiVersion: v1\nkind: List\nitems: []\n", nil},
		{"list of nothing", "apiVersion: v1\nkind: List\nitems: 7\n", []string{"f:3:8: items: found the number 7; want a list of objects"}},
		{"a kind that only ends in List", "apiVersion: v1\nkind: AllowList\n", []string{"v1 AllowList/ at f:1:1"}},
		{"reading goes on", "a: b: c\n---\napiVersion: v1\nkind: Pod\n---\n- x\n", []string{
			"f:1:1: not valid YAML: mapping values are not allowed in this context; correct the syntax", "v1 Pod/ at f:3:1",
			"f:6:1: found a list; want a Kubernetes object with apiVersion, kind and metadata"}},
		{"separator without a line end", "apiVersion: v1\nkind: Pod\n---", []string{"v1 Pod/ at f:1:1"}},
		{"byte order mark", "\ufeff{\"apiVersion\":\t\"v1\", \"kind\": \"Pod\"}", []string{"v1 Pod/ at f:1:1"}},
		{"no number of YAML 1.1", "apiVersion: v1\nkind: Pod\nx: 08\ny: .nan\n", []string{"f:4:4: JSON has no such number as .nan; quote it if a string is meant"}},
		{"lone tag", "apiVersion: v1\nkind: Pod\nx: {y: ! true}\n", []string{"f:3:8: the tag ! is not used in Kubernetes objects; remove it, and quote the value if a string is meant"}},
		{"nothing", "", []string{"f: the file is empty; want at least one Kubernetes object in YAML or JSON"}},
		{"large", "a: " + strings.Repeat("x", MaxDocument) + "\n---\napiVersion: v1\nkind: Pod\n", []string{
			"f:1:1: this document is larger than 3 MiB, the most the API server takes in a request; split it with --- lines into documents of one object each", "v1 Pod/ at f:3:1"}},
	} {
		if diff := cmp.Diff(test.want, read(strings.NewReader(test.text))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
	broken := io.MultiReader(strings.NewReader("apiVersion: v1\nkind: Pod\n"), iotest.ErrReader(errors.New("the disk is gone")))
	if diff := cmp.Diff([]string{"v1 Pod/ at f:1:1", "f: reading stopped: the disk is gone"}, read(broken)); diff != "" {
		t.Errorf("a reader that breaks (-want +got):\n%s", diff)
	}
}

func TestLocate(t *testing.T) {
	const head = "apiVersion: v1\nkind: Pod\n"
	for _, test := range []struct{ text, pointer, want string }{
		{"spec:\n  a:\n  - x\n  - y: é\n", "/spec/a/1/y", "f:6:5"},
		{"spec:\n  a: {é: 1, b: 2}\n", "/spec/a/b", "f:4:13"},
		{"spec:\n  a: {}\n", "/spec/a/b/c", "f:4:3"},                      // not there: the nearest parent
		{"spec:\n  a: [x]\n", "/spec/a/1", "f:4:3"},                       // beyond the list
		{"spec:\n  a: [x]\n", "/spec/a/-1", "f:4:3"},                      //
		{"x/y: {~z: 1}\n", "/x~1y/~0z", "f:3:7"},                          // escapes
		{"spec:\n  no: 1\n", "/spec/false", "f:4:3"},                      // YAML 1.1
		{"a: &x {b: 1}\nspec:\n  c: *x\n", "/spec/c/b", "f:3:8"},          // through an alias
		{"a: &x {b: 1}\nspec: {b: 2, <<: *x}\n", "/spec/b", "f:3:8"},      // a later merge key wins
		{"a: &x {b: 1}\nspec: {<<: *x, b: 2}\n", "/spec/b", "f:4:16"},     // an earlier one does not
		{"a: &x {b: 1}\nspec: {<<: [{b: 3}, *x]}\n", "/spec/b", "f:4:14"}, // the first of a list does
		{"a: \"x\u2028y\"\nspec: 1\n", "/spec", "f:4:1"},                  // a line end to YAML, not to an editor
		{"a: x\r\nspec: 1\r\n", "/spec", "f:4:1"},                         //
		{"a: [1,\r2]\nspec: 1\n", "/a/1", "f:3:8"},                        //
		{"spec:\n  <<: {a: {b: 1}}\n  c: 1\n", "/spec/a/b", "f:4:12"},     //
		{"spec: {a: 1}\n", "", "f:1:1"}, {"spec: {a: 1}\n", "/", "f:1:1"}, // no such field
	} {
		for o, err := range Read(strings.NewReader(head+test.text), "f") {
			if err != nil {
				t.Errorf("%q: %v", test.text, err)
			} else if got := o.Locate(test.pointer).String(); got != test.want {
				t.Errorf("%q: Locate(%q) = %s, want %s", test.text, test.pointer, got, test.want)
			}
		}
	}
}

func TestLines(t *testing.T) {
	var got []map[int]string
	for doc, err := range Split(strings.NewReader("a: 1\r\nb: 2\n---\nc: 3\nd: 4"), "f") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, doc.Lines(map[int]bool{2: true, 4: true, 5: true, 9: true}))
	}
	if diff := cmp.Diff([]map[int]string{{2: "b: 2"}, {4: "c: 3", 5: "d: 4"}}, got); diff != "" {
		t.Errorf("Lines (-want +got):\n%s", diff)
	}
}

func TestDecode(t *testing.T) {
	type config struct {
		Name string `json:"name"`
		Port int    `json:"port"`
	}
	for text, want := range map[string]string{
		"name: a\nport: 1\n":    "",
		"name: a\nprot: 1\n":    `f:2:1: unknown field "prot"; remove it or correct its name`,
		"name: a\nname: b\n":    `f:2:1: the key "name" appears twice in one map; keep one`,
		"name: a\n---\nport: 1": "f: found 2 YAML documents; want one",
		"":                      "f: the file is empty; want at least one Kubernetes object in YAML or JSON",
		"name: [":               "f:1:1: not valid YAML: did not find expected node content; correct the syntax",
	} {
		var got string
		if err := Decode([]byte(text), "f", new(config)); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("Decode(%q) = %q, want %q", text, got, want)
		}
	}
	var part config
	if err := DecodePart([]byte("name: a\nother: 1\n"), "f", &part); err != nil || part.Name != "a" {
		t.Errorf("DecodePart = %+v, %v", part, err)
	}
	if err := Decode([]byte("name: a\nport: x\n"), "f", new(config)); err == nil {
		t.Error("Decode takes a string for a number")
	}
}

// TestItems: with a top-level items kubectl takes a document of any kind for a list and applies what is in it, so that is
// what is read.
func TestItems(t *testing.T) {
	for _, kind := range []string{"List", "PodList", "ConfigMap", "Pod"} {
		doc := "apiVersion: v1\nkind: " + kind + "\nmetadata: {name: outer}\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: inner}}\n"
		var names []string
		for o, err := range Read(strings.NewReader(doc), "f.yaml") {
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			names = append(names, o.Subject().Name)
		}
		if !slices.Equal(names, []string{"inner"}) {
			t.Errorf("a %s with items: read %v, want the item alone", kind, names)
		}
	}
}

// TestNulls: where the API server does not take null for absent, a null is refused, but for labels and annotations, whose
// value is then empty.
func TestNulls(t *testing.T) {
	for doc, want := range map[string]string{
		"securityContext: {supplementalGroups: [null]}": "an item of a list is null",
		"resources: {requests: {cpu: null}}":            "an amount is null",
		"resources: {limits: {cpu: ~, memory: 1Gi}}":    "an amount is null",
		"resources: {limits: {<<: {cpu: ~}}}":           "an amount is null",
		"nodeSelector: {node-role.kubernetes.io/x: }":   "the value of a label is null",
		"podSelector: {matchLabels: {<<: {app: null}}}": "the value of a label is null",
	} {
		var failed error
		for _, err := range Read(strings.NewReader("apiVersion: v1\nkind: Pod\nspec:\n  "+doc+"\n"), "f.yaml") {
			failed = err
		}
		if failed == nil || !strings.Contains(failed.Error(), want) || !strings.HasPrefix(failed.Error(), "f.yaml:4:") {
			t.Errorf("%s: %v, want it refused in line 4: %s", doc, failed, want)
		}
	}
	for o, err := range Read(strings.NewReader("apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {b: , c: d}, annotations: &x {e: ~}, f: *x}\n"), "f.yaml") {
		want := map[string]any{"name": "a", "labels": map[string]any{"b": "", "c": "d"}, "annotations": map[string]any{"e": ""}, "f": map[string]any{}}
		if diff := cmp.Diff(want, o.Value["metadata"]); err != nil || diff != "" {
			t.Errorf("labels without a value: %v (-want +got)\n%s", err, diff)
		}
	}
}
