package setup

import (
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/remediate"
	"ringfence.dev/ringfence/tenant"
	"ringfence.dev/ringfence/tenant/elevation"
)

func catalogue(t *testing.T) *control.Catalogue {
	t.Helper()
	cat, err := control.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	return cat
}

// TestRights: they hold what each package says that it needs, have no wildcard and each a reason.
func TestRights(t *testing.T) {
	rights, err := Rights(catalogue(t))
	if err != nil {
		t.Fatal(err)
	}
	holds := func(group, resource, name, verb string) bool {
		return slices.ContainsFunc(rights, func(r Right) bool {
			return !r.Here && r.Group == group && slices.Contains(r.Resources, resource) && slices.Contains(r.Verbs, verb) && (len(r.Names) == 0 || slices.Contains(r.Names, name))
		})
	}
	for from, rules := range map[string][]rbacv1.PolicyRule{"tenant": tenant.ServiceAccountRules(), "tenant/elevation": elevation.Rules(),
		"remediate, debug containers": remediate.DebugRules(), "remediate, quarantines": remediate.QuarantineRules()} {
		for _, rule := range rules {
			names := rule.ResourceNames
			if len(names) == 0 {
				names = []string{""}
			}
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					for _, name := range names {
						if !holds(rule.APIGroups[0], resource, name, verb) {
							t.Errorf("%s needs %s on %s %s %s, which Rights does not say", from, verb, rule.APIGroups[0], resource, name)
						}
					}
				}
			}
		}
	}
	for _, r := range rights {
		if r.Why == "" || len(r.Resources) == 0 || len(r.Verbs) == 0 || strings.Contains(strings.Join(append(r.Resources, r.Verbs...), " ")+r.Group, "*") || slices.Contains(r.Verbs, "impersonate") {
			t.Errorf("right %+v: want a reason, resources and verbs, no wildcard, no impersonation", r)
		}
	}
}

// TestDoors: on every server each control has a door or a reason why not, and what fills in is native where the server has the kind.
func TestDoors(t *testing.T) {
	cat := catalogue(t)
	for version, native := range map[string]bool{"1.30": false, "v1.35.2": false, "1.36": true, "v1.37.1-gke.1": true} {
		on, err := ServerOf(version)
		if err != nil {
			t.Fatal(err)
		}
		p, err := New(on, cat, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Doors) != len(cat.Controls)+2 {
			t.Errorf("%s: %d doors, want one for each of %d controls and two that fill in", version, len(p.Doors), len(cat.Controls))
		}
		fills := p.Doors[len(p.Doors)-1]
		if (fills.Kind == "MutatingAdmissionPolicy") != native {
			t.Errorf("%s: %s fills in", version, fills.Kind)
		}
		made := slices.ContainsFunc(p.Kept, func(o Planned) bool { return o.Kind == "MutatingAdmissionPolicy" })
		if made != native {
			t.Errorf("%s: a MutatingAdmissionPolicy is made: %t, want %t", version, made, native)
		}
	}
	for _, version := range []string{"", "1", "1.29", "2.0", "1.x"} {
		if on, err := ServerOf(version); err == nil {
			t.Errorf("ServerOf(%q) = %+v, want an error", version, on)
		}
	}
}

// TestRead: objects come in the order in which they are applied, and each says why it is there.
func TestRead(t *testing.T) {
	const meta = "metadata: {name: a, annotations: {ringfence.dev/why: because}}\n"
	got, err := Read([]byte("kind: Deployment\n"+meta+"---\n# nothing\n---\nkind: Service\n"+meta), []byte("kind: Widget\n"+meta), []byte("kind: Namespace\n"+meta))
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, o := range got {
		kinds = append(kinds, o.GetKind())
	}
	if want := []string{"Namespace", "Service", "Widget", "Deployment"}; !slices.Equal(kinds, want) {
		t.Errorf("order %v, want %v", kinds, want)
	}
	for _, bad := range []string{"kind: Service\nmetadata: {name: a}\n", "metadata: {name: a, annotations: {ringfence.dev/why: x}}\n", "a: [\n"} {
		if _, err := Read([]byte(bad)); err == nil {
			t.Errorf("Read(%q): want an error", bad)
		}
	}
}
