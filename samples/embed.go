// Package samples is the sample bank: a Platform, a Tenant, a workload that satisfies every rule and eight that do not.
//
// Beside it, in manifests/, lies what people write in other languages, which `ringfence check` does not read yet.
//
// It is data only. `ringfence up` plays it through the API server, the README shows it, and tests judge it.
package samples

import "embed"

// FS holds platform.yaml, tenant.yaml, compliant.yaml and refused/*.yaml. The first lines of a refused sample say what it
// shows (# text), which control refuses it (# want: ID, repeatable) and who asks where that is not the tenant's admin
// (# as: cluster-admin).
//
//go:embed *.yaml refused/*.yaml
var FS embed.FS
