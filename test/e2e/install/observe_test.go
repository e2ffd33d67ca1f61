package install

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/install/setup"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/ringfencetest"
)

const looks, guards = "observe: {enabled: true}\n", "evidence: {enabled: false}\n"

// TestObserveOnly: an installation that only looks reports what a cluster would refuse, and its account reads and can do nothing else. The full
// installation takes it away, is not given up for it, and uninstall leaves nothing of either.
func TestObserveOnly(t *testing.T) {
	if cluster == nil {
		t.Skip(clustertest.ErrUnavailable)
	}
	fresh(t)
	b := &bed{admin: ringfencetest.Client(t, cluster.Config), dir: t.TempDir(), log: &words{}, version: first}
	pod := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "shop"}},
		Spec: corev1.PodSpec{HostNetwork: true, Containers: []corev1.Container{{Name: "a", Image: "nginx"}}}}
	for _, o := range []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}},
		&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"}, Spec: appsv1.DeploymentSpec{Replicas: new(int32), Selector: &metav1.LabelSelector{MatchLabels: pod.Labels}, Template: pod}}} {
		if err := b.admin.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	b.objects(t, looks)
	code, out, stderr := b.apply(t)
	if code != 0 || !strings.Contains(out, "refuses nothing") {
		t.Fatalf("install --apply: exit %d %s\n%s, want it not to wait for a process that leads", code, stderr, out)
	}
	kubeconfig := b.kubeconfigOf(t, setup.Observer)
	b.looks(t, b.job(t, out), kubeconfig)
	b.onlyRead(t)
	b.mayOnlyRead(t, kubeconfig)
	b.guardsAfter(t)
	b.removed(t)
	b.objects(t, looks)
	if code, out, stderr := b.apply(t); code != 0 {
		t.Fatalf("install --apply once more: exit %d %s\n%s", code, stderr, out)
	}
	b.removed(t)
}

// apply is `ringfence install --apply` of the values at hand.
func (b *bed) apply(t *testing.T) (code int, stdout, stderr string) {
	t.Helper()
	return ringfence(t, "install", "--kubeconfig", cluster.Kubeconfig, "-f", b.values, "--apply")
}

// job makes a Job of the CronJob with the words of the installer, and gives the flags of its pod, which the API server let in.
func (b *bed) job(t *testing.T, told string) (args []string) {
	t.Helper()
	root, err := clustertest.Root()
	if err != nil {
		t.Fatal(err)
	}
	i := strings.Index(told, "kubectl -n ringfence-system create job")
	if i < 0 {
		t.Fatalf("the installer does not say how to look now: %s", told)
	}
	line, _, _ := strings.Cut(told[i:], "\n")
	cmd := exec.Command(filepath.Join(root, "bin", "kubectl"), strings.Fields(line)[1:]...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+cluster.Kubeconfig)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v %s", line, err, out)
	}
	ringfencetest.Eventually(t, "the pod of the Job", func() error {
		var pods corev1.PodList
		if err := b.admin.List(t.Context(), &pods, client.InNamespace(v1alpha1.SystemNamespace), client.MatchingLabels{"job-name": "look"}); err != nil || len(pods.Items) == 0 {
			return errors.Join(err, errors.New("none is there"))
		}
		spec := pods.Items[0].Spec
		if args = spec.Containers[0].Args; spec.ServiceAccountName != setup.Observer || len(spec.Volumes) != 1 || spec.Volumes[0].Projected == nil {
			t.Errorf("the pod has account %s and volumes %v, want %s and its token alone", spec.ServiceAccountName, spec.Volumes, setup.Observer)
		}
		return nil
	})
	return args
}

// looks runs what the pod would, as its account, and wants a report of what is wrong.
func (b *bed) looks(t *testing.T, args []string, kubeconfig string) {
	t.Helper()
	out, err := b.run(append(args, "--kubeconfig", kubeconfig)...)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"RF-WL-02", "(shop 1)", "from docker.io 1", "Secrets: not asked for"} {
		if !strings.Contains(out, want) {
			t.Errorf("the report lacks %s:\n%s", want, out)
		}
	}
	if strings.Contains(out, "403") {
		t.Errorf("with the rights of its account alone it could not read all:\n%s", out)
	}
}

// onlyRead: the API server saw the account get and list, nothing of it was forbidden, and each rule of its role was used, but for kinds
// that this server does not have.
func (b *bed) onlyRead(t *testing.T) {
	t.Helper()
	var role rbacv1.ClusterRole
	if err := b.admin.Get(t.Context(), client.ObjectKey{Name: setup.Observer}, &role); err != nil {
		t.Fatal(err)
	}
	used, absent := 0, 0
	ringfencetest.Eventually(t, "every rule to be used", func() error { // events come some seconds later
		var faults []error
		listed := usedIn(events.of(observer))
		used, absent = 0, 0
		for _, rule := range role.Rules {
			for _, resource := range rule.Resources {
				switch _, err := b.admin.RESTMapper().KindsFor(schema.GroupVersionResource{Group: rule.APIGroups[0], Resource: resource}); {
				case listed[strings.Join([]string{rule.APIGroups[0], resource, "list"}, " ")]:
					used++
				case err != nil:
					absent++
				default:
					faults = append(faults, fmt.Errorf("not used: list %s.%s", resource, rule.APIGroups[0]))
				}
			}
		}
		return errors.Join(faults...)
	})
	t.Logf("%d requests: %d rights used, %d of kinds that this server does not have", len(events.of(observer)), used, absent)
	if used < 15 {
		t.Errorf("%d rights were used, want those on all of Kubernetes' own kinds", used)
	}
	for _, e := range events.of(observer) {
		if !slices.Contains([]string{"get", "list", "watch"}, e.Verb) || e.ResponseStatus.Code == 403 {
			t.Errorf("%s %s was answered with %d, want reading alone, and nothing forbidden", e.Verb, e.RequestURI, e.ResponseStatus.Code)
		}
	}
}

// mayOnlyRead: the account may not change anything, nor read Secrets.
func (b *bed) mayOnlyRead(t *testing.T, kubeconfig string) {
	t.Helper()
	how, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	as := ringfencetest.Client(t, how)
	for _, namespace := range []string{"shop", v1alpha1.SystemNamespace} {
		review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}
		if err := as.Create(t.Context(), review); err != nil || len(review.Status.ResourceRules) < 5 {
			t.Fatalf("rules of the account in %s: %v %v", namespace, review.Status.ResourceRules, err)
		}
		for _, rule := range review.Status.ResourceRules {
			asks := !slices.ContainsFunc(rule.Resources, func(r string) bool { return !strings.HasPrefix(r, "selfsubject") }) // what everybody may ask of himself
			changes := slices.ContainsFunc(rule.Verbs, func(v string) bool { return !slices.Contains([]string{"get", "list", "watch"}, v) })
			if changes && !asks || slices.Contains(rule.Resources, "secrets") || slices.Contains(rule.Resources, "*") {
				t.Errorf("in %s the account may %v %v of %v", namespace, rule.Verbs, rule.Resources, rule.APIGroups)
			}
		}
	}
	shop := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"}}
	if err := b.admin.Get(t.Context(), client.ObjectKeyFromObject(shop), shop); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"create":       as.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: "x"}}),
		"update":       as.Update(t.Context(), shop.DeepCopy()),
		"delete":       as.Delete(t.Context(), shop.DeepCopy()),
		"read Secrets": as.List(t.Context(), &corev1.SecretList{}),
	} {
		if !apierrors.IsForbidden(err) {
			t.Errorf("the account tries to %s: %v, want it forbidden", what, err)
		}
	}
}

// guardsAfter installs all of Ringfence: the plan says what goes, it goes, and looking alone is refused from then on.
func (b *bed) guardsAfter(t *testing.T) {
	t.Helper()
	all := b.objects(t, guards)
	gone := []client.Object{&batchv1.CronJob{}, &rbacv1.ClusterRole{}, &rbacv1.ClusterRoleBinding{}, &corev1.ServiceAccount{}}
	want := []string{"ClusterRole /ringfence-observe", "ClusterRoleBinding /ringfence-observe", "CronJob ringfence-system/ringfence-observe",
		"NetworkPolicy ringfence-system/ringfence-observe", "ServiceAccount ringfence-system/ringfence-observe"}
	if p := b.plan(t); !slices.Equal(p.told(), want) || len(p.Obstacles) > 0 {
		t.Errorf("the plan would remove %q, first %q, want %q", p.told(), p.Obstacles, want)
	}
	i, err := setup.Open(cluster.Config, time.Now, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Apply(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	for _, o := range gone {
		key := client.ObjectKey{Name: setup.Observer}
		if _, cluster := o.(*rbacv1.ClusterRole); !cluster {
			if _, cluster := o.(*rbacv1.ClusterRoleBinding); !cluster {
				key.Namespace = v1alpha1.SystemNamespace
			}
		}
		if err := b.admin.Get(t.Context(), key, o); !apierrors.IsNotFound(err) {
			t.Errorf("%T %s after the full installation: %v, want it gone", o, setup.Observer, err)
		}
	}
	b.objects(t, looks)
	if p := b.plan(t); len(p.Obstacles) != 1 || len(p.Removed) > 0 {
		t.Errorf("the plan to only look, where Ringfence guards, has obstacles %q and would remove %v, want it refused", p.Obstacles, p.Removed)
	}
	if code, _, stderr := b.apply(t); code != 1 || !strings.Contains(stderr, "end it first: ringfence uninstall") || strings.Contains(stderr, "applied") {
		t.Errorf("install --apply to only look, where Ringfence guards: exit %d %s, want 1, why, and nothing applied", code, stderr)
	}
	if err := b.admin.Get(t.Context(), client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: setup.Account}, &appsv1.Deployment{}); err != nil {
		t.Errorf("the Deployment after that: %v, want it as it was", err)
	}
}

// planned is a plan as programs read it.
type planned struct{ setup.Plan }

// told is what it would remove.
func (p planned) told() (all []string) {
	for _, o := range p.Removed {
		all = append(all, fmt.Sprintf("%s %s/%s", o.Kind, o.Namespace, o.Name))
	}
	slices.Sort(all)
	return all
}

func (b *bed) plan(t *testing.T) (p planned) {
	t.Helper()
	code, out, stderr := ringfence(t, "install", "--kubeconfig", cluster.Kubeconfig, "-f", b.values, "-o", "json")
	if err := json.Unmarshal([]byte(out), &p.Plan); err != nil || code != 0 {
		t.Fatalf("install -o json: exit %d %v %s", code, err, stderr)
	}
	return p
}

// removed uninstalls, and wants nothing to be left.
func (b *bed) removed(t *testing.T) {
	t.Helper()
	if code, out, stderr := ringfence(t, "uninstall", "--kubeconfig", cluster.Kubeconfig, "--apply"); code != 0 {
		t.Fatalf("uninstall --apply: exit %d %s\n%s", code, stderr, out)
	}
	ringfencetest.Eventually(t, "nothing to be left", func() error { // what the cluster collects by itself goes a moment later
		left, err := leftovers(t, b.admin)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("left: %v", left)
		}
		return err
	})
}
