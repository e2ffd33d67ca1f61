package tenant

import (
	"cmp"
	"slices"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/image"
)

// ImageRule is what a Platform demands of images, with the defaults of its schema; nil is one that says nothing.
func ImageRule(platform *v1alpha1.Platform) image.Rule {
	const month = 30 * 24 * time.Hour
	r := image.Rule{MaxScanAge: month, DenySeverity: 4, Grace: month, RescheduleGrace: rescheduleGrace(platform)}
	if platform == nil {
		return r
	}
	rules := platform.Spec.Images
	r.MaxScanAge, r.Grace = cmp.Or(rules.MaxScanAge.Duration, r.MaxScanAge), cmp.Or(rules.Grace.Duration, r.Grace)
	r.DenySeverity = cmp.Or(int(rules.DenySeverity), r.DenySeverity)
	r.UndatedAsNew, r.WarnUnfixable, r.Scanners = rules.UndatedAs == "new", rules.UnfixableAs == "warned", rules.Scanners
	r.DatedBy = rules.DatedBy
	return r
}

// ImportQuorum is who must have scanned an image of outside, and how many of them: none names nobody, and 0 is each, as a Platform says that
// is nil or says nothing of imports.
func ImportQuorum(platform *v1alpha1.Platform) (scanners []string, quorum int) {
	if platform == nil {
		return nil, 0
	}
	rules := platform.Spec.Images.Imports
	return rules.Scanners, int(rules.Quorum)
}

// TrustRules are what a Platform demands of signatures, in its order; a Platform that is nil demands nothing.
func TrustRules(platform *v1alpha1.Platform) (all []image.Trust) {
	if platform == nil {
		return nil
	}
	rules := platform.Spec.Images
	for _, r := range rules.Trust {
		t := image.Trust{Name: r.Name, Tenants: r.Tenants, Environments: r.Environments, Minimum: int(r.Minimum), Attestations: r.Attestations,
			AdmitUnknown: r.UnknownAs == "admitted", Root: rules.TrustedRoot, Age: cmp.Or(rules.MaxSignatureAge.Duration, 30*24*time.Hour)}
		for _, p := range r.Repositories {
			t.Repositories = append(t.Repositories, string(p))
		}
		for _, k := range r.Keys {
			t.Keys = append(t.Keys, image.TrustedKey{Name: k.Name, PEM: k.PEM})
		}
		for _, i := range r.Identities {
			t.Identities = append(t.Identities, image.TrustedIdentity{Subject: i.Subject, Issuer: i.Issuer})
		}
		all = append(all, t)
	}
	return all
}

// TrustOf are the rules for an environment of a tenant; both are "" where a namespace is nobody's.
func TrustOf(platform *v1alpha1.Platform, tenant, environment string) []image.Trust {
	return slices.DeleteFunc(TrustRules(platform), func(t image.Trust) bool { return !t.For(tenant, environment) })
}

// TrustIn are the rules for a namespace, whose tenant is the one that asks for it.
func TrustIn(platform *v1alpha1.Platform, tenants []v1alpha1.Tenant, namespace string) []image.Trust {
	t := Of(tenants, namespace)
	if t == nil {
		return TrustOf(platform, "", "")
	}
	return TrustOf(platform, t.Name, environmentOf(t, namespace).Name)
}
