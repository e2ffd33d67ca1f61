package tenant

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
)

func tenantNamed(name string, change func(*v1alpha1.Tenant)) v1alpha1.Tenant {
	t := *newTenant(change)
	t.Name = name
	if t.Spec.Groups.Admin == "pay-admin" {
		t.Spec.Groups = v1alpha1.TenantGroups{Admin: name + "-admin", ReadOnly: name + "-ro"}
	}
	return t
}

// TestFaults: what tenants do to each other is named with its field, at the one that came later.
func TestFaults(t *testing.T) {
	platform := newPlatform(func(p *v1alpha1.Platform) {
		p.Spec.Identity.BreakGlassGroups = []string{"oidc:break-glass"}
		p.Spec.ExemptNamespaces = []v1alpha1.NamespaceName{"mesh-system"}
	})
	groups := func(admin, readOnly string) func(*v1alpha1.Tenant) {
		return func(t *v1alpha1.Tenant) { t.Spec.Groups = v1alpha1.TenantGroups{Admin: admin, ReadOnly: readOnly} }
	}
	at := func(namespace string) func(*v1alpha1.Tenant) {
		return func(t *v1alpha1.Tenant) {
			t.Spec.Environments = []v1alpha1.Environment{{Name: "dev"}, {Name: "prod", Namespace: v1alpha1.NamespaceName(namespace)}}
		}
	}
	pipeline := func(p v1alpha1.Pipeline) func(*v1alpha1.Tenant) {
		return func(t *v1alpha1.Tenant) { t.Spec.Pipelines = []v1alpha1.Pipeline{p} }
	}
	ci := &v1alpha1.PipelineOIDC{Issuer: "https://ci", Subject: "repo:one"}
	for _, tc := range []struct {
		name string
		a, b v1alpha1.Tenant
		want []string
	}{
		{"nothing", tenantNamed("a", nil), tenantNamed("b", nil), nil},
		{"a-b and c, a and b-c", tenantNamed("a", func(t *v1alpha1.Tenant) {
			t.Spec.Environments = []v1alpha1.Environment{{Name: "c", Namespace: "a-b-c"}}
		}),
			tenantNamed("a-b", func(t *v1alpha1.Tenant) { t.Spec.Environments = []v1alpha1.Environment{{Name: "c"}} }), []string{"a-b /spec/environments/0/name: namespace a-b-c is that of environment c of tenant a"}},
		{"another's namespace", tenantNamed("a", nil), tenantNamed("b", at("a-prod")), []string{"b /spec/environments/1/namespace: namespace a-prod is that of environment prod of tenant a"}},
		{"exempt", tenantNamed("a", at("mesh-system")), tenantNamed("b", nil), []string{"a /spec/environments/1/namespace: namespace mesh-system is exempt"}},
		{"one admin group", tenantNamed("a", nil), tenantNamed("b", groups("a-admin", "b-ro")), []string{"b /spec/groups/admin: group a-admin is named by tenant a too"}},
		{"another's readers as admins", tenantNamed("a", nil), tenantNamed("b", groups("a-ro", "b-ro")), []string{"b /spec/groups/admin: group a-ro is named by tenant a too"}},
		{"another's admins as readers", tenantNamed("a", nil), tenantNamed("b", groups("b-admin", "a-admin")), []string{"b /spec/groups/readOnly: group a-admin is named by tenant a too"}},
		{"the case of letters", tenantNamed("a", nil), tenantNamed("b", groups("A-Admin", "b-ro")), []string{"b /spec/groups/admin: group A-Admin is named by tenant a too"}},
		{"auditors look everywhere", tenantNamed("a", groups("a-admin", "audit")), tenantNamed("b", groups("b-admin", "audit")), nil},
		{"in an environment", tenantNamed("a", nil), tenantNamed("b", func(t *v1alpha1.Tenant) {
			t.Spec.Environments[1].Groups = &v1alpha1.EnvironmentGroups{Admin: "a-admin"}
		}),
			[]string{"b /spec/environments/1/groups/admin: group a-admin is named by tenant a too"}},
		{"prefix twice", tenantNamed("a", groups("oidc:team", "a-ro")), tenantNamed("b", nil), []string{"a /spec/groups/admin: group oidc:team begins with the Platform's groupPrefix"}},
		{"break glass", tenantNamed("a", groups("break-glass", "a-ro")), tenantNamed("b", nil), []string{"a /spec/groups/admin: group break-glass is one of the Platform's breakGlassGroups"}},
		{"a space", tenantNamed("a", groups("team ", "a-ro")), tenantNamed("b", nil), []string{"a /spec/groups/admin: group team  begins or ends with a space"}},
		{"total", *dividing("pods=8", "pods=10", "", ""), tenantNamed("b", nil), []string{"payments /spec/totalQuota/pods: the environments' quotas of pods come to 16 and the total is 10"}},
		{"key with a slash", *dividing("count/jobs.batch=8", "count/jobs.batch=10", "", ""), tenantNamed("b", nil), []string{"payments /spec/totalQuota/count~1jobs.batch: the environments'"}},
		{"no such environment", tenantNamed("a", pipeline(v1alpha1.Pipeline{Name: "ci", Environments: []string{"dev", "uat"}, OIDC: ci})), tenantNamed("b", nil), []string{"a /spec/pipelines/0/environments/1: there is no environment uat"}},
		{"another's account", tenantNamed("a", nil), tenantNamed("b", pipeline(v1alpha1.Pipeline{Name: "ci", Environments: []string{"dev"}, ServiceAccount: &v1alpha1.PipelineAccount{Namespace: "a-dev", Name: "x"}})),
			[]string{"b /spec/pipelines/0/serviceAccount/namespace: namespace a-dev is tenant a's"}},
		{"another's pipeline", tenantNamed("a", pipeline(v1alpha1.Pipeline{Name: "ci", Environments: []string{"dev"}, OIDC: ci})), tenantNamed("b", pipeline(v1alpha1.Pipeline{Name: "x", Environments: []string{"dev"}, OIDC: ci})),
			[]string{"b /spec/pipelines/0/oidc/subject: subject repo:one deploys for tenant a too"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, f := range Faults(platform, []v1alpha1.Tenant{tc.a, tc.b}) {
				got = append(got, f.Tenant+" "+f.Path+": "+f.Text)
			}
			same := slices.EqualFunc(got, tc.want, func(a, b string) bool {
				return strings.HasPrefix(strings.ReplaceAll(a, `"`, ""), strings.ReplaceAll(b, `"`, ""))
			})
			if !same {
				t.Errorf("(-want +got):\n%s", cmp.Diff(tc.want, got))
			}
		})
	}
}

// TestGroupOfAnother: whoever came first keeps a group, whatever the names; the other binds it nowhere and says so.
func TestGroupOfAnother(t *testing.T) {
	young, old := tenantNamed("a", nil), tenantNamed("z", nil)
	young.Spec.Groups.Admin = "z-admin"
	young.CreationTimestamp, old.CreationTimestamp = metav1.NewTime(time.Unix(20, 0)), metav1.NewTime(time.Unix(10, 0))
	for _, o := range []v1alpha1.Tenant{young, old} {
		in := world{}.input(newPlatform(nil), &o)
		in.Tenants = []v1alpha1.Tenant{young, old}
		for _, plan := range Plan(in) {
			bound := slices.ContainsFunc(plan.Changes, func(c Change) bool { return strings.HasSuffix(c.String(), "/"+RoleAdmin) })
			if want := o.Name == "z"; bound != want || (plan.Reason == ReasonMistaken) == want {
				t.Errorf("tenant %s: admins bound %t, reason %q: %s", o.Name, bound, plan.Reason, plan.Status.Message)
			}
		}
	}
}

// TestPipelineOfAnother: a pipeline that an older tenant has, or whose account lies with another tenant, deploys for that one alone; the other
// binds it nowhere and says so.
func TestPipelineOfAnother(t *testing.T) {
	oidc := v1alpha1.Pipeline{Name: "ci", Environments: []string{"dev"}, OIDC: &v1alpha1.PipelineOIDC{Issuer: "https://ci", Subject: "repo:one"}}
	theirs := v1alpha1.Pipeline{Name: "ci", Environments: []string{"dev"}, ServiceAccount: &v1alpha1.PipelineAccount{Namespace: "z-dev", Name: "ci"}}
	platforms := v1alpha1.Pipeline{Name: "ci", Environments: []string{"dev"}, ServiceAccount: &v1alpha1.PipelineAccount{Namespace: "ci", Name: "runner"}}
	for _, tc := range []struct {
		what     string
		pipeline v1alpha1.Pipeline
		bound    bool // by the younger; the older has it anyway
	}{{"one subject", oidc, false}, {"an account of the other", theirs, false}, {"an account of the platform", platforms, true}} {
		young, old := tenantNamed("a", nil), tenantNamed("z", nil)
		young.Spec.Pipelines, old.Spec.Pipelines = []v1alpha1.Pipeline{tc.pipeline}, []v1alpha1.Pipeline{tc.pipeline}
		young.CreationTimestamp, old.CreationTimestamp = metav1.NewTime(time.Unix(20, 0)), metav1.NewTime(time.Unix(10, 0))
		for _, o := range []v1alpha1.Tenant{young, old} {
			in := world{}.input(newPlatform(nil), &o)
			in.Tenants = []v1alpha1.Tenant{young, old}
			plan := Plan(in)[0]
			bound := slices.ContainsFunc(plan.Changes, func(c Change) bool { return strings.HasSuffix(c.String(), "/"+pipelinePrefix+"ci") })
			if want := o.Name == "z" || tc.bound; bound != want || (plan.Reason == ReasonMistaken) == want {
				t.Errorf("%s, tenant %s: bound %t, reason %q: %s", tc.what, o.Name, bound, plan.Reason, plan.Status.Message)
			}
		}
	}
}

// TestSights: each set of groups sees its own namespaces, the groups of the tenant its Tenant too, and no two tenants share a name.
func TestSights(t *testing.T) {
	o := tenantNamed("a", func(t *v1alpha1.Tenant) { t.Spec.Environments[1].Groups = &v1alpha1.EnvironmentGroups{Admin: "ops"} })
	in := Input{Platform: newPlatform(nil), Tenant: &o}
	got := map[string]string{}
	for name, s := range sights(in, o.Spec.Environments) {
		if !strings.HasPrefix(name, "ringfence:tenant:a") || s.binding.RoleRef.Name != name {
			t.Errorf("name %s, role %s", name, s.binding.RoleRef.Name)
		}
		what := strings.Join(s.role.Rules[0].ResourceNames, " ")
		for _, r := range s.role.Rules {
			if len(r.ResourceNames) == 0 || !slices.Equal(r.Verbs, []string{"get"}) {
				t.Errorf("%s grants %v", name, r)
			}
		}
		if len(s.role.Rules) > 1 {
			what += " and Tenant " + s.role.Rules[1].ResourceNames[0]
		}
		for _, subject := range s.binding.Subjects {
			got[subject.Name] = what
		}
	}
	want := map[string]string{"oidc:a-admin": "a-dev and Tenant a", "oidc:a-ro": "a-dev a-prod and Tenant a", "oidc:ops": "a-prod"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("who sees what (-want +got):\n%s", diff)
	}
}
