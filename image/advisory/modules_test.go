package advisory

import (
	"archive/zip"
	"bytes"
	"fmt"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// osvOf is a record of OSV about a module, with the events of a range.
func osvOf(id, module, events, more string) string {
	return fmt.Sprintf(`{"id":%q,"summary":"a hole","affected":[{"package":{"ecosystem":"Go","name":%q},"ranges":[{"type":"SEMVER","events":[%s]}]%s}]}`, id, module, events, more)
}

// TestAffecting: a version is judged by ranges and lists; what is withdrawn or of others is not; the last version before a fix is affected, the fix is not.
func TestAffecting(t *testing.T) {
	var packed bytes.Buffer
	z := zip.NewWriter(&packed)
	w, err := z.Create("GO-2.json")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, osvOf("GO-2", "b.example/b", `{"introduced":"1.0.0"},{"last_affected":"1.2.0"},{"introduced":"1.4.0"},{"fixed":"1.4.2"}`, ""))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	text := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	folder := fstest.MapFS{
		"GO-1.json": text(osvOf("GO-1", "a.example/a", `{"introduced":"0"},{"fixed":"1.1.0"}`, "")),
		"all.zip":   {Data: packed.Bytes()},
		"GO-3.json": text(osvOf("GO-3", "c.example/c", "", `,"versions":["1.5.0"]`)),
		"GO-4.json": text(osvOf("GO-4", "stdlib", `{"introduced":"1.26.0-0"},{"fixed":"1.26.9"}`, "")),
		"back.json": text(`{"id":"GO-5","withdrawn":"2026-01-01T00:00:00Z","affected":[{"package":{"ecosystem":"Go","name":"a.example/a"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}]}]}`),
		"npm.json":  text(`{"id":"X-1","affected":[{"package":{"ecosystem":"npm","name":"a.example/a"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}]}]}`),
		"git.json":  text(`{"id":"X-2","affected":[{"package":{"ecosystem":"Go","name":"a.example/a"},"ranges":[{"type":"GIT","events":[{"introduced":"abcdef"}]}]}]}`),
		"README":    text("no record"),
	}
	for _, tc := range []struct{ path, version, want, fixed string }{
		{"a.example/a", "v1.0.9", "GO-1", "v1.1.0"}, {"a.example/a", "v1.1.0", "", ""}, {"a.example/a", "v0.0.0-20260101000000-abcdefabcdef", "GO-1", "v1.1.0"}, {"a.example/a", "v1.1.0-rc.1", "GO-1", "v1.1.0"},
		{"b.example/b", "v0.9.0", "", ""}, {"b.example/b", "v1.2.0", "GO-2", "v1.4.2"}, {"b.example/b", "v1.2.1", "", ""}, {"b.example/b", "v1.4.1", "GO-2", "v1.4.2"}, {"b.example/b", "v2.0.0+incompatible", "", ""},
		{"c.example/c", "v1.5.0", "GO-3", ""}, {"c.example/c", "v1.5.1", "", ""}, {"stdlib", "v1.26.8", "GO-4", "v1.26.9"}, {"other.example/o", "v1.0.0", "", ""},
	} {
		got, read, err := Affecting(folder, []Module{{tc.path, tc.version}})
		var want []Affected
		if tc.want != "" {
			want = []Affected{{Module{tc.path, tc.version}, tc.want, "a hole", tc.fixed}}
		}
		if diff := cmp.Diff(want, got); err != nil || diff != "" || read != 5 {
			t.Errorf("%s %s: %d records of Go, %v %s; want 5", tc.path, tc.version, read, err, diff)
		}
	}
}

// TestAffectingRefuses: what cannot be judged is an error, and never no vulnerability.
func TestAffectingRefuses(t *testing.T) {
	text := func(s string) fstest.MapFS { return fstest.MapFS{"a.json": {Data: []byte(s)}} }
	for what, folder := range map[string]fstest.MapFS{
		"nothing": {}, "no JSON": text("{"), "another ecosystem alone": text(`{"id":"X","affected":[{"package":{"ecosystem":"npm","name":"a"}}]}`),
		"a version that is none": text(osvOf("GO-1", "a.example/a", `{"introduced":"soon"}`, "")), "a zip that is none": {"all.zip": {Data: []byte("PK")}},
	} {
		if found, _, err := Affecting(folder, []Module{{"a.example/a", "v1.0.0"}}); err == nil {
			t.Errorf("%s: %v, want an error", what, found)
		}
	}
	if _, _, err := Affecting(text(osvOf("GO-1", "a.example/a", "", "")), []Module{{"a.example/a", "(devel)"}}); err == nil {
		t.Error("a module without a version: want an error")
	}
}
