package evidence_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/evidence"
	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/record"
)

// noon is when the records of the tests begin; each is a minute after the one before.
var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// hostile is a name that a page or a terminal must not obey.
const hostile = "<script>alert(1)</script>\"'&\u202e\n##[error]"

// refusal is a refusal in a namespace.
func refusal(n int, namespace string) record.Record {
	body, _ := json.Marshal(map[string]any{
		"auditID": fmt.Sprint("a", n), "stage": "ResponseComplete", "operation": "CREATE", "refused": true, "seen": noon, "source": "webhook",
		"subject": map[string]string{"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": fmt.Sprint("shell", n%50, hostile)},
		"actor":   map[string]string{"ref": "hmac-sha256:" + strings.Repeat("ab", 32)},
		"notPassed": []map[string]string{{"control": fmt.Sprintf("RF-WL-%02d", 1+n%9), "outcome": "Fail", "action": "Deny",
			"value": hostile, "path": "/spec/containers/0/image"}},
	})
	return made(n, "native-refusal.v1", fmt.Sprint("native-refusal:", n), string(body))
}

func made(n int, kind, id, body string) record.Record {
	return record.Record{ID: id, Cluster: "local", Producer: "audit", Seq: uint64(n) + 1, Time: noon.Add(time.Duration(n) * time.Minute), Kind: kind, Body: json.RawMessage(body)}
}

// book is a ledger of a test: refusals of two tenants, a silence, an overflow, and a key that was rotated.
type book struct {
	dir   string
	keys  ledger.Keyring
	key   ledger.Key // that signs at the end
	early []byte     // a checkpoint that was published outside, over the first 300 entries
}

func newBook(t testing.TB, n int) book {
	t.Helper()
	b := book{dir: filepath.Join(t.TempDir(), "ledger")}
	first := key(t, "ringfence.dev/ledger/test")
	l := opened(t, b.dir, first)
	since := func(n int) string { return noon.Add(time.Duration(n) * time.Minute).Format(time.RFC3339) }
	var batch []record.Record
	for i := range n {
		r := refusal(i, []string{"payments-dev", "payments-prod", "cards-dev"}[i%3])
		switch i {
		case 20:
			r = made(i, "silence.v1", "silence:a", `{"producer":"audit","promisedSeconds":60,"since":"`+since(15)+`","why":"quiet"}`)
		case 22:
			r = made(i, "silence.v1", "silence-end:a", `{"producer":"audit","promisedSeconds":60,"since":"`+since(15)+`","until":"`+since(22)+`","why":"quiet"}`)
		case 40:
			r = made(i, "overflow.v1", "overflow:a", `{"producer":"audit","lost":7,"why":"queue-full","since":"`+since(30)+`","until":"`+since(40)+`"}`)
		}
		if batch = append(batch, r); len(batch) == 100 || i == n-1 || i == 299 {
			if _, err := l.Append(t.Context(), batch...); err != nil {
				t.Fatal(err)
			}
			batch = batch[:0]
		}
		if i == 299 {
			b.early = l.Checkpoint()
		}
	}
	b.key = key(t, "ringfence.dev/ledger/test")
	if err := l.Rotate(b.key, "local", noon.Add(time.Duration(n)*time.Minute)); err != nil {
		t.Fatal(err)
	}
	b.keys = slices.Clone(l.Keyring())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return b
}

func key(t testing.TB, name string) ledger.Key {
	t.Helper()
	k, err := ledger.NewKey(filepath.Join(t.TempDir(), "key"), name)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func opened(t testing.TB, dir string, k ledger.Key) *ledger.Log {
	t.Helper()
	l, err := ledger.Open(ledger.Config{Dir: dir, Key: k})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// export makes a bundle of a book.
func (b book) export(t testing.TB, f evidence.Filter, outside ...[]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	_, err := evidence.Export(t.Context(), &out, evidence.Options{From: ledger.Folder(b.dir), Trusted: b.keys[:1], Filter: f, Outside: outside, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func verify(t testing.TB, data []byte, o evidence.VerifyOptions) (evidence.Verification, error) {
	t.Helper()
	return evidence.VerifyBundle(t.Context(), bytes.NewReader(data), int64(len(data)), o)
}

// parts are the files of a bundle, and their names in its order.
func parts(t testing.TB, data []byte) (map[string][]byte, []string) {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	files, names := map[string][]byte{}, []string{}
	for _, f := range archive.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[f.Name], names = text, append(names, f.Name)
	}
	return files, names
}

// pack makes a bundle of files.
func pack(t testing.TB, files map[string][]byte, names []string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, name := range names {
		f, err := w.Create(name)
		if err == nil {
			_, err = f.Write(files[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestExportAndVerify: bundles of many filters and sizes prove themselves, are the same each time, hold what was asked
// for and the gaps, and can be held to a checkpoint from outside.
func TestExportAndVerify(t *testing.T) {
	for _, n := range []int{0, 1, 256, 257, 600} {
		b := newBook(t, n)
		for _, f := range []evidence.Filter{
			{}, {Tenant: "payments"}, {Namespace: "cards-dev"}, {Control: "RF-WL-03"}, {Kind: "overflow"}, {Tenant: "nobody"},
			{Since: noon.Add(10 * time.Minute), Until: noon.Add(18 * time.Minute)}, {Since: noon.Add(time.Hour)},
		} {
			var outside [][]byte
			if b.early != nil {
				outside = append(outside, b.early)
			}
			data := b.export(t, f, outside...)
			if !bytes.Equal(data, b.export(t, f, outside...)) {
				t.Errorf("%d entries, %+v: two exports differ", n, f)
			}
			v, err := verify(t, data, evidence.VerifyOptions{Trusted: b.keys[:1], Outside: b.early})
			if err != nil {
				t.Errorf("%d entries, %+v: %v", n, f, err)
				continue
			}
			want := 0
			for i := range n {
				if i != 20 && i != 22 && i != 40 && f.Wants(item(t, i)) {
					want++
				}
			}
			if got := v.Manifest.Matching; f.Kind == "" && (got < uint64(want) || got > uint64(want)+4) || v.Manifest.Size != uint64(n)+1 {
				t.Errorf("%d entries, %+v: matching %d of %d, want about %d of %d", n, f, got, v.Manifest.Size, want, n+1)
			}
			if !slices.Equal(v.Keys, b.keys) {
				t.Errorf("Keys = %v, want %v", v.Keys, b.keys)
			}
		}
	}
}

// item is the item of a refusal of newBook.
func item(t testing.TB, n int) evidence.Item {
	t.Helper()
	text, err := ledger.Encode(refusal(n, []string{"payments-dev", "payments-prod", "cards-dev"}[n%3]))
	if err != nil {
		t.Fatal(err)
	}
	i, err := evidence.ItemOf(ledger.Entry{Index: uint64(n), Statement: text})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// TestGapsAreUnknown: a bundle over time in which something is unknown lists it, whatever its filter; others do not.
func TestGapsAreUnknown(t *testing.T) {
	b := newBook(t, 100)
	for _, test := range []struct {
		from, to int
		want     []string
	}{
		{0, 10, nil},
		{0, 16, []string{"audit was not heard (quiet)"}},
		{16, 35, []string{"audit was not heard (quiet)", "7 records of audit were lost (queue-full)"}},
		{23, 29, nil},
		{41, 90, nil},
	} {
		f := evidence.Filter{Since: noon.Add(time.Duration(test.from) * time.Minute), Until: noon.Add(time.Duration(test.to) * time.Minute), Tenant: "cards"}
		data := b.export(t, f)
		v, err := verify(t, data, evidence.VerifyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, g := range v.Manifest.Gaps {
			got = append(got, g.What)
		}
		files, _ := parts(t, data)
		page := string(files["index.html"])
		if !slices.Equal(got, test.want) || strings.Contains(page, "Unknown, not clean") != (len(got) > 0) {
			t.Errorf("minutes %d to %d: gaps %q, want %q", test.from, test.to, got, test.want)
		}
		if strings.Contains(page, "<script>") || strings.Contains(page, "\u202e") || strings.Contains(page, "src=") {
			t.Error("the page holds a script, a source or a turned text")
		}
	}
}

// TestTampered: whatever is changed in a bundle is found.
func TestTampered(t *testing.T) {
	b := newBook(t, 400)
	data := b.export(t, evidence.Filter{Tenant: "payments"}, b.early)
	files, names := parts(t, data)
	for _, name := range names {
		text := files[name]
		for at := 0; at < len(text); at += max(1, len(text)/25) {
			files[name] = slices.Clone(text)
			files[name][at] ^= 1 << (at % 8)
			_, err := verify(t, pack(t, files, names), evidence.VerifyOptions{})
			if !errors.Is(err, evidence.ErrTampered) && !errors.Is(err, evidence.ErrUnreadable) {
				t.Errorf("bit %d of byte %d of %s flipped: %v", at%8, at, name, err)
			}
			var fault *evidence.Fault
			if name == "entries.jsonl" && (!errors.As(err, &fault) || !fault.Entry || fault.Index >= 401) {
				t.Errorf("byte %d of %s: %v, want the entry named", at, name, err)
			}
		}
		files[name] = text
	}
	for at := 0; at < len(data); at += len(data) / 120 { // in the zip file itself: found, or nothing that matters
		flipped := slices.Clone(data)
		flipped[at] ^= 1 << (at % 8)
		if _, err := verify(t, flipped, evidence.VerifyOptions{}); err == nil {
			if got, _ := parts(t, flipped); !same(got, files) {
				t.Errorf("byte %d of the zip flipped: other files, and verified", at)
			}
		}
		if _, err := verify(t, data[:at], evidence.VerifyOptions{}); !errors.Is(err, evidence.ErrUnreadable) {
			t.Errorf("cut to %d bytes: %v", at, err)
		}
	}
}

func same(a, b map[string][]byte) bool {
	for name := range b {
		if !bytes.Equal(a[name], b[name]) {
			return false
		}
	}
	return len(a) == len(b)
}

// TestForgedByHand: entries that are dropped, swapped, doubled, written anew with a right digest, or that a filter does not
// want, are found; so are another key, another ledger's checkpoint and a file more or less.
func TestForgedByHand(t *testing.T) {
	b, other := newBook(t, 400), newBook(t, 400)
	data := b.export(t, evidence.Filter{Kind: "native-refusal"}, b.early)
	files, names := parts(t, data)
	lines := func(name string) []string {
		return strings.SplitAfter(strings.TrimSuffix(string(files[name]), "\n")+"\n", "\n")
	}
	entries, tree := lines("entries.jsonl"), lines("tree")
	r := refusal(3, "payments-dev")
	r.Time = r.Time.Add(time.Hour)
	anew, _ := ledger.Encode(r)
	change := func(name string, change func([]string) []string, from []string) []byte {
		changed := map[string][]byte{}
		for n, text := range files {
			changed[n] = text
		}
		changed[name] = []byte(strings.Join(change(slices.Clone(from)), ""))
		return pack(t, changed, names)
	}
	swap := func(l []string) []string { l[7], l[8] = l[8], l[7]; return l }
	for what, test := range map[string]struct {
		data []byte
		o    evidence.VerifyOptions
		want string
	}{
		"dropped entry":        {data: change("entries.jsonl", func(l []string) []string { return slices.Delete(l, 5, 6) }, entries), want: "entry 5 "},
		"dropped with line":    {data: change("tree", func(l []string) []string { return slices.Delete(l, 5, 6) }, tree), want: "entry 5 "},
		"swapped entries":      {data: change("entries.jsonl", swap, entries), want: "entry 7 "},
		"swapped lines":        {data: change("tree", swap, tree), want: "entry 7 "},
		"doubled":              {data: change("entries.jsonl", func(l []string) []string { return slices.Insert(l, 4, l[4]) }, entries), want: "entry 5 "},
		"more":                 {data: change("entries.jsonl", func(l []string) []string { return append(l, l[4]) }, entries), want: "more in it"},
		"written anew":         {data: change("entries.jsonl", func(l []string) []string { l[3] = string(anew) + "\n"; return l }, entries), want: `entry 3 (id "native-refusal:3")`},
		"another key":          {data: data, o: evidence.VerifyOptions{Trusted: other.keys[:1]}, want: "not signed by the key"},
		"another checkpoint":   {data: data, o: evidence.VerifyOptions{Outside: other.early}, want: "none of the 2 keys"},
		"another's checkpoint": {data: change("checkpoint", func([]string) []string { return []string{string(other.early)} }, nil), want: "none of the 2 keys"},
		"another's keys":       {data: change("keyring", func([]string) []string { return []string{strings.Join(other.keys, "\n") + "\n"} }, nil), want: "none of the 2 keys"},
		"an older checkpoint":  {data: change("checkpoint", func([]string) []string { return []string{string(b.early)} }, nil), want: "more in it"},
		"a file less":          {data: pack(t, files, names[1:]), want: "has no file"},
		"a file twice":         {data: pack(t, files, append(slices.Clone(names), "tree")), want: "once each"},
		"a file more":          {data: pack(t, map[string][]byte{"a": nil}, append(slices.Clone(names), "../../etc/passwd")), want: "found the file"},
		"nothing":              {want: "whole"},
	} {
		_, err := verify(t, test.data, test.o)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", what, err, test.want)
		}
	}
}

// TestInsider: somebody with the key who drops a refusal and signs all of it anew makes a bundle that proves itself, and
// is found against any checkpoint that was published outside before, longer or shorter.
func TestInsider(t *testing.T) {
	k := key(t, "ringfence.dev/ledger/test")
	write := func(drop int) (book, [][]byte) {
		b := book{dir: filepath.Join(t.TempDir(), "ledger"), keys: ledger.Keyring{k.Public}}
		l := opened(t, b.dir, k)
		var published [][]byte
		for i := range 60 {
			if i == drop {
				continue
			}
			if _, err := l.Append(t.Context(), refusal(i, "payments-dev")); err != nil {
				t.Fatal(err)
			}
			published = append(published, l.Checkpoint())
		}
		return b, published
	}
	_, honest := write(-1)
	forged, _ := write(30)
	data := forged.export(t, evidence.Filter{})
	if _, err := verify(t, data, evidence.VerifyOptions{Trusted: forged.keys}); err != nil {
		t.Fatalf("without a checkpoint from outside nothing shows: %v", err)
	}
	for n, checkpoint := range honest {
		_, err := verify(t, data, evidence.VerifyOptions{Trusted: forged.keys, Outside: checkpoint})
		if n >= 30 != errors.Is(err, evidence.ErrTampered) {
			t.Errorf("against the checkpoint of %d entries: %v", n+1, err)
		}
	}
	sparse := forged.export(t, evidence.Filter{Control: "RF-WL-01"})
	if _, err := verify(t, sparse, evidence.VerifyOptions{Outside: honest[24]}); !errors.Is(err, evidence.ErrNotComparable) {
		t.Errorf("a checkpoint amid what is left out: %v, want that it cannot be told", err)
	}
}

// TestBomb: a file that would unpack to far more than it is, is refused before it is unpacked.
func TestBomb(t *testing.T) {
	b := newBook(t, 5)
	files, names := parts(t, b.export(t, evidence.Filter{}))
	files["entries.jsonl"] = make([]byte, 200<<20)
	began := time.Now()
	_, err := verify(t, pack(t, files, names), evidence.VerifyOptions{})
	if !errors.Is(err, evidence.ErrUnreadable) || !strings.Contains(err.Error(), "bomb") {
		t.Errorf("%v after %v, want that it is a bomb", err, time.Since(began))
	}
}
