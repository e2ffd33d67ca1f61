package manifest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// listed reads a text by ReadLists: kind, name and line of each object, or the error.
func listed(text string) (out []string) {
	for o, err := range ReadLists(strings.NewReader(text), "x") {
		if err != nil {
			out = append(out, "error "+err.Error())
			continue
		}
		out = append(out, fmt.Sprintf("%s %s %d", o.Kind(), o.Subject().Name, o.Locate("").Line))
	}
	return out
}

// TestReadLists shows that Lists larger than any document are read an item at a time, with the lines they stand on, and that
// what is no list is refused as before.
func TestReadLists(t *testing.T) {
	const items = 500
	pad := strings.Repeat("x", 10_000)
	var block, indented, inJSON, typed strings.Builder
	block.WriteString("# a dump\napiVersion: v1\nitems:\n")
	indented.WriteString("kind: List\napiVersion: v1\nitems:\n")
	inJSON.WriteString("{\n\"apiVersion\": \"v1\",\n\"items\": [\n")
	typed.WriteString("{\"kind\":\"ConfigMapList\",\"apiVersion\":\"v1\",\"metadata\":{},\"items\":[\n")
	for i := range items {
		fmt.Fprintf(&block, "- apiVersion: v1\n  data:\n    a: |\n      - no item\n      items:\n    b: %s\n  kind: ConfigMap\n  metadata:\n    name: c%d\n", pad, i)
		fmt.Fprintf(&indented, "  - kind: ConfigMap\n    apiVersion: v1\n    # a comment\n    metadata: {name: c%d}\n    data:\n    - %s\n", i, pad)
		comma := ","
		if i == items-1 {
			comma = ""
		}
		fmt.Fprintf(&inJSON, "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"data\":{\"a\":%q},\n\"metadata\":{\"name\":\"c%d\"}}%s\n", pad, i, comma)
		fmt.Fprintf(&typed, "{\"data\":{\"a\":%q},\"metadata\":{\"name\":\"c%d\"}}%s\n", pad, i, comma)
	}
	block.WriteString("kind: List\nmetadata:\n  resourceVersion: \"\"\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: last}\n")
	inJSON.WriteString("],\n\"kind\": \"List\", \"metadata\": {}}\n{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":\"last\"}}\n")
	typed.WriteString("]}\n")
	for name, tc := range map[string]struct {
		text        string
		first, each int
		last        bool
	}{
		"block": {block.String(), 4, 9, true}, "indented": {indented.String(), 4, 6, false},
		"JSON": {inJSON.String(), 4, 2, true}, "typed JSON": {typed.String(), 2, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			if len(tc.text) <= MaxDocument {
				t.Fatal("the text is too small to show anything")
			}
			got := listed(tc.text)
			if tc.last {
				if last := got[len(got)-1]; !strings.HasPrefix(last, "Secret last ") {
					t.Errorf("ends with %q, want the document behind the list", last)
				}
				got = got[:len(got)-1]
			}
			if len(got) != items {
				t.Fatalf("read %d objects, want %d; the last is %.200q", len(got), items, got[len(got)-1])
			}
			for i, one := range got {
				line := tc.first + i*tc.each
				// Of JSON the line is where the text before the item ends, which may be the line above.
				if one != fmt.Sprintf("ConfigMap c%d %d", i, line) && (!strings.Contains(name, "JSON") || one != fmt.Sprintf("ConfigMap c%d %d", i, line-1)) {
					t.Fatalf("item %d is %q, want ConfigMap c%d at line %d", i, one, i, line)
				}
			}
		})
	}
	for name, text := range map[string]string{
		"one large object":  "apiVersion: v1\nkind: ConfigMap\ndata:\n" + strings.Repeat("  a: "+pad+"\n", 400),
		"one large item":    "apiVersion: v1\nitems:\n- data:\n" + strings.Repeat("    - "+pad+"\n", 400) + "- kind: A\n",
		"one large line":    "a: " + strings.Repeat(pad, 400),
		"JSON, cut off":     inJSON.String()[:4<<20],
		"JSON, one object":  "{\"a\":\"" + strings.Repeat(pad, 400) + "\"}",
		"JSON, many fields": "{" + strings.Repeat(fmt.Sprintf("%q:1,", pad), 400) + "\"a\":1}",
	} {
		t.Run(name, func(t *testing.T) {
			got := listed(text)
			if len(got) == 0 || !strings.HasPrefix(got[len(got)-1], "error x:") {
				t.Errorf("read %.100q, want an error at its end", got)
			}
		})
	}
}

// FuzzReadLists shows that what is no larger than a document is read as Read reads it.
func FuzzReadLists(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		var want []string
		for o, err := range Read(bytes.NewReader(text), "x") {
			if err != nil {
				want = append(want, "error "+err.Error())
				continue
			}
			want = append(want, fmt.Sprintf("%s %s %d", o.Kind(), o.Subject().Name, o.Locate("").Line))
		}
		if got := listed(string(text)); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("read %q, want %q", got, want)
		}
	})
}
