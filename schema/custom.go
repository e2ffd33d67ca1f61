package schema

import (
	"encoding/json"
	"fmt"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"

	"ringfence.dev/ringfence/schema/fault"
)

// Custom holds the schemas of custom kinds, by their definitions. Add is for one goroutine, before the others ask Judge.
type Custom struct {
	kinds map[string]*kind // by "<group>/<version> <kind>"; nil where the version has no schema
	// versions are those that are served, by "<group> <kind>".
	versions map[string][]string
}

// Add takes the CustomResourceDefinition in obj, decoded as for Validate. Of a kind that was added before it changes
// nothing. The faults say why the definition cannot be used.
func (c *Custom) Add(obj map[string]any) []fault.Fault {
	if faults := measure(obj); len(faults) > 0 {
		return faults
	}
	text, err := json.Marshal(obj)
	if err != nil {
		return []fault.Fault{{Path: "", Message: fmt.Sprintf("cannot be written as JSON: %v; correct it", err)}}
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := json.Unmarshal(text, &crd); err != nil {
		return []fault.Fault{{Path: "", Message: fault.Line(fmt.Sprintf("is no CustomResourceDefinition: %v; correct it", err))}}
	}
	if c.kinds == nil {
		c.kinds, c.versions = map[string]*kind{}, map[string][]string{}
	}
	name := crd.Spec.Group + " " + crd.Spec.Names.Kind
	if _, twice := c.versions[name]; twice {
		return nil
	}
	var faults []fault.Fault
	for i := range crd.Spec.Versions {
		version := &crd.Spec.Versions[i]
		at := crd.Spec.Group + "/" + version.Name
		if !version.Served {
			continue
		}
		var k *kind
		if version.Schema != nil && version.Schema.OpenAPIV3Schema != nil {
			if k, err = newKind(&crd, version); err == nil {
				err = structuralschema.ValidateStructural(nil, k.structural).ToAggregate()
			}
			if err != nil {
				k = nil
				faults = append(faults, fault.Fault{Path: fmt.Sprintf("/spec/versions/%d/schema", i),
					Message: fault.Line(fmt.Sprintf("is no structural schema: %v; correct it", err))})
			}
		}
		c.kinds[at+" "+crd.Spec.Names.Kind] = k
		c.versions[name] = append(c.versions[name], at)
	}
	return faults
}

// Len is how many kinds were added, each version counted.
func (c *Custom) Len() int { return len(c.kinds) }

// Judge answers as Set.Validate does for an object of a kind that was added; others have no faults.
func (c *Custom) Judge(group, apiVersion, name string, obj map[string]any) []fault.Fault {
	served, known := c.versions[group+" "+name]
	if !known {
		return nil
	}
	if !slices.Contains(served, apiVersion) {
		return []fault.Fault{{Path: "/apiVersion", Message: fmt.Sprintf("found %s; want %s, as the definition of %s says",
			fault.Show(apiVersion, nil), fault.OneOf(served), name)}}
	}
	k := c.kinds[apiVersion+" "+name]
	if k == nil {
		return nil
	}
	return k.validate(obj)
}
