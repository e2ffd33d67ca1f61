//go:build unix

package render

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// pack is a tar in gzip of headers, each with its text; Size is that of the text unless it is set.
func pack(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	w := tar.NewWriter(zipped)
	for _, e := range entries {
		head := tar.Header{Name: e.name, Typeflag: max(e.kind, tar.TypeReg), Mode: 0o644, Linkname: e.link, Size: e.size + int64(len(e.text))}
		if err := w.WriteHeader(&head); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(w, io.MultiReader(strings.NewReader(e.text), io.LimitReader(zeros{}, e.size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// entry is a file of a tar: text, then size zeros.
type entry struct {
	name, text, link string
	kind             byte
	size             int64
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestPackedChart renders a packed chart with packed charts in it as the same chart in a folder.
func TestPackedChart(t *testing.T) {
	inner := pack(t, entry{name: "in/Chart.yaml", text: strings.Replace(meta, "name: a", "name: in", 1)}, entry{name: "in/templates/in.yaml", text: pod})
	sub := pack(t, entry{name: "sub/Chart.yaml", text: strings.Replace(meta, "name: a", "name: sub", 1)}, entry{name: "sub/templates/sub.yaml", text: pod},
		entry{name: "sub/charts/in-1.0.0.tgz", text: string(inner)})
	text := "\ufeff" + strings.Replace(meta, "name: a", "name: api", 1) + "dependencies: [{name: sub, version: 1.0.0}]\n"
	file := filepath.Join(t.TempDir(), "api-1.0.0.tgz")
	packed := pack(t, entry{name: "api", kind: tar.TypeDir}, entry{name: `api\Chart.yaml`, text: text}, entry{name: "api/templates/a.yaml", text: pod},
		entry{name: "api/templates/charts/b.tgz", text: "# no chart\n"}, entry{name: "api/charts/sub-1.0.0.tgz", text: string(sub)})
	if err := os.WriteFile(file, packed, 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := OpenPackedChart(file)
	if err != nil {
		t.Fatal(err)
	}
	docs, err := c.Render(t.Context(), Values{}, "default")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, doc := range docs {
		got = append(got, strings.TrimPrefix(doc.In.File, file))
	}
	want := []string{"/charts/sub/charts/in/templates/in.yaml", "/charts/sub/templates/sub.yaml", "/templates/a.yaml", "/templates/charts/b.tgz"}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("renders %q, want %q", got, want)
	}
}

// TestHostilePacks wants a fault of every pack that is too much, leads out of its folder or is none, soon and in little memory.
func TestHostilePacks(t *testing.T) {
	chart := entry{name: "a/Chart.yaml", text: meta}
	bomb := func(n int) []byte { // n files of 15 MiB zeros: 15 KB packed each
		entries := []entry{chart}
		for i := range n {
			entries = append(entries, entry{name: fmt.Sprintf("a/files/%d", i), size: 15 << 20})
		}
		return pack(t, entries...)
	}
	names := func(kind byte) []byte {
		var entries []entry
		for i := range maxFiles + 1 {
			entries = append(entries, entry{name: fmt.Sprintf("a/%d", i), kind: kind})
		}
		return pack(t, entries...)
	}
	whole := pack(t, chart, entry{name: "a/templates/a.yaml", text: strings.Repeat(pod, 100)})
	for name, c := range map[string]struct {
		packed []byte
		want   string
	}{
		"bomb":               {bomb(5), "more than 10,000 files or 64 MiB"},
		"bomb in a chart":    {pack(t, chart, entry{name: "a/charts/a.tgz", text: string(bomb(3))}, entry{name: "a/charts/b.tgz", text: string(bomb(3))}), "b.tgz: unpacks to more than 10,000 files or 64 MiB"},
		"bomb after the tar": {append(slices.Clone(whole), bomb(0)...), ""}, // what follows the tar is not read
		"one large file":     {pack(t, chart, entry{name: "a/b", size: maxFile + 1}), "larger than 16 MiB"},
		"many files":         {names(tar.TypeReg), "more than 10,000 files"},
		"many folders":       {names(tar.TypeDir), "more than 10,000 files"},
		"up":                 {pack(t, chart, entry{name: "a/../../b", text: pod}), "leads out of the chart"},
		"up, of Windows":     {pack(t, chart, entry{name: `a\..\..\b`, text: pod}), "leads out of the chart"},
		"absolute":           {pack(t, chart, entry{name: "/etc/passwd", text: pod}), "leads out of the chart"},
		"absolute inside":    {pack(t, chart, entry{name: "a//etc/passwd", text: pod}), "leads out of the chart"},
		"drive":              {pack(t, chart, entry{name: "a/c:/b", text: pod}), "leads out of the chart"},
		"no folder":          {pack(t, entry{name: "Chart.yaml", text: meta}), "at its top"},
		"file at the top":    {pack(t, chart, entry{name: "b", text: pod}), "leads out of the chart"},
		"link":               {pack(t, chart, entry{name: "a/templates/b.yaml", kind: tar.TypeSymlink, link: "/etc/passwd"}), "is no regular file"},
		"hard link":          {pack(t, chart, entry{name: "a/templates/b.yaml", kind: tar.TypeLink, link: "/etc/passwd"}), "is no regular file"},
		"device":             {pack(t, chart, entry{name: "a/templates/b.yaml", kind: tar.TypeChar}), "is no regular file"},
		"pipe":               {pack(t, chart, entry{name: "a/templates/b.yaml", kind: tar.TypeFifo}), "is no regular file"},
		"cut off":            {whole[:len(whole)-20], "is no packed chart"},
		"empty":              {nil, "is no packed chart"},
		"empty tar":          {pack(t), "holds no files"},
		"no gzip":            {[]byte(pod), "is no packed chart: gzip: invalid header"},
		"no chart":           {pack(t, entry{name: "a/templates/a.yaml", text: pod}), "Chart.yaml file is missing"},
	} {
		file := filepath.Join(t.TempDir(), "a.tgz")
		if err := os.WriteFile(file, c.packed, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := OpenPackedChart(file)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		case err != nil && !strings.HasPrefix(err.Error(), file):
			t.Errorf("%s: error %v does not begin with the file", name, err)
		}
	}
}

// FuzzPack wants files inside of the chart and within the budget, or a fault.
func FuzzPack(f *testing.F) {
	f.Add(pack(f, entry{name: "a/Chart.yaml", text: meta}, entry{name: "a/../b", text: pod}))
	f.Add(pack(f, entry{name: "a/Chart.yaml", text: meta}, entry{name: "a/l", kind: tar.TypeSymlink, link: "/"}))
	f.Fuzz(func(t *testing.T, packed []byte) {
		left := newBudget()
		files, err := left.unpack(packed, "a.tgz")
		total := 0
		for _, file := range files {
			total += len(file.Data)
			if !filepath.IsLocal(file.Name) {
				t.Errorf("%q leads out", file.Name)
			}
		}
		if total > maxTotal || (err == nil) != (len(files) > 0) {
			t.Errorf("%d bytes, %d files, %v", total, len(files), err)
		}
	})
}
