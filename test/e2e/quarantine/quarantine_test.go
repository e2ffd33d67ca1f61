package quarantine

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/tenant"
)

// picture is what must be the same before and after, as far as tenants see it.
type picture struct {
	Specs  map[string]any
	Labels map[string]map[string]string
	Owners map[string][]metav1.OwnerReference
}

// look takes a picture of pods, of what owns them and of network policies.
func (b *bed) look(t *testing.T) picture {
	t.Helper()
	p := picture{map[string]any{}, map[string]map[string]string{}, map[string][]metav1.OwnerReference{}}
	add := func(kind string, o client.Object, spec any) {
		key := kind + "/" + o.GetName() + "/" + string(o.GetUID())
		p.Specs[key], p.Labels[key], p.Owners[key] = spec, o.GetLabels(), o.GetOwnerReferences()
	}
	var pods corev1.PodList
	var sets appsv1.ReplicaSetList
	var deployments appsv1.DeploymentList
	var stateful appsv1.StatefulSetList
	var policies networkingv1.NetworkPolicyList
	for _, list := range []client.ObjectList{&pods, &sets, &deployments, &stateful, &policies} {
		if err := b.admin.List(t.Context(), list, client.InNamespace(namespace)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range pods.Items {
		pods.Items[i].Spec.NodeName = "" // scheduling goes on
		delete(pods.Items[i].Labels, corev1.LabelTopologyZone)
		delete(pods.Items[i].Labels, corev1.LabelTopologyRegion)
		add("Pod", &pods.Items[i], pods.Items[i].Spec)
	}
	for i := range sets.Items {
		add("ReplicaSet", &sets.Items[i], sets.Items[i].Spec)
	}
	for i := range deployments.Items {
		add("Deployment", &deployments.Items[i], deployments.Items[i].Spec)
	}
	for i := range stateful.Items {
		add("StatefulSet", &stateful.Items[i], stateful.Items[i].Spec)
	}
	for i := range policies.Items {
		add("NetworkPolicy", &policies.Items[i], policies.Items[i].Spec)
	}
	return p
}

// TestQuarantine runs all on one Ringfence, for each start of it takes seconds.
func TestQuarantine(t *testing.T) {
	b := newBed(t)
	t.Run("Deployment", b.testDeployment)
	t.Run("Others", b.testOthers)
	t.Run("Ends", b.testEnds)
	t.Run("Killed", b.testKilled)
	t.Run("Cilium", b.testCilium)
	t.Run("Namespace", b.testNamespace)
}

// roundabout is what a tenant's admin could try, by what it would be; it must be a refusal in all words given.
type roundabout struct {
	what  string
	try   func(client.Client) error
	words string
}

// deploymentRoundabouts are those for Deployment api.
func (b *bed) deploymentRoundabouts(t *testing.T, q *v1alpha1.Quarantine) []roundabout {
	ctx := t.Context()
	pods := b.pods(t, "api", 2)
	in := metav1.ObjectMeta{Namespace: namespace, Name: "api"}
	set := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: metav1.GetControllerOf(&pods[0]).Name}}
	one := func() *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: pods[0].Name}}
	}
	deploy := func() *appsv1.Deployment { return &appsv1.Deployment{ObjectMeta: in} }
	key, says := v1alpha1.QuarantineLabel+q.Name, "quarantined: Deployment api is in quarantine "+q.Name+" (INC0012345, by "+erin.name
	child := func(name string, owner metav1.OwnerReference, hash string) *corev1.Pod {
		p := pod(name)
		p.OwnerReferences, p.Labels["pod-template-hash"] = []metav1.OwnerReference{owner}, hash
		return p
	}
	newSet := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "api-mine", OwnerReferences: []metav1.OwnerReference{
		{APIVersion: "apps/v1", Kind: "Deployment", Name: "api", UID: "x", Controller: new(true)}}},
		Spec: appsv1.ReplicaSetSpec{Selector: deployment("api").Spec.Selector, Template: deployment("api").Spec.Template}}
	marked := pod("marked")
	marked.Labels[key] = "true"
	return []roundabout{
		{"scale up", func(c client.Client) error { return c.Patch(ctx, deploy(), merge(`{"spec":{"replicas":3}}`)) }, says},
		{"scale to nothing", func(c client.Client) error { return c.Patch(ctx, deploy(), merge(`{"spec":{"replicas":0}}`)) }, says},
		{"kubectl scale", func(c client.Client) error {
			return c.SubResource("scale").Patch(ctx, deploy(), merge(`{"spec":{"replicas":0}}`))
		}, says},
		{"kubectl rollout restart", func(c client.Client) error {
			return c.Patch(ctx, deploy(), merge(`{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"now"}}}}}`))
		}, says},
		{"pause it", func(c client.Client) error { return c.Patch(ctx, deploy(), merge(`{"spec":{"paused":true}}`)) }, says},
		{"delete it", func(c client.Client) error { return c.Delete(ctx, deploy()) }, says},
		{"delete it and leave its pods", func(c client.Client) error {
			return c.Delete(ctx, deploy(), client.PropagationPolicy(metav1.DeletePropagationOrphan))
		}, says},
		{"delete all of its kind at once", func(c client.Client) error {
			return c.DeleteAllOf(ctx, &appsv1.Deployment{}, client.InNamespace(namespace), client.MatchingFields{"metadata.name": "api"})
		}, says},
		{"make one of its name", func(c client.Client) error { return c.Create(ctx, deployment("api")) }, says},
		{"delete a pod", func(c client.Client) error { return c.Delete(ctx, one()) }, says},
		{"delete a pod at once", func(c client.Client) error { return c.Delete(ctx, one(), client.GracePeriodSeconds(0)) }, says},
		{"delete all pods", func(c client.Client) error {
			return c.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(namespace), client.MatchingLabels{"app": "api"})
		}, says},
		{"evict a pod", func(c client.Client) error { return c.SubResource("eviction").Create(ctx, one(), &policyv1.Eviction{}) }, says},
		{"take the label off a pod", func(c client.Client) error {
			return c.Patch(ctx, one(), merge(`{"metadata":{"labels":{%q:null}}}`, key))
		}, says},
		{"relabel a pod", func(c client.Client) error {
			return c.Patch(ctx, one(), merge(`{"metadata":{"labels":{"app":"other"}}}`))
		}, says},
		{"disown a pod", func(c client.Client) error {
			return c.Patch(ctx, one(), merge(`{"metadata":{"ownerReferences":null}}`))
		}, says},
		{"change the image of a pod", func(c client.Client) error {
			return c.Patch(ctx, one(), client.RawPatch("application/strategic-merge-patch+json", []byte(`{"spec":{"containers":[{"name":"api","image":"registry.bank.example/payments/api:2"}]}}`)))
		}, says},
		{"enter a pod", func(client.Client) error { return exec(t, dave, pods[0].Name) }, says},
		{"debug a pod", func(c client.Client) error {
			return c.SubResource("ephemeralcontainers").Patch(ctx, one(), client.RawPatch("application/strategic-merge-patch+json",
				[]byte(`{"spec":{"ephemeralContainers":[{"name":"debug","image":"registry.bank.example/payments/api:1"}]}}`)))
		}, says},
		{"scale the ReplicaSet", func(c client.Client) error { return c.Patch(ctx, set.DeepCopy(), merge(`{"spec":{"replicas":0}}`)) }, says},
		{"scale the ReplicaSet by scale", func(c client.Client) error {
			return c.SubResource("scale").Patch(ctx, set.DeepCopy(), merge(`{"spec":{"replicas":0}}`))
		}, says},
		{"disown the ReplicaSet", func(c client.Client) error {
			return c.Patch(ctx, set.DeepCopy(), merge(`{"metadata":{"ownerReferences":null}}`))
		}, says},
		{"delete the ReplicaSet", func(c client.Client) error { return c.Delete(ctx, set.DeepCopy()) }, says},
		{"make a ReplicaSet for it", func(c client.Client) error { return c.Create(ctx, newSet.DeepCopy()) }, says},
		{"make a pod for its ReplicaSet", func(c client.Client) error {
			return c.Create(ctx, child("api-extra", *metav1.GetControllerOf(&pods[0]), pods[0].Labels["pod-template-hash"]))
		}, says},
		{"mark another pod", func(c client.Client) error { return c.Create(ctx, marked.DeepCopy()) }, "written by Ringfence alone"},
		{"open the network with another policy", func(c client.Client) error { return c.Create(ctx, allow("mine", metav1.LabelSelector{})) }, "DoesNotExist"},
		{"open the network with a policy there was", func(c client.Client) error {
			return c.Patch(ctx, allow("all", metav1.LabelSelector{}), merge(`{"spec":{"podSelector":{"matchExpressions":null}}}`))
		}, "DoesNotExist"},
		{"delete the policy that closes it", func(c client.Client) error {
			return c.Delete(ctx, allow("ringfence-quarantine-"+q.Name, metav1.LabelSelector{}))
		}, "written by Ringfence alone"},
		{"change the policy that closes it", func(c client.Client) error {
			return c.Patch(ctx, allow("ringfence-quarantine-"+q.Name, metav1.LabelSelector{}), merge(`{"spec":{"egress":[{}]}}`))
		}, ""},
		{"quarantine", func(c client.Client) error {
			w := wish("Pod", "x", time.Hour)
			w.Spec.Requester = dave.name
			return c.Create(ctx, w)
		}, "quarantines"},
		{"lift it", func(c client.Client) error {
			return c.Patch(ctx, q.DeepCopy(), merge(`{"spec":{"lifted":{"by":%q,"at":"2026-11-21T10:00:00Z"}}}`, dave.name))
		}, "quarantines"},
		{"end it", func(c client.Client) error {
			return c.Status().Patch(ctx, q.DeepCopy(), merge(`{"status":{"phase":"Ended"}}`))
		}, "quarantines"},
		{"delete the quarantine", func(c client.Client) error { return c.Delete(ctx, q.DeepCopy()) }, "quarantines"},
	}
}

// exec asks to enter a pod; there is no kubelet that could answer.
func exec(t *testing.T, p person, name string) error {
	config := rest.CopyConfig(cluster.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: p.name, Groups: append([]string{"system:authenticated"}, p.groups...)}
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	return c.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Name(name).SubResource("exec").Param("command", "sh").Param("stdout", "true").Do(t.Context()).Error()
}

func tryAll(t *testing.T, when string, c client.Client, all []roundabout) {
	t.Helper()
	for _, r := range all {
		if err := ringfencetest.Refused(r.try(c), r.words); err != nil {
			t.Errorf("%s, to %s: %v", when, r.what, err)
		}
	}
}

// testDeployment takes a Deployment through a quarantine with the commands, and tries to get round it with Ringfence there and gone.
func (b *bed) testDeployment(t *testing.T) {
	ctx, team := t.Context(), as(t, dave)
	for _, o := range []client.Object{deployment("api"), deployment("api-front"), allow("all", metav1.LabelSelector{}),
		allow("api", metav1.LabelSelector{MatchLabels: map[string]string{"app": "api"}}), allow("other", metav1.LabelSelector{MatchLabels: map[string]string{"app": "api-front"}})} {
		if err := team.Create(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	b.pods(t, "api", 2)
	b.pods(t, "api-front", 2)
	before := b.look(t)

	open := []string{"quarantine", "deploy/api", "-n", namespace, "--reason", "talks to an unknown host", "--ticket", "INC0012345"}
	if code, out, prose := ringfence(t, dave, open...); code != 1 || !strings.Contains(prose, "quarantines") {
		t.Fatalf("the team itself: exit code %d: %s%s", code, out, prose)
	}
	if code, out, prose := ringfence(t, erin, append(open, "--dry-run")...); code != 0 || strings.Count(out, namespace+"/api-") != 2 || !strings.Contains(prose, "dry run") {
		t.Fatalf("a dry run: exit code %d: %s%s", code, out, prose)
	}
	if diff := cmp.Diff(before, b.look(t)); diff != "" {
		t.Fatalf("the dry run changed something: %s", diff)
	}
	if code, out, prose := ringfence(t, erin, "quarantine", "deploy/none", "-n", namespace, "--reason", "because", "--ticket", "INC1"); code != 1 || !strings.Contains(prose, "no such object") {
		t.Fatalf("what is not there: exit code %d: %s%s", code, out, prose)
	}
	code, out, prose := ringfence(t, erin, open...)
	if code != 0 || !strings.Contains(prose, "network closed for 2 pods, by kubernetes policy") {
		t.Fatalf("exit code %d: %s%s", code, out, prose)
	}
	q := b.await(t, strings.TrimPrefix(strings.TrimSpace(out), namespace+"/"), v1alpha1.QuarantineActive)
	if code, out, prose := ringfence(t, erin, open...); code != 1 || !strings.Contains(prose, "in quarantine already, as "+q.Name) {
		t.Errorf("again: exit code %d: %s%s", code, out, prose)
	}
	b.closed(t, q)
	tryAll(t, "with Ringfence", team, b.deploymentRoundabouts(t, q))
	if err := team.Patch(ctx, deployment("api-front"), merge(`{"spec":{"replicas":3}}`)); err != nil {
		t.Errorf("another workload of the team is held too: %v", err)
	}
	if err := team.Patch(ctx, deployment("api-front"), merge(`{"spec":{"replicas":2}}`)); err != nil {
		t.Error(err)
	}
	b.repaired(t, q)
	b.stop()
	tryAll(t, "without Ringfence", team, b.deploymentRoundabouts(t, q))
	b.noReplacement(t)
	b.run(b.t)

	if code, out, prose := ringfence(t, erin, "quarantine", "confirm", "deploy/api", "-n", namespace); code != 0 || !strings.Contains(prose, "lasts until it is lifted") {
		t.Fatalf("confirm: exit code %d: %s%s", code, out, prose)
	}
	if code, out, prose := ringfence(t, erin, "quarantine", "lift", "deploy/api", "-n", namespace, "--reason", "false alarm"); code != 0 || !strings.Contains(prose, "are as they were") {
		t.Fatalf("lift: exit code %d: %s%s", code, out, prose)
	}
	b.pods(t, "api", 2) // the one that system:masters deleted is made again
	b.pods(t, "api-front", 2)
	b.same(t, before)
	if err := team.Patch(ctx, deployment("api"), merge(`{"spec":{"replicas":1}}`)); err != nil {
		t.Errorf("after the end the team cannot scale: %v", err)
	}
	if code, out, _ := ringfence(t, erin, "quarantine", "list", "-n", namespace); code != 0 || !strings.Contains(out, "ended (lifted)") {
		t.Errorf("list: exit code %d: %s", code, out)
	}
	b.recorded(t, q)
}

// closed checks the objects that close the network.
func (b *bed) closed(t *testing.T, q *v1alpha1.Quarantine) {
	t.Helper()
	key := v1alpha1.QuarantineLabel + q.Name
	for _, p := range b.pods(t, "api", 2) {
		if p.Labels[key] != "true" {
			t.Errorf("pod %s has labels %v", p.Name, p.Labels)
		}
	}
	var policies networkingv1.NetworkPolicyList
	if err := b.admin.List(t.Context(), &policies, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	quarantined, found := b.pods(t, "api", 2)[0].Labels, map[string]bool{}
	for _, p := range policies.Items {
		selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
		if err != nil {
			t.Fatal(err)
		}
		if found[p.Name] = selector.Matches(labelSet(quarantined)); found[p.Name] && len(p.Spec.Ingress)+len(p.Spec.Egress) > 0 {
			t.Errorf("network policy %s opens something for a quarantined pod: %+v", p.Name, p.Spec)
		}
		if p.Name == "other" && len(p.Spec.PodSelector.MatchExpressions) > 0 {
			t.Error("a policy that selects no quarantined pod was changed")
		}
	}
	if name := "ringfence-quarantine-" + q.Name; !found[name] {
		t.Errorf("no policy %s selects the pods: %v", name, found)
	}
	if _, is := found[tenant.BaselineName]; !is {
		t.Error("the baseline is gone")
	}
}

type labelSet map[string]string

// Has, Get and Lookup make it labels.Labels.
func (l labelSet) Has(k string) bool              { _, is := l[k]; return is }
func (l labelSet) Get(k string) string            { return l[k] }
func (l labelSet) Lookup(k string) (string, bool) { v, is := l[k]; return v, is }

// repaired takes away, as only system:masters can, what closes the network, and waits until it is there again.
func (b *bed) repaired(t *testing.T, q *v1alpha1.Quarantine) {
	t.Helper()
	ctx := t.Context()
	one := b.pods(t, "api", 2)[0]
	if err := b.admin.Patch(ctx, &one, merge(`{"metadata":{"labels":{%q:null}}}`, v1alpha1.QuarantineLabel+q.Name)); err != nil {
		t.Fatal(err)
	}
	closing := client.ObjectKey{Namespace: namespace, Name: "ringfence-quarantine-" + q.Name}
	if err := b.admin.Delete(ctx, &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: closing.Namespace, Name: closing.Name}}); err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "policy and label to be put back", func() error {
		var p corev1.Pod
		err := errors.Join(b.admin.Get(ctx, closing, &networkingv1.NetworkPolicy{}), b.admin.Get(ctx, client.ObjectKeyFromObject(&one), &p))
		if err == nil && p.Labels[v1alpha1.QuarantineLabel+q.Name] == "" {
			return fmt.Errorf("labels: %v", p.Labels)
		}
		return err
	})
}

// noReplacement has system:masters delete a pod: its ReplicaSet tries to make another, and is refused.
func (b *bed) noReplacement(t *testing.T) {
	t.Helper()
	gone := b.pods(t, "api", 2)[0]
	if err := b.admin.Delete(t.Context(), &gone, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "the ReplicaSet to be refused another pod", func() error {
		var events corev1.EventList
		if err := b.admin.List(t.Context(), &events, client.InNamespace(namespace)); err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.Reason == "FailedCreate" && strings.Contains(e.Message, "quarantined: Deployment api") {
				return nil
			}
		}
		return errors.New("no such event")
	})
	b.pods(t, "api", 1)
}

// same compares with an earlier picture what is there in both; a pod that was made anew is another.
func (b *bed) same(t *testing.T, before picture) {
	t.Helper()
	after := b.look(t)
	for key, spec := range after.Specs {
		if _, was := before.Specs[key]; !was && strings.HasPrefix(key, "Pod/") {
			continue
		}
		if diff := cmp.Diff(before.Specs[key], spec); diff != "" {
			t.Errorf("the spec of %s is not what it was: %s", key, diff)
		}
		if diff := cmp.Diff(before.Labels[key], after.Labels[key]); diff != "" {
			t.Errorf("the labels of %s are not what they were: %s", key, diff)
		}
		if diff := cmp.Diff(before.Owners[key], after.Owners[key]); diff != "" {
			t.Errorf("the owners of %s are not what they were: %s", key, diff)
		}
	}
}

// recorded reads what the ledger holds of a quarantine that was confirmed and lifted.
func (b *bed) recorded(t *testing.T, q *v1alpha1.Quarantine) {
	t.Helper()
	for _, step := range []string{"opened", "kept", "confirmed", "lifted"} {
		if b.inLedger(t, "quarantine.v1", `"what":"`+step+`"`, q.Name) == 0 {
			t.Errorf("the ledger does not tell that it was %s", step)
		}
	}
	if b.inLedger(t, `"kind":"ReplicaSet"`, `"kind":"Pod"`, `"reason":"SuccessfulCreate"`, image) == 0 {
		t.Error("the ledger does not hold the objects as they were, and their events")
	}
	if b.inLedger(t, secret) != 0 || b.inLedger(t, erin.name) != 0 {
		t.Error("the ledger holds a secret of the pods, or the name of a person")
	}
}
