package cli

import (
	"cmp"
	"context"
	"path/filepath"
	"slices"
	"strings"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/schema"
	"ringfence.dev/ringfence/schema/builtin"
	"ringfence.dev/ringfence/schema/fault"
)

// schemas say what the API server would refuse of an object before any policy is asked. They are safe for many goroutines.
type schemas struct {
	ringfence  *schema.Set
	kubernetes *builtin.Set
	servers    builtin.Servers
	// custom are the kinds of the definitions that were found.
	custom schema.Custom
}

// newSchemas reads the schemas of this build; the versions are those of --kube-version.
func newSchemas(versions []string) (*schemas, error) {
	s := &schemas{}
	var err error
	if s.ringfence, err = schema.New(); err != nil {
		return nil, err
	}
	if s.kubernetes, err = builtin.New(); err != nil {
		return nil, err
	}
	if s.servers, err = s.kubernetes.Servers(versions); err != nil {
		return nil, usagef("ringfence check", "--kube-version: %v", err)
	}
	return s, nil
}

// ownGroup reports whether an object is of ringfence.dev, in any version.
func ownGroup(o *manifest.Object) bool {
	group, _, _ := strings.Cut(o.APIVersion(), "/")
	return group == v1alpha1.GroupVersion.Group
}

// judge lists what a schema has against an object, with the places.
func (s *schemas) judge(o *manifest.Object) []error {
	if ownGroup(o) {
		return validate(s, o)
	}
	if faults := s.kubernetes.Judge(o.Value, s.servers); len(faults) > 0 {
		return placed(o, faults)
	}
	group, _, _ := strings.Cut(o.APIVersion(), "/")
	return placed(o, s.custom.Judge(group, o.APIVersion(), o.Kind(), o.Value))
}

// validate lists what a schema of ringfence.dev has against an object, with the places.
func validate(s *schemas, o *manifest.Object) (faults []error) {
	for _, f := range s.ringfence.Validate(o.Value) {
		at, message := o.Locate(f.Path), f.Message
		if at == (finding.Location{}) && f.Path != "" { // there is no line to point at
			message = f.Path + ": " + message
		}
		faults = append(faults, &manifest.Error{Location: at, Message: message})
	}
	return faults
}

// placed are faults with their file, line and field, in the order of the file.
func placed(o *manifest.Object, faults []fault.Fault) (out []error) {
	var located []*manifest.Error
	for _, f := range faults {
		field := f.Path
		if field == "" {
			field = finding.Value(o.Kind())
		}
		located = append(located, &manifest.Error{Location: o.Locate(f.Path), Message: field + ": " + f.Message})
	}
	slices.SortStableFunc(located, func(a, b *manifest.Error) int {
		return cmp.Or(cmp.Compare(a.Location.Line, b.Location.Line), cmp.Compare(a.Location.Column, b.Location.Column))
	})
	for _, fault := range located {
		out = append(out, fault)
	}
	return out
}

const definition = "CustomResourceDefinition"

// define takes the definitions of custom kinds: those of --crds, then those that stand in the inputs. The faults are those
// of --crds; what is wrong with an input is told when it is judged.
func (s *schemas) define(ctx context.Context, env Env, paths []string, inputs []input) (faults [][]error) {
	for _, in := range expand(paths, nil) {
		file, err := in.open(env.Stdin)
		if err != nil {
			faults = append(faults, []error{err})
			continue
		}
		for o, err := range manifest.Read(file, in.name) {
			if err != nil {
				faults = append(faults, []error{err})
			} else if o.Kind() == definition {
				if wrong := append(s.kubernetes.Judge(o.Value, s.servers), s.custom.Add(o.Value)...); len(wrong) > 0 {
					faults = append(faults, placed(o, wrong))
				}
			}
		}
		file.Close()
	}
	if len(paths) > 0 && len(faults) == 0 && s.custom.Len() == 0 {
		faults = append(faults, []error{usagef("ringfence check", "--crds: no %s in %s", definition, strings.Join(paths, ", "))})
	}
	for _, in := range inputs {
		switch {
		case in.name == stdinName: // it can be read but once
		case in.render == nil:
			s.defineOf(ctx, in)
		default: // what a chart brings stands in its folder; the rest would have to be rendered twice
			for _, crds := range chartDefinitions(in.name) {
				s.defineOf(ctx, crds)
			}
		}
	}
	return faults
}

// defineOf takes the definitions of one file.
func (s *schemas) defineOf(ctx context.Context, in input) {
	for doc, err := range in.documents(ctx, nil, func() bool { return true }) {
		if err != nil || !doc.Mentions(definition) {
			continue
		}
		for o, err := range doc.Objects() {
			if err == nil && o.Kind() == definition {
				_ = s.custom.Add(o.Value) // its faults are told when it is judged
			}
		}
	}
}

// chartDefinitions are the files in the folders crds of a chart and of the charts in it.
func chartDefinitions(dir string) (files []input) {
	for _, folder := range []string{"crds", "charts/*/crds"} {
		found, _ := filepath.Glob(filepath.Join(escapeGlob(dir), folder)) // the pattern is sound
		files = append(files, expand(found, nil)...)
	}
	return files
}

// escapeGlob makes a path mean itself in a pattern.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}
