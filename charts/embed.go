// Package charts is the Helm chart with which Ringfence is installed: data, and no code but the embedding.
//
// `ringfence install` renders it, so that helm and the command apply the same objects. Its files are made of setup.Rights and
// setup.ObserverRights.
package charts

import (
	"embed"
	"io/fs"
)

//go:embed all:ringfence
var tree embed.FS

// Ringfence is the folder of the chart.
func Ringfence() fs.FS {
	sub, err := fs.Sub(tree, "ringfence")
	if err != nil {
		panic(err) // fs.Sub fails only on an invalid path, and this one is a constant
	}
	return sub
}
