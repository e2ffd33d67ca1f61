package tenant

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// world is a cluster of namespaces in memory: it does what changes say, as far as Plan can see.
type world map[string]Live

func (w world) input(p *v1alpha1.Platform, t *v1alpha1.Tenant) Input {
	return Input{Controls: controls, Platform: p, Tenant: t, Tenants: []v1alpha1.Tenant{*t}, Namespaces: w, Cilium: true,
		Now: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
}

// do makes the changes and returns them by name.
func (w world) do(changes []Change) (done []string) {
	for _, c := range changes {
		done = append(done, c.String())
		key := c.Object.GetNamespace()
		if key == "" {
			key = c.Object.GetName()
		}
		l := w[key]
		if l.Bindings == nil {
			l.Bindings = map[string]*rbacv1.RoleBinding{}
		}
		gone := c.Verb == Delete
		switch o := c.Object.(type) {
		case *corev1.Namespace:
			if gone {
				delete(w, key)
				continue
			}
			l.Namespace = o.DeepCopy()
		case *v1alpha1.Guard:
			l.Guard = o.DeepCopy()
		case *corev1.ResourceQuota:
			l.Quota = unless(gone, o)
		case *corev1.LimitRange:
			l.Limits = unless(gone, o)
		case *networkingv1.NetworkPolicy:
			l.Policy = unless(gone, o)
		case *rbacv1.RoleBinding:
			if l.Bindings[o.Name] = o; gone {
				delete(l.Bindings, o.Name)
			}
		case *unstructured.Unstructured:
			switch o.GetKind() {
			case "Namespace":
				applied(l.Namespace, o)
			case "ServiceAccount":
				_, own := o.Object["automountServiceAccountToken"]
				l.Account = &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Labels: o.GetLabels()}}
				if own {
					l.Account.AutomountServiceAccountToken = new(bool)
				}
			default:
				l.CiliumPolicy = unless(gone, o)
			}
		}
		w[key] = l
	}
	return done
}

func unless[T any](gone bool, o *T) *T {
	if gone {
		return nil
	}
	return o
}

// applied is server-side apply of labels and annotations, managed fields included.
func applied(ns *corev1.Namespace, patch *unstructured.Unstructured) {
	merge := func(have map[string]string, field string, want map[string]string) (map[string]string, map[string]any) {
		next, owned := map[string]string{}, map[string]any{}
		before := managedKeys(ns.ManagedFields, field)
		for k, v := range have {
			if !before[k] {
				next[k] = v
			}
		}
		for k, v := range want {
			next[k], owned["f:"+k] = v, map[string]any{}
		}
		return next, owned
	}
	labels, ownLabels := merge(ns.Labels, "f:labels", patch.GetLabels())
	notes, ownNotes := merge(ns.Annotations, "f:annotations", patch.GetAnnotations())
	ns.Labels, ns.Annotations = labels, notes
	raw, _ := json.Marshal(map[string]any{"f:metadata": map[string]any{"f:labels": ownLabels, "f:annotations": ownNotes}})
	ns.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: FieldManager, Operation: metav1.ManagedFieldsOperationApply, FieldsV1: metav1.NewFieldsV1(string(raw))}}
}

// settle plans and does until nothing is planned, and fails if that takes more than a few rounds.
func settle(t *testing.T, w world, p *v1alpha1.Platform, o *v1alpha1.Tenant) (all []string) {
	t.Helper()
	for range 5 {
		var done []string
		for _, plan := range Plan(w.input(p, o)) {
			done = append(done, w.do(plan.Changes)...)
		}
		if len(done) == 0 {
			return all
		}
		all = append(all, done...)
	}
	t.Fatalf("still planning after five rounds: %v", all)
	return nil
}

func TestPlanOnboards(t *testing.T) {
	o := newTenant(func(t *v1alpha1.Tenant) {
		t.Spec.Quota = map[string]resource.Quantity{"requests.cpu": resource.MustParse("4")}
		t.Spec.Labels = map[string]string{"cost-centre": "7"}
	})
	w := world{}
	plans := Plan(w.input(newPlatform(nil), o))
	for i, env := range []string{"dev", "prod"} {
		ns := "payments-" + env
		want := []string{
			"create Namespace " + ns,
			"create Guard " + ns + "/guard",
			"apply Namespace " + ns,
			"apply ServiceAccount " + ns + "/default",
			"create ResourceQuota " + ns + "/ringfence",
			"create LimitRange " + ns + "/ringfence",
			"create NetworkPolicy " + ns + "/ringfence-baseline",
			"create RoleBinding " + ns + "/ringfence-tenant-admin",
			"create RoleBinding " + ns + "/ringfence-tenant-network-kubernetes",
			"create RoleBinding " + ns + "/ringfence-tenant-readonly",
		}
		if env == "dev" {
			want = append(want, "create RoleBinding "+ns+"/ringfence-tenant-debug")
		}
		for label := range plans[i].Changes[0].Object.GetLabels() {
			if !strings.HasPrefix(label, "pod-security.kubernetes.io/") {
				t.Errorf("%s begins with label %s, want none but those of Pod Security before its Guard", ns, label)
			}
		}
		if diff := cmp.Diff(want, w.do(plans[i].Changes)); diff != "" {
			t.Errorf("order in %s (-want +got):\n%s", ns, diff)
		}
	}
	if again := settle(t, w, newPlatform(nil), o); again != nil {
		t.Errorf("an unchanged estate plans %v, want nothing", again)
	}
	labels := w["payments-prod"].Namespace.Labels
	for k, v := range map[string]string{"cost-centre": "7", v1alpha1.LabelTenant: "payments", v1alpha1.LabelEnvironment: "prod",
		v1alpha1.LabelProduction: "true", v1alpha1.LabelGuarded: "true", "pod-security.kubernetes.io/warn": "restricted"} {
		if labels[k] != v {
			t.Errorf("label %s = %q, want %q", k, labels[k], v)
		}
	}
	if _, ok := labels["pod-security.kubernetes.io/enforce"]; ok {
		t.Error("Pod Security is enforced, which hides the catalogue's refusals")
	}
}

func TestPlanTakesBackAndKeeps(t *testing.T) {
	o := newTenant(func(t *v1alpha1.Tenant) {
		t.Spec.Labels = map[string]string{"cost-centre": "7", "team": "pay"}
		t.Spec.Quota = map[string]resource.Quantity{"requests.cpu": resource.MustParse("4")}
	})
	w := world{}
	settle(t, w, newPlatform(nil), o)
	ns := w["payments-dev"].Namespace
	ns.Labels["theirs"], ns.Labels["team"] = "stays", "stolen"
	delete(ns.Labels, v1alpha1.LabelProduction)
	delete(o.Spec.Labels, "cost-centre")
	o.Spec.Quota = nil
	o.Spec.Groups.Admin = "others"
	settle(t, w, newPlatform(nil), o)
	ns = w["payments-dev"].Namespace
	if _, ok := ns.Labels["cost-centre"]; ok || ns.Labels["theirs"] != "stays" || ns.Labels["team"] != "pay" || ns.Labels[v1alpha1.LabelProduction] != "false" {
		t.Errorf("labels = %v, want ours as asked, the dropped one gone and the foreign one kept", ns.Labels)
	}
	if w["payments-dev"].Quota != nil {
		t.Error("the quota is still there")
	}
	if got := w["payments-dev"].Bindings[RoleAdmin].Subjects[0].Name; got != "oidc:others" {
		t.Errorf("admin group = %q, want oidc:others", got)
	}
	o.Spec.Environments[0].Production = true
	settle(t, w, newPlatform(nil), o)
	if _, ok := w["payments-dev"].Bindings[RoleDebug]; ok {
		t.Error("an environment became production and people may still enter its pods")
	}
}

func TestPlanRefuses(t *testing.T) {
	ns := func(labels, notes map[string]string) world {
		return world{"payments-dev": {Namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "payments-dev", Labels: labels, Annotations: notes}}}}
	}
	explicit := func(t *v1alpha1.Tenant) {
		t.Spec.Environments = []v1alpha1.Environment{{Name: "dev", Namespace: "payments-dev"}}
	}
	exempt := newPlatform(func(p *v1alpha1.Platform) { p.Spec.ExemptNamespaces = []v1alpha1.NamespaceName{"payments-dev"} })
	for _, tc := range []struct {
		name     string
		platform *v1alpha1.Platform
		w        world
		tenant   *v1alpha1.Tenant
		refused  bool
	}{
		{"there already", newPlatform(nil), ns(nil, nil), newTenant(nil), true},
		{"there already and asked for by name", newPlatform(nil), ns(nil, nil), newTenant(explicit), false},
		{"another tenant's, by name", newPlatform(nil), ns(map[string]string{v1alpha1.LabelTenant: "cards"}, nil), newTenant(explicit), true},
		{"created for another, not labelled yet", newPlatform(nil), ns(nil, map[string]string{AnnotationCreatedBy: "cards"}), newTenant(nil), true},
		{"created for it, not labelled yet", newPlatform(nil), ns(nil, map[string]string{AnnotationCreatedBy: "payments"}), newTenant(nil), false},
		{"exempt", exempt, world{}, newTenant(nil), true},
		{"exempt now and its own before", exempt, ns(map[string]string{v1alpha1.LabelTenant: "payments"}, nil), newTenant(nil), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			plan := Plan(tc.w.input(tc.platform, tc.tenant))[0]
			if got := plan.Status.Phase == v1alpha1.EnvironmentRefused; got != tc.refused {
				t.Errorf("phase %s %q, want refused %v", plan.Status.Phase, plan.Status.Message, tc.refused)
			}
			if tc.refused && (len(plan.Changes) != 0 || plan.Status.Message == "" || plan.Reason != ReasonRefused) {
				t.Errorf("refused with changes %v, message %q, reason %q; want none, a text and Refused", plan.Changes, plan.Status.Message, plan.Reason)
			}
		})
	}
}

func TestPlanRetires(t *testing.T) {
	o := newTenant(nil)
	strong := map[string]v1alpha1.Action{"RF-WL-15": v1alpha1.Deny}
	o.Spec.Controls = strong
	w := world{}
	settle(t, w, newPlatform(nil), o)
	less := o.DeepCopy()
	less.Spec.Environments = less.Spec.Environments[:1]
	l := w["payments-prod"]
	l.Workloads = "jobs"
	w["payments-prod"] = l

	done := settle(t, w, newPlatform(nil), less)
	if !strings.HasPrefix(done[0], "delete RoleBinding") {
		t.Errorf("cordoning begins with %q, want rights to go first", done[0])
	}
	l = w["payments-prod"]
	if len(l.Bindings) != 0 || l.Policy == nil || l.Limits == nil || l.Namespace.Labels[v1alpha1.LabelCordoned] != "true" {
		t.Errorf("cordoned: bindings %v, labels %v; want no rights, and baseline and limits kept", l.Bindings, l.Namespace.Labels)
	}
	if s := l.Guard.Spec; s.Tenant != "payments" || !s.Production || s.Actions["RF-WL-15"] != v1alpha1.Deny {
		t.Errorf("the cordoned Guard became %+v, want the tenant's production one", s)
	}
	plans := Plan(w.input(newPlatform(nil), less))
	if last := plans[len(plans)-1]; last.Status.Phase != v1alpha1.EnvironmentCordoned || last.Reason != ReasonCordoned || !strings.Contains(last.Status.Message, "jobs") {
		t.Errorf("status = %+v, want Cordoned because of jobs", last.Status)
	}

	back := settle(t, w, newPlatform(nil), o)
	if l := w["payments-prod"]; len(l.Bindings) != 3 || l.Namespace.Labels[v1alpha1.LabelCordoned] != "" {
		t.Errorf("brought back by %v: bindings %v, labels %v; want rights and no cordon", back, l.Bindings, l.Namespace.Labels)
	}

	l = w["payments-prod"]
	l.Workloads = ""
	w["payments-prod"] = l
	first := Plan(w.input(newPlatform(nil), less))
	if c := first[len(first)-1].Changes; c[0].Verb != Delete || len(c) < 2 || c[len(c)-1].String() == "delete Namespace payments-prod" {
		t.Errorf("an empty namespace where people have rights plans %v, want the rights to go first and nothing else", c)
	}
	settle(t, w, newPlatform(nil), less)
	if _, ok := w["payments-prod"]; ok {
		t.Error("an empty namespace that Ringfence created is still there")
	}
}

func TestPlanHandsBackWhatItAdopted(t *testing.T) {
	adopted := newTenant(func(t *v1alpha1.Tenant) {
		t.Spec.Environments = []v1alpha1.Environment{{Name: "dev", Namespace: "legacy"}}
	})
	w := world{"legacy": {Namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "legacy", Labels: map[string]string{"theirs": "stays"}}}}}
	settle(t, w, newPlatform(nil), adopted)
	gone := adopted.DeepCopy()
	gone.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	settle(t, w, newPlatform(nil), gone)
	l := w["legacy"]
	want := map[string]string{"theirs": "stays", v1alpha1.LabelGuarded: "true"}
	if diff := cmp.Diff(want, l.Namespace.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if l.Quota != nil || l.Limits != nil || l.Policy != nil || len(l.Bindings) != 0 || l.Account.AutomountServiceAccountToken != nil || l.Guard == nil {
		t.Errorf("handed back %+v, want a Guard and nothing else", l)
	}
	if plans := Plan(w.input(newPlatform(nil), gone)); len(plans) != 0 {
		t.Errorf("after that %v is planned, want nothing: the tenant may go", plans)
	}
}

func TestPlanDeletesWhenTold(t *testing.T) {
	o := newTenant(func(t *v1alpha1.Tenant) { t.Spec.DeletionPolicy = v1alpha1.DeletionDelete })
	w := world{}
	settle(t, w, newPlatform(nil), o)
	l := w["payments-dev"]
	l.Workloads = "pods"
	w["payments-dev"] = l
	o.Spec.Environments = nil
	if done := settle(t, w, newPlatform(nil), o); len(w) != 0 {
		t.Errorf("deletionPolicy Delete did %v and left %d namespaces, want none", done, len(w))
	}
}

func TestPlanChangesTheModel(t *testing.T) {
	o, w := newTenant(nil), world{}
	cilium := newPlatform(func(p *v1alpha1.Platform) { p.Spec.Network.Model = v1alpha1.NetworkCilium })
	settle(t, w, newPlatform(nil), o)
	settle(t, w, cilium, o)
	l := w["payments-dev"]
	if l.Policy != nil || l.CiliumPolicy == nil || l.Bindings[networkRole(v1alpha1.NetworkCilium)] == nil || l.Bindings[networkRole(v1alpha1.NetworkKubernetes)] != nil {
		t.Errorf("after the change to cilium: %+v", l)
	}
	missing := world{}.input(cilium, o)
	missing.Cilium = false
	plan := Plan(missing)[0]
	if plan.Reason != ReasonNetworkModelMissing || plan.Status.Message == "" {
		t.Errorf("without the kind: reason %q message %q, want NetworkModelMissing", plan.Reason, plan.Status.Message)
	}
	for _, c := range plan.Changes {
		if strings.Contains(c.String(), "RoleBinding") {
			t.Errorf("%s although the network is open", c)
		}
	}
	settle(t, w, newPlatform(nil), o)
	if l := w["payments-dev"]; l.Policy == nil || l.CiliumPolicy != nil {
		t.Errorf("after the change back: %+v", l)
	}
}

func TestPlanUnowned(t *testing.T) {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "stray"}}
	in := Input{Controls: controls, Platform: newPlatform(nil)}
	w := world{"stray": {Namespace: ns}}
	done := w.do(planUnowned(in, w["stray"].Namespace, nil, nil, false))
	if diff := cmp.Diff([]string{"create Guard stray/guard", "apply Namespace stray"}, done); diff != "" {
		t.Errorf("a stray namespace (-want +got):\n%s", diff)
	}
	if more := planUnowned(in, w["stray"].Namespace, w["stray"].Guard, nil, false); more != nil {
		t.Errorf("unchanged: %v, want nothing", more)
	}
	without := Input{Controls: controls}
	if more := planUnowned(without, w["stray"].Namespace, w["stray"].Guard, nil, false); more != nil {
		t.Errorf("without a Platform the Guard there is changed: %v", more)
	}
	fresh := planUnowned(without, ns, nil, nil, false)
	if g, ok := fresh[0].Object.(*v1alpha1.Guard); !ok || g.Spec.Actions["RF-XX-01"] != v1alpha1.Deny || g.Spec.Registries != nil {
		t.Errorf("without a Platform a new namespace gets %v, want the strictest Guard", fresh)
	}
	guard := w["stray"].Guard
	guard.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	if c := planUnowned(in, w["stray"].Namespace, guard, nil, false); len(c) != 1 || c[0].Verb != Renew {
		t.Errorf("a deleted Guard in a living namespace plans %v, want renew", c)
	}
	w["stray"].Namespace.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	if c := planUnowned(in, w["stray"].Namespace, guard, nil, true); c != nil {
		t.Errorf("an ending namespace with pods plans %v, want the Guard to stay", c)
	}
	if c := planUnowned(in, w["stray"].Namespace, guard, nil, false); len(c) != 1 || c[0].Verb != Free {
		t.Errorf("an ending namespace without pods plans %v, want free", c)
	}
	if c := planUnowned(in, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system"}}, nil, nil, false); c != nil {
		t.Errorf("kube-system plans %v, want nothing", c)
	}
	c := planUnowned(in, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.SystemNamespace}}, nil, nil, false)
	if len(c) != 1 || c[0].String() != "create Guard ringfence-system/guard" {
		t.Errorf("%s plans %v, want the Guard for what lies in no namespace and nothing else", v1alpha1.SystemNamespace, c)
	}
}

func TestPlanEgressTooLarge(t *testing.T) {
	o := newTenant(func(t *v1alpha1.Tenant) {
		for i := range 500 {
			rule := v1alpha1.EgressRule{FQDN: strings.Repeat("a", 240) + "." + string(rune('a'+i%26)) + string(rune('a'+i/26%26))}
			for p := range 20 {
				rule.Ports = append(rule.Ports, v1alpha1.Port(p+1))
			}
			t.Spec.Egress = append(t.Spec.Egress, rule)
		}
	})
	plan := Plan(world{}.input(newPlatform(nil), o))[0]
	if plan.Reason != ReasonEgressTooLarge {
		t.Errorf("reason %q, want EgressTooLarge", plan.Reason)
	}
	if g, ok := plan.Changes[1].Object.(*v1alpha1.Guard); !ok || g.Spec.Egress != nil {
		t.Error("the Guard still opens egress")
	}
}

func TestRolesHaveNoWildcard(t *testing.T) {
	rules := ServiceAccountRules()
	for _, role := range Roles() {
		rules = append(rules, role.Rules...)
	}
	for _, r := range rules {
		for _, s := range append(append(append([]string{}, r.APIGroups...), r.Resources...), r.Verbs...) {
			if strings.Contains(s, "*") {
				t.Errorf("rule %v has a wildcard", r)
			}
		}
	}
	if _, err := Protection(); err != nil {
		t.Error(err)
	}
}
