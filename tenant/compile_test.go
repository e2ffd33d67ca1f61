package tenant

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
)

// controls is a catalogue of two: one that profile mvp denies and one that it warns of; and one without profiles.
var controls = []control.Control{
	{ID: "RF-WL-01", Default: finding.Warn, Profiles: map[string]finding.Action{"mvp": finding.Deny, "standard": finding.Deny, "strict": finding.Deny}},
	{ID: "RF-WL-15", Default: finding.Audit, Profiles: map[string]finding.Action{"mvp": finding.Warn, "standard": finding.Warn, "strict": finding.Deny}},
	{ID: "RF-XX-01", Default: finding.Audit},
}

func newTenant(change func(*v1alpha1.Tenant)) *v1alpha1.Tenant {
	t := &v1alpha1.Tenant{
		ObjectMeta: metav1.ObjectMeta{Name: "payments"},
		Spec: v1alpha1.TenantSpec{
			Owner:        "payments@bank.example",
			Groups:       v1alpha1.TenantGroups{Admin: "pay-admin", ReadOnly: "pay-ro"},
			Environments: []v1alpha1.Environment{{Name: "dev"}, {Name: "prod", Production: true}},
		},
	}
	if change != nil {
		change(t)
	}
	return t
}

func newPlatform(change func(*v1alpha1.Platform)) *v1alpha1.Platform {
	p := &v1alpha1.Platform{
		ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.PlatformName},
		Spec:       v1alpha1.PlatformSpec{Registries: []v1alpha1.Registry{"registry.bank.example"}},
	}
	if change != nil {
		change(p)
	}
	return p
}

func TestCompileActions(t *testing.T) {
	rollout := func(r v1alpha1.ControlRollout) *v1alpha1.Platform {
		return newPlatform(func(p *v1alpha1.Platform) {
			p.Spec.Controls = map[string]v1alpha1.ControlRollout{"RF-WL-15": r}
		})
	}
	all := v1alpha1.ControlRollout{Action: v1alpha1.Audit, Production: v1alpha1.Warn, Rings: map[string]v1alpha1.Action{"early": v1alpha1.Deny}}
	early := newTenant(func(t *v1alpha1.Tenant) { t.Spec.Ring = "early" })
	wants := func(a v1alpha1.Action) *v1alpha1.Tenant {
		return newTenant(func(t *v1alpha1.Tenant) { t.Spec.Controls = map[string]v1alpha1.Action{"RF-WL-15": a} })
	}
	for _, tc := range []struct {
		name      string
		platform  *v1alpha1.Platform
		tenant    *v1alpha1.Tenant
		namespace string
		id        string
		want      v1alpha1.Action
	}{
		{"no platform denies", nil, newTenant(nil), "payments-dev", "RF-WL-15", v1alpha1.Deny},
		{"no platform denies whatever the tenant says", nil, wants(v1alpha1.Audit), "payments-dev", "RF-WL-15", v1alpha1.Deny},
		{"catalogue default", newPlatform(nil), newTenant(nil), "payments-dev", "RF-XX-01", v1alpha1.Audit},
		{"profile, mvp where none is named", newPlatform(nil), newTenant(nil), "payments-dev", "RF-WL-15", v1alpha1.Warn},
		{"profile named", newPlatform(func(p *v1alpha1.Platform) { p.Spec.Profile = v1alpha1.ProfileStrict }), newTenant(nil), "payments-dev", "RF-WL-15", v1alpha1.Deny},
		{"profile no catalogue knows takes the default", newPlatform(func(p *v1alpha1.Platform) { p.Spec.Profile = "lax" }), newTenant(nil), "payments-dev", "RF-WL-15", v1alpha1.Audit},
		{"action beats profile", rollout(v1alpha1.ControlRollout{Action: v1alpha1.Audit}), newTenant(nil), "payments-dev", "RF-WL-15", v1alpha1.Audit},
		{"production is for production only", rollout(all), newTenant(nil), "payments-dev", "RF-WL-15", v1alpha1.Audit},
		{"production beats action", rollout(all), newTenant(nil), "payments-prod", "RF-WL-15", v1alpha1.Warn},
		{"ring beats production", rollout(all), early, "payments-prod", "RF-WL-15", v1alpha1.Deny},
		{"ring beats action", rollout(all), early, "payments-dev", "RF-WL-15", v1alpha1.Deny},
		{"ring may be weaker: it is the platform's word", rollout(v1alpha1.ControlRollout{Production: v1alpha1.Deny, Rings: map[string]v1alpha1.Action{"early": v1alpha1.Audit}}), early, "payments-prod", "RF-WL-15", v1alpha1.Audit},
		{"another ring changes nothing", rollout(all), newTenant(func(t *v1alpha1.Tenant) { t.Spec.Ring = "late" }), "payments-dev", "RF-WL-15", v1alpha1.Audit},
		{"a ring named by the empty key is nobody's", rollout(v1alpha1.ControlRollout{Rings: map[string]v1alpha1.Action{"": v1alpha1.Audit}}), newTenant(nil), "payments-dev", "RF-WL-15", v1alpha1.Warn},
		{"tenant strengthens", newPlatform(nil), wants(v1alpha1.Deny), "payments-dev", "RF-WL-15", v1alpha1.Deny},
		{"tenant cannot weaken", newPlatform(nil), wants(v1alpha1.Audit), "payments-dev", "RF-WL-15", v1alpha1.Warn},
		{"tenant cannot weaken with nonsense", newPlatform(nil), wants("Allow"), "payments-dev", "RF-WL-15", v1alpha1.Deny},
		{"platform nonsense denies", rollout(v1alpha1.ControlRollout{Action: "Allow"}), newTenant(nil), "payments-dev", "RF-WL-15", v1alpha1.Deny},
		{"tenant has no say elsewhere", newPlatform(nil), wants(v1alpha1.Deny), "other", "RF-WL-15", v1alpha1.Warn},
		{"ring has no say elsewhere", rollout(all), early, "other", "RF-WL-15", v1alpha1.Audit},
		{"nil tenant", rollout(all), nil, "other", "RF-WL-15", v1alpha1.Audit},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := Compile(controls, tc.platform, tc.tenant, nil, tc.namespace)
			if got.Spec.Actions[tc.id] != tc.want {
				t.Errorf("Compile(%s).Actions[%s] = %q, want %q", tc.namespace, tc.id, got.Spec.Actions[tc.id], tc.want)
			}
			if len(got.Spec.Actions) != len(controls) {
				t.Errorf("Compile(%s) wrote %d actions, want all %d", tc.namespace, len(got.Spec.Actions), len(controls))
			}
		})
	}
}

// TestCompileChanges: an action that is not the profile's says whose it is, and one that is says nothing.
func TestCompileChanges(t *testing.T) {
	platform := newPlatform(func(p *v1alpha1.Platform) {
		p.Spec.Controls = map[string]v1alpha1.ControlRollout{"RF-WL-15": {
			Action: v1alpha1.Audit, Production: v1alpha1.Warn, Rings: map[string]v1alpha1.Action{"early": v1alpha1.Deny},
		}}
	})
	ring := func(name string) *v1alpha1.Tenant { return newTenant(func(t *v1alpha1.Tenant) { t.Spec.Ring = name }) }
	strict := func(a v1alpha1.Action) *v1alpha1.Tenant {
		return newTenant(func(t *v1alpha1.Tenant) { t.Spec.Controls = map[string]v1alpha1.Action{"RF-WL-15": a} })
	}
	for _, tc := range []struct {
		platform  *v1alpha1.Platform
		tenant    *v1alpha1.Tenant
		namespace string
		want      string
	}{
		{nil, newTenant(nil), "payments-dev", ""},
		{newPlatform(nil), newTenant(nil), "payments-dev", ""},
		{platform, nil, "other", "Audit by the Platform (profile mvp: Warn)"},
		{platform, ring(""), "payments-prod", ""}, // production says what the profile says
		{platform, ring("early"), "payments-dev", "Deny by the Platform for ring early (profile mvp: Warn)"},
		{newPlatform(nil), strict(v1alpha1.Deny), "payments-dev", "Deny by Tenant payments (profile mvp: Warn)"},
		{newPlatform(nil), strict(v1alpha1.Audit), "payments-dev", ""},
	} {
		if got := Compile(controls, tc.platform, tc.tenant, nil, tc.namespace).Spec.Changes["RF-WL-15"]; got != tc.want {
			t.Errorf("Compile(%s).Changes = %q, want %q", tc.namespace, got, tc.want)
		}
	}
}

func TestCompileRegistries(t *testing.T) {
	type list = []v1alpha1.Registry
	for _, tc := range []struct {
		name             string
		platform, tenant list
		want             list
	}{
		{"the platform's", list{"b.example", "a.example"}, nil, list{"b.example", "a.example"}},
		{"narrowed", list{"registry.bank.example"}, list{"registry.bank.example/payments"}, list{"registry.bank.example/payments"}},
		{"the same", list{"registry.bank.example"}, list{"registry.bank.example"}, list{"registry.bank.example"}},
		{"a longer host is another host", list{"registry.bank.example"}, list{"registry.bank.example.evil", "registry.bank.example.evil/x"}, nil},
		{"a longer path is another path", list{"r.example/pay"}, list{"r.example/payments"}, nil},
		{"a port is another host", list{"r.example"}, list{"r.example:5000/x"}, nil},
		{"a tenant cannot widen", list{"r.example/pay"}, list{"r.example"}, nil},
		{"outside ones are dropped", list{"r.example"}, list{"evil.example", "r.example/a", "r.example/a"}, list{"r.example/a"}},
		{"a platform without any", nil, list{"r.example"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPlatform(func(p *v1alpha1.Platform) { p.Spec.Registries = tc.platform })
			o := newTenant(func(t *v1alpha1.Tenant) { t.Spec.Registries = tc.tenant })
			if diff := cmp.Diff(tc.want, Compile(controls, p, o, nil, "payments-dev").Spec.Registries); diff != "" {
				t.Errorf("registries (-want +got):\n%s", diff)
			}
			if got := Compile(controls, nil, o, nil, "payments-dev").Spec.Registries; got != nil {
				t.Errorf("registries without a Platform = %v, want none", got)
			}
		})
	}
}

func TestCompileEgress(t *testing.T) {
	tenant := newTenant(func(t *v1alpha1.Tenant) {
		t.Spec.Egress = []v1alpha1.EgressRule{
			{FQDN: "db.bank.example", Ports: []v1alpha1.Port{5432, 5433}, Expires: "2027-01-31"},
			{FQDN: "db.bank.example", Ports: []v1alpha1.Port{5432}, Expires: "2027-03-01T12:00:00+02:00"},
			{FQDN: "db.bank.example", Ports: []v1alpha1.Port{5433}, Expires: "2026-01-01"},
			{FQDN: "mq.bank.example", Ports: []v1alpha1.Port{443}},
			{FQDN: "mq.bank.example", Ports: []v1alpha1.Port{443}, Expires: "2027-01-31"},
			{FQDN: "unread.bank.example", Ports: []v1alpha1.Port{443}, Expires: "2027-13-45"},
			{CIDR: "10.20.0.0/16", Ports: []v1alpha1.Port{5433, 5432}},
			{CIDR: "10.0.0.0/8", Ports: []v1alpha1.Port{22}, Expires: "2027-01-31"},
		}
	})
	got := Compile(controls, newPlatform(nil), tenant, nil, "payments-dev").Spec
	wantNames := map[string]string{
		"db.bank.example:5432": "2027-03-01T10:00:00Z",
		"db.bank.example:5433": "2027-02-01T00:00:00Z",
		"mq.bank.example:443":  "",
	}
	if diff := cmp.Diff(wantNames, got.Egress); diff != "" {
		t.Errorf("egress by name (-want +got):\n%s", diff)
	}
	wantCIDRs := []v1alpha1.EgressCIDR{
		{CIDR: "10.0.0.0/8", Port: 22, Expires: "2027-02-01T00:00:00Z"},
		{CIDR: "10.20.0.0/16", Port: 5432},
		{CIDR: "10.20.0.0/16", Port: 5433},
	}
	if diff := cmp.Diff(wantCIDRs, got.EgressCIDRs); diff != "" {
		t.Errorf("egress by network (-want +got):\n%s", diff)
	}
	if other := Compile(controls, newPlatform(nil), tenant, nil, "elsewhere").Spec; other.Egress != nil || other.EgressCIDRs != nil {
		t.Errorf("egress of another namespace = %v %v, want none", other.Egress, other.EgressCIDRs)
	}
	at := time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC) // the very instant: ended
	next := DropExpired(&got, at)
	if want := time.Date(2027, 3, 1, 10, 0, 0, 0, time.UTC); !next.Equal(want) {
		t.Errorf("next end = %v, want %v", next, want)
	}
	if _, ok := got.Egress["db.bank.example:5433"]; ok || len(got.Egress) != 2 || len(got.EgressCIDRs) != 2 {
		t.Errorf("left at %v: %v %v, want what has not ended", at, got.Egress, got.EgressCIDRs)
	}
}

func TestCompileNamesTheEnvironment(t *testing.T) {
	tenant := newTenant(func(t *v1alpha1.Tenant) { t.Spec.Environments[1].Namespace = "legacy" })
	for _, tc := range []struct {
		namespace, tenant, environment string
		production                     bool
	}{
		{"payments-dev", "payments", "dev", false},
		{"legacy", "payments", "prod", true},
		{"payments-prod", "", "", false}, // the environment is elsewhere
		{"payments", "", "", false},
	} {
		got := Compile(controls, newPlatform(nil), tenant, nil, tc.namespace)
		if s := got.Spec; s.Tenant != tc.tenant || s.Environment != tc.environment || s.Production != tc.production {
			t.Errorf("Compile(%s) = tenant %q environment %q production %v, want %q %q %v", tc.namespace, s.Tenant, s.Environment, s.Production, tc.tenant, tc.environment, tc.production)
		}
		if got.Name != v1alpha1.GuardName || got.Namespace != tc.namespace || got.Kind != "Guard" {
			t.Errorf("Compile(%s) is %s %s/%s, want Guard %s/guard", tc.namespace, got.Kind, got.Namespace, got.Name, tc.namespace)
		}
	}
}

// TestCompileElsewhere: what belongs to the other side, seen from each; a namespace that is nobody's is not production.
func TestCompileElsewhere(t *testing.T) {
	platform := newPlatform(func(p *v1alpha1.Platform) {
		p.Spec.Separation = v1alpha1.Separation{
			DataClassLabel: "bank.example/data-class",
			Production:     v1alpha1.Belongings{DataClasses: []string{"cardholder"}},
			NonProduction:  v1alpha1.Belongings{SecretPaths: []string{"test-"}},
		}
	})
	for namespace, want := range map[string]v1alpha1.Belongings{
		"payments-dev": platform.Spec.Separation.Production, "payments-prod": platform.Spec.Separation.NonProduction, "nobody": platform.Spec.Separation.Production,
	} {
		got := Compile(controls, platform, newTenant(nil), nil, namespace).Spec
		if diff := cmp.Diff(want, got.Elsewhere); diff != "" || got.DataClassLabel != "bank.example/data-class" {
			t.Errorf("%s: label %q, elsewhere (-want +got):\n%s", namespace, got.DataClassLabel, diff)
		}
	}
}

func TestCompileCPULimit(t *testing.T) {
	for given, want := range map[v1alpha1.Requirement]v1alpha1.Requirement{"": v1alpha1.Required, v1alpha1.Required: v1alpha1.Required, v1alpha1.Optional: v1alpha1.Optional, "perhaps": v1alpha1.Required} {
		p := newPlatform(func(p *v1alpha1.Platform) { p.Spec.Resources.CPULimit = given })
		if got := Compile(controls, p, nil, nil, "x").Spec.CPULimit; got != want {
			t.Errorf("CPULimit with %q = %q, want %q", given, got, want)
		}
	}
	if got := Compile(controls, nil, nil, nil, "x").Spec.CPULimit; got != v1alpha1.Required {
		t.Errorf("CPULimit without a Platform = %q, want Required", got)
	}
}

func TestOf(t *testing.T) {
	at := func(name string, day int, change func(*v1alpha1.Tenant)) v1alpha1.Tenant {
		t := newTenant(change)
		t.Name, t.CreationTimestamp = name, metav1.NewTime(time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC))
		return *t
	}
	shares := func(t *v1alpha1.Tenant) { t.Spec.Environments[0].Namespace = "shared" }
	ending := func(t *v1alpha1.Tenant) { shares(t); t.DeletionTimestamp = &metav1.Time{Time: time.Now()} }
	tenants := []v1alpha1.Tenant{at("z", 3, shares), at("gone", 1, ending), at("b", 2, shares), at("a", 2, shares), at("c", 2, nil)}
	for namespace, want := range map[string]string{"shared": "a", "c-dev": "c", "z-dev": "", "z-prod": "z", "default": ""} {
		got := ""
		if o := Of(tenants, namespace); o != nil {
			got = o.Name
		}
		if got != want {
			t.Errorf("Of(%s) = %q, want %q", namespace, got, want)
		}
	}
}

func TestExpiry(t *testing.T) {
	for in, want := range map[string]string{
		"2027-01-31":                "2027-02-01T00:00:00Z",
		"2028-02-28":                "2028-02-29T00:00:00Z",
		"2026-12-31":                "2027-01-01T00:00:00Z",
		"2027-01-31T10:00:00Z":      "2027-01-31T10:00:00Z",
		"2027-01-31T10:00:00+02:00": "2027-01-31T08:00:00Z",
	} {
		if got, err := Expiry(in); err != nil || instant(got) != want {
			t.Errorf("Expiry(%s) = %s, %v, want %s", in, instant(got), err, want)
		}
	}
	if got, err := Expiry(""); err != nil || !got.IsZero() {
		t.Errorf("Expiry of nothing = %v, %v, want never", got, err)
	}
	for _, in := range []string{"soon", "2027-02-30", "2027-13-01", "31.01.2027", "2027-01-31T10:00:00"} {
		if got, err := Expiry(in); err == nil {
			t.Errorf("Expiry(%s) = %v, want an error", in, got)
		}
	}
}

// FuzzCompile looks for a tenant that weakens what the platform alone says, or that reaches a registry it does not list.
func FuzzCompile(f *testing.F) {
	f.Add("Warn", "Deny", "Audit", "Audit", "early", true, "registry.bank.example", "registry.bank.example.evil", "2027-01-31")
	f.Add("", "", "", "nonsense", "", false, "r/a", "r/a/b", "x")
	rank := map[v1alpha1.Action]int{v1alpha1.Audit: 1, v1alpha1.Warn: 2, v1alpha1.Deny: 3}
	f.Fuzz(func(t *testing.T, action, production, ring, own, name string, prod bool, allowed, asked, expires string) {
		p := newPlatform(func(p *v1alpha1.Platform) {
			p.Spec.Registries = []v1alpha1.Registry{v1alpha1.Registry(allowed)}
			p.Spec.Controls = map[string]v1alpha1.ControlRollout{"RF-WL-15": {
				Action: v1alpha1.Action(action), Production: v1alpha1.Action(production), Rings: map[string]v1alpha1.Action{"early": v1alpha1.Action(ring)}}}
		})
		silent := newTenant(func(t *v1alpha1.Tenant) { t.Spec.Ring, t.Spec.Environments[0].Production = name, prod })
		loud := silent.DeepCopy()
		loud.Spec.Controls = map[string]v1alpha1.Action{"RF-WL-01": v1alpha1.Action(own), "RF-WL-15": v1alpha1.Action(own), "RF-XX-01": v1alpha1.Action(own)}
		loud.Spec.Registries = []v1alpha1.Registry{v1alpha1.Registry(asked)}
		loud.Spec.Egress = []v1alpha1.EgressRule{{FQDN: asked, Ports: []v1alpha1.Port{1}, Expires: expires}}
		before, after := Compile(controls, p, silent, nil, "payments-dev").Spec, Compile(controls, p, loud, nil, "payments-dev").Spec
		for _, c := range controls {
			if rank[after.Actions[c.ID]] == 0 || rank[after.Actions[c.ID]] < rank[before.Actions[c.ID]] {
				t.Errorf("%s: the tenant's %q made %q of %q", c.ID, own, after.Actions[c.ID], before.Actions[c.ID])
			}
		}
		for _, r := range after.Registries {
			if len(r) < len(allowed) || string(r[:len(allowed)]) != allowed || len(r) > len(allowed) && r[len(allowed)] != '/' {
				t.Errorf("registry %q is not inside %q", r, allowed)
			}
		}
	})
}

// TestGroupsOfAnEnvironment shows that an environment's own groups, and only those it names, take the place of the tenant's:
// in the Guard, and in who is bound.
func TestGroupsOfAnEnvironment(t *testing.T) {
	o := newTenant(func(t *v1alpha1.Tenant) {
		t.Spec.Environments[1].Groups = &v1alpha1.EnvironmentGroups{Admin: "operators"}
	})
	platform := newPlatform(nil)
	for i, want := range [][]string{
		{"oidc:" + o.Spec.Groups.Admin, "oidc:" + o.Spec.Groups.ReadOnly},
		{"oidc:operators", "oidc:" + o.Spec.Groups.ReadOnly},
	} {
		env := o.Spec.Environments[i]
		if got := Compile(nil, platform, o, nil, NamespaceOf(o, env)).Spec.Groups; !slices.Equal(got, want) {
			t.Errorf("%s: the Guard names %v, want %v", env.Name, got, want)
		}
		for _, b := range bindings(Input{Platform: platform, Tenant: o}, env) {
			group := want[0]
			if b.Name == RoleReadOnly {
				group = want[1]
			}
			if got := b.Subjects[0].Name; got != group {
				t.Errorf("%s: %s is bound to %s, want %s", env.Name, b.Name, got, group)
			}
		}
	}
}

// TestClasses: a tenant narrows the Platform's storage classes and cannot add to them; of Ingresses it may name any class unless it says
// which; without a Platform there is none.
func TestClasses(t *testing.T) {
	platform := newPlatform(func(p *v1alpha1.Platform) { p.Spec.Storage.EncryptedClasses = []string{"fast", "slow"} })
	narrow := newTenant(func(t *v1alpha1.Tenant) {
		t.Spec.StorageClasses, t.Spec.IngressClasses = []string{"slow", "mine"}, []string{"internal"}
	})
	for _, tc := range []struct {
		name             string
		platform         *v1alpha1.Platform
		tenant           *v1alpha1.Tenant
		storage, ingress []string
	}{
		{"narrowed", platform, narrow, []string{"slow"}, []string{"internal"}},
		{"the platform's", platform, newTenant(nil), []string{"fast", "slow"}, []string{"*"}},
		{"nobody's", platform, nil, []string{"fast", "slow"}, []string{"*"}},
		{"no platform", nil, narrow, nil, nil},
	} {
		if got := Compile(nil, tc.platform, tc.tenant, nil, "payments-dev").Spec; !slices.Equal(got.StorageClasses, tc.storage) || !slices.Equal(got.IngressClasses, tc.ingress) {
			t.Errorf("%s: storage %v and ingress %v, want %v and %v", tc.name, got.StorageClasses, got.IngressClasses, tc.storage, tc.ingress)
		}
	}
	if len(platform.Spec.Storage.EncryptedClasses) != 2 {
		t.Error("the Platform was changed")
	}
}
