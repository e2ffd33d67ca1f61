package v1alpha1

// ReportRules say which policy reports are kept in the cluster: one in each guarded namespace, of what is open there.
type ReportRules struct {
	// OpenReports keeps a Report of openreports.io/v1alpha1.
	// +optional
	OpenReports bool `json:"openReports,omitempty"`
	// PolicyReports keeps a PolicyReport of wgpolicyk8s.io/v1alpha2.
	// +optional
	PolicyReports bool `json:"policyReports,omitempty"`
	// Limit is how many findings one report lists, the worst first; its summary counts all. Default 100.
	// +kubebuilder:default=100
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=200
	// +optional
	Limit int32 `json:"limit,omitempty"`
}
