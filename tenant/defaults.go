package tenant

import (
	"maps"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// defaults are those that are not off.
func defaults(rules v1alpha1.DefaultRules) (on []v1alpha1.Default) {
	for _, d := range []struct {
		name   v1alpha1.Default
		chosen v1alpha1.Switch
	}{
		{v1alpha1.DefaultSeccompProfile, rules.SeccompProfile},
		{v1alpha1.DefaultDropCapabilities, rules.DropCapabilities},
		{v1alpha1.DefaultPrivilegeEscalation, rules.PrivilegeEscalation},
		{v1alpha1.DefaultServiceAccountToken, rules.ServiceAccountToken},
	} {
		if d.chosen != v1alpha1.Disabled {
			on = append(on, d.name)
		}
	}
	return on
}

// Metadata are the labels and annotations that a tenant's namespace gets of Ringfence; nil where the namespace is not the
// tenant's, or there is none. Labels that say how it is doing, such as its cordon, are not among them.
func Metadata(t *v1alpha1.Tenant, namespace string) (labels, annotations map[string]string) {
	env := environmentOf(t, namespace)
	if env == nil {
		return nil, nil
	}
	return namespaceLabels(t, *env, false), maps.Clone(t.Spec.Annotations)
}
