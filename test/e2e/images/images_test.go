package images

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/server"
	"ringfence.dev/ringfence/tenant"
)

// TestImages takes digests through their life, on one cluster.
func TestImages(t *testing.T) {
	b := open(t)
	now := time.Now()
	later := now.Add(24 * time.Hour)
	b.facts = map[string]fact{
		digest('a'): {scanned: later, clean: never},
		digest('b'): {scanned: later, note: "CVE-2021-44228 of severity 5"},
		digest('c'): young(now),
		digest('d'): {scanned: now.Add(-24 * time.Hour), clean: never}, // scanned 31 days ago
		digest('e'): {scanned: later, clean: never},                    // and soon no more
	}
	b.write(t)
	stop := b.run(t)
	b.onboard(t)
	t.Run("what is known decides", b.decides)
	t.Run("other spellings", b.spellings)
	t.Run("a tenant writes no Guard", b.writesNoGuard)
	t.Run("a change reaches the Guards", b.changes)
	t.Run("signatures", b.signatures)
	for name, reference := range map[string]string{"stays": at('a'), "lost": at('e')} {
		b.deploy(t, name, reference)
	}
	t.Run("what ran and is refused", b.refusedLater)
	until := b.soon(t)
	stop()
	t.Run("Ringfence is stopped: the end of a scan", func(t *testing.T) { b.ends(t, until) })
	t.Run("Ringfence is stopped: a node is drained", b.drained)
	t.Run("the facts are gone", b.gone)
}

// young is the fact that follows of a report with a vulnerability of severity 4 that was published 20 days ago.
func young(now time.Time) fact {
	v := image.Vulnerability{ID: "CVE-2026-1234", Package: "libssl3", Severity: 4, Published: now.AddDate(0, 0, -20), PublishedBy: "osv"}
	f := image.Facts{Digests: []string{digest('c')}, Scans: []image.Scan{{Scanner: "trivy", At: now, Vulnerabilities: []image.Vulnerability{v}}}}
	a := image.Judge(f, tenant.ImageRule(nil), nil, now).Admits(digest('c'))
	return fact{scanned: a.ScannedUntil, clean: a.CleanUntil, warn: a.Warn}
}

// decides: every way in is judged, and the words name what was found.
func (b *bed) decides(t *testing.T) {
	ctx := t.Context()
	for _, tc := range []struct{ image, refused, says string }{
		{at('a'), "", ""},
		{repository + ":1.4@" + digest('a'), "", ""},
		{"registry.bank.example/other/name@" + digest('a'), "", ""}, // a digest is the same in every registry
		{at('c'), "", "refused from " + b.facts[digest('c')].clean.Add(time.Second).UTC().Format(time.RFC3339) + ": CVE-2026-1234"},
		{at('f'), scanID, "no scan of "},
		{at('d'), scanID, "scan counted until "},
		{at('b'), vulnerabilityID, "CVE-2021-44228 of severity 5"},
		{repository + ":1.4", scanID, "no scan of "},
	} {
		for _, o := range []client.Object{pod("x", tc.image), deployment("x", tc.image, 1)} {
			b.warned()
			err := b.team.Create(ctx, o, client.DryRunAll)
			warned := b.warned()
			switch {
			case tc.refused == "" && err != nil:
				t.Errorf("%T of %s: %v", o, tc.image, err)
			case tc.refused != "" && (ringfencetest.RefusedBy(err, tc.refused) != nil || !strings.Contains(err.Error(), tc.says)):
				t.Errorf("%T of %s: %v; want a refusal by %s with %q", o, tc.image, err, tc.refused, tc.says)
			case tc.refused == "" && tc.says != "" && !(strings.Contains(warned, soonID) && strings.Contains(warned, tc.says)):
				t.Errorf("%T of %s: warned %q, want %s with %q", o, tc.image, warned, soonID, tc.says)
			}
		}
	}
	inside := pod("x", at('a'))
	inside.Spec.InitContainers = []corev1.Container{*inside.Spec.Containers[0].DeepCopy()}
	inside.Spec.InitContainers[0].Name, inside.Spec.InitContainers[0].Image = "init", at('f')
	if err := ringfencetest.RefusedBy(b.team.Create(ctx, inside, client.DryRunAll), scanID); err != nil {
		t.Errorf("an init container: %v", err)
	}
	volume := pod("x", at('a'))
	volume.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: at('f')}}}}
	if err := ringfencetest.RefusedBy(b.team.Create(ctx, volume, client.DryRunAll), scanID); err != nil {
		t.Errorf("an image volume: %v", err)
	}
}

// spellings: a digest that is written otherwise, or beside another, is none that was scanned.
func (b *bed) spellings(t *testing.T) {
	for _, image := range []string{
		repository + "@sha256:" + strings.Repeat("A", 64),
		repository + "@SHA256:" + strings.Repeat("a", 64),
		at('a') + "@" + digest('f'), at('f') + "@" + digest('a'),
		at('a') + ":1", at('a') + " ", repository + "@" + digest('a')[:70], repository + "@" + digest('a') + "a",
		repository + ":sha256-" + strings.Repeat("a", 64), digest('a'), "@" + digest('a'), strings.Repeat("a", 64),
		"nginx@" + digest('f'), "nginx", "docker.io/library/nginx@" + digest('f'),
	} {
		err := b.team.Create(t.Context(), pod("x", image), client.DryRunAll)
		if err == nil || ringfencetest.RefusedBy(err, scanID) != nil && ringfencetest.RefusedBy(err, "RF-IM-01") != nil && !apierrors.IsInvalid(err) {
			t.Errorf("%q: %v, want a refusal", image, err)
		}
	}
	if err := b.team.Create(t.Context(), pod("x", "nginx@"+digest('a')), client.DryRunAll); err != nil {
		t.Errorf("the short name of a digest that was scanned: %v", err)
	}
}

func (b *bed) writesNoGuard(t *testing.T) {
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"images":{"admitted":{%q:{"scannedUntil":"2099-01-01T00:00:00Z","cleanUntil":"2099-01-01T00:00:00Z"}}}}}`, digest('f')))
	for what, c := range map[string]client.Client{"the team": b.team} {
		if err := c.Patch(t.Context(), &v1alpha1.Guard{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: v1alpha1.GuardName}}, patch); !apierrors.IsForbidden(err) {
			t.Errorf("%s writes the Guard: %v", what, err)
		}
	}
}

// changes measures how long a new fact takes into the Guard; the bar is two seconds.
func (b *bed) changes(t *testing.T) {
	b.facts[digest('9')] = fact{scanned: time.Now().Add(time.Hour), clean: never}
	start := time.Now()
	b.write(t)
	ringfencetest.Eventually(t, "the new digest in the Guard", func() error {
		if _, named := b.guard(t, digest('9')); !named {
			return fmt.Errorf("it is not named")
		}
		return nil
	})
	t.Logf("it took %v", time.Since(start).Round(10*time.Millisecond))
	ringfencetest.Eventually(t, "the new digest to be let in", func() error { return b.team.Create(t.Context(), pod("x", at('9')), client.DryRunAll) })
}

// deploy creates a Deployment of two and waits until its Pods run and the Guard knows that they do.
func (b *bed) deploy(t *testing.T, name, image string) {
	t.Helper()
	ringfencetest.Eventually(t, "create "+name, func() error {
		return client.IgnoreAlreadyExists(b.team.Create(t.Context(), deployment(name, image, 2)))
	})
	b.ready(t, name)
	ringfencetest.Eventually(t, "the Guard to know that "+name+" runs", func() error {
		if of, _ := b.guard(t, image[strings.Index(image, "@")+1:]); of.RunsUntil == "" {
			return fmt.Errorf("it says %+v", of)
		}
		return nil
	})
}

func (b *bed) ready(t *testing.T, name string) {
	t.Helper()
	ringfencetest.Eventually(t, name+" to be ready", func() error {
		var d appsv1.Deployment
		if err := b.admin.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &d); err != nil {
			return err
		}
		if d.Status.ReadyReplicas != 2 || d.Status.ObservedGeneration != d.Generation {
			return fmt.Errorf("status: %+v", d.Status)
		}
		return nil
	})
}

// evict has every Pod of a Deployment made anew.
func (b *bed) evict(t *testing.T, name string) {
	t.Helper()
	var pods corev1.PodList
	if err := b.admin.List(t.Context(), &pods, client.InNamespace(namespace), client.MatchingLabels{"app": name}); err != nil || len(pods.Items) == 0 {
		t.Fatalf("list the pods of %s: %d, %v", name, len(pods.Items), err)
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		if err := b.admin.SubResource("eviction").Create(t.Context(), p, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: p.Name}}); client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
	}
	ringfencetest.Eventually(t, "the pods of "+name+" to be others", func() error {
		var now corev1.PodList
		if err := b.admin.List(t.Context(), &now, client.InNamespace(namespace), client.MatchingLabels{"app": name}); err != nil {
			return err
		}
		fresh := 0
		for _, p := range now.Items {
			old := p.DeletionTimestamp != nil
			for _, was := range pods.Items {
				old = old || was.UID == p.UID
			}
			if !old {
				fresh++
			}
		}
		if fresh != len(pods.Items) {
			return fmt.Errorf("%d of %d are", fresh, len(pods.Items))
		}
		return nil
	})
	b.ready(t, name)
}

// refusedLater: the digest of what runs is refused from now on. Its Pods come back, and nobody starts anything new of it.
func (b *bed) refusedLater(t *testing.T) {
	b.facts[digest('e')] = fact{scanned: time.Now().Add(time.Hour), note: "CVE-2026-9999, known to be exploited"}
	b.write(t)
	ringfencetest.Eventually(t, "the digest to be refused", func() error {
		return ringfencetest.RefusedBy(b.team.Create(t.Context(), deployment("new", at('e'), 1), client.DryRunAll), vulnerabilityID)
	})
	of, _ := b.guard(t, digest('e'))
	end, err := time.Parse(time.RFC3339, string(of.RunsUntil))
	if left := time.Until(end); err != nil || left < 167*time.Hour || left > 168*time.Hour {
		t.Errorf("its pods may be made again until %q, want a week from now", of.RunsUntil)
	}
	if err := ringfencetest.RefusedBy(b.team.Create(t.Context(), pod("new", at('e')), client.DryRunAll), vulnerabilityID); err != nil {
		t.Errorf("a Pod that a person makes: %v", err)
	}
	b.evict(t, "lost")
}

// soon has a digest run whose scan ends in a moment.
func (b *bed) soon(t *testing.T) time.Time {
	t.Helper()
	until := time.Now().Add(40 * time.Second).Truncate(time.Second)
	b.facts[digest('7')] = fact{scanned: until, clean: never}
	b.write(t)
	b.deploy(t, "soon", at('7'))
	if time.Now().After(until) {
		t.Fatal("the machine is too slow: the scan has ended before its Deployment was ready")
	}
	return until
}

// ends: with Ringfence stopped the scan ends to the second, at CREATE and at UPDATE, for what is new.
func (b *bed) ends(t *testing.T, until time.Time) {
	ctx := t.Context()
	for time.Now().Before(until.Add(2 * time.Second)) {
		p := pod("x", at('7'))
		sent := time.Now()
		err := b.team.Create(ctx, p, client.DryRunAll)
		switch {
		case err == nil && p.CreationTimestamp.After(until):
			t.Fatalf("let in at %v, and the scan counts until %v", p.CreationTimestamp, until)
		case err != nil && time.Now().Before(until):
			t.Fatalf("refused at %v, and the scan counts until %v: %v", sent, until, err)
		case err != nil && ringfencetest.RefusedBy(err, scanID) != nil:
			t.Fatal(err)
		}
	}
	if err := ringfencetest.RefusedBy(b.team.Create(ctx, pod("x", at('7')), client.DryRunAll), scanID); err != nil {
		t.Errorf("CREATE after the end: %v", err)
	}
	image := client.RawPatch(types.JSONPatchType, fmt.Appendf(nil, `[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":%q}]`, at('7')))
	if err := ringfencetest.RefusedBy(b.team.Patch(ctx, deployment("stays", "", 2), image, client.DryRunAll), scanID); err != nil {
		t.Errorf("UPDATE of a Deployment to it: %v", err)
	}
	for what, fields := range map[string][]metav1.ManagedFieldsEntry{
		"no managed fields": {{}},
		"old ones": {{Manager: "m", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "apps/v1", FieldsType: "FieldsV1",
			Time: &metav1.Time{Time: until.Add(-time.Hour)}, FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:replicas":{}}}`)}},
	} {
		var d appsv1.Deployment
		if err := b.team.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "stays"}, &d); err != nil {
			t.Fatal(err)
		}
		d.ManagedFields, d.Spec.Template.Spec.Containers[0].Image = fields, at('7')
		if err := ringfencetest.RefusedBy(b.team.Update(ctx, &d, client.DryRunAll), scanID); err != nil {
			t.Errorf("UPDATE with %s: %v", what, err)
		}
	}
	b.debug(t)
	scale := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":3}}`))
	if err := b.team.Patch(ctx, deployment("soon", "", 2), scale, client.DryRunAll); err != nil {
		t.Errorf("what runs cannot be scaled any more: %v", err)
	}
	b.evict(t, "soon")
}

// debug adds an ephemeral container of the digest whose scan has ended to a Pod of another.
func (b *bed) debug(t *testing.T) {
	var pods corev1.PodList
	if err := b.admin.List(t.Context(), &pods, client.InNamespace(namespace), client.MatchingLabels{"app": "stays"}); err != nil || len(pods.Items) == 0 {
		t.Fatalf("list pods: %d, %v", len(pods.Items), err)
	}
	for image, refused := range map[string]bool{at('7'): true, at('f'): true, at('9'): false} {
		p := pods.Items[0].DeepCopy()
		c := spec(image).Containers[0]
		c.Resources = corev1.ResourceRequirements{}
		p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
			Name: "debug", Image: image, SecurityContext: c.SecurityContext}}}
		err := b.admin.SubResource("ephemeralcontainers").Update(t.Context(), p, client.DryRunAll)
		if is := err != nil && strings.Contains(err.Error(), scanID); is != refused {
			t.Errorf("an ephemeral container of %s: %v, refused %v", image, err, refused)
		}
	}
}

// drained: with Ringfence stopped a node is drained. Every Pod comes back elsewhere, and a new digest is refused.
func (b *bed) drained(t *testing.T) {
	ctx := t.Context()
	var pods corev1.PodList
	if err := b.admin.List(ctx, &pods, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	nodes := map[string]int{}
	for _, p := range pods.Items {
		nodes[p.Spec.NodeName]++
	}
	if len(pods.Items) < 6 || nodes[""] > 0 {
		t.Fatalf("%d pods on %v, want two of each of three", len(pods.Items), nodes)
	}
	cordon := func(name string, is bool) {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if err := b.admin.Patch(ctx, node, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"unschedulable":%v}}`, is))); err != nil {
			t.Fatal(err)
		}
	}
	for node := range nodes { // each node in turn, so that every pod moves
		cordon(node, true)
		on := client.MatchingFields{"spec.nodeName": node}
		if err := b.admin.List(ctx, &pods, client.InNamespace(namespace), on); err != nil {
			t.Fatal(err)
		}
		for i := range pods.Items {
			p := &pods.Items[i]
			err := b.admin.SubResource("eviction").Create(ctx, p, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: p.Name}})
			if client.IgnoreNotFound(err) != nil {
				t.Fatal(err)
			}
		}
		ringfencetest.Eventually(t, "the pods of "+node+" elsewhere", func() error {
			var left corev1.PodList
			if err := b.admin.List(ctx, &left, client.InNamespace(namespace), on); err != nil || len(left.Items) > 0 {
				return fmt.Errorf("%d are left: %v", len(left.Items), err)
			}
			return nil
		})
		for _, name := range []string{"stays", "lost", "soon"} {
			b.ready(t, name)
		}
		for _, image := range []string{at('f'), at('e'), at('7')} {
			if err := b.team.Create(ctx, pod("new", image), client.DryRunAll); !apierrors.IsForbidden(err) {
				t.Errorf("a new Pod of %s: %v", image, err)
			}
		}
		cordon(node, false)
	}
}

// gone: the file is gone when Ringfence starts again. What the Guards know holds on, and the Platform says so.
func (b *bed) gone(t *testing.T) {
	if err := os.Remove(filepath.Join(b.dir, "facts.json")); err != nil {
		t.Fatal(err)
	}
	b.run(t)
	holds := func(reason string) {
		t.Helper()
		ringfencetest.Eventually(t, "the Platform to say so", func() error {
			if is := b.condition(t, server.ConditionImageFacts); is == nil || is.Reason != reason || reason != "Read" && is.Status != metav1.ConditionFalse {
				return fmt.Errorf("condition: %v", is)
			}
			return nil
		})
		if err := b.team.Create(t.Context(), pod("x", at('a')), client.DryRunAll); err != nil {
			t.Errorf("%s: what was scanned: %v", reason, err)
		}
		if err := ringfencetest.RefusedBy(b.team.Create(t.Context(), pod("x", at('f')), client.DryRunAll), scanID); err != nil {
			t.Errorf("%s: what was not: %v", reason, err)
		}
		for _, d := range []rune{'a', 'e', '7'} {
			if of, _ := b.guard(t, digest(d)); of.RunsUntil == "" {
				t.Errorf("%s: the Guard forgot that %c runs: %+v", reason, d, of)
			}
		}
	}
	holds("NeverRead")
	b.write(t)
	holds("Read")
	if err := os.WriteFile(filepath.Join(b.dir, "other.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	holds("Unreadable")
}
