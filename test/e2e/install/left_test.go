package install

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/cluster/probe"
	"ringfence.dev/ringfence/install/setup"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/ringfencetest"
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

// TestLeft: what an installation no longer has goes with the next one. Uninstall takes nothing of a team's, whatever its labels say, and
// leaves the ledger and no other object.
func TestLeft(t *testing.T) {
	if cluster == nil {
		t.Skip(clustertest.ErrUnavailable)
	}
	fresh(t)
	b := &bed{admin: ringfencetest.Client(t, cluster.Config), dir: t.TempDir()}
	i, err := setup.Open(cluster.Config, time.Now, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	all := b.objects(t, "audit: {source: eks, tokenSecret: audit, tlsSecret: doors}\napi: {enabled: true, tlsSecret: api, clients: [10.1.2.5/32]}\n")
	if err := i.Apply(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	b.refused(t, i)
	b.strangers(t)
	b.narrows(t, i)
	code, out, stderr := ringfence(t, "uninstall", "--kubeconfig", cluster.Kubeconfig)
	if code != 0 || strings.Contains(out, "team/") || !strings.Contains(out, "ringfence-system/ringfence-verification") {
		t.Errorf("uninstall: exit %d %s\n%s, want the report of verify-cluster to go and nothing of a team", code, stderr, out)
	}
	b.waitsForPods(t)
	stays := []string{"PersistentVolumeClaim/ringfence-evidence", "Namespace/ringfence-system", "ServiceAccount/default", "ConfigMap/kube-root-ca.crt"}
	for _, args := range [][]string{{"uninstall", "--apply"}, {"uninstall", "--apply", "--delete-evidence"}} {
		if code, out, stderr := ringfence(t, append(args, "--kubeconfig", cluster.Kubeconfig)...); code != 0 {
			t.Fatalf("%v: exit %d %s\n%s", args, code, stderr, out)
		}
		ringfencetest.Eventually(t, "nothing else to be left", func() error { // what the cluster collects by itself goes a moment later
			left, err := leftovers(t, b.admin)
			left = slices.DeleteFunc(left, func(l string) bool {
				kind, meta, _ := strings.Cut(l, " ")
				name, _, _ := strings.Cut(meta, " ")
				_, name, _ = strings.Cut(name, "/")
				return strings.HasPrefix(meta, "team/") || slices.Contains(stays, kind+"/"+name)
			})
			if err == nil && len(left) > 0 {
				err = fmt.Errorf("after %v: %v", args, left)
			}
			return err
		})
		stays = nil
	}
	for _, o := range []client.Object{&appsv1.Deployment{}, &corev1.Service{}} {
		if err := b.admin.Get(t.Context(), client.ObjectKey{Namespace: "team", Name: "shop"}, o); err != nil {
			t.Errorf("%T of a team: %v, want it as it was", o, err)
		}
	}
}

// waitsForPods: nothing is removed while a pod of Ringfence runs: also one that never leads puts the webhook back.
func (b *bed) waitsForPods(t *testing.T) {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: "lingers", Labels: map[string]string{"app.kubernetes.io/name": "ringfence"}},
		Spec: ringfencetest.PodSpec("registry.bank.example/ringfence@sha256:" + strings.Repeat("1", 64))}
	if err := b.admin.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := ringfence(t, "uninstall", "--kubeconfig", cluster.Kubeconfig, "--apply", "--timeout", "20s")
	if code != 1 || !strings.Contains(stderr, "pod lingers still runs") {
		t.Errorf("uninstall beside a pod that runs: exit %d %s, want 1 and which it is", code, stderr)
	}
	if err := b.admin.Get(t.Context(), client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: "ringfence"}, &corev1.ServiceAccount{}); err != nil {
		t.Errorf("the account after that: %v, want nothing but the Deployments to be gone", err)
	}
	if err := b.admin.Delete(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
}

// objects are those of the chart.
func (b *bed) objects(t *testing.T, values string) []*unstructured.Unstructured {
	t.Helper()
	b.values = write(t, filepath.Join(b.dir, "values.yaml"), "image: {repository: registry.bank.example/ringfence, digest: \"sha256:"+strings.Repeat("1", 64)+"\"}\n"+values)
	code, out, stderr := ringfence(t, "install", "-o", "yaml", "-f", b.values)
	if code != 0 {
		t.Fatalf("install -o yaml: exit %d %s", code, stderr)
	}
	all, err := setup.Read([]byte(out))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// refused: where the API server refuses an object, the processes stay as they are.
func (b *bed) refused(t *testing.T, i *setup.Installer) {
	t.Helper()
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: "ringfence"}}
	generation := func() int64 {
		t.Helper()
		if err := b.admin.Get(t.Context(), client.ObjectKeyFromObject(d), d); err != nil {
			t.Fatal(err)
		}
		return d.Generation
	}
	was := generation()
	err := i.Apply(t.Context(), b.objects(t, "network: {apiServers: [10.1.2.3/99]}\nextraArgs: [--no-scan]\n"))
	if err == nil || !strings.Contains(err.Error(), "apply NetworkPolicy ringfence") || !strings.Contains(err.Error(), "processes are left as they are") || generation() != was {
		t.Errorf("install with an address that is none: %v, and the Deployment is of generation %d; want that it is refused and %d", err, d.Generation, was)
	}
}

// strangers makes objects that say they are part of Ringfence and are somebody else's, and the report of verify-cluster.
func (b *bed) strangers(t *testing.T) {
	t.Helper()
	at := metav1.ObjectMeta{Namespace: "team", Name: "shop", Labels: map[string]string{"app.kubernetes.io/part-of": "ringfence"}}
	hand := *at.DeepCopy()
	hand.Namespace, hand.Name = v1alpha1.SystemNamespace, "by-hand"
	pod := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "shop"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "nginx"}}}}
	port := corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}},
		&appsv1.Deployment{ObjectMeta: at, Spec: appsv1.DeploymentSpec{Replicas: new(int32), Selector: &metav1.LabelSelector{MatchLabels: pod.Labels}, Template: pod}},
		&corev1.Service{ObjectMeta: at, Spec: port}, &corev1.Service{ObjectMeta: hand, Spec: port},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: probe.ReportName}},
	} {
		if err := b.admin.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

// narrows installs with less than before: the plan says what goes, and it goes, but for the ledger's volume and what somebody else made.
func (b *bed) narrows(t *testing.T, i *setup.Installer) {
	t.Helper()
	fewer := b.objects(t, "evidence: {enabled: false}\n")
	gone := []string{"Deployment ringfence-system/ringfence-reviews", "NetworkPolicy ringfence-system/ringfence-api", "NetworkPolicy ringfence-system/ringfence-doors",
		"Service ringfence-system/ringfence-api", "Service ringfence-system/ringfence-doors"}
	if p := b.plan(t); !slices.Equal(p.told(), gone) {
		t.Errorf("the plan would remove %q, want %q", p.told(), gone)
	}
	if err := i.Apply(t.Context(), fewer); err != nil {
		t.Fatal(err)
	}
	if left, err := i.Stale(t.Context(), fewer); err != nil || len(left) > 0 {
		t.Errorf("after --apply: %v %v, want nothing that an earlier installation brought", left, err)
	}
	for _, o := range []client.Object{&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "ringfence-evidence"}}, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "by-hand"}},
		&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "ringfence"}}} {
		o.SetNamespace(v1alpha1.SystemNamespace)
		if err := b.admin.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			t.Errorf("%T %s: %v, want it to stay", o, o.GetName(), err)
		}
	}
}
