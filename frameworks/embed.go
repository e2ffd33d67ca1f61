// Package frameworks is the clauses of the frameworks that controls serve, as data: one folder a framework version. It
// holds no code but the embedding; package compliance loads it.
//
// The command line and the catalogue's walker read it; adding a framework is adding a folder.
package frameworks

import "embed"

// FS is the tree of frameworks, as compliance.Load wants it.
//
//go:embed */framework.yaml */clauses.yaml
var FS embed.FS
