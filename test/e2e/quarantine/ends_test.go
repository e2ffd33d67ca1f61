package quarantine

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/ringfencetest"
)

// testOthers quarantines a StatefulSet and a Pod of its own.
func (b *bed) testOthers(t *testing.T) {
	ctx, team, responder := t.Context(), as(t, dave), as(t, erin)
	if err := errors.Join(team.Create(ctx, statefulSet("db")), team.Create(ctx, pod("lone"))); err != nil {
		t.Fatal(err)
	}
	b.pods(t, "db", 1)
	before := b.look(t)
	for kind, name := range map[string]string{"StatefulSet": "db", "Pod": "lone"} {
		q := wish(kind, name, time.Hour)
		if err := responder.Create(ctx, q); err != nil {
			t.Fatal(err)
		}
		q = b.await(t, q.Name, v1alpha1.QuarantineActive)
		says := "quarantined: " + kind + " " + name
		member := b.pods(t, name, 1)[0]
		tryAll(t, kind, team, []roundabout{
			{"delete its pod", func(c client.Client) error { return c.Delete(ctx, member.DeepCopy()) }, says},
			{"take the label off", func(c client.Client) error {
				return c.Patch(ctx, member.DeepCopy(), merge(`{"metadata":{"labels":{%q:null}}}`, v1alpha1.QuarantineLabel+q.Name))
			}, says},
			{"make a pod of its name", func(c client.Client) error { return c.Create(ctx, pod(member.Name)) }, says},
		})
		if kind == "StatefulSet" {
			tryAll(t, kind, team, []roundabout{
				{"scale it", func(c client.Client) error {
					return c.SubResource("scale").Patch(ctx, statefulSet(name), merge(`{"spec":{"replicas":0}}`))
				}, says},
				{"delete it", func(c client.Client) error { return c.Delete(ctx, statefulSet(name)) }, says},
			})
		}
		if err := responder.Patch(ctx, q, merge(`{"spec":{"lifted":{"by":"oidc:frank","at":"2026-11-21T10:00:00Z"}}}`)); ringfencetest.Refused(err, "in one's own name") != nil {
			t.Errorf("lifted in another's name: %v", err)
		}
		if err := responder.Patch(ctx, q, merge(`{"spec":{"lifted":{"by":%q,"at":"2026-11-21T10:00:00Z"}}}`, erin.name)); err != nil {
			t.Fatal(err)
		}
		b.await(t, q.Name, v1alpha1.QuarantineEnded)
	}
	b.same(t, before)
	if err := errors.Join(team.Delete(ctx, pod("lone")), team.Delete(ctx, statefulSet("db"))); err != nil {
		t.Errorf("after the end: %v", err)
	}
}

// testEnds: one that nobody confirms ends at its second, one that somebody confirmed does not; and what cannot be asked for.
func (b *bed) testEnds(t *testing.T) {
	ctx, responder := t.Context(), as(t, erin)
	if err := errors.Join(as(t, dave).Create(ctx, pod("short")), as(t, dave).Create(ctx, pod("kept"))); err != nil {
		t.Fatal(err)
	}
	short, kept := wish("Pod", "short", 6*time.Second), wish("Pod", "kept", 6*time.Second)
	if err := errors.Join(responder.Create(ctx, kept), responder.Create(ctx, short)); err != nil {
		t.Fatal(err)
	}
	b.await(t, short.Name, v1alpha1.QuarantineActive)
	if err := responder.Patch(ctx, kept.DeepCopy(), merge(`{"spec":{"confirmed":{"by":%q,"at":"2026-11-21T10:00:00Z"}}}`, erin.name)); err != nil {
		t.Fatal(err)
	}
	end, err := time.Parse(time.RFC3339, short.Spec.Expires)
	if err != nil {
		t.Fatal(err)
	}
	q := b.await(t, short.Name, v1alpha1.QuarantineEnded)
	if q.Status.Outcome != "expired" || q.Status.EndedAt.Time.Before(end) || q.Status.EndedAt.Sub(end) > time.Minute {
		t.Errorf("it ended at %v as %s, want expired at %v", q.Status.EndedAt, q.Status.Outcome, end)
	}
	if q := b.await(t, kept.Name, v1alpha1.QuarantineActive); q.Spec.Confirmed == nil {
		t.Errorf("the confirmation is gone: %+v", q.Spec)
	}
	if err := as(t, dave).Delete(ctx, pod("short")); err != nil {
		t.Errorf("after the end: %v", err)
	}
	if err := ringfencetest.Refused(as(t, dave).Delete(ctx, pod("kept")), "until it is lifted"); err != nil {
		t.Error(err)
	}
	if err := ringfencetest.Refused(responder.Delete(ctx, kept.DeepCopy()), ""); err != nil {
		t.Error(err)
	}
	for what, patch := range map[string]client.Patch{
		"confirmed by another":   merge(`{"spec":{"confirmed":{"by":"x","at":"2026-11-21T10:00:00Z"}}}`),
		"no longer confirmed":    merge(`{"spec":{"confirmed":null}}`),
		"of another workload":    merge(`{"spec":{"subject":{"name":"other"}}}`),
		"for another reason":     merge(`{"spec":{"reason":"none"}}`),
		"with an end of its own": merge(`{"spec":{"expires":"2027-01-31"}}`),
	} {
		if err := b.admin.Patch(ctx, kept.DeepCopy(), patch); !apierrors.IsInvalid(err) {
			t.Errorf("%s: %v, want Invalid", what, err)
		}
	}
	for what, tc := range map[string]struct {
		edit  func(*v1alpha1.Quarantine)
		words string
	}{
		"in another's name":  {func(q *v1alpha1.Quarantine) { q.Spec.Requester = dave.name }, "in one's own name"},
		"for 31 days":        {func(q *v1alpha1.Quarantine) { q.Spec.Expires = wish("Pod", "x", 31*24*time.Hour).Spec.Expires }, "at most 720 h"},
		"outside of tenants": {func(q *v1alpha1.Quarantine) { q.Namespace = "kube-system" }, "none that Ringfence guards"},
		"lifted already": {func(q *v1alpha1.Quarantine) {
			q.Spec.Lifted = &v1alpha1.QuarantineDecision{By: erin.name, At: metav1.Now()}
		}, "neither confirmed nor lifted"},
	} {
		q := wish("Pod", "x", time.Hour)
		tc.edit(q)
		if err := ringfencetest.Refused(responder.Create(ctx, q), tc.words); err != nil {
			t.Errorf("a quarantine %s: %v", what, err)
		}
	}
	if err := b.admin.Delete(ctx, kept.DeepCopy()); err != nil { // as only system:masters can; all is given back first
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "it to be gone", func() error {
		if err := b.admin.Get(ctx, client.ObjectKeyFromObject(kept), kept.DeepCopy()); !apierrors.IsNotFound(err) {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
	if p := b.pods(t, "kept", 1)[0]; p.Labels[v1alpha1.QuarantineLabel+kept.Name] != "" {
		t.Errorf("labels: %v", p.Labels)
	}
	if b.inLedger(t, `"what":"expired"`, short.Name) == 0 || b.inLedger(t, `"what":"deleted"`, kept.Name) == 0 {
		t.Error("the ledger does not tell how they ended")
	}
}

// testKilled: the freeze needs no Ringfence, and what was begun by one that was killed is finished by the next.
func (b *bed) testKilled(t *testing.T) {
	ctx, team := t.Context(), as(t, dave)
	if err := team.Create(ctx, deployment("slow")); err != nil {
		t.Fatal(err)
	}
	pods := b.pods(t, "slow", 2)
	before := b.look(t)
	b.stop()
	code, out, prose := ringfence(t, erin, "quarantine", "deploy/slow", "-n", namespace, "--reason", "because", "--ticket", "INC2", "--wait", "1s")
	if code != 3 || !strings.Contains(prose, "NOT closed yet") {
		t.Fatalf("without Ringfence: exit code %d: %s%s", code, out, prose)
	}
	name := strings.TrimPrefix(strings.TrimSpace(out), namespace+"/")
	if err := ringfencetest.Refused(team.Patch(ctx, deployment("slow"), merge(`{"spec":{"replicas":3}}`)), "quarantined: Deployment slow"); err != nil {
		t.Error(err)
	}
	if err := ringfencetest.Refused(team.Delete(ctx, pods[1].DeepCopy()), "quarantined: Deployment slow"); err != nil {
		t.Error(err)
	}
	// As if it had been killed after its first label.
	if err := b.admin.Patch(ctx, pods[0].DeepCopy(), merge(`{"metadata":{"labels":{%q:"true"}}}`, v1alpha1.QuarantineLabel+name)); err != nil {
		t.Fatal(err)
	}
	b.run(b.t)
	q := b.await(t, name, v1alpha1.QuarantineActive)
	if len(q.Status.Pods) != 2 {
		t.Errorf("pods: %v", q.Status.Pods)
	}
	ringfencetest.Eventually(t, "the evidence of it", func() error {
		if q := b.await(t, name, v1alpha1.QuarantineActive); len(q.Status.Recorded) != 1 {
			return fmt.Errorf("recorded: %v", q.Status.Recorded)
		}
		return nil
	})
	b.stop()
	if code, out, prose := ringfence(t, erin, "quarantine", "lift", name, "-n", namespace, "--wait", "1s"); code != 3 || !strings.Contains(prose, "not given back yet") {
		t.Fatalf("lift without Ringfence: exit code %d: %s%s", code, out, prose)
	}
	if err := ringfencetest.Refused(team.Patch(ctx, deployment("slow"), merge(`{"spec":{"replicas":3}}`)), "quarantined: Deployment slow"); err != nil {
		t.Errorf("lifted and not given back: %v", err)
	}
	b.run(b.t)
	b.await(t, name, v1alpha1.QuarantineEnded)
	b.same(t, before)
}

// testCilium closes the network with the other model. The kind is Cilium's, and nothing here acts on it.
func (b *bed) testCilium(t *testing.T) {
	ctx := t.Context()
	if err := as(t, dave).Create(ctx, pod("ciliate")); err != nil {
		t.Fatal(err)
	}
	installCilium(t)
	platform := &v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.PlatformName}}
	if err := b.admin.Patch(ctx, platform, merge(`{"spec":{"network":{"model":"cilium"}}}`)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.admin.Patch(b.t.Context(), platform, merge(`{"spec":{"network":{"model":null}}}`)) })
	q := wish("Pod", "ciliate", time.Hour)
	if err := as(t, erin).Create(ctx, q); err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "a Cilium policy that denies", func() error {
		q := b.await(t, q.Name, v1alpha1.QuarantineActive)
		if q.Status.Network != v1alpha1.NetworkCilium {
			return fmt.Errorf("status: %+v", q.Status)
		}
		u := unstructuredOf(schema.GroupVersionKind{Group: "cilium.io", Version: "v2", Kind: "CiliumNetworkPolicy"})
		if err := b.admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "ringfence-quarantine-" + q.Name}, u); err != nil {
			return err
		}
		spec, _ := u.Object["spec"].(map[string]any)
		if spec["ingressDeny"] == nil || spec["egressDeny"] == nil || spec["ingress"] != nil || spec["egress"] != nil {
			return fmt.Errorf("spec: %v", spec)
		}
		return nil
	})
	if err := as(t, erin).Patch(ctx, q, merge(`{"spec":{"lifted":{"by":%q,"at":"2026-11-21T10:00:00Z"}}}`, erin.name)); err != nil {
		t.Fatal(err)
	}
	b.await(t, q.Name, v1alpha1.QuarantineEnded)
	u := unstructuredOf(schema.GroupVersionKind{Group: "cilium.io", Version: "v2", Kind: "CiliumNetworkPolicy"})
	if err := b.admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "ringfence-quarantine-" + q.Name}, u); !apierrors.IsNotFound(err) {
		t.Errorf("the policy after the end: %v", err)
	}
}

// testNamespace deletes a namespace, as only system:masters can, in which a pod is in quarantine: it and its network stay as they are.
func (b *bed) testNamespace(t *testing.T) {
	ctx := t.Context()
	const ending = "payments-end"
	p, q := pod("last"), wish("Pod", "last", time.Hour)
	p.Namespace, q.Namespace = ending, ending
	ringfencetest.Eventually(t, "the pod to be made", func() error { return client.IgnoreAlreadyExists(as(t, dave).Create(ctx, p.DeepCopy())) })
	if err := as(t, erin).Create(ctx, q); err != nil {
		t.Fatal(err)
	}
	stands := func() (*v1alpha1.Quarantine, error) {
		now := &v1alpha1.Quarantine{}
		return now, b.admin.Get(ctx, client.ObjectKeyFromObject(q), now)
	}
	ringfencetest.Eventually(t, "it to be active", func() error {
		now, err := stands()
		if err == nil && now.Status.Phase != v1alpha1.QuarantineActive {
			return fmt.Errorf("status: %+v", now.Status)
		}
		return err
	})
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ending}}
	if err := b.admin.Delete(ctx, namespace); err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "the namespace controller to be refused", func() error {
		if err := b.admin.Get(ctx, client.ObjectKeyFromObject(namespace), namespace); err != nil {
			return err
		}
		for _, c := range namespace.Status.Conditions {
			if c.Type == corev1.NamespaceDeletionContentFailure && c.Status == corev1.ConditionTrue && strings.Contains(c.Message, "quarantine") {
				return nil
			}
		}
		return fmt.Errorf("conditions: %v", namespace.Status.Conditions)
	})
	now, err := stands()
	if err != nil || now.Status.Phase != v1alpha1.QuarantineActive || now.DeletionTimestamp != nil {
		t.Errorf("the quarantine: %v, %+v", err, now.Status)
	}
	closing := client.ObjectKey{Namespace: ending, Name: "ringfence-quarantine-" + q.Name}
	var there corev1.Pod
	if err := errors.Join(b.admin.Get(ctx, client.ObjectKeyFromObject(p), &there), b.admin.Get(ctx, closing, &networkingv1.NetworkPolicy{})); err != nil || there.DeletionTimestamp != nil {
		t.Errorf("pod and policy: %v, deleted at %v", err, there.DeletionTimestamp)
	}
	if err := as(t, erin).Patch(ctx, q, merge(`{"spec":{"lifted":{"by":%q,"at":"2026-11-21T10:00:00Z"}}}`, erin.name)); err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "the pod to go with its namespace", func() error {
		if err := b.admin.Get(ctx, client.ObjectKeyFromObject(p), &there); !apierrors.IsNotFound(err) {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
}
