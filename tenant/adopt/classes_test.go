package adopt

import (
	"slices"
	"strings"
	"testing"
)

// TestClasses: what Capsule's Tenant says of storage and ingress classes is carried, and not listed as lost.
func TestClasses(t *testing.T) {
	p := read(t, Options{}, estate(t, "capsule"))
	spec := find(t, p, "oil").Object.Spec
	if !slices.Equal(spec.StorageClasses, []string{"encrypted"}) || !slices.Equal(spec.IngressClasses, []string{"internal"}) {
		t.Errorf("storage classes %v and ingress classes %v, want encrypted and internal", spec.StorageClasses, spec.IngressClasses)
	}
	for _, f := range p.YAML() {
		if f.Name == "tenants/oil.yaml" && !(strings.Contains(string(f.Text), "  storageClasses: [encrypted] #") && strings.Contains(string(f.Text), "  ingressClasses: [internal] #")) {
			t.Errorf("the file does not say so:\n%s", f.Text)
		}
	}
	for _, d := range p.Decisions {
		if strings.Contains(d.Question, "Classes") {
			t.Errorf("decision %s: %s", d.Kind, d.Question)
		}
	}
}
