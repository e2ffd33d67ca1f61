// Package quarantine shows on a real API server what a quarantine freezes, who can get round it, and that all is given back.
// Nothing enforces networks there: that the policies close them is the network plug-in's part, and shown nowhere here.
package quarantine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/cli"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/server"
	"ringfence.dev/ringfence/tenant"
)

const (
	namespace = "payments-dev"
	image     = "registry.bank.example/payments/api:1"
	// secret stands in the environment and the arguments of what is quarantined, and must be in no evidence.
	secret = "sesame-open-4711"
)

var cluster *clustertest.Cluster

func TestMain(m *testing.M) {
	os.Exit(clustertest.Main(m.Run, func(c *clustertest.Cluster) { cluster = c }))
}

// person is who a client speaks as.
type person struct {
	name   string
	groups []string
}

var (
	dave = person{"oidc:dave@bank.example", []string{"oidc:payments-admins"}} // of the team
	erin = person{"oidc:erin@bank.example", []string{"oidc:security"}}        // quarantines
)

func as(t *testing.T, p person) client.Client {
	t.Helper()
	return ringfencetest.As(t, cluster.Config, p.name, p.groups...)
}

// bed is a cluster in which the bank is in force, and Ringfence, which can be stopped.
type bed struct {
	t        *testing.T // whose end ends Ringfence
	admin    client.Client
	evidence string
	stop     func()
}

func newBed(t *testing.T) *bed {
	t.Helper()
	if cluster == nil {
		t.Skip(clustertest.ErrUnavailable)
	}
	admin, err := kube.NewClient(cluster.Config)
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{t: t, admin: admin, evidence: t.TempDir()}
	b.run(t)
	for _, o := range []client.Object{
		&v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.PlatformName}, Spec: v1alpha1.PlatformSpec{Registries: []v1alpha1.Registry{"registry.bank.example"}}},
		&v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "payments"}, Spec: v1alpha1.TenantSpec{
			Owner: "payments-team@bank.example", Groups: v1alpha1.TenantGroups{Admin: "payments-admins", ReadOnly: "payments-readers"},
			Environments: []v1alpha1.Environment{{Name: "dev"}, {Name: "end"}},
		}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "quarantine-responders"},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: tenant.RoleResponder},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "oidc:security"}}},
	} {
		ringfencetest.Eventually(t, "create "+o.GetName(), func() error { return client.IgnoreAlreadyExists(admin.Create(t.Context(), o)) })
	}
	ringfencetest.Eventually(t, "the rules to be in force", func() error { return ringfencetest.InForce(t.Context(), admin) })
	ringfencetest.Eventually(t, "the team to have its rights, and quarantines to be guarded", func() error {
		if err := as(t, dave).Create(t.Context(), pod("x"), client.DryRunAll); err != nil {
			return err
		}
		q := wish("Pod", "x", time.Hour)
		q.Spec.Requester = "somebody"
		return ringfencetest.Refused(as(t, erin).Create(t.Context(), q, client.DryRunAll), "in one's own name")
	})
	return b
}

// run starts Ringfence.
func (b *bed) run(t *testing.T) {
	t.Helper()
	_, b.stop = ringfencetest.Start(t, cluster.Config, server.Config{Evidence: b.evidence}, slog.LevelWarn)
}

// wish is a quarantine as erin asks for it.
func wish(kind, name string, lasts time.Duration) *v1alpha1.Quarantine {
	return &v1alpha1.Quarantine{ObjectMeta: metav1.ObjectMeta{GenerateName: strings.ToLower(kind) + "-" + name + "-", Namespace: namespace}, Spec: v1alpha1.QuarantineSpec{
		Subject: v1alpha1.QuarantineSubject{Kind: kind, Name: name}, Reason: "talks to an unknown host", Ticket: "INC0012345", Requester: erin.name,
		Expires: time.Now().Add(lasts).UTC().Format(time.RFC3339),
	}}
}

// await waits until a quarantine is in a phase.
func (b *bed) await(t *testing.T, name string, phase v1alpha1.QuarantinePhase) *v1alpha1.Quarantine {
	t.Helper()
	q := &v1alpha1.Quarantine{}
	ringfencetest.Eventually(t, name+" to be "+string(phase), func() error {
		if err := b.admin.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, q); err != nil {
			return err
		}
		if q.Status.Phase != phase {
			return fmt.Errorf("status: %+v", q.Status)
		}
		return nil
	})
	return q
}

// ringfence runs a command as somebody.
func ringfence(t *testing.T, p person, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	config, err := clientcmd.LoadFromFile(cluster.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range config.AuthInfos {
		who.Impersonate, who.ImpersonateGroups = p.name, append([]string{"system:authenticated"}, p.groups...)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	var out, prose bytes.Buffer
	code = cli.Main(t.Context(), append(args, "--kubeconfig", file), cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &prose, Now: time.Now})
	return code, out.String(), prose.String()
}

func merge(format string, args ...any) client.Patch {
	return client.RawPatch(types.MergePatchType, fmt.Appendf(nil, format, args...))
}

func template() corev1.PodSpec {
	spec := ringfencetest.PodSpec(image)
	spec.Containers[0].Args, spec.Containers[0].Env = []string{"--token=" + secret}, []corev1.EnvVar{{Name: "TOKEN", Value: secret}}
	return spec
}

func pod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{"app": name}}, Spec: template()}
}

func deployment(name string) *appsv1.Deployment {
	app, two := map[string]string{"app": name}, int32(2)
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Spec: appsv1.DeploymentSpec{Replicas: &two,
		Selector: &metav1.LabelSelector{MatchLabels: app}, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: app}, Spec: template()}}}
}

func statefulSet(name string) *appsv1.StatefulSet {
	app, one := map[string]string{"app": name}, int32(1)
	return &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Spec: appsv1.StatefulSetSpec{Replicas: &one,
		Selector: &metav1.LabelSelector{MatchLabels: app}, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: app}, Spec: template()}}}
}

// allow is a network policy of the team that lets pods of the namespace in.
func allow(name string, selector metav1.LabelSelector) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Spec: networkingv1.NetworkPolicySpec{
		PodSelector: selector, PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "front"}}}}}},
	}}
}

// pods are those with a label app, once there are so many.
func (b *bed) pods(t *testing.T, app string, n int) (all []corev1.Pod) {
	t.Helper()
	ringfencetest.Eventually(t, fmt.Sprintf("%d pods of %s", n, app), func() error {
		var list corev1.PodList
		if err := b.admin.List(t.Context(), &list, client.InNamespace(namespace), client.MatchingLabels{"app": app}); err != nil {
			return err
		}
		if all = list.Items; len(all) != n {
			return fmt.Errorf("there are %d", len(all))
		}
		return nil
	})
	return all
}

// inLedger counts the files of the ledger that hold all texts.
func (b *bed) inLedger(t *testing.T, texts ...string) (n int) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(b.evidence, "ledger"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		all := true
		for _, one := range texts {
			all = all && bytes.Contains(text, []byte(one))
		}
		if all {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func unstructuredOf(kind schema.GroupVersionKind) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(kind)
	return u
}

// installCilium installs the kind of Cilium's policies, and nothing that acts on it.
func installCilium(t *testing.T) {
	t.Helper()
	text, err := fs.ReadFile(tenant.CiliumCRD(), "ciliumnetworkpolicies.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "cilium.yaml")
	if err := errors.Join(os.WriteFile(file, text, 0o600), cluster.Install(t.Context(), file), cluster.AwaitCRD(t.Context(), "ciliumnetworkpolicies.cilium.io")); err != nil {
		t.Fatal(err)
	}
}
