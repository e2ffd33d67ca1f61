package cli

import (
	"cmp"
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
	return placed(o, s.kubernetes.Judge(o.Value, s.servers))
}

// validate lists what a schema of ringfence.dev has against an object, with the places.
func validate(s *schemas, o *manifest.Object) (faults []error) {
	for _, f := range s.ringfence.Validate(o.Value) {
		faults = append(faults, &manifest.Error{Location: o.Locate(f.Path), Message: f.Message})
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
