package install

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// leftovers are all objects of the cluster, of every kind that can be listed, that name Ringfence in name, namespace, label, annotation or
// finalizer.
func leftovers(t *testing.T, admin client.Client) (left []string, err error) {
	t.Helper()
	asked, err := discovery.NewDiscoveryClientForConfig(cluster.Config)
	if err != nil {
		return nil, err
	}
	groups, err := asked.ServerPreferredResources()
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		for _, r := range g.APIResources {
			if !strings.Contains(fmt.Sprint(r.Verbs), "list") || r.Kind == "Event" || r.Kind == "Node" { // devcluster labels its nodes
				continue
			}
			list := &unstructured.UnstructuredList{}
			list.SetAPIVersion(g.GroupVersion)
			list.SetKind(r.Kind + "List")
			if err := admin.List(t.Context(), list); err != nil {
				return nil, fmt.Errorf("list %s: %w", r.Kind, err)
			}
			for _, o := range list.Items {
				o.SetManagedFields(nil)
				meta := fmt.Sprint(o.GetNamespace(), "/", o.GetName(), " ", o.GetLabels(), o.GetAnnotations(), o.GetFinalizers())
				if strings.Contains(meta, "ringfence") {
					left = append(left, r.Kind+" "+meta)
				}
			}
		}
	}
	return left, nil
}
