package render

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"

	"helm.sh/helm/v4/pkg/chart/v2/loader"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/manifest"
)

// Values are the merged values files of one rendering. The zero value is none: a chart's own.
type Values struct {
	name string
	tree map[string]any
}

// LoadValues reads values files and merges them as helm does: what comes later wins, a null removes. The error is a
// *manifest.Error.
func LoadValues(paths []string) (Values, error) {
	v := Values{name: strings.Join(paths, ","), tree: map[string]any{}}
	left := newBudget()
	for _, path := range paths {
		text, err := left.read(path, path)
		if err != nil {
			return Values{}, err
		}
		tree, err := guarded(func() (map[string]any, error) { return loader.LoadValues(bytes.NewReader(text)) })
		if err != nil {
			return Values{}, valuesFault(path, err)
		}
		v.tree = loader.MergeMaps(v.tree, tree)
	}
	return v, nil
}

// With are these values, and those of more where both have one.
func (v Values) With(more map[string]any) Values {
	return Values{v.name, loader.MergeMaps(v.copied(), more)}
}

// Over are these values, and those of more, which keeps its names of files, where both have one.
func (v Values) Over(more Values) Values {
	return Values{more.name, loader.MergeMaps(v.copied(), more.copied())}
}

// Has reports whether some file says something at a path of keys, other than "".
func (v Values) Has(path ...string) bool {
	at := any(v.tree)
	for _, key := range path {
		m, _ := at.(map[string]any)
		at = m[key]
	}
	return at != nil && at != ""
}

// by says what renders with these values.
func (v Values) by() string {
	if v.name == "" {
		return "helm"
	}
	return "helm with " + v.name
}

// copied are values that a rendering may write to.
func (v Values) copied() map[string]any {
	tree, _ := copied(v.tree).(map[string]any)
	return tree
}

func copied(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[k] = copied(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = copied(x)
		}
		return out
	}
	return v
}

// yamlLine finds the line in what the YAML libraries say.
var yamlLine = regexp.MustCompile(`\bline ([0-9]+): `)

// valuesFault says what is wrong with a file of values.
func valuesFault(file string, err error) *manifest.Error {
	if message := err.Error(); strings.Contains(message, "json: cannot unmarshal") {
		return fault(file, "holds no map; want values as key: value")
	}
	return yamlFault(file, err)
}

// yamlFault says what a YAML library has against a file, at its line where the library tells it.
func yamlFault(file string, err error) *manifest.Error {
	message := err.Error()
	if at := strings.LastIndex(message, "yaml: "); at >= 0 {
		message = message[at+len("yaml: "):]
	}
	out := fault(file, "not valid YAML: %s", yamlLine.ReplaceAllString(message, ""))
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		line, _ := strconv.Atoi(m[1]) // digits; one too long is 0, which is no line
		out.Location = finding.Location{File: file, Line: line, Column: 1}
	}
	return out
}
