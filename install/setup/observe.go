package setup

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
)

// ObserverRights are all rights that ringfence observe needs: to list what the catalogue judges and what settings there are, and nothing else.
// Secrets are among it where they are asked for.
func ObserverRights(cat *control.Catalogue, secrets bool) (all []Right) {
	workloads, others := cat.Kinds()
	own := v1alpha1.GroupVersion.Group
	resources := map[string][]string{own: {"platforms", "tenants", "waivers"}}
	for _, k := range slices.Concat(workloads, others) {
		if (k.Kind != "Secret" || secrets) && !slices.Contains(resources[k.APIGroup], k.Resource) {
			resources[k.APIGroup] = append(resources[k.APIGroup], k.Resource)
		}
	}
	for _, group := range sorted(resources) {
		why := "what stands in the cluster is judged"
		if group == own {
			why = "Ringfence's own settings, where the cluster has any"
		}
		slices.Sort(resources[group])
		all = append(all, Right{Why: why, Group: group, Resources: resources[group], Verbs: []string{"list"}})
	}
	return all
}

// ObserverYAML is the text of the chart's files/observe.yaml.
func ObserverYAML(cat *control.Catalogue) ([]byte, error) {
	return rightsText("ObserverRights", ObserverRights(cat, false))
}

// Observes reports whether objects are an installation that only looks: it has no process that leads, and refuses nothing.
func Observes(objects []*unstructured.Unstructured) bool {
	return slices.ContainsFunc(objects, func(o *unstructured.Unstructured) bool {
		return o.GetKind() == cronJobs.Kind && o.GetName() == Observer
	})
}

// Obstacles are what must be ended before Apply of objects: an installation that only looks would take away the process, the account and the
// rights that keep a cluster guarded.
func (i *Installer) Obstacles(ctx context.Context, objects []*unstructured.Unstructured) (all []string, err error) {
	if !Observes(objects) {
		return nil, nil
	}
	found, err := i.there(ctx, []*unstructured.Unstructured{
		reference("apps/v1", deployments.Kind, v1alpha1.SystemNamespace, Account), reference("v1", "ServiceAccount", v1alpha1.SystemNamespace, Account)})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return []string{fmt.Sprintf("observe.enabled: Ringfence is installed here (%s %s/%s), and only to look would take away what keeps this cluster guarded; "+
		"look as you are now with: ringfence observe; or end it first: ringfence uninstall", found[0].GetKind(), v1alpha1.SystemNamespace, Account)}, nil
}
