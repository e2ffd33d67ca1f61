package install

import (
	_ "embed" // static.yaml
	"strings"
)

//go:embed static.yaml
var static string

// Static is a policy, with its binding, for a folder that the API server reads by itself (staticManifestsDir, 1.37 and later): nobody but the
// keeper, a user, changes what Ringfence put into the cluster. Only such a folder can hold this; see docs/static.md.
func Static(keeper string) []byte {
	quoted := "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(keeper) + "'"
	return []byte(strings.Replace(static, "KEEPER", quoted, 1))
}
