// Package schema judges objects of ringfence.dev that were read from files by the very schemas, CEL rules and defaults
// that the API server uses for them, so that a file refused here is refused there and the other way round.
//
// Custom does the same for the custom kinds of others, by their CustomResourceDefinitions.
//
// It reads no file, knows no place in one and asks no cluster: it is handed decoded objects and answers with RFC 6901
// pointers, which the caller turns into line and column. What depends on several objects (a registry outside the
// platform's, an exempt namespace) is not judged here. The command line calls it for every object it is given.
package schema

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/schema/fault"
)

// Set holds the schema of every kind of ringfence.dev. It is immutable and safe for concurrent use.
type Set struct {
	kinds map[string]*kind
}

// kind is one kind's schema. Its validators cost tens of milliseconds to compile and are made when first asked for.
type kind struct {
	name       string
	namespaced bool
	hasStatus  bool
	structural *structuralschema.Structural
	validators func() (validators, error)
}

type validators struct {
	whole validation.SchemaValidator
	parts []part
	rules *cel.Validator
}

// New reads the CustomResourceDefinitions that this build embeds. An error means that the build is broken.
func New() (*Set, error) {
	s := &Set{kinds: map[string]*kind{}}
	crds := v1alpha1.CRDs()
	names, err := fs.Glob(crds, "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list embedded CRDs: %w", err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(crds, name)
		if err != nil {
			return nil, fmt.Errorf("read embedded CRD: %w", err)
		}
		k, err := readKind(text)
		if err != nil {
			return nil, fmt.Errorf("read embedded CRD %s: %w", name, err)
		}
		s.kinds[k.name] = k
	}
	return s, nil
}

func readKind(text []byte) (*kind, error) {
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &crd); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(crd.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool {
		return v.Name == v1alpha1.GroupVersion.Version && v.Schema != nil
	})
	if i < 0 || crd.Spec.Group != v1alpha1.GroupVersion.Group {
		return nil, fmt.Errorf("no schema for %s", v1alpha1.GroupVersion)
	}
	return newKind(&crd, &crd.Spec.Versions[i])
}

// newKind is the kind in one version of a definition, which has a schema.
func newKind(crd *apiextensionsv1.CustomResourceDefinition, version *apiextensionsv1.CustomResourceDefinitionVersion) (*kind, error) {
	var props apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(version.Schema.OpenAPIV3Schema, &props, nil); err != nil {
		return nil, err
	}
	structural, err := structuralschema.NewStructural(&props)
	if err != nil {
		return nil, err
	}
	return &kind{
		name:       crd.Spec.Names.Kind,
		namespaced: crd.Spec.Scope == apiextensionsv1.NamespaceScoped,
		hasStatus:  version.Subresources != nil && version.Subresources.Status != nil,
		structural: structural,
		validators: sync.OnceValues(func() (validators, error) {
			whole, parts, err := compile(&props)
			return validators{whole, parts, cel.NewValidator(structural, true, celconfig.PerCallLimit)}, err
		}),
	}, nil
}

// Kinds are the kinds that the set knows, sorted.
func (s *Set) Kinds() []string { return slices.Sorted(maps.Keys(s.kinds)) }

// Default fills obj in place as the API server does before it stores an object: fields with a default that are absent
// get it, and nulls that mean nothing are removed. Objects of other groups and kinds are left as they are, and so are
// those too large or too deep for Validate.
func (s *Set) Default(obj map[string]any) {
	k, faults := s.kindOf(obj)
	if len(faults) > 0 || len(measure(obj)) > 0 {
		return
	}
	fill(obj, k)
}

func fill(obj map[string]any, k *kind) {
	defaulting.PruneNonNullableNullsWithoutDefaults(obj, k.structural)
	defaulting.Default(obj, k.structural)
}

// kindOf finds the schema that obj says it follows, or says why there is none.
func (s *Set) kindOf(obj map[string]any) (*kind, []fault.Fault) {
	var faults []fault.Fault
	want := v1alpha1.GroupVersion.String()
	if got, ok := obj["apiVersion"]; !ok {
		faults = append(faults, fault.Fault{Path: "", Message: fmt.Sprintf("apiVersion is missing; add apiVersion: %s", want)})
	} else if got != want {
		faults = append(faults, fault.Fault{Path: "/apiVersion", Message: fmt.Sprintf("found %s; want %s", fault.Show(got, nil), want)})
	}
	got, ok := obj["kind"]
	name, _ := got.(string)
	k := s.kinds[name]
	if !ok {
		faults = append(faults, fault.Fault{Path: "", Message: fmt.Sprintf("kind is missing; want %s", fault.OneOf(s.Kinds()))})
	} else if k == nil {
		faults = append(faults, fault.Fault{Path: "/kind", Message: fmt.Sprintf("found %s; want %s%s", fault.Show(got, nil), fault.OneOf(s.Kinds()), fault.DidYouMean(name, s.Kinds()))})
	}
	return k, faults
}
