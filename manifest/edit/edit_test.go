package edit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/fix"
	"ringfence.dev/ringfence/manifest"
)

// changesOf reads "/a=1", which sets, and "/a", which removes.
func changesOf(t testing.TB, words string) (out []fix.Change) {
	for _, w := range strings.Fields(words) {
		pointer, value, set := strings.Cut(w, "=")
		c := fix.Change{Pointer: pointer, Remove: !set}
		if set && !json.Valid([]byte(value)) {
			t.Fatal(w)
		} else if set {
			c.Value = control.Fix{Set: json.RawMessage(value)}.Value()
		}
		out = append(out, c)
	}
	return out
}

func objectsOf(t testing.TB, text string) (manifest.Document, []*manifest.Object) {
	for doc, err := range manifest.Split(strings.NewReader(text), "f.yaml") {
		if err != nil {
			t.Fatal(err)
		}
		var objects []*manifest.Object
		for o, err := range doc.Objects() {
			if err != nil {
				t.Fatal(err)
			}
			objects = append(objects, o)
		}
		return doc, objects
	}
	t.Fatal("no document")
	return manifest.Document{}, nil
}

// TestTable shows what an edit looks like. After "~" stands what is refused.
func TestTable(t *testing.T) {
	text, err := os.ReadFile("testdata/table.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n====\n") {
		head, body, _ := strings.Cut(part, "\n")
		title, ask, _ := strings.Cut(head, ": ")
		in, want, _ := strings.Cut(body, "\n----\n")
		for _, end := range []string{"\n", "\r\n"} {
			in, want := strings.ReplaceAll(in, "\n", end), strings.ReplaceAll(want, "\n", end)
			// Beside the table's text, without an end of the last line, one has it.
			for _, last := range []string{"", end} {
				const head = `{"apiVersion":"v1","kind":"X",`
				full, rest := "apiVersion: v1"+end+"kind: X"+end+in+last, "apiVersion: v1"+end+"kind: X"+end+want
				if strings.HasPrefix(in, "{") {
					full, rest = head+strings.TrimPrefix(in, "{")+last, head+strings.TrimPrefix(want, "{")
				}
				doc, objects := objectsOf(t, full)
				splices, refused, err := Objects(doc, []Ask{{objects[0], changesOf(t, ask)}})
				if err != nil {
					t.Errorf("%s: %v\n%s", title, err, full)
					continue
				}
				got := string(Apply(doc.Text(), splices))
				if u := refused[objects[0]]; u != nil {
					got, rest, last = "~ "+u.Reason, want, ""
				}
				if got != rest+last {
					t.Errorf("%s (%q): got\n%s\nwant\n%s", title, end+last, got, rest+last)
				}
			}
		}
	}
}

// TestRandom edits the cases of the catalogue at random places, in several forms, and proves each edit: what it means, that
// lines without an edited field stay, that doing it again changes nothing.
func TestRandom(t *testing.T) {
	files, err := filepath.Glob("../../controls/*/*/tests/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	var edits, refusals int
	reasons := map[string]int{}
	for i, file := range files {
		if testing.Short() && i%10 > 0 {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 20_000 {
			continue
		}
		for name, form := range forms(text) {
			r := rand.New(rand.NewPCG(uint64(i), 7))
			for range 2 {
				e, why, err := tryRandom(r, form)
				if err != nil {
					t.Fatalf("%s (%s): %v", file, name, err)
				}
				edits += e
				if why != "" {
					refusals++
					reasons[why]++
				}
			}
		}
	}
	t.Logf("%d edits, %d refusals: %v", edits, refusals, reasons)
	if edits == 0 || refusals > edits {
		t.Errorf("%d edits, %d refusals: %v", edits, refusals, reasons)
	}
}

// forms are the same text in other clothes.
func forms(text []byte) map[string][]byte {
	out := map[string][]byte{
		"as it is":          text,
		"CRLF":              bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")),
		"without a newline": bytes.TrimRight(text, "\n"),
	}
	var commented []string
	block := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		block = block || strings.HasSuffix(line, "|") || strings.HasSuffix(line, "|-") || strings.HasSuffix(line, ">") || strings.HasSuffix(line, ">-")
		if !block && !strings.HasPrefix(line, "---") && strings.TrimSpace(line) != "" && !strings.ContainsAny(line, `"'#`) {
			line += " #\tnötig: {a: [b, \"c"
			commented = append(commented, "    # - über: alles\t")
		}
		commented = append(commented, line)
	}
	out["comments"] = []byte(strings.Join(commented, "\n") + "\n")
	var docs []string
	for doc, err := range manifest.Split(bytes.NewReader(text), "") {
		values, _ := doc.Values()
		if err != nil || len(values) != 1 {
			return out
		}
		one, _ := json.Marshal(values[0])
		docs = append(docs, string(one))
	}
	out["JSON on a line"] = []byte(docs[0])
	var pretty bytes.Buffer
	_ = json.Indent(&pretty, []byte(docs[0]), "", "\t")
	out["JSON"] = bytes.Clone(pretty.Bytes())
	out["flow"] = []byte("# flow\n---\n" + strings.Join(docs, "\n---\n") + "\n")
	out["List of List"] = []byte(`{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"List","items":[` + strings.Join(docs, ", ") + "]}]}")
	return out
}

// tryRandom makes random changes in one object of a text.
func tryRandom(r *rand.Rand, text []byte) (edits int, refusal string, err error) {
	for doc, err := range manifest.Split(bytes.NewReader(text), "f.yaml") {
		if err != nil {
			continue
		}
		var asks []Ask
		for o, err := range doc.Objects() {
			if err == nil {
				asks = append(asks, Ask{o, randomChanges(r, o.Value)})
			}
		}
		splices, refused, err := Objects(doc, asks)
		if err != nil {
			return 0, "", fmt.Errorf("%w: %v\n%s\n---- becomes\n%s", err, describeAsks(asks), doc.Text(), Apply(doc.Text(), splices))
		}
		for _, u := range refused {
			refusal = u.Reason
		}
		edits += len(splices)
		if err := kept(doc.Text(), splices); err != nil {
			return 0, "", err
		}
		diff := Diff("f.yaml", doc.Text(), splices)
		if got, want := patch(doc.Text(), diff), Apply(doc.Text(), splices); !bytes.Equal(got, want) {
			return 0, "", fmt.Errorf("the diff\n%s\nmakes %q, want %q", diff, got, want)
		}
	}
	return edits, refusal, nil
}

// kept proves that lines which are touched by no splice are still there, in order, with their ends.
func kept(text []byte, splices []Splice) error {
	out := Apply(text, splices)
	at, from := 0, 0
	for line := range bytes.Lines(text) {
		from, at = at, at+len(line)
		if slices.ContainsFunc(splices, func(s Splice) bool { return s.From <= at && s.To >= from }) {
			continue
		}
		i := bytes.Index(out, line)
		if i < 0 {
			return fmt.Errorf("the line %q is lost", line)
		}
		out = out[i+len(line):]
	}
	crlf := bytes.Count(text, []byte("\r\n"))
	if got := Apply(text, splices); crlf > 0 && crlf == bytes.Count(text, []byte("\n")) && bytes.Count(got, []byte("\n")) != bytes.Count(got, []byte("\r\n")) {
		return errors.New("line ends are mixed")
	}
	return nil
}

// patch applies a unified diff as patch does, and holds its context to the text; nil where it does not fit.
func patch(text, diff []byte) (out []byte) {
	const none = "\n\\ No newline at end of file\n"
	diff = bytes.ReplaceAll(diff, []byte(none), []byte("\x00"))
	old, at := lines(text), 0
	var left [2]int // lines that the hunk still has, old and new
	for line := range bytes.SplitAfterSeq(diff, []byte("\n")) {
		if left == [2]int{} {
			var from, to int
			head := strings.Fields(string(line))
			if len(head) < 4 || head[0] != "@@" {
				continue
			}
			count := func(s string) (from, n int) {
				if _, err := fmt.Sscanf(s[1:], "%d,%d", &from, &n); err != nil {
					return from, 1
				}
				return from, n
			}
			from, left[0] = count(head[1])
			to, left[1] = count(head[2])
			if left[0] > 0 {
				from--
			}
			for ; at < from; at++ {
				out = append(out, old[at]...)
			}
			if left[1] > 0 {
				to--
			}
			if len(lines(out)) != to {
				return nil
			}
			continue
		}
		for part := range bytes.SplitAfterSeq(line, []byte("\x00")) {
			if len(part) == 0 {
				continue
			}
			body := bytes.TrimSuffix(part[1:], []byte("\x00"))
			if part[0] != '+' {
				if left[0]--; at >= len(old) || !bytes.Equal(old[at], body) {
					return nil
				}
				at++
			}
			if part[0] != '-' {
				left[1]--
				out = append(out, body...)
			}
		}
	}
	for ; at < len(old); at++ {
		out = append(out, old[at]...)
	}
	return out
}

func describeAsks(asks []Ask) (out []string) {
	for _, a := range asks {
		out = append(out, fmt.Sprintf("%+v", a.Changes))
	}
	return out
}

// randomChanges are up to four changes, none in another, as repairs are: fields and items go, values are set.
func randomChanges(r *rand.Rand, object map[string]any) (out []fix.Change) {
	var at []string
	var walk func(v any, pointer string)
	walk = func(v any, pointer string) {
		if pointer != "" && pointer != "/apiVersion" && pointer != "/kind" && pointer != "/items" {
			at = append(at, pointer)
		}
		switch v := v.(type) {
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(v)) {
				walk(v[key], pointer+"/"+manifest.EscapeStep(key))
			}
		case []any:
			for i, item := range v {
				walk(item, pointer+"/"+strconv.Itoa(i))
			}
		}
	}
	if walk(object, ""); len(at) == 0 {
		return nil
	}
	values := []any{false, "RuntimeDefault", "1Gi", []any{"ALL"}, int64(0), "yes: #", map[string]any{"a": map[string]any{"b": "no"}}}
	for range 1 + r.IntN(4) {
		c := fix.Change{Pointer: at[r.IntN(len(at))], Value: values[r.IntN(len(values))]}
		switch r.IntN(3) {
		case 0:
			c.Remove, c.Value = true, nil
		case 1:
			c.Pointer += "/new" + strconv.Itoa(r.IntN(3))
			if r.IntN(2) == 0 {
				c.Pointer += "/deep~1er"
			}
		}
		inside := func(a, b string) bool { return a == b || strings.HasPrefix(a, b+"/") }
		if slices.ContainsFunc(out, func(o fix.Change) bool { return inside(o.Pointer, c.Pointer) || inside(c.Pointer, o.Pointer) }) {
			continue
		}
		if trial := fix.Copy(object).(map[string]any); fix.Make(trial, []fix.Change{c}) {
			out = append(out, c)
		}
	}
	return out
}
