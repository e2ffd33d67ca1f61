package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	goyaml "go.yaml.in/yaml/v2"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/finding"
)

// onPurpose are parts of the messages of what kubectl accepts and Read refuses.
var onPurpose = []string{
	"appears twice",       // kubectl takes the last one silently
	"nested deeper",       // a bound
	"aliases expand",      // a bound
	"the tag ",            // !!binary, !!timestamp, !!set and private tags
	"as its tag says",     // a value that its tag denies
	"no such number",      // .nan and .inf
	"this is not text",    // UTF-16 and UTF-32
	"key is null or a nu", // never accepted by kubectl either, but for keys that a merge hides
	"larger than 3 MiB",
	"a list is null",    // the API server makes it 0, "" or an empty object
	"an amount is null", // the API server makes it 0
	"a label is null",   // the API server makes it ""
}

func seeds(f *testing.F) {
	cases, err := filepath.Glob("../controls/*/*/tests/*.yaml")
	if err != nil || len(cases) == 0 {
		f.Fatal("no cases in the catalogue", err)
	}
	for _, name := range cases[:20] {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, s := range []string{
		"a: 1\nb: -0x1F\nc: 0o17\nd: 017\ne: 1_000\nf: 1e3\ng: 1.50\nh: 0b11\ni: 18446744073709551615\nj: 9007199254740993\n",
		"a: yes\nno: b\n~: c\n1.5: d\n1e10: e\ntrue: f\n",
		"a: &x {p: true, q: null}\nb: {p: false, <<: *x}\nc: {<<: *x, p: false}\nd: {q: 1, <<: *x}\n",
		"a: &x {p: 1}\nb: &y {p: 2, r: 3}\nc: {<<: [*x, *y]}\nd:\n  <<: {<<: *x, p: 7}\n",
		"a: |\n  x\n   y\nb: >-\n  x\n  y\n\nc: 'it''s'\nd: \"\\u00e9\\x41\\n\"\n",
		"a: 2001-01-01\nb: 2001-01-01T00:00:00Z\nc: 12:30:45\nd: .5\ne: +.inf\nf: -.5\ng: .\n",
		"a: !!str 1\nb: !!int \"1\"\nc: !!float 1\nd: !!bool yes\ne: !!null ''\nf: !x 1\ng: !!binary aGk=\n",
		"{\"a\":\"\\ud83d\\ude00\",\t\"b\":[1,2.5,true,null],\"c\":{\"d\":1e2}}",
		"\ufeffa: b\r\nc:\r\n- d\r\n- e\r\n",
		"a: b\u2028c: d\u0085e: f\rg: h\n",
		"? [a]\n: b\n", "d: !", "\n--\r---", "e: &x ! true\n", "a: *a\n", "a: &a [*a]\n", "- - - a\n", "!\u2029", "a: &b\u2028!\u0085c\n", "a: b: c\n", "a:\n\t- b\n", "%YAML 1.1\n---\na: b\n...\nc: d\n",
		"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n",
	} {
		f.Add([]byte(s))
	}
}

// FuzzRead holds Read to two promises: it never panics, and where sigs.k8s.io/yaml with the API server's JSON decoder
// (which is kubectl) accepts a document, it means the same or refuses on purpose.
func FuzzRead(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		for o, err := range Read(bytes.NewReader(text), "f") {
			if (o == nil) == (err == nil) {
				t.Fatalf("Read gave object %v and error %v", o, err)
			}
		}
		compare(t, text)
	})
}

// compare reports whether both take the document, and fails where they differ but not on purpose.
func compare(t *testing.T, text []byte) bool {
	t.Helper()
	var docs []*document
	var failed error
	for part, err := range Split(bytes.NewReader(text), "f") {
		if err != nil {
			return false
		}
		decode(part, func(d *document, err error) bool {
			docs, failed = append(docs, d), err
			return err == nil
		})
	}
	want, ok := kubectl(text)
	if len(docs) > 1 || !ok {
		return false
	}
	var got any
	if failed == nil && len(docs) == 1 {
		got, failed = (&converter{}).value(docs[0].node, 0)
	}
	if failed != nil {
		for _, known := range onPurpose {
			if strings.Contains(failed.Error(), known) {
				return false
			}
		}
		t.Errorf("Read refuses %q, which kubectl takes for %#v: %v", text, want, failed)
		return false
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%q: (-kubectl +Read)\n%s", text, diff)
	}
	return true
}

// kubectl is what kubectl and the API server make of a document, nulls dropped from maps. It is false where they refuse
// it, and where anything, broken or not, follows the first document: kubectl would not look at it.
func kubectl(text []byte) (any, bool) {
	all := goyaml.NewDecoder(bytes.NewReader(text))
	var first, second any
	if all.Decode(&first) != nil || !errors.Is(all.Decode(&second), io.EOF) {
		return nil, false
	}
	if ambiguous(first) {
		return nil, false
	}
	plain, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, false
	}
	var v any
	if err := json.Unmarshal(plain, &v); err != nil {
		return nil, false
	}
	return withoutNull(v), true
}

// ambiguous reports whether a map has a string and a number as keys that become one in JSON, for instance 1 and "1": which
// of them kubectl takes is chance.
func ambiguous(v any) bool {
	switch v := v.(type) {
	case map[any]any:
		names := map[string]bool{}
		for name, field := range v {
			if f, ok := name.(float64); ok {
				name = float32(f)
			}
			if names[fmt.Sprint(name)] || ambiguous(field) {
				return true
			}
			names[fmt.Sprint(name)] = true
		}
	case []any:
		return slices.ContainsFunc(v, ambiguous)
	}
	return false
}

func withoutNull(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, field := range v {
			if texts, ok := field.(map[string]any); ok && (name == "labels" || name == "annotations") {
				for key, text := range texts {
					if text == nil {
						texts[key] = "" // as ObjectMeta decodes it
					}
				}
			}
			if v[name] = withoutNull(field); field == nil {
				delete(v, name)
			}
		}
	case []any:
		for i := range v {
			v[i] = withoutNull(v[i])
		}
	}
	return v
}

// FuzzLocate holds every place that Read names, of errors and of any pointer into an object, to lie inside the file.
func FuzzLocate(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		lines := strings.Split(strings.TrimPrefix(string(text), "\ufeff"), "\n")
		inside := func(what string, l finding.Location) {
			if l.Line < 1 || l.Line > len(lines) || l.Column < 1 || l.Column > utf8.RuneCountInString(lines[l.Line-1])+1 {
				t.Fatalf("%s of %q is said to be at %s", what, text, l)
			}
		}
		for o, err := range Read(bytes.NewReader(text), "f") {
			if fault, ok := err.(*Error); ok && fault.Location.Line > 0 {
				inside("the fault «"+fault.Message+"»", fault.Location)
			}
			if o != nil {
				walk(o.Value, "", func(pointer string) { inside(pointer, o.Locate(pointer)) })
				inside("a field that is not there", o.Locate("/spec/~1a~0/7/-1/"))
			}
		}
	})
}

// walk calls visit with the pointer of v and of everything in it.
func walk(v any, pointer string, visit func(string)) {
	visit(pointer)
	switch v := v.(type) {
	case map[string]any:
		for name, field := range v {
			walk(field, pointer+"/"+EscapeStep(name), visit)
		}
	case []any:
		for i, item := range v {
			walk(item, pointer+"/"+strconv.Itoa(i), visit)
		}
	}
}
