// Package samples is the sample bank: a Platform, a Tenant, a workload that satisfies every rule, one that only warns and nine that are
// refused. In images/ lies what the bank's scanner says of their images.
//
// Beside it, in manifests/, lies what people write in other languages, which `ringfence check` does not read yet.
//
// It is data only. `ringfence up` plays it through the API server, the README shows it, and tests judge it.
package samples

import "embed"

// FS holds platform.yaml, tenant.yaml, compliant.yaml, warned.yaml and refused/*.yaml. The first lines of a refused sample say what it
// shows (# text), which control refuses it (# want: ID, repeatable) and who asks where that is not the tenant's admin
// (# as: cluster-admin).
//
// Reports of a scanner are in images/reports, records of OSV in images/mirror: templates in which {{daysAgo 20}} is the beginning of the
// day, in UTC, 20 days before the story is told.
//
//go:embed *.yaml refused/*.yaml images/*/*.tmpl
var FS embed.FS
