// Package controls is the catalogue's data: one folder a control. It holds no code but the embedding; package control
// loads it.
//
// The command line and the control plane read it; controls_test.go walks it and holds it to the rules of the house.
package controls

import "embed"

// FS is the catalogue's tree, as control.Load wants it.
//
//go:embed templates.yaml */*/*.yaml */*/tests/*.yaml
var FS embed.FS
