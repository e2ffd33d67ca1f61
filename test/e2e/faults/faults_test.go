package faults

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/policy/bundle"
	"ringfence.dev/ringfence/server"
	"ringfence.dev/ringfence/tenant"
)

// team is the tenant of these tests, with the namespaces team-dev and team-prod.
const team = "team"

func newTeam() *v1alpha1.Tenant {
	return &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: team}, Spec: v1alpha1.TenantSpec{
		Owner: "team@bank.example", Groups: v1alpha1.TenantGroups{Admin: "team-admin", ReadOnly: "team-ro"},
		Environments: []v1alpha1.Environment{{Name: "dev"}, {Name: "prod", Production: true}},
	}}
}

// TestFaults: one Ringfence, and what befalls it, one after the other.
func TestFaults(t *testing.T) {
	b := newBed(t)
	dir := t.TempDir()
	road, api := b.roadblock(t)
	var kindsAsked atomic.Int64
	b.config.Wrap(func(next http.RoundTripper) http.RoundTripper { return asked{next, &kindsAsked} })
	stop := b.ringfence(t, server.Config{Evidence: dir})
	ringfencetest.Eventually(t, "it to ask for an API server that is away", road.asked)
	road.to(api)
	b.furnish(t)
	if err := b.Create(t.Context(), newTeam()); err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "the tenant to be ready", b.reason(t, tenant.ReasonActive))
	ringfencetest.Eventually(t, "a good pod to be let in", func() error { return b.good(t.Context(), "team-dev") })
	t.Run("kind arrives", b.kindArrives(&kindsAsked))
	t.Run("Platform with a mistake", b.mistakenPlatform)
	t.Run("stale Guard", b.staleGuard)
	t.Run("Guard too large", b.largeGuard)
	t.Run("large objects", b.largeObjects)
	t.Run("subresources", b.subresources)
	t.Run("slow clients", b.slowClients)
	t.Run("kind edited", b.kindEdited)
	t.Run("kind of Guards deleted", b.guardsDeleted)
	t.Run("kinds deleted", b.kindsDeleted)
	stop()
	t.Run("bundle that does not compile", b.brokenBundle)
	t.Run("started while the kind of Guards goes", b.startedMeanwhile)
	t.Run("recorded", func(t *testing.T) { recorded(t, filepath.Join(dir, "ledger")) })
}

// reason is nil where the tenant is ready, or not, for a reason.
func (b *bed) reason(t *testing.T, want string) func() error {
	return func() error {
		var o v1alpha1.Tenant
		if err := b.Get(t.Context(), client.ObjectKey{Name: team}, &o); err != nil {
			return err
		}
		if c := meta.FindStatusCondition(o.Status.Conditions, tenant.ConditionReady); c == nil || c.Reason != want || c.ObservedGeneration != o.Generation {
			return fmt.Errorf("condition %+v; want %s", c, want)
		}
		return nil
	}
}

// edit changes the Platform's spec.
func (b *bed) edit(t *testing.T, change func(*v1alpha1.PlatformSpec)) {
	t.Helper()
	ringfencetest.Eventually(t, "the Platform to be changed", func() error {
		var p v1alpha1.Platform
		if err := b.Get(t.Context(), client.ObjectKey{Name: v1alpha1.PlatformName}, &p); err != nil {
			return err
		}
		change(&p.Spec)
		return b.Update(t.Context(), &p)
	})
}

// guard is that of a namespace.
func (b *bed) guard(t *testing.T, namespace string) v1alpha1.Guard {
	t.Helper()
	var g v1alpha1.Guard
	if err := b.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: v1alpha1.GuardName}, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// mistakenPlatform: of a Platform that its schema lets pass and that cannot be meant nothing is taken over, its status says what is
// wrong, and mending it is all that is to do.
func (b *bed) mistakenPlatform(t *testing.T) {
	before := b.guard(t, "team-dev")
	b.edit(t, func(s *v1alpha1.PlatformSpec) {
		s.Profile = "strict"
		s.ExemptNamespaces = []v1alpha1.NamespaceName{"team-dev"}
		s.Controls = map[string]v1alpha1.ControlRollout{"RF-WL-01": {Action: v1alpha1.Audit}, "RF-ZZ-99": {Action: v1alpha1.Deny}}
		s.Separation.Production.DataClasses, s.Separation.NonProduction.DataClasses = []string{"card"}, []string{"card"}
	})
	ringfencetest.Eventually(t, "the status to say so", func() error {
		var p v1alpha1.Platform
		if err := b.Get(t.Context(), client.ObjectKey{Name: v1alpha1.PlatformName}, &p); err != nil {
			return err
		}
		c, e := meta.FindStatusCondition(p.Status.Conditions, bundle.ConditionAccepted), meta.FindStatusCondition(p.Status.Conditions, bundle.ConditionEnforced)
		if c == nil || c.Status != metav1.ConditionFalse || !strings.Contains(c.Message, "RF-ZZ-99") || !strings.Contains(c.Message, "dataClasses card") ||
			e.Status != metav1.ConditionTrue || e.ObservedGeneration != p.Generation-1 {
			return fmt.Errorf("conditions %+v of generation %d", p.Status.Conditions, p.Generation)
		}
		return nil
	})
	time.Sleep(time.Second) // whatever would follow from it
	if err := b.bad(t.Context(), "team-dev"); err != nil {
		t.Errorf("with a mistake in the Platform: %v", err)
	}
	if after := b.guard(t, "team-dev"); after.ResourceVersion != before.ResourceVersion {
		t.Errorf("the Guard was rewritten: %+v", after.Spec.Actions)
	}
	b.edit(t, func(s *v1alpha1.PlatformSpec) {
		delete(s.Controls, "RF-ZZ-99")
		s.Profile, s.ExemptNamespaces, s.Controls["RF-WL-01"], s.Separation = "mvp", nil, v1alpha1.ControlRollout{Action: v1alpha1.Warn}, v1alpha1.Separation{}
	})
	ringfencetest.Eventually(t, "what was mended to be in force", func() error {
		if err := b.bad(t.Context(), "team-dev"); !errors.Is(err, errAdmitted) {
			return fmt.Errorf("RF-WL-01 does not warn yet: %v", err)
		}
		return b.enforced(t)()
	})
	b.edit(t, func(s *v1alpha1.PlatformSpec) { s.Controls = nil })
	ringfencetest.Eventually(t, "the Platform of before to be in force", func() error { return b.bad(t.Context(), "team-dev") })
}

// staleGuard: an older Guard that somebody puts back, with every right, does not stay.
func (b *bed) staleGuard(t *testing.T) {
	old := b.guard(t, "team-dev")
	b.edit(t, func(s *v1alpha1.PlatformSpec) { s.Registries = []v1alpha1.Registry{"other.bank.example"} })
	fresh := func() error {
		if g := b.guard(t, "team-dev"); !slices.Equal(g.Spec.Registries, []v1alpha1.Registry{"other.bank.example"}) {
			return fmt.Errorf("registries %v", g.Spec.Registries)
		}
		return nil
	}
	ringfencetest.Eventually(t, "the Guard to follow", fresh)
	for range 3 {
		stale := b.guard(t, "team-dev")
		stale.Spec = old.Spec
		if err := b.Update(t.Context(), &stale); err != nil && !apierrors.IsConflict(err) {
			t.Fatal(err)
		}
		ringfencetest.Eventually(t, "the Guard to be right again", fresh)
	}
	b.edit(t, func(s *v1alpha1.PlatformSpec) { s.Registries = platform().Spec.Registries })
	ringfencetest.Eventually(t, "a good pod to be let in again", func() error { return b.good(t.Context(), "team-dev") })
}

// largeGuard: a tenant whose egress makes more than a Guard can carry has none of it, and keeps everything else.
func (b *bed) largeGuard(t *testing.T) {
	many := newTeam().Spec
	var ports []v1alpha1.Port
	for p := range 20 {
		ports = append(ports, v1alpha1.Port(1000+p))
	}
	for i := range 500 {
		name := fmt.Sprintf("%s%d.bank.example", strings.Repeat("long-name.", 20), i)
		many.Egress = append(many.Egress, v1alpha1.EgressRule{FQDN: name, Ports: ports, Expires: "2099-01-01"})
	}
	set := func(spec v1alpha1.TenantSpec) {
		ringfencetest.Eventually(t, "the tenant to be changed", func() error {
			var o v1alpha1.Tenant
			if err := b.Get(t.Context(), client.ObjectKey{Name: team}, &o); err != nil {
				return err
			}
			o.Spec.Egress = spec.Egress
			return b.Update(t.Context(), &o)
		})
	}
	set(many)
	ringfencetest.Eventually(t, "the tenant to be told", b.reason(t, tenant.ReasonEgressTooLarge))
	if g := b.guard(t, "team-dev"); len(g.Spec.Egress) != 0 {
		t.Errorf("the Guard has %d of the egress", len(g.Spec.Egress))
	}
	if err := errors.Join(b.good(t.Context(), "team-dev"), b.bad(t.Context(), "team-dev")); err != nil {
		t.Errorf("the Guard decides otherwise: %v", err)
	}
	many.Egress = many.Egress[:150] // 700 KB of it: most of what a Guard may have
	set(many)
	ringfencetest.Eventually(t, "the tenant to be ready", b.reason(t, tenant.ReasonActive))
	if g := b.guard(t, "team-dev"); len(g.Spec.Egress) != 3000 {
		t.Errorf("the Guard has %d of the egress; want 3000", len(g.Spec.Egress))
	}
	ringfencetest.Eventually(t, "both doors to judge with it", func() error { return errors.Join(b.good(t.Context(), "team-dev"), b.bad(t.Context(), "team-dev")) })
	set(newTeam().Spec)
}

// largeObjects: what is as large as the API server takes gets a verdict of a control or of the server, in time, and no door falls over.
func (b *bed) largeObjects(t *testing.T) {
	large := func(size int) *corev1.ConfigMap {
		o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "team-dev", GenerateName: "large-"}, Data: map[string]string{}}
		for i := 0; i < size; i += 1000 {
			o.Data[fmt.Sprintf("key-%05d", i/1000)] = strings.Repeat("x", 980)
		}
		return o
	}
	whole := pod("team-dev")
	for i := range 2800 { // 2.9 MB in JSON; a Pod has no bound of its own
		whole.Spec.Containers[0].Env = append(whole.Spec.Containers[0].Env, corev1.EnvVar{Name: fmt.Sprintf("A%d", i), Value: strings.Repeat("x", 1000)})
	}
	bad := whole.DeepCopy()
	bad.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: new(true)}
	for _, tc := range []struct {
		name string
		o    client.Object
		says []string // one of them; "" is a yes
	}{
		{"a ConfigMap of 1,000,000 bytes", large(1_000_000), []string{"", "RF-"}},
		{"a ConfigMap of 2.9 MB", large(2_900_000), []string{"Too long", "RF-"}},
		{"a Pod of 2.9 MB", whole, []string{"", "RF-"}},
		{"a bad Pod of 2.9 MB", bad, []string{"RF-"}},
		{"a ConfigMap of 4 MB", large(4_000_000), []string{"Request entity too large", "request is too large", "limit is 3145728"}},
	} {
		begun := time.Now()
		err := b.Create(t.Context(), tc.o, client.DryRunAll)
		ok := slices.ContainsFunc(tc.says, func(says string) bool {
			return says == "" && err == nil || says != "" && err != nil && strings.Contains(err.Error(), says)
		})
		if took := time.Since(begun); !ok || took > 10*time.Second {
			t.Errorf("%s: after %v %.600v; want one of %q", tc.name, took, err, tc.says)
		}
	}
	if err := b.good(t.Context(), "team-dev"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// subresources: through the API server itself, those that a control judges are judged, and those that keep a cluster going pass.
func (b *bed) subresources(t *testing.T) {
	ctx := t.Context()
	o := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "api", Namespace: "team-prod"}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "api"}},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "api"}}, Spec: pod("").Spec},
	}}
	one := pod("team-prod")
	ringfencetest.Eventually(t, "what is judged", func() error {
		return errors.Join(client.IgnoreAlreadyExists(b.Create(ctx, o.DeepCopy())), client.IgnoreAlreadyExists(b.Create(ctx, one)))
	})
	if err := b.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
		t.Fatal(err)
	}
	scale := &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: 2}}
	if err := b.SubResource("scale").Update(ctx, o, client.WithSubResourceBody(scale)); err != nil {
		t.Errorf("scale: %v", err)
	}
	if err := b.SubResource("status").Patch(ctx, one.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"status":{"message":"a"}}`))); err != nil {
		t.Errorf("status: %v", err)
	}
	for sub, body := range map[string]string{
		"ephemeralcontainers": `{"spec":{"ephemeralContainers":[{"name":"x","image":"registry.bank.example/a:1","securityContext":{"privileged":true}}]}}`,
		"resize":              `{"spec":{"containers":[{"name":"api","resources":{"limits":{"memory":"0"},"requests":{"memory":"0"}}}]}}`,
	} {
		err := b.SubResource(sub).Patch(ctx, one.DeepCopy(), client.RawPatch("application/strategic-merge-patch+json", []byte(body)))
		if err == nil || !strings.Contains(err.Error(), "RF-WL-") && sub == "ephemeralcontainers" {
			t.Errorf("%s that turns bad: %v", sub, err)
		}
	}
	b.edit(t, func(s *v1alpha1.PlatformSpec) {
		s.Controls = map[string]v1alpha1.ControlRollout{"RF-WL-22": {Production: v1alpha1.Deny}}
	})
	ringfencetest.Eventually(t, "exec into production to be refused", func() error { return refused(b.connect(t, "team-prod", one.Name), "RF-WL-22") })
	b.edit(t, func(s *v1alpha1.PlatformSpec) { s.Controls = nil })
	if err := b.SubResource("eviction").Create(ctx, one, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: one.Namespace, Name: one.Name}}); err != nil {
		t.Errorf("eviction: %v", err)
	}
	if err := b.Delete(ctx, o); err != nil {
		t.Errorf("delete: %v", err)
	}
}

// connect asks to run a command in a pod, as nobody in particular who may.
func (b *bed) connect(t *testing.T, namespace, name string) error {
	t.Helper()
	config := rest.CopyConfig(b.config)
	config.APIPath, config.GroupVersion, config.NegotiatedSerializer = "/api", &corev1.SchemeGroupVersion, serializer()
	c, err := rest.RESTClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	return c.Verb(http.MethodPost).Namespace(namespace).Resource("pods").Name(name).SubResource("exec").Param("command", "sh").Param("stdout", "true").Do(t.Context()).Error()
}

// brokenBundle: a catalogue of which one rule does not compile changes nothing in the cluster, and the status says which rule.
func (b *bed) brokenBundle(t *testing.T) {
	cat, err := control.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	cat.Digest = "another"
	i := slices.IndexFunc(cat.Controls, func(c control.Control) bool { return c.ID == "RF-WL-01" })
	cat.Controls = cat.Controls[i : i+1] // the others compile, and would only take their time
	cat.Controls[0].Variables[len(cat.Controls[0].Variables)-1].Expression = "variables.containers.nonsense("
	read := func() (all admissionv1.ValidatingAdmissionPolicyList) {
		if err := b.List(t.Context(), &all); err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := read()
	r := &bundle.Reconciler{Client: b, Live: b, Catalogue: cat, Metrics: bundle.NewMetrics(), Log: slog.New(slog.DiscardHandler), Now: time.Now}
	if _, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{Name: v1alpha1.PlatformName}}); err != nil {
		t.Errorf("it is tried again for nothing: %v", err)
	}
	var p v1alpha1.Platform
	if err := b.Get(t.Context(), client.ObjectKey{Name: v1alpha1.PlatformName}, &p); err != nil {
		t.Fatal(err)
	}
	if c := meta.FindStatusCondition(p.Status.Conditions, bundle.ConditionEnforced); c.Status != metav1.ConditionFalse || c.Reason != "CompileFailed" || !strings.Contains(c.Message, "nonsense") {
		t.Errorf("condition %+v", c)
	}
	after := read()
	for i := range before.Items {
		if len(before.Items) == 0 || len(after.Items) != len(before.Items) || after.Items[i].ResourceVersion != before.Items[i].ResourceVersion {
			t.Errorf("policy %s was touched", before.Items[i].Name)
		}
	}
	if err := b.bad(t.Context(), "team-dev"); err != nil {
		t.Error(err)
	}
}

// recorded: the gaps of kinds are in the ledger.
func recorded(t *testing.T, dir string) {
	ring, err := ledger.ParseKeyring(readFile(t, filepath.Join(dir, "keyring")))
	if err != nil {
		t.Fatal(err)
	}
	gaps := map[string]int{}
	_, err = ledger.Verify(t.Context(), ledger.Folder(dir), ring, func(e ledger.Entry) error {
		r, err := e.Record()
		if r.Kind == "policy-gap.v1" {
			for name := range definitions {
				if strings.Contains(string(r.Body), `"`+name+`"`) {
					gaps[name]++
				}
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range definitions {
		if gaps[name] == 0 {
			t.Errorf("no gap of %s is recorded: %v", name, gaps)
		}
	}
}
