// Package tenant turns what a bank writes (Platform, Tenant) into what holds in each namespace: its Guard, labels, rights,
// limits and network baseline.
//
// Compile is pure and the only reader of Platform and Tenant in any verdict; the command line calls it too. Plan decides,
// purely, what must be written for one tenant, and Reconciler gathers, plans and applies in a cluster. The package judges
// no workload (policy does) and installs no policy of the catalogue (policy/bundle does).
//
// What a removed environment leaves is decided in retire.go: nothing that runs is deleted unless the Tenant says so.
package tenant
