package tenant

import (
	"embed"
	"io/fs"
)

//go:embed crds/*.yaml
var crds embed.FS

// CiliumCRD is the CustomResourceDefinition of CiliumNetworkPolicy with the fields that Ringfence honours, one YAML file in
// the root. It is for clusters without Cilium, such as the local control plane, where such policies are stored and enforce
// nothing; Cilium brings its own.
func CiliumCRD() fs.FS {
	sub, err := fs.Sub(crds, "crds")
	if err != nil {
		panic(err) // fs.Sub fails only on an invalid path, and this one is a constant
	}
	return sub
}
