package control_test

import (
	"bytes"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
)

// TestKindsOfGroups: what control.yaml lists under kinds is of its groups, and each group has one of them.
func TestKindsOfGroups(t *testing.T) {
	for change, want := range map[string]string{
		"groups: [objects]":                                     "",
		"groups: [objects, services]":                           "groups: found services, of which kinds lists none",
		"groups: [objects]\nkinds: [Secret, Service]":           `kinds: found "Service"`,
		"groups: [objects, services]\nkinds: [Secret, Service]": "",
	} {
		tree := fstest.MapFS{}
		for _, name := range []string{"control.yaml", "policy.yaml", "mapping.yaml"} {
			file := "secret/no-hand-made-secrets/" + name
			text, err := fs.ReadFile(controls.FS, file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(change, "kinds:") {
				text = bytes.Replace(text, []byte("kinds: [Secret]\n"), nil, 1)
			}
			tree[file] = &fstest.MapFile{Data: bytes.Replace(text, []byte("groups: [objects]"), []byte(change), 1)}
		}
		_, err := control.Load(tree)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", change, err, want)
		}
	}
}
