package tenant

import (
	"cmp"
	"slices"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/image"
)

// ImageRule is what a Platform itself demands of images, with the defaults of its schema; nil is one that says nothing.
func ImageRule(platform *v1alpha1.Platform) image.Rule {
	const month = 30 * 24 * time.Hour
	r := image.Rule{MaxScanAge: month, DenySeverity: 4, Grace: month, RescheduleGrace: rescheduleGrace(platform)}
	if platform == nil {
		return r
	}
	rules := platform.Spec.Images
	r.MaxScanAge = cmp.Or(rules.MaxScanAge.Duration, r.MaxScanAge)
	if rules.Grace != nil {
		r.Grace = rules.Grace.Duration
	}
	r.DenySeverity = cmp.Or(int(rules.DenySeverity), r.DenySeverity)
	r.UndatedAsNew, r.WarnUnfixable, r.Scanners = rules.UndatedAs == "new", rules.UnfixableAs == "warned", rules.Scanners
	r.DatedBy = rules.DatedBy
	return r
}

// ImageRules are all that a Platform demands of images: what it demands itself first, then its rules for some tenants or environments.
func ImageRules(platform *v1alpha1.Platform) []image.Rule {
	all := []image.Rule{ImageRule(platform)}
	if platform == nil {
		return all
	}
	for _, r := range platform.Spec.Images.Rules {
		all = append(all, placedRule(all[0], r))
	}
	return all
}

// Owner is whose a namespace is: an environment of a tenant. Its zero value is nobody.
type Owner struct {
	Tenant, Environment string
	Production          bool
}

// OwnerOf is whose a namespace is: the tenant's that asks for it.
func OwnerOf(tenants []v1alpha1.Tenant, namespace string) Owner {
	t := Of(tenants, namespace)
	if t == nil {
		return Owner{}
	}
	env := environmentOf(t, namespace)
	return Owner{t.Name, env.Name, env.Production}
}

// ImageRuleOf is what a Platform demands of images in an owner's namespaces.
func ImageRuleOf(platform *v1alpha1.Platform, owner Owner) image.Rule {
	own := ImageRule(platform)
	if platform == nil {
		return own
	}
	for _, r := range platform.Spec.Images.Rules {
		if (image.Place{Tenants: r.Tenants, Environments: r.Environments, Production: r.Production}).For(owner.Tenant, owner.Environment, owner.Production) {
			return placedRule(own, r)
		}
	}
	return own
}

// ImageRuleIn is what a Platform demands of images in a namespace, whose tenant is the one that asks for it.
func ImageRuleIn(platform *v1alpha1.Platform, tenants []v1alpha1.Tenant, namespace string) image.Rule {
	return ImageRuleOf(platform, OwnerOf(tenants, namespace))
}

// placedRule is a rule for some, which is the bank's own in what it leaves out.
func placedRule(own image.Rule, r v1alpha1.ImageRule) image.Rule {
	own.Name = r.Name
	own.MaxScanAge = cmp.Or(r.MaxScanAge.Duration, own.MaxScanAge)
	own.DenySeverity = cmp.Or(int(r.DenySeverity), own.DenySeverity)
	if r.Grace != nil {
		own.Grace = r.Grace.Duration
	}
	if r.UndatedAs != "" {
		own.UndatedAsNew = r.UndatedAs == "new"
	}
	if len(r.DatedBy) > 0 {
		own.DatedBy = r.DatedBy
	}
	if len(r.Scanners) > 0 {
		own.Scanners = r.Scanners
	}
	if r.UnfixableAs != "" {
		own.WarnUnfixable = r.UnfixableAs == "warned"
	}
	if r.RescheduleGrace != nil {
		own.RescheduleGrace = r.RescheduleGrace.Duration
	}
	return own
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
		t := image.Trust{Name: r.Name, Place: image.Place{Tenants: r.Tenants, Environments: r.Environments, Production: r.Production}, Minimum: int(r.Minimum), Attestations: r.Attestations,
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

// TrustOf are the rules for an owner's namespaces.
func TrustOf(platform *v1alpha1.Platform, owner Owner) []image.Trust {
	return slices.DeleteFunc(TrustRules(platform), func(t image.Trust) bool { return !t.For(owner.Tenant, owner.Environment, owner.Production) })
}

// TrustIn are the rules for a namespace, whose tenant is the one that asks for it.
func TrustIn(platform *v1alpha1.Platform, tenants []v1alpha1.Tenant, namespace string) []image.Trust {
	return TrustOf(platform, OwnerOf(tenants, namespace))
}
