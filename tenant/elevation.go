package tenant

import (
	"slices"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// ElevationLimits are a Platform's rules about elevations, with the defaults that its schema fills in.
type ElevationLimits struct {
	// Longest is the longest that one may last, AnswerWithin how long a request waits, ReviewWithin how long after the end it is to be
	// reviewed.
	Longest, AnswerWithin, ReviewWithin time.Duration
	// Rights are what it gives.
	Rights []v1alpha1.Right
}

// maxElevations is how many elevations a Guard carries, as its schema says.
const maxElevations = 200

// ElevationOf are the limits of a Platform, which may be nil: then those of one that says nothing.
func ElevationOf(p *v1alpha1.Platform) ElevationLimits {
	limits := ElevationLimits{Longest: 8 * time.Hour, AnswerWithin: 2 * time.Hour, ReviewWithin: 72 * time.Hour,
		Rights: []v1alpha1.Right{v1alpha1.RightLogs, v1alpha1.RightExec, v1alpha1.RightSecrets}}
	if p == nil {
		return limits
	}
	rules := p.Spec.Elevation
	if rules.Longest != nil {
		limits.Longest = rules.Longest.Duration
	}
	if rules.AnswerWithin != nil {
		limits.AnswerWithin = rules.AnswerWithin.Duration
	}
	if rules.ReviewWithin != nil {
		limits.ReviewWithin = rules.ReviewWithin.Duration
	}
	if rules.Rights != nil {
		limits.Rights = rules.Rights
	}
	return limits
}

// AccountOf is the name of an elevation's ServiceAccount, and UserOf the user that the API server knows it as.
func AccountOf(elevation string) string { return v1alpha1.ElevationPrefix + elevation }

// UserOf is described with AccountOf.
func UserOf(namespace, elevation string) string {
	return "system:serviceaccount:" + namespace + ":" + AccountOf(elevation)
}

// AddElevations writes into the Guard of a namespace whose account may enter running pods, and until when: of each elevation that
// Ringfence made active. Of more than there is room for, those that end last are left out.
func AddElevations(spec *v1alpha1.GuardSpec, namespace string, all []v1alpha1.Elevation) {
	var live []v1alpha1.Elevation
	for _, e := range all {
		if e.Namespace == namespace && e.Status.Phase == v1alpha1.ElevationActive && e.Status.Expires != nil && e.Spec.Ended == nil && e.DeletionTimestamp == nil {
			live = append(live, e)
		}
	}
	slices.SortFunc(live, func(a, b v1alpha1.Elevation) int { return a.Status.Expires.Compare(b.Status.Expires.Time) })
	for _, e := range live[:min(len(live), maxElevations)] {
		if spec.Elevations == nil {
			spec.Elevations = map[string]string{}
		}
		spec.Elevations[UserOf(namespace, e.Name)] = instant(e.Status.Expires.Time)
	}
}
