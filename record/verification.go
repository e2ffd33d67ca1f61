package record

import (
	"time"

	"ringfence.dev/ringfence/finding"
)

// maxVerification is how many rows one record lists.
const maxVerification = 100

// Verification is what an operator's run of `ringfence verify-cluster` left in the cluster: what its nodes and network showed.
type Verification struct {
	// Cluster is the uid of its namespace kube-system.
	Cluster string `json:"cluster"`
	// Verified is when it was tried, as the report says.
	Verified time.Time `json:"verified"`
	// Namespace and Other are where pods ran.
	Namespace string `json:"namespace"`
	Other     string `json:"other"`
	// Rows are what was tried.
	Rows []VerificationRow `json:"rows"`
}

// VerificationRow is one thing that was tried.
type VerificationRow struct {
	Probe string `json:"probe"`
	What  string `json:"what"`
	// State is proven, broken or not proven here.
	State string `json:"state"`
	Why   string `json:"why"`
}

// Verified is the verification.v1 record of a report that was seen at a time. The same report gives the same id.
func Verified(v Verification, at time.Time) (Record, error) {
	rows := v.Rows
	if len(rows) > maxVerification {
		rows = rows[:maxVerification]
	}
	parts := []string{v.Cluster, stamp(v.Verified), v.Namespace, v.Other}
	v.Rows = []VerificationRow{}
	for _, row := range rows {
		row.Why = cut(finding.Clean(row.Why)) // a pod's words may be in it
		v.Rows = append(v.Rows, row)
		parts = append(parts, row.Probe, row.State, row.Why)
	}
	return build("verification.v1", "verification:"+fingerprint(parts...), at, v)
}
