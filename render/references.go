package render

import (
	"bytes"
	"errors"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/types"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/manifest"
)

// use is what a kustomization does with what it refers to.
type use int

const (
	// objects are resources: a file, or a folder with a kustomization of its own.
	objects use = iota
	// folders are components: never a file.
	folders
	// configs configure generators, transformers and validators: a file or a folder.
	configs
	// data is any other file.
	data
)

// reference is a path that a kustomization names.
type reference struct {
	path string
	use  use
	at   finding.Location
}

func (r reference) fault(format string, args ...any) error {
	f := fault(r.at.File, format, args...)
	f.Location = r.at
	return f
}

// newReferences reads a kustomization as kustomize does and lists what it refers to. A reference that leads elsewhere in
// the network is an error, and so is what needs a program to be run.
func newReferences(file string, text []byte, config bool) ([]reference, error) {
	var k types.Kustomization
	if err := k.Unmarshal(text); err != nil {
		if strings.Contains(err.Error(), "yaml: ") {
			return nil, yamlFault(file, err)
		}
		return nil, fault(file, "%s", strings.ReplaceAll(err.Error(), "json: ", ""))
	}
	k.FixKustomization()
	if faults := k.EnforceFields(); len(faults) > 0 {
		return nil, fault(file, "%s", strings.Join(faults, "; "))
	}
	if len(k.HelmCharts) > 0 || k.HelmGlobals != nil {
		return nil, fault(file, "helmCharts: kustomize runs the program helm for them, and no program is run here; check the chart by itself")
	}
	if config && !onlyResources(k) {
		return nil, fault(file, "configures transformers or generators and changes them by more than resources; write their files out")
	}
	l := lister{file: file}
	_ = yaml.Unmarshal(text, &l.root) // it is valid by now; without it there are no lines
	l.kustomization(k, config)
	return l.refs, errors.Join(l.faults...)
}

// onlyResources reports whether a kustomization does nothing but gather files.
func onlyResources(k types.Kustomization) bool {
	k.TypeMeta, k.MetaData, k.Resources = types.TypeMeta{}, nil, nil
	return reflect.DeepEqual(k, types.Kustomization{})
}

// lister gathers references.
type lister struct {
	file   string
	root   yaml.Node
	refs   []reference
	faults []error
}

func (l *lister) kustomization(k types.Kustomization, config bool) {
	resources := objects
	if config {
		resources = configs
	}
	l.add(resources, k.Resources...)
	l.add(folders, k.Components...)
	l.add(data, k.Crds...)
	l.add(data, k.Configurations...)
	if path, ok := k.OpenAPI["path"]; ok {
		l.add(data, path)
	}
	//lint:ignore SA1019 folders that have it still are rendered
	for _, p := range k.PatchesStrategicMerge {
		l.maybeInline(data, string(p))
	}
	//lint:ignore SA1019 so are those that have this
	for _, p := range slices.Concat(k.Patches, k.PatchesJson6902) {
		if p.Path != "" {
			l.add(data, p.Path)
		}
	}
	for _, r := range k.Replacements {
		if r.Path != "" {
			l.add(data, r.Path)
		}
	}
	for _, g := range k.ConfigMapGenerator {
		l.pairs(g.KvPairSources)
	}
	for _, g := range k.SecretGenerator {
		l.pairs(g.KvPairSources)
	}
	for _, p := range slices.Concat(k.Generators, k.Transformers, k.Validators) {
		l.maybeInline(configs, p)
	}
}

// pairs adds the files of a generator: name=path, or the path alone.
func (l *lister) pairs(s types.KvPairSources) {
	for _, f := range s.FileSources {
		if _, path, named := strings.Cut(f, "="); named {
			f = path
		}
		l.add(data, f)
	}
	l.add(data, s.EnvSources...)
}

// maybeInline adds a path, unless it is the text itself: then it has more than one line or is a map.
func (l *lister) maybeInline(u use, s string) {
	var n map[string]any
	if !strings.Contains(strings.TrimSpace(s), "\n") && yaml.Unmarshal([]byte(s), &n) != nil {
		l.add(u, s)
		return
	}
	if remote(s) {
		l.add(u, s)
	} else if u == configs {
		if err := scanConfig(l.file, []byte(s)); err != nil {
			l.faults = append(l.faults, err)
		}
	}
}

func (l *lister) add(u use, paths ...string) {
	for _, path := range paths {
		ref := reference{path, u, l.find(path)}
		if remote(path) {
			l.faults = append(l.faults, ref.fault("%s lies elsewhere, and nothing is fetched here; keep a copy beside the kustomization and name that", finding.Value(path)))
			continue
		}
		l.refs = append(l.refs, ref)
	}
}

// find is the place of the first text in the kustomization that is, or ends with, a path.
func (l *lister) find(path string) finding.Location {
	at := finding.Location{File: l.file}
	var walk func(n *yaml.Node) bool
	walk = func(n *yaml.Node) bool {
		if n.Kind == yaml.ScalarNode && (n.Value == path || strings.HasSuffix(n.Value, "="+path)) {
			at.Line, at.Column = n.Line, n.Column
			return true
		}
		return slices.ContainsFunc(n.Content, walk)
	}
	walk(&l.root)
	return at
}

// repository is how the address of a git repository begins: kustomize would clone it (api/internal/git, repospec.go).
var repository = regexp.MustCompile(`(?i)^(git::|[a-z][a-z0-9-]*@|github\.com[/:]|[a-z][a-z0-9+.-]*://)`)

// remote reports whether kustomize would fetch a path.
func remote(path string) bool {
	u, err := url.Parse(path)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") || repository.MatchString(path)
}

// freeText are the fields of a configuration whose values are never read as paths.
var freeText = []string{"labels", "annotations", "literals", "patch", "value", "pairs"}

// scanConfig looks through the configuration of a transformer or generator for anything that would be fetched or run.
func scanConfig(file string, text []byte) error {
	for doc, err := range manifest.Split(bytes.NewReader(text), file) {
		if err != nil {
			return err
		}
		for o, err := range doc.Objects() {
			if err != nil {
				return err
			}
			if o.APIVersion() != "builtin" {
				return &manifest.Error{Location: o.Locate("/apiVersion"), Message: "found " + finding.Value(o.APIVersion()) + "; want builtin: no plugin and no program is run here"}
			}
			if found := fetched(o.Value); found != "" {
				return &manifest.Error{Location: o.Locate(""), Message: finding.Value(found) + " lies elsewhere, and nothing is fetched here; keep a copy beside the kustomization and name that"}
			}
			if path, ok := configFile(o.Value); ok {
				return &manifest.Error{Location: o.Locate(""), Message: "reads " + finding.Value(path) + "; name the file in the kustomization itself (patches, configMapGenerator, replacements)"}
			}
		}
	}
	return nil
}

// fetched is the first text of a configuration that kustomize could fetch, "" for none.
func fetched(v any) string {
	switch v := v.(type) {
	case string:
		_, path, _ := strings.Cut(v, "=")
		if remote(v) || remote(path) {
			return v
		}
	case []any:
		for _, x := range v {
			if found := fetched(x); found != "" {
				return found
			}
		}
	case map[string]any:
		for k, x := range v {
			if !slices.Contains(freeText, k) {
				if found := fetched(x); found != "" {
					return found
				}
			}
		}
	}
	return ""
}

// fileFields are the fields of builtin configurations that name files, in lower case: kustomize reads them in any.
var fileFields = []string{"path", "paths", "files", "envs", "env", "targetfilepath", "valuesfile"}

// configFile is what names a file in a configuration.
func configFile(config map[string]any) (string, bool) {
	for k, v := range config {
		if slices.Contains(fileFields, strings.ToLower(k)) {
			return k, true
		}
		items, _ := v.([]any)
		for _, item := range items {
			if m, ok := item.(map[string]any); ok && strings.EqualFold(k, "replacements") {
				if inner, ok := configFile(m); ok {
					return k + " " + inner, true
				}
			}
		}
	}
	return "", false
}
