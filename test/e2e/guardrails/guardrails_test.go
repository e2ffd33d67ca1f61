// Package guardrails shows on a real API server that the installed bundles hold against those who try to get round them.
// They come back when they are taken away, and refuse while Ringfence is down.
package guardrails

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/policy/bundle"
	"ringfence.dev/ringfence/server"
)

const image = "registry.bank.example/payments/api:1"

// bed is a cluster with Ringfence on it.
type bed struct {
	admin  client.Client
	config *rest.Config
	stop   func() // stops Ringfence, not the cluster
}

var cluster *clustertest.Cluster

func TestMain(m *testing.M) {
	os.Exit(clustertest.Main(m.Run, func(c *clustertest.Cluster) { cluster = c }))
}

// newBed runs Ringfence on the cluster until the test ends or stop is called, with the Platform in force.
func newBed(t *testing.T) *bed {
	t.Helper()
	if cluster == nil {
		t.Skip(clustertest.ErrUnavailable)
	}
	admin, err := kube.NewClient(cluster.Config)
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{admin: admin, config: cluster.Config}
	b.run(t, server.Config{})
	platform := &v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.PlatformName}, Spec: v1alpha1.PlatformSpec{
		Registries: []v1alpha1.Registry{"registry.bank.example"}, Contact: contact,
		Controls: map[string]v1alpha1.ControlRollout{"RF-ID-08": {Action: v1alpha1.Deny}},
	}}
	ringfencetest.Eventually(t, "create the Platform", func() error { return client.IgnoreAlreadyExists(admin.Create(t.Context(), platform)) })
	ringfencetest.Eventually(t, "the rules to be in force", func() error { return ringfencetest.InForce(t.Context(), admin) })
	return b
}

// run starts Ringfence and makes b.stop stop it.
func (b *bed) run(t *testing.T, cfg server.Config) {
	t.Helper()
	_, b.stop = ringfencetest.Start(t, b.config, cfg, slog.LevelWarn)
}

// namespace makes a guarded namespace that no tenant owns and waits until it is usable.
func (b *bed) namespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "guardrails-"}}
	if err := b.admin.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "a compliant pod to be let in", func() error {
		return b.admin.Create(t.Context(), pod(ns.Name), client.DryRunAll)
	})
	ringfencetest.Eventually(t, "a bad pod to be refused", func() error {
		return ringfencetest.RefusedBy(b.admin.Create(t.Context(), privileged(pod(ns.Name)), client.DryRunAll), "RF-WL-01")
	})
	return ns.Name
}

func template() corev1.PodSpec {
	yes, no := true, false
	amount := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	return corev1.PodSpec{
		SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
		Containers: []corev1.Container{{
			Name: "api", Image: image,
			SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
			Resources:       corev1.ResourceRequirements{Requests: amount("100m", "64Mi"), Limits: amount("200m", "128Mi")},
		}},
	}
}

func pod(namespace string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "api-", Namespace: namespace}, Spec: template()}
}

func deployment(namespace string) *appsv1.Deployment {
	app, replicas := map[string]string{"app": "api"}, int32(1)
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "api", Namespace: namespace}, Spec: appsv1.DeploymentSpec{
		Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: app},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: app}, Spec: template()},
	}}
}

func privileged(p *corev1.Pod) *corev1.Pod {
	yes := true
	p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: &yes}
	return p
}

// TestSubresources: an ephemeral container and a resize are judged at their own doors.
func TestSubresources(t *testing.T) {
	b := newBed(t)
	ns := b.namespace(t)
	p := pod(ns)
	if err := b.admin.Create(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	yes := true
	debug := func(c corev1.EphemeralContainerCommon) error {
		if err := b.admin.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		with := p.DeepCopy()
		with.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: c}}
		return b.admin.SubResource("ephemeralcontainers").Update(t.Context(), with)
	}
	ringfencetest.Eventually(t, "a privileged ephemeral container to be refused", func() error {
		return ringfencetest.RefusedBy(debug(corev1.EphemeralContainerCommon{Name: "debug", Image: image, SecurityContext: &corev1.SecurityContext{Privileged: &yes}}), "RF-WL-01")
	})
	ringfencetest.Eventually(t, "an ephemeral container of a foreign image to be refused", func() error {
		return ringfencetest.RefusedBy(debug(corev1.EphemeralContainerCommon{Name: "debug", Image: "docker.io/evil/tools"}), "RF-IM-01")
	})
	ringfencetest.Eventually(t, "a compliant ephemeral container to be let in", func() error {
		return debug(corev1.EphemeralContainerCommon{Name: "debug", Image: image})
	})
	resized := func(memory string) error {
		if err := b.admin.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		with := p.DeepCopy()
		with.Spec.Containers[0].Resources.Limits[corev1.ResourceMemory] = resource.MustParse(memory)
		with.Spec.Containers[0].Resources.Requests[corev1.ResourceMemory] = resource.MustParse(memory)
		return b.admin.SubResource("resize").Update(t.Context(), with)
	}
	ringfencetest.Eventually(t, "a resize to no memory limit at all to be refused", func() error { return ringfencetest.RefusedBy(resized("0"), "RF-WL-16") })
	ringfencetest.Eventually(t, "a compliant resize to be let in", func() error { return resized("256Mi") })
}

// TestUpdateTurnsBad: what was good is judged again when it changes, through PUT and through PATCH; what is unchanged may
// be scaled.
func TestUpdateTurnsBad(t *testing.T) {
	b := newBed(t)
	ns := b.namespace(t)
	d := deployment(ns)
	if err := b.admin.Create(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	for name, patch := range map[string]client.Patch{
		"merge patch":           client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"template":{"spec":{"hostNetwork":true}}}}`)),
		"strategic merge patch": client.RawPatch("application/strategic-merge-patch+json", []byte(`{"spec":{"template":{"spec":{"hostNetwork":true}}}}`)),
		"json patch":            client.RawPatch("application/json-patch+json", []byte(`[{"op":"add","path":"/spec/template/spec/hostNetwork","value":true}]`)),
	} {
		if err := ringfencetest.RefusedBy(b.admin.Patch(t.Context(), d.DeepCopy(), patch), "RF-WL-02"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := b.admin.Patch(t.Context(), d.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"replicas":0}}`))); err != nil {
		t.Errorf("scale to zero: %v", err)
	}
}

// TestDeletedIsStillJudged: an object that its owner keeps alive with a finalizer after deleting it cannot be turned into
// what could not be created; its finalizer can be removed.
func TestDeletedIsStillJudged(t *testing.T) {
	b := newBed(t)
	ns := b.namespace(t)
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "door", Namespace: ns, Finalizers: []string{"bank.example/keep"}},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443}}}}
	if err := errors.Join(b.admin.Create(t.Context(), service), b.admin.Delete(t.Context(), service)); err != nil {
		t.Fatal(err)
	}
	open := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"type":"NodePort"}}`))
	if err := ringfencetest.RefusedBy(b.admin.Patch(t.Context(), service.DeepCopy(), open), "RF-NW-08"); err != nil {
		t.Error(err)
	}
	release := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))
	if err := b.admin.Patch(t.Context(), service.DeepCopy(), release); err != nil {
		t.Errorf("the finalizer could not be removed: %v", err)
	}
}

// TestPlantedGuard: whoever may create anything, but is not of system:masters, cannot plant a Guard before Ringfence
// makes its own.
func TestPlantedGuard(t *testing.T) {
	b := newBed(t)
	ns := b.namespace(t)
	everything := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{GenerateName: "bob-"},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "bob"}}}
	if err := b.admin.Create(t.Context(), everything); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.admin.Delete(context.Background(), everything) })
	as := rest.CopyConfig(b.config)
	as.Impersonate = rest.ImpersonationConfig{UserName: "bob", Groups: []string{"system:authenticated"}}
	bob, err := kube.NewClient(as)
	if err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "bob to have his rights, and the Guard refused all the same", func() error {
		err := bob.Create(t.Context(), &v1alpha1.Guard{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.GuardName, Namespace: ns}}, client.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), "Guards are written by Ringfence alone") {
			return fmt.Errorf("got %v, want a refusal", err)
		}
		return nil
	})
}

// TestUnlabelledNamespace: a namespace that nobody onboarded is guarded too, by the Platform alone, and taking labels away
// changes nothing.
func TestUnlabelledNamespace(t *testing.T) {
	b := newBed(t)
	ns := b.namespace(t)
	bare := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}
	if err := b.admin.Patch(t.Context(), bare, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"ringfence.dev/guarded":null,"kubernetes.io/metadata.name":"kube-system"}}}`))); err != nil {
		t.Logf("labels could not be changed: %v", err)
	}
	if err := ringfencetest.RefusedBy(b.admin.Create(t.Context(), privileged(pod(ns)), client.DryRunAll), "RF-WL-01"); err != nil {
		t.Error(err)
	}
}

// TestComesBack: policies and bindings that an administrator deletes, edits or unlabels are back within seconds, and the gap
// is published.
func TestComesBack(t *testing.T) {
	b := newBed(t)
	ns := b.namespace(t)
	name := bundle.Name("workloads", "Deny")
	spoil := map[string]func() error{
		"policy deleted": func() error {
			return b.admin.Delete(t.Context(), &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}})
		},
		"binding deleted": func() error {
			return b.admin.Delete(t.Context(), &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}})
		},
		"policy edited": func() error {
			return b.admin.Patch(t.Context(), &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}},
				client.RawPatch("application/json-patch+json", []byte(`[{"op":"replace","path":"/spec/validations/0/expression","value":"true"}]`)))
		},
		"policy unlabelled and edited": func() error {
			return b.admin.Patch(t.Context(), &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}},
				client.RawPatch("application/json-patch+json", []byte(`[{"op":"remove","path":"/metadata/labels"},{"op":"replace","path":"/spec/failurePolicy","value":"Ignore"}]`)))
		},
		"binding only warns": func() error {
			return b.admin.Patch(t.Context(), &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}},
				client.RawPatch("application/json-patch+json", []byte(`[{"op":"replace","path":"/spec/validationActions","value":["Warn"]}]`)))
		},
	}
	for what, do := range spoil {
		before := b.read(t, name)
		if err := do(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		ringfencetest.Eventually(t, what+": to be put back", func() error {
			if now := b.read(t, name); now != before {
				return fmt.Errorf("it is still %s", now)
			}
			return nil
		})
		ringfencetest.Eventually(t, what+": to refuse again", func() error {
			return ringfencetest.RefusedBy(b.admin.Create(t.Context(), privileged(pod(ns)), client.DryRunAll), "RF-WL-01")
		})
	}
	b.takenUp(t, ns)
}

// takenUp waits until the API server judges by what stands now. It refuses by what it had compiled before until it has compiled what was
// spoilt, and then lets in until it has compiled what was put back; a change that comes after both tells when that is over.
func (b *bed) takenUp(t *testing.T, guarded string) {
	t.Helper()
	open := b.namespace(t)
	if err := b.exempt(t, open); err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "a bad pod to be let into an exempt namespace", func() error {
		return b.admin.Create(t.Context(), privileged(pod(open)), client.DryRunAll)
	})
	if err := ringfencetest.RefusedBy(b.admin.Create(t.Context(), privileged(pod(guarded)), client.DryRunAll), "RF-WL-01"); err != nil {
		t.Error(err)
	}
}

// exempt makes a namespace the only one that the Platform exempts.
func (b *bed) exempt(t *testing.T, namespace string) error {
	return b.admin.Patch(t.Context(), &v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.PlatformName}},
		client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"exemptNamespaces":[%q]}}`, namespace)))
}

// read is the spec of a policy and its binding as text.
func (b *bed) read(t *testing.T, name string) string {
	t.Helper()
	var p admissionv1.ValidatingAdmissionPolicy
	var q admissionv1.ValidatingAdmissionPolicyBinding
	err := errors.Join(b.admin.Get(t.Context(), client.ObjectKey{Name: name}, &p), b.admin.Get(t.Context(), client.ObjectKey{Name: name}, &q))
	return fmt.Sprint(p.Labels, p.Spec.String(), q.Labels, q.Spec.String(), err)
}

// TestHoldsWhileDown: with Ringfence stopped, bad pods are refused, good ones run, and a new namespace is closed.
func TestHoldsWhileDown(t *testing.T) {
	b := newBed(t)
	ns := b.namespace(t)
	b.stop()
	if err := ringfencetest.RefusedBy(b.admin.Create(t.Context(), privileged(pod(ns)), client.DryRunAll), "RF-WL-01"); err != nil {
		t.Error(err)
	}
	if err := b.admin.Create(t.Context(), pod(ns)); err != nil {
		t.Errorf("a compliant pod while Ringfence is down: %v", err)
	}
	unknown := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "guardrails-new-"}}
	if err := b.admin.Create(t.Context(), unknown); err != nil {
		t.Fatal(err)
	}
	if err := b.admin.Create(t.Context(), pod(unknown.Name), client.DryRunAll); !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) {
		t.Errorf("a pod in a namespace without Guard while Ringfence is down: %v, want a refusal", err)
	}
	b.run(t, server.Config{})
	ringfencetest.Eventually(t, "the new namespace to open once Ringfence is back", func() error {
		return b.admin.Create(t.Context(), pod(unknown.Name), client.DryRunAll)
	})
}

// TestGapIsPublished: the metric names the policy whose gap was closed, also where it was deleted while Ringfence was down.
func TestGapIsPublished(t *testing.T) {
	b := newBed(t)
	b.stop()
	while := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: bundle.Name("objects", "Deny")}}
	if err := b.admin.Delete(t.Context(), while); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "rf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	b.run(t, server.Config{Socket: socket})
	metrics := func() string { return scrape(t, socket) }
	ringfencetest.Eventually(t, "the policies to be seen in place", func() error {
		if !strings.Contains(metrics(), "\nringfence_policies_in_place 1\n") {
			return errors.New("ringfence_policies_in_place is not 1")
		}
		return nil
	})
	if err := b.exempt(t, "monitoring"); err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "the bindings to exempt what the Platform says", func() error {
		var p v1alpha1.Platform
		if err := b.admin.Get(t.Context(), client.ObjectKey{Name: v1alpha1.PlatformName}, &p); err != nil {
			return err
		}
		enforced := meta.FindStatusCondition(p.Status.Conditions, bundle.ConditionEnforced)
		// The cluster's policies are the last that are written: then all are.
		if now := b.read(t, bundle.Name("cluster", "Warn")); !strings.Contains(now, "monitoring") || enforced.ObservedGeneration != p.Generation {
			return fmt.Errorf("%s %v", now, enforced)
		}
		return nil
	})
	gone := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: bundle.Name("services", "Deny")}}
	if err := b.admin.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "the gap to be counted", func() error {
		if now := metrics(); strings.Contains(now, `cause="changed"`) {
			return fmt.Errorf("a change that the Platform asked for is counted as a gap:\n%s", now)
		}
		for _, gap := range []string{"ValidatingAdmissionPolicy/ringfence-services-deny", "ValidatingAdmissionPolicyBinding/ringfence-objects-deny"} {
			want := `ringfence_policy_gaps_total{cause="missing",object="` + gap + `"} 1`
			if now := metrics(); !strings.Contains(now, want) {
				return fmt.Errorf("want %s in\n%s", want, regexp.MustCompile(`(?m)^ringfence_.*$`).FindAllString(now, -1))
			}
		}
		return nil
	})
}
