package v1alpha1

import (
	"embed"
	"io/fs"
)

//go:embed crds/*.yaml
var crds embed.FS

// CRDs holds the CustomResourceDefinitions of this package as controller-gen wrote them, one YAML document in each file
// of the root. Platform's, Tenant's, Waiver's, Quarantine's, Elevation's, ImageImport's and Guard's are there and nothing else.
func CRDs() fs.FS {
	sub, err := fs.Sub(crds, "crds")
	if err != nil {
		panic(err) // fs.Sub fails only on an invalid path, and this one is a constant
	}
	return sub
}
