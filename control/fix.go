package control

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"ringfence.dev/ringfence/manifest"
)

// Fix is what a control states as the repair of what it finds: one entry of fix.yaml.
type Fix struct {
	// At is the end of the pointers it repairs, for instance /capabilities/add/*; a step * is any one.
	At string `json:"at"`
	// Set is the value to write there, in JSON; its parents are made where they are missing. Remove takes the field, or
	// the item of a list, away. One of the two is given.
	Set    json.RawMessage `json:"set,omitempty"`
	Remove bool            `json:"remove,omitempty"`
}

// Value is Set as an object holds it, decoded anew at each call so that the caller may keep it.
func (f Fix) Value() any {
	dec := json.NewDecoder(bytes.NewReader(f.Set))
	dec.UseNumber()
	var v any
	_ = dec.Decode(&v) // it was read as JSON
	return numbered(v)
}

// numbered is a decoded value with its numbers as objects hold them: int64 where they are whole and fit, else float64.
func numbered(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, one := range v {
			v[key] = numbered(one)
		}
	case []any:
		for i, one := range v {
			v[i] = numbered(one)
		}
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		n, _ := v.Float64() // as above
		return n
	}
	return v
}

// FixFor is the first of fixes for a pointer, and whether there is one.
func FixFor(fixes []Fix, pointer string) (Fix, bool) {
	for _, f := range fixes {
		if f.fits(pointer) {
			return f, true
		}
	}
	return Fix{}, false
}

func (f Fix) fits(pointer string) bool {
	want, have := strings.Split(f.At, "/")[1:], strings.Split(pointer, "/")[1:]
	if len(have) < len(want) {
		return false
	}
	have = have[len(have)-len(want):]
	for i, step := range want {
		if step != "*" && step != have[i] {
			return false
		}
	}
	return true
}

// loadFixes reads fix.yaml, which a control need not have.
func loadFixes(tree fs.FS, c Control) ([]Fix, error) {
	file := path.Join(c.Dir, "fix.yaml")
	text, err := fs.ReadFile(tree, file)
	stated := err == nil
	if stated != (c.Maturity == "auto-remediating") {
		return nil, fmt.Errorf("%s: maturity is %s; want a fix.yaml with auto-remediating, and none without", file, c.Maturity)
	}
	if !stated {
		return nil, nil
	}
	var fixes []Fix
	if err := manifest.Decode(text, file, &fixes); err != nil {
		return nil, err
	}
	for i, f := range fixes {
		if !strings.HasPrefix(f.At, "/") || (f.Set == nil) == !f.Remove {
			return nil, fmt.Errorf("%s: [%d]: want at, the end of a pointer such as /capabilities/add/*, and either set or remove: true", file, i)
		}
	}
	return fixes, nil
}
