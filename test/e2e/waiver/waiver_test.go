package waiver

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/internal/ringfencetest"
)

// TestWhoGetsAWaiver tries, with Ringfence stopped, what somebody could think of who wants one that nobody should have.
func TestWhoGetsAWaiver(t *testing.T) {
	admin, stop := onboard(t)
	stop()
	team, ctx := as(t, dave), t.Context()
	asks := func(edit func(*v1alpha1.Waiver)) error {
		w := wish("asked")
		edit(w)
		return team.Create(ctx, w, client.DryRunAll)
	}
	hours := func(h time.Duration) string { return time.Now().Add(h * time.Hour).UTC().Format(time.RFC3339) }
	for what, tc := range map[string]struct {
		edit  func(*v1alpha1.Waiver)
		words string
	}{
		"in another's name":     {func(w *v1alpha1.Waiver) { w.Spec.Requester = erin.name }, "in one's own name"},
		"that has ended":        {func(w *v1alpha1.Waiver) { w.Spec.Expires = hours(-1) }, "at most 2,160 h"},
		"for 91 days":           {func(w *v1alpha1.Waiver) { w.Spec.Expires = hours(91 * 24) }, "at most 2,160 h"},
		"of an unwaivable rule": {func(w *v1alpha1.Waiver) { w.Spec.Control = noneID }, noneID + " cannot be waived"},
		"in a tenant's no-land": {func(w *v1alpha1.Waiver) { w.Namespace = "default" }, "waivers"},
	} {
		if err := ringfencetest.Refused(asks(tc.edit), tc.words); err != nil {
			t.Errorf("a waiver %s: %v", what, err)
		}
	}
	for what, edit := range map[string]func(*v1alpha1.Waiver){
		"without an end":       func(w *v1alpha1.Waiver) { w.Spec.Expires = "" },
		"of half a second":     func(w *v1alpha1.Waiver) { w.Spec.Expires = "2027-01-31T00:00:00.5Z" },
		"of no day":            func(w *v1alpha1.Waiver) { w.Spec.Expires = "2027-02-30" },
		"of no object":         func(w *v1alpha1.Waiver) { w.Spec.Subjects = nil },
		"of a pattern":         func(w *v1alpha1.Waiver) { w.Spec.Subjects[0].Name = "*" },
		"of every object":      func(w *v1alpha1.Waiver) { w.Spec.Subjects[0].Name = "" },
		"of all its controls":  func(w *v1alpha1.Waiver) { w.Spec.Control = "RF-WL-*" },
		"without a reason":     func(w *v1alpha1.Waiver) { w.Spec.Reason = "" },
		"without a ticket":     func(w *v1alpha1.Waiver) { w.Spec.Ticket = "" },
		"that nobody owns":     func(w *v1alpha1.Waiver) { w.Spec.Owner = "" },
		"of too many subjects": func(w *v1alpha1.Waiver) { w.Spec.Subjects = make([]v1alpha1.WaiverSubject, 51) },
	} {
		if err := asks(edit); !apierrors.IsInvalid(err) {
			t.Errorf("a waiver %s: %v, want Invalid", what, err)
		}
	}
	// A selector is no field: strict decoding refuses it, and without it the object has none.
	u := &unstructured.Unstructured{}
	u.Object, _ = runtime.DefaultUnstructuredConverter.ToUnstructured(wish("chosen"))
	u.SetAPIVersion(v1alpha1.GroupVersion.String())
	u.SetKind("Waiver")
	_ = unstructured.SetNestedMap(u.Object, map[string]any{"matchLabels": map[string]any{"a": "b"}}, "spec", "selector")
	_ = unstructured.SetNestedMap(u.Object, map[string]any{"approver": erin.name, "approvedAt": "2026-01-01T00:00:00Z"}, "status", "approval")
	if err := team.Create(ctx, u.DeepCopy(), client.DryRunAll, client.FieldValidation("Strict")); !apierrors.IsBadRequest(err) {
		t.Errorf("a selector: %v, want a bad request", err)
	}
	if err := team.Create(ctx, u); err != nil {
		t.Fatal(err)
	}
	if _, found, _ := unstructured.NestedMap(u.Object, "spec", "selector"); found {
		t.Error("the waiver kept its selector")
	}
	if _, found, _ := unstructured.NestedMap(u.Object, "status", "approval"); found {
		t.Error("the waiver was created with its approval")
	}
	if err := team.Create(ctx, wish("api")); err != nil {
		t.Fatal(err)
	}
	whoApproves(t, admin)
}

// whoApproves tries to approve waiver api of dave, which frank owns.
func whoApproves(t *testing.T, admin client.Client) {
	ctx := t.Context()
	for what, tc := range map[string]struct {
		by       person
		approver string
		words    string
	}{
		"its requester, who may not write the status":        {dave, dave.name, "cannot patch resource \"waivers/status\""},
		"its requester, who has every right":                 {person{dave.name, []string{"oidc:security"}}, dave.name, "by another person"},
		"its owner":                                          {frank, frank.name, "by another person"},
		"an approver in another's name":                      {erin, frank.name, "in one's own name"},
		"one who may write the status and not approve":       {mallory, mallory.name, "takes the verb approve"},
		"one who may write the status, with erin's name":     {mallory, erin.name, "in one's own name"},
		"an administrator, who is nobody":                    {person{"system:admin", []string{"system:masters"}}, "system:admin", "by a person"},
		"the account of Ringfence":                           {person{"system:serviceaccount:ringfence-system:ringfence", []string{"system:masters"}}, "system:serviceaccount:ringfence-system:ringfence", "by a person"},
		"an administrator in erin's name":                    {person{"oidc:root@bank.example", []string{"system:masters"}}, erin.name, "in one's own name"},
		"its owner without the prefix of the provider":       {person{"FRANK@bank.example", []string{"system:masters"}}, "FRANK@bank.example", "by another person"},
		"its owner with the prefix of an issuer's own names": {person{"https://idp.bank.example#frank@bank.example", []string{"system:masters"}}, "https://idp.bank.example#frank@bank.example", "by another person"},
	} {
		if err := ringfencetest.Refused(approve(t, tc.by, "api", tc.approver), tc.words); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := approve(t, erin, "api", erin.name); err != nil {
		t.Fatalf("erin: %v", err)
	}
	if err := ringfencetest.Refused(approve(t, person{"oidc:grace@bank.example", []string{"oidc:security"}}, "api", "oidc:grace@bank.example"), "never changed"); err != nil {
		t.Errorf("approved again: %v", err)
	}
	w := func() *v1alpha1.Waiver {
		return &v1alpha1.Waiver{ObjectMeta: metav1.ObjectMeta{Name: "api", Namespace: namespace}}
	}
	if err := ringfencetest.Refused(as(t, mallory).SubResource("status").Patch(ctx, w(), merge(`{"status":null}`)), "never changed"); err != nil {
		t.Errorf("the approval taken back: %v", err)
	}
	for what, patch := range map[string]client.Patch{
		"another control": merge(`{"spec":{"control":%q}}`, otherID),
		"another subject": merge(`{"spec":{"subjects":[{"kind":"Deployment","name":"other"}]}}`),
		"a later end":     merge(`{"spec":{"expires":%q}}`, time.Now().Add(48*time.Hour).UTC().Format(time.RFC3339)),
		"another owner":   merge(`{"spec":{"owner":"x@bank.example"}}`),
		"another asker":   merge(`{"spec":{"requester":"x@bank.example"}}`),
		"another ticket":  merge(`{"spec":{"ticket":"X"}}`),
		"another reason":  merge(`{"spec":{"reason":"because"}}`),
	} {
		for who, c := range map[string]client.Client{"the team": as(t, dave), "an administrator": admin} {
			if err := c.Patch(ctx, w(), patch); !apierrors.IsInvalid(err) {
				t.Errorf("%s gave it %s: %v, want Invalid", who, what, err)
			}
		}
	}
	if err := as(t, dave).Patch(ctx, w(), merge(`{"spec":{"expires":%q}}`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))); err != nil {
		t.Errorf("an earlier end: %v", err)
	}
	var now v1alpha1.Waiver
	if err := admin.Get(ctx, client.ObjectKeyFromObject(w()), &now); err != nil || now.Status.Approval == nil || now.Status.Approval.Approver != erin.name {
		t.Errorf("after that: %+v, %v", now.Status.Approval, err)
	}
}

// said collects warnings.
type said struct {
	mu   sync.Mutex
	text []string
}

func (s *said) HandleWarningHeader(_ int, _ string, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = append(s.text, text)
}

func (s *said) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := strings.Join(s.text, "\n")
	s.text = nil
	return all
}

// TestLiveAndEnded: with Ringfence stopped a live waiver lets every kind with a pod template in, with a warning, and one that
// has ended does not, at CREATE and at UPDATE.
func TestLiveAndEnded(t *testing.T) {
	admin, stop := onboard(t)
	stop()
	config := rest.CopyConfig(cluster.Config)
	warnings := &said{}
	config.Impersonate, config.WarningHandler = rest.ImpersonationConfig{UserName: dave.name, Groups: append([]string{"system:authenticated"}, dave.groups...)}, warnings
	team, err := kube.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for _, o := range workloads("was-good", false) {
		if err := team.Create(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	update := func(key string) error {
		patch := merge(`{"spec":{"template":{"spec":{"hostPID":true}}}}`)
		switch key {
		case "PodTemplate":
			patch = merge(`{"template":{"spec":{"hostPID":true}}}`)
		case "CronJob.batch":
			patch = merge(`{"spec":{"jobTemplate":{"spec":{"template":{"spec":{"hostPID":true}}}}}}`)
		}
		return team.Patch(ctx, workloads("was-good", false)[key], patch, client.DryRunAll)
	}
	end := time.Now().Add(time.Hour)
	for _, live := range []bool{true, false} {
		if !live {
			end = time.Now().Add(-2 * time.Second)
		}
		ends := map[string]time.Time{"Pod/new": end}
		for key := range workloads("new", true) {
			ends[key+"/new"], ends[key+"/was-good"] = end, end
		}
		grant(t, admin, ends)
		judged := func(err error) error {
			text := warnings.take()
			switch {
			case live && err != nil:
				return err
			case live && !strings.Contains(text, "; waived by w until "+end.UTC().Format(time.RFC3339)):
				return fmt.Errorf("let in, with the warnings %q", text)
			case !live && strings.Contains(text, "waived"):
				return fmt.Errorf("said to be waived: %q", text)
			case !live:
				return ringfencetest.RefusedBy(err, waivedID)
			}
			return nil
		}
		ringfencetest.Eventually(t, fmt.Sprintf("a pod, live %v", live), func() error {
			return judged(team.Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "new", Namespace: namespace}, Spec: template(true)}, client.DryRunAll))
		})
		for key, o := range workloads("new", true) {
			if err := judged(team.Create(ctx, o, client.DryRunAll)); err != nil {
				t.Errorf("create %s, live %v: %v", key, live, err)
			}
			if key == "Job.batch" {
				continue // its template can never be changed
			}
			if err := judged(update(key)); err != nil {
				t.Errorf("update %s, live %v: %v", key, live, err)
			}
		}
		// What the waiver does not speak of.
		for what, o := range map[string]client.Object{
			"another name":      workloads("new-2", true)["Deployment.apps"],
			"another namespace": &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "new", Namespace: another}, Spec: template(true)},
			"a generated name":  &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "new", Namespace: namespace}, Spec: template(true)},
		} {
			if err := ringfencetest.RefusedBy(team.Create(ctx, o, client.DryRunAll), waivedID); err != nil {
				t.Errorf("%s, live %v: %v", what, live, err)
			}
		}
		both := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "new", Namespace: namespace}, Spec: template(true)}
		yes := true
		both.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: &yes}
		if err := team.Create(ctx, both, client.DryRunAll); ringfencetest.RefusedBy(err, otherID) != nil && ringfencetest.RefusedBy(err, waivedID) != nil {
			t.Errorf("another control, live %v: %v", live, err)
		}
	}
	// The time of creation is the server's, whatever is sent and however.
	forged := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Pod"}}
	forged.Object["spec"], _ = runtime.DefaultUnstructuredConverter.ToUnstructured(new(template(true)))
	forged.SetName("new")
	forged.SetNamespace(namespace)
	forged.SetCreationTimestamp(metav1.NewTime(time.Now().Add(-time.Hour)))
	if err := ringfencetest.RefusedBy(team.Create(ctx, forged.DeepCopy(), client.DryRunAll), waivedID); err != nil {
		t.Errorf("a forged time of creation: %v", err)
	}
	//lint:ignore SA1019 the apply of one's own bytes
	if err := ringfencetest.RefusedBy(team.Patch(ctx, forged, client.Apply, client.FieldOwner("x"), client.ForceOwnership, client.DryRunAll), waivedID); err != nil {
		t.Errorf("a forged time of creation, applied: %v", err)
	}
	// What is there may be scaled and relabelled although its waiver has ended.
	if err := team.Patch(ctx, workloads("was-good", false)["Deployment.apps"], merge(`{"metadata":{"labels":{"a":"b"}}}`), client.DryRunAll); err != nil {
		t.Errorf("an update of nothing: %v", err)
	}
}

// TestNeverAtUpdate: a live waiver lets a Service be created and no Service be changed, nor a pod.
func TestNeverAtUpdate(t *testing.T) {
	admin, stop := onboard(t)
	stop()
	ctx, team := t.Context(), as(t, dave)
	bare := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "bare", Namespace: namespace}, Spec: template(false)}
	service := func(name string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443}}}}
	}
	if err := errors.Join(team.Create(ctx, bare), team.Create(ctx, service("closed"))); err != nil {
		t.Fatal(err)
	}
	var guard v1alpha1.Guard
	if err := admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: v1alpha1.GuardName}, &guard); err != nil {
		t.Fatal(err)
	}
	w := v1alpha1.GuardWaiver{Name: "w", Expires: time.Now().Add(time.Hour).UTC().Format(time.RFC3339), Ticket: "T", Approver: erin.name}
	guard.Spec.Waivers = map[string]v1alpha1.SubjectWaivers{
		"Service/open": {"RF-NW-08": w}, "Service/closed": {"RF-NW-08": w}, "Pod/bare": {otherID: w},
	}
	if err := admin.Update(ctx, &guard); err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "a waived Service to be let in", func() error {
		s := service("open")
		s.Spec.Type = corev1.ServiceTypeNodePort
		return team.Create(ctx, s, client.DryRunAll)
	})
	if err := ringfencetest.RefusedBy(team.Patch(ctx, service("closed"), merge(`{"spec":{"type":"NodePort"}}`)), "RF-NW-08"); err != nil {
		t.Errorf("a Service that is opened: %v", err)
	}
	yes := true
	ringfencetest.Eventually(t, "a pod that is changed to be refused", func() error { // the scheduler changes it, too
		if err := admin.Get(ctx, client.ObjectKeyFromObject(bare), bare); err != nil {
			return err
		}
		with := bare.DeepCopy()
		with.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
			Name: "debug", Image: image, SecurityContext: &corev1.SecurityContext{Privileged: &yes}}}}
		err := admin.SubResource("ephemeralcontainers").Update(ctx, with, client.DryRunAll)
		if err == nil {
			t.Fatal("a pod was changed under its waiver")
		}
		return ringfencetest.RefusedBy(err, otherID)
	})
}

// TestPodsBehind: the pods that Kubernetes makes of a waived workload come, with Ringfence stopped; those that somebody makes
// under that pretence do not, nor those of a waiver that has ended.
func TestPodsBehind(t *testing.T) {
	admin, stop := onboard(t)
	stop()
	ctx, team := t.Context(), as(t, dave)
	ends := map[string]time.Time{}
	for key := range workloads("", true) {
		ends[key+"/runs"] = time.Now().Add(time.Hour)
	}
	grant(t, admin, ends)
	run := workloads("runs", true)
	for _, key := range []string{"Deployment.apps", "StatefulSet.apps", "ReplicationController", "Job.batch"} {
		o := run[key]
		o.SetLabels(map[string]string{"kind": key})
		u, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			t.Fatal(err)
		}
		live := &unstructured.Unstructured{Object: u}
		kind, group, _ := strings.Cut(key, ".")
		live.SetKind(kind)
		live.SetAPIVersion(map[string]string{"apps": "apps/v1", "batch": "batch/v1", "": "v1"}[group])
		if key == "Job.batch" {
			unstructured.RemoveNestedField(live.Object, "spec", "suspend")
		} else {
			_ = unstructured.SetNestedField(live.Object, int64(1), "spec", "replicas")
		}
		if key == "ReplicationController" { // else it takes the pods of the others
			_ = unstructured.SetNestedStringMap(live.Object, map[string]string{"app": "rc"}, "spec", "selector")
			_ = unstructured.SetNestedStringMap(live.Object, map[string]string{"app": "rc"}, "spec", "template", "metadata", "labels")
		}
		ringfencetest.Eventually(t, "create "+key, func() error { return client.IgnoreAlreadyExists(team.Create(ctx, live.DeepCopy())) })
	}
	ringfencetest.Eventually(t, "the pods of four workloads", func() error {
		var pods corev1.PodList
		if err := admin.List(ctx, &pods, client.InNamespace(namespace)); err != nil {
			return err
		}
		made := map[string]bool{}
		for _, p := range pods.Items {
			for _, o := range p.OwnerReferences {
				if p.Spec.HostPID {
					made[o.Kind] = true
				}
			}
		}
		if !made["ReplicaSet"] || !made["StatefulSet"] || !made["ReplicationController"] || !made["Job"] {
			return fmt.Errorf("there are pods of %v", made)
		}
		return nil
	})
	behind := func(user, name string, owner metav1.OwnerReference) error {
		config := rest.CopyConfig(cluster.Config)
		config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:masters"}}
		c, err := kube.NewClient(config)
		if err != nil {
			return err
		}
		yes := true
		owner.Controller, owner.UID = &yes, "c0ffee"
		meta := metav1.ObjectMeta{Name: name, Namespace: namespace, OwnerReferences: []metav1.OwnerReference{owner}, Labels: map[string]string{"pod-template-hash": "6d4b"}}
		if owner.Kind == "CronJob" {
			job := workloads("", true)["Job.batch"].(*batchv1.Job)
			job.ObjectMeta = meta
			return c.Create(ctx, job, client.DryRunAll)
		}
		return c.Create(ctx, &corev1.Pod{ObjectMeta: meta, Spec: template(true)}, client.DryRunAll)
	}
	const controllers = "system:serviceaccount:kube-system:"
	set := metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "runs-6d4b"}
	cron := metav1.OwnerReference{APIVersion: "batch/v1", Kind: "CronJob", Name: "runs"}
	job := metav1.OwnerReference{APIVersion: "batch/v1", Kind: "Job", Name: "runs-29381740"}
	if err := errors.Join(behind(controllers+"replicaset-controller", "p", set), behind(controllers+"cronjob-controller", "runs-29381740", cron), behind(controllers+"job-controller", "p", job)); err != nil {
		t.Errorf("what controllers make: %v", err)
	}
	long := set
	long.Name = "runs-canary-6d4b"
	for what, err := range map[string]error{
		"a tenant says it is the ReplicaSet's":      behind(dave.name, "p", set),
		"an account of the tenant":                  behind("system:serviceaccount:payments-dev:replicaset-controller", "p", set),
		"another account of the control plane":      behind(controllers+"pod-garbage-collector", "p", set),
		"a ReplicaSet of a Deployment runs-canary":  behind(controllers+"replicaset-controller", "p", long),
		"a ReplicaSet that no Deployment made":      behind(controllers+"replicaset-controller", "p", metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "runs-x"}),
		"an owner of that name of another API":      behind(controllers+"replicaset-controller", "p", metav1.OwnerReference{APIVersion: "evil.example/v1", Kind: "Deployment", Name: "runs"}),
		"a Job that is no CronJob's, by its name":   behind(controllers+"job-controller", "p", metav1.OwnerReference{APIVersion: "batch/v1", Kind: "Job", Name: "runs-once"}),
		"a Job that a tenant says is the CronJob's": behind(dave.name, "runs-1", cron),
	} {
		if err := ringfencetest.RefusedBy(err, waivedID); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for key := range ends {
		ends[key] = time.Now().Add(-2 * time.Second)
	}
	grant(t, admin, ends)
	ringfencetest.Eventually(t, "a pod behind an ended waiver to be refused", func() error {
		return ringfencetest.RefusedBy(behind(controllers+"replicaset-controller", "p", set), waivedID)
	})
}

// TestEnds goes the whole way with Ringfence running: asked for, approved, in the Guard, and out of it when it ends; and
// once more with Ringfence stopped in between, when the rule alone ends it.
func TestEnds(t *testing.T) {
	admin, stop := onboard(t)
	ctx, team := t.Context(), as(t, dave)
	bad := func(name string) error {
		return team.Create(ctx, workloads(name, true)["Deployment.apps"], client.DryRunAll)
	}
	ask := func(name string, after time.Duration) time.Time {
		end := time.Now().Add(after).Truncate(time.Second)
		w := wish(name)
		w.Spec.Subjects[0].Name, w.Spec.Expires = name, end.UTC().Format(time.RFC3339)
		if err := team.Create(ctx, w); err != nil {
			t.Fatal(err)
		}
		if err := ringfencetest.RefusedBy(bad(name), waivedID); err != nil {
			t.Errorf("before anybody approved %s: %v", name, err)
		}
		if err := approve(t, erin, name, erin.name); err != nil {
			t.Fatal(err)
		}
		ringfencetest.Eventually(t, name+" to be waived", func() error { return bad(name) })
		return end
	}
	// until reads how it ends: not a moment early, by this machine's clock, which is the server's.
	until := func(name string, end time.Time) {
		for {
			begin := time.Now()
			err := bad(name)
			if err == nil && !begin.Before(end.Add(time.Second)) {
				t.Errorf("%s was let in %v after its end", name, begin.Sub(end))
				return
			}
			if err != nil {
				if now := time.Now(); now.Before(end) {
					t.Errorf("%s ended %v early: %v", name, end.Sub(now), err)
				} else if err := ringfencetest.RefusedBy(err, waivedID); err != nil {
					t.Errorf("%s at its end: %v", name, err)
				}
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	until("watched", ask("watched", 15*time.Second))
	ringfencetest.Eventually(t, "the Guard to lose it", func() error {
		var guard v1alpha1.Guard
		if err := admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: v1alpha1.GuardName}, &guard); err != nil {
			return err
		}
		if _, there := guard.Spec.Waivers["Deployment.apps/watched"]; there {
			return errors.New("it is still there")
		}
		return nil
	})
	end := ask("alone", 20*time.Second)
	stop()
	until("alone", end)
	var guard v1alpha1.Guard
	if err := admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: v1alpha1.GuardName}, &guard); err != nil || guard.Spec.Waivers["Deployment.apps/alone"] == nil {
		t.Errorf("the Guard lost it although Ringfence was stopped: %v", err)
	}
}
