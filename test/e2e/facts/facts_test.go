// Package facts holds the ground that the house stands on: what the design says of the API server, tried on a real one.
// A new Kubernetes that changes one of them breaks a test here before it breaks a bank.
package facts

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/install"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/kube"
)

var cluster *clustertest.Cluster

func TestMain(m *testing.M) {
	os.Exit(clustertest.Main(m.Run, func(c *clustertest.Cluster) { cluster = c }, "--nodes", "0", "--no-scheduler"))
}

// lab is a client and a fresh namespace.
type lab struct {
	client.Client
	ns string
}

func newLab(t *testing.T) *lab {
	t.Helper()
	if cluster == nil {
		t.Skip(clustertest.ErrUnavailable)
	}
	c, err := kube.NewClient(cluster.Config)
	if err != nil {
		t.Fatal(err)
	}
	if err := install.CRDs(t.Context(), c, v1alpha1.CRDs()); err != nil {
		t.Fatal(err)
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "facts-"}}
	if err := c.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	return &lab{c, ns.Name}
}

// policy binds a policy of one validation over ConfigMaps (and, if asked, cluster-scoped PersistentVolumes) to the
// lab's namespace, and removes it at the end.
func (l *lab) policy(t *testing.T, name, expression string, change func(*registrationv1.ValidatingAdmissionPolicy, *registrationv1.ValidatingAdmissionPolicyBinding)) {
	t.Helper()
	name = l.ns + "-" + name
	p := &registrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: registrationv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: &registrationv1.MatchResources{ResourceRules: []registrationv1.NamedRuleWithOperations{{RuleWithOperations: registrationv1.RuleWithOperations{
			Operations: []registrationv1.OperationType{registrationv1.Create, registrationv1.Update},
			Rule:       registrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
		}}}},
		Validations: []registrationv1.Validation{{Expression: expression, Message: "refused by " + name}},
	}}
	b := &registrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: registrationv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: name, ValidationActions: []registrationv1.ValidationAction{registrationv1.Deny},
		MatchResources: &registrationv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": l.ns}}},
	}}
	if change != nil {
		change(p, b)
	}
	if err := errors.Join(l.Create(t.Context(), p), l.Create(t.Context(), b)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = l.Delete(context.Background(), b)
		_ = l.Delete(context.Background(), p)
	})
}

func (l *lab) configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: l.ns}}
}

// eventually asks until the answer is as wanted; a policy takes effect up to a second after it was written.
func eventually(t *testing.T, what string, ask func() error, want func(error) bool) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, 4*time.Minute, true, func(context.Context) (bool, error) {
		last = ask()
		return want(last), nil
	})
	if err != nil {
		t.Fatalf("%s: the last answer was %v", what, last)
	}
}

func says(text string) func(error) bool {
	return func(err error) bool { return err != nil && strings.Contains(err.Error(), text) }
}

func withGuard(p *registrationv1.ValidatingAdmissionPolicy, b *registrationv1.ValidatingAdmissionPolicyBinding) {
	deny := registrationv1.DenyAction
	p.Spec.ParamKind = &registrationv1.ParamKind{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Guard"}
	b.Spec.ParamRef = &registrationv1.ParamRef{Name: v1alpha1.GuardName, ParameterNotFoundAction: &deny}
}

func (l *lab) guard(t *testing.T, spec v1alpha1.GuardSpec) {
	t.Helper()
	if err := l.Create(t.Context(), &v1alpha1.Guard{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.GuardName, Namespace: l.ns}, Spec: spec}); err != nil {
		t.Fatal(err)
	}
}

// At validation of a CREATE the server has stamped creationTimestamp; what the client sent is gone.
func TestCreationTimestampIsTheServers(t *testing.T) {
	l := newLab(t)
	l.policy(t, "clock", "object.metadata.name == 'probe' ? false : timestamp(object.metadata.creationTimestamp) > timestamp('2020-01-01T00:00:00Z')", nil)
	eventually(t, "the policy to be in force", func() error { return l.Create(t.Context(), l.configMap("probe"), client.DryRunAll) }, says("refused by"))
	forged := l.configMap("forged")
	forged.CreationTimestamp = metav1.NewTime(time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC))
	if err := l.Create(t.Context(), forged); err != nil {
		t.Errorf("a forged creationTimestamp reached the policy: %v", err)
	}
}

// paramRef without namespace reads the Guard of the object's namespace; where there is none, Deny refuses.
func TestParameterOfTheNamespace(t *testing.T) {
	l := newLab(t)
	l.policy(t, "param", "params.spec.?tenant.orValue('') == 'payments'", withGuard)
	create := func() error { return l.Create(t.Context(), l.configMap("a"), client.DryRunAll) }
	eventually(t, "no Guard: refused", create, says("no params found"))
	l.guard(t, v1alpha1.GuardSpec{Tenant: "payments"})
	eventually(t, "its Guard: let in", create, func(err error) bool { return err == nil })
}

// A namespaced parameter refuses every cluster-scoped object that the policy matches.
func TestNamespacedParameterRefusesClusterScoped(t *testing.T) {
	l := newLab(t)
	l.guard(t, v1alpha1.GuardSpec{})
	l.policy(t, "scope", "true", func(p *registrationv1.ValidatingAdmissionPolicy, b *registrationv1.ValidatingAdmissionPolicyBinding) {
		withGuard(p, b)
		p.Spec.MatchConstraints.ResourceRules[0].Resources = []string{"persistentvolumes"}
		p.Spec.MatchConstraints.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"facts": l.ns}}
		b.Spec.MatchResources = nil
	})
	pv := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "PersistentVolume",
		"metadata": map[string]any{"name": l.ns, "labels": map[string]any{"facts": l.ns}},
		"spec":     map[string]any{"capacity": map[string]any{"storage": "1Gi"}, "accessModes": []any{"ReadWriteOnce"}, "csi": map[string]any{"driver": "d", "volumeHandle": "h"}}}}
	eventually(t, "refused", func() error { return l.Create(t.Context(), pv.DeepCopy(), client.DryRunAll) }, says("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"))
}

// Policies do not guard admissionregistration objects: only reconciling does.
func TestPoliciesDoNotGuardPolicies(t *testing.T) {
	l := newLab(t)
	l.policy(t, "self", "false", func(p *registrationv1.ValidatingAdmissionPolicy, b *registrationv1.ValidatingAdmissionPolicyBinding) {
		rule := &p.Spec.MatchConstraints.ResourceRules[0]
		rule.APIGroups, rule.Resources = []string{"", "admissionregistration.k8s.io"}, []string{"configmaps", "validatingadmissionpolicies"}
		p.Spec.MatchConstraints.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"facts": l.ns}}
		b.Spec.MatchResources = nil
	})
	probe := l.configMap("probe")
	probe.Labels = map[string]string{"facts": l.ns}
	eventually(t, "the policy to be in force", func() error { return l.Create(t.Context(), probe.DeepCopy(), client.DryRunAll) }, says("refused by"))
	other := &registrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: l.ns + "-other", Labels: map[string]string{"facts": l.ns}},
		Spec: registrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &registrationv1.MatchResources{ResourceRules: []registrationv1.NamedRuleWithOperations{{RuleWithOperations: registrationv1.RuleWithOperations{
				Operations: []registrationv1.OperationType{registrationv1.Create},
				Rule:       registrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}}}},
			Validations: []registrationv1.Validation{{Expression: "true"}},
		}}
	if err := l.Create(t.Context(), other, client.DryRunAll); err != nil {
		t.Errorf("a policy refused a policy: %v; then policies can guard themselves, and ADR 2 can say so", err)
	}
}

// Pod Security runs before native policies and ends the chain: its text hides our ids.
func TestPodSecurityHidesPolicies(t *testing.T) {
	l := newLab(t)
	l.policy(t, "pods", "false", func(p *registrationv1.ValidatingAdmissionPolicy, _ *registrationv1.ValidatingAdmissionPolicyBinding) {
		p.Spec.MatchConstraints.ResourceRules[0].Resources = []string{"pods"}
	})
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: l.ns}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	create := func() error { return l.Create(t.Context(), pod.DeepCopy(), client.DryRunAll) }
	eventually(t, "the policy refuses", create, says("refused by"))
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: l.ns}}
	enforce := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`))
	if err := l.Patch(t.Context(), ns, enforce); err != nil {
		t.Fatal(err)
	}
	eventually(t, "Pod Security refuses alone", create, func(err error) bool {
		return says("violates PodSecurity")(err) && !says("refused by")(err)
	})
}

// An explicit hostNetwork: false does not come back, so a rule must read absence as false.
func TestExplicitFalseVanishes(t *testing.T) {
	l := newLab(t)
	pod := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "p", "namespace": l.ns},
		"spec": map[string]any{"hostNetwork": false, "containers": []any{map[string]any{"name": "c", "image": "i"}}}}}
	eventually(t, "the pod to be let in", func() error { return l.Create(t.Context(), pod, client.DryRunAll) }, func(err error) bool { return err == nil })
	if _, there, _ := unstructured.NestedBool(pod.Object, "spec", "hostNetwork"); there {
		t.Error("hostNetwork: false came back; the parity tests no longer need to allow for its absence")
	}
}

// A null among labels is an empty value, not none: package manifest reads it so.
func TestNullLabelIsEmpty(t *testing.T) {
	l := newLab(t)
	null := func() map[string]any { return map[string]any{"bank.example/a": nil} }
	pod := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "p", "namespace": l.ns, "labels": null(), "annotations": null()},
		"spec": map[string]any{"nodeSelector": null(), "securityContext": nil, "containers": []any{map[string]any{"name": "c", "image": "i"}}},
	}}
	eventually(t, "the pod to be let in", func() error { return l.Create(t.Context(), pod, client.DryRunAll) }, func(err error) bool { return err == nil })
	for _, field := range [][]string{{"metadata", "labels"}, {"metadata", "annotations"}, {"spec", "nodeSelector"}} {
		labels, _, _ := unstructured.NestedStringMap(pod.Object, field...)
		if value, there := labels["bank.example/a"]; !there || value != "" {
			t.Errorf("%v is %v; manifest no longer needs to tell a null of it from absence", field, labels)
		}
	}
}

// Ten destinations looked up in a list of 10,000 networks exceed the cost budget where a map of as many names answers at
// once.
func TestListsCostAndMapsDoNot(t *testing.T) {
	l := newLab(t)
	spec := v1alpha1.GuardSpec{Egress: map[string]string{}}
	for i := range 10_000 {
		spec.Egress[fmt.Sprintf("host-%05d.bank.example:443", i)] = ""
		spec.EgressCIDRs = append(spec.EgressCIDRs, v1alpha1.EgressCIDR{CIDR: v1alpha1.CIDR(fmt.Sprintf("10.%d.%d.0/24", i>>8, i&255)), Port: 443})
	}
	l.guard(t, spec)
	l.policy(t, "map", "'host-09999.bank.example:443' in params.spec.egress && object.metadata.name != 'probe'", withGuard)
	eventually(t, "the map to be in force", func() error { return l.Create(t.Context(), l.configMap("probe"), client.DryRunAll) }, says("refused by"))
	if err := l.Create(t.Context(), l.configMap("a"), client.DryRunAll); err != nil {
		t.Errorf("a map of 10,000 names: %v", err)
	}
	l.policy(t, "list", "!['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'].exists(n, params.spec.egressCIDRs.exists(e, cidr(e.cidr).containsCIDR('192.0.2.' + n + '/32')))", withGuard)
	eventually(t, "the list to exceed the budget", func() error { return l.Create(t.Context(), l.configMap("a"), client.DryRunAll) }, says("cost"))
}

// A native refusal never reaches a webhook: only the audit stream shows it.
func TestWebhooksDoNotSeeNativeRefusals(t *testing.T) {
	l := newLab(t)
	var asked atomic.Int64
	hook := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		var review admissionv1.AdmissionReview
		body, _ := io.ReadAll(r.Body)
		_ = json.Unmarshal(body, &review)
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(hook.Close)
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.TLS.Certificates[0].Certificate[0]})
	none, fail := registrationv1.SideEffectClassNone, registrationv1.Fail
	config := &registrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: l.ns}, Webhooks: []registrationv1.ValidatingWebhook{{
		Name: "facts.ringfence.dev", SideEffects: &none, FailurePolicy: &fail, AdmissionReviewVersions: []string{"v1"},
		ClientConfig:      registrationv1.WebhookClientConfig{URL: &hook.URL, CABundle: certificate},
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": l.ns}},
		Rules: []registrationv1.RuleWithOperations{{Operations: []registrationv1.OperationType{registrationv1.Create},
			Rule: registrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}}}},
	}}}
	if err := l.Create(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Delete(context.Background(), config) })
	l.policy(t, "first", "object.metadata.name != 'bad'", nil)
	eventually(t, "the policy to be in force", func() error { return l.Create(t.Context(), l.configMap("bad"), client.DryRunAll) }, says("refused by"))
	eventually(t, "the webhook to be asked", func() error {
		if err := l.Create(t.Context(), l.configMap("good"), client.DryRunAll); err != nil {
			return err
		}
		if asked.Load() == 0 {
			return errors.New("not asked yet")
		}
		return nil
	}, func(err error) bool { return err == nil })
	before := asked.Load()
	if err := l.Create(t.Context(), l.configMap("bad"), client.DryRunAll); !apierrors.IsInvalid(err) {
		t.Fatalf("the bad object: %v, want it refused", err)
	}
	if got := asked.Load() - before; got != 0 {
		t.Errorf("the webhook was asked %d times about what a policy refused", got)
	}
}
