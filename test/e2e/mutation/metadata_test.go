package mutation

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/policy/bundle"
)

const deployment = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: NAME, namespace: payments-dev},
  spec: {replicas: 1, selector: {matchLabels: {app: NAME}}, template: {metadata: {labels: {app: NAME}}, spec: SPEC}}}`

func named(text, name string) string { return strings.ReplaceAll(text, "NAME", name) }

// TestMetadataIsCopied: every object takes the namespace's, whoever makes it, a controller too, and no template does.
func TestMetadataIsCopied(t *testing.T) { metadataIsCopied(newBed(t)) }

func metadataIsCopied(b *bed) {
	t := b.T
	b.carries(b.create("{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: payments-dev}}"))
	b.carries(b.create("{apiVersion: bank.example/v1, kind: Widget, metadata: {generateName: widget-, namespace: payments-dev}, spec: {template: of no pod}}"))
	b.carries(b.create("{apiVersion: v1, kind: ConfigMap, metadata: {name: empty-maps, namespace: payments-dev, labels: {}, annotations: {}}}"))
	d := b.create(workload(named(deployment, "api"), spec))
	b.carries(d)
	if labels, _, _ := unstructured.NestedStringMap(d.Object, "spec", "template", "metadata", "labels"); len(labels) != 1 {
		t.Errorf("the template's labels are %v, want its own alone", labels)
	}
	b.create(workload(`{apiVersion: batch/v1, kind: Job, metadata: {name: once, namespace: payments-dev}, spec: {template: {spec: SPEC}}}`,
		strings.Replace(spec, "{automount", "{restartPolicy: Never, automount", 1)))
	b.create(workload(`{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: db, namespace: payments-dev}, spec: {serviceName: db, selector: {matchLabels: {app: db}},
  template: {metadata: {labels: {app: db}}, spec: SPEC},
  volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}]}}`, spec))
	for _, made := range []struct{ apiVersion, kind, of string }{
		{"apps/v1", "ReplicaSet", "api-"}, {"v1", "Pod", "api-"}, {"v1", "Pod", "once-"}, {"v1", "Pod", "db-0"}, {"v1", "PersistentVolumeClaim", "data-db-0"},
	} {
		b.eventually(made.kind+" "+made.of+" to be made", func() error {
			for _, o := range b.list(made.apiVersion, made.kind, dev) {
				if strings.HasPrefix(o.GetName(), made.of) {
					b.carries(&o)
					return nil
				}
			}
			return fmt.Errorf("there is none")
		})
	}
	var events corev1.EventList
	if err := b.admin.List(t.Context(), &events, client.InNamespace(dev), client.HasLabels{cost}); err != nil || len(events.Items) > 0 {
		t.Errorf("%d events carry the label (%v), want none", len(events.Items), err)
	}
	exempt := b.create("{apiVersion: v1, kind: ConfigMap, metadata: {name: not-ours, namespace: kube-system}}")
	if len(exempt.GetLabels()) > 0 {
		t.Errorf("an exempt namespace: labels %v, want none", exempt.GetLabels())
	}
}

// TestMetadataThatDiffers: a value of one's own is refused at every way in, but for what stood there before.
func TestMetadataThatDiffers(t *testing.T) { metadataThatDiffers(newBed(t)) }

func metadataThatDiffers(b *bed) {
	t := b.T
	refused := func(what string, err error) {
		t.Helper()
		if err := b.differs(err); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, head := range []string{"{apiVersion: v1, kind: ConfigMap", "{apiVersion: bank.example/v1, kind: Widget", "{apiVersion: v1, kind: ServiceAccount"} {
		o := b.create(head + ", metadata: {name: mine, namespace: payments-dev}}")
		refused("created with the value of another", b.admin.Create(t.Context(), b.with(o, cost, "0815")))
		refused("created with an empty value", b.admin.Create(t.Context(), b.with(o, cost, "")))
		refused("label --overwrite", b.patch(o, `{"metadata":{"labels":{"cost-centre":"0815"}}}`))
		refused("annotate --overwrite", b.patch(o, `{"metadata":{"annotations":{"bank.example/service":"SNOW-2"}}}`))
		refused("dry run", b.admin.Patch(t.Context(), o.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"cost-centre":"0815"}}}`)), client.DryRunAll))
		if err := b.patch(o, `{"metadata":{"labels":{"cost-centre":null},"annotations":null}}`); err != nil {
			t.Errorf("removed: %v", err)
		}
		b.carries(b.get(o)) // it comes back at once
	}
	d := workload(named(deployment, "other"), spec)
	refused("a pod template", b.admin.Create(t.Context(), b.object(strings.Replace(d, "labels: {app: other}", `labels: {app: other, cost-centre: "0815"}`, 1))))
	list := `{apiVersion: v1, kind: ConfigMap, metadata: {name: first, namespace: payments-dev}}`
	b.carries(b.create(list)) // kubectl sends a List item by item
	refused("the Job of a CronJob", b.admin.Create(t.Context(), b.object(workload(`{apiVersion: batch/v1, kind: CronJob, metadata: {name: nightly, namespace: payments-dev},
  spec: {schedule: "0 0 * * *", jobTemplate: {metadata: {labels: {cost-centre: "0815"}}, spec: {template: {spec: SPEC}}}}}`,
		strings.Replace(spec, "{automount", "{restartPolicy: Never, automount", 1)))))
}

// TestNamespaceChanges: a new value of the namespace's label is met by what is written anyway and starts nothing; what
// stands with the old value can still be written, and the old value cannot be given anew.
func TestNamespaceChanges(t *testing.T) { namespaceChanges(newBed(t)) }

func namespaceChanges(b *bed) {
	t := b.T
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "moving-", Labels: map[string]string{cost: "1"}}}
	if err := b.admin.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.admin.Delete(context.Background(), ns) })
	in := func(text string) string { return strings.ReplaceAll(text, dev, ns.Name) }
	b.eventually("the namespace to be guarded", func() error {
		o := b.object(in("{apiVersion: v1, kind: ConfigMap, metadata: {name: try, namespace: payments-dev}}"))
		if err := b.admin.Create(t.Context(), o, client.DryRunAll); err != nil || o.GetLabels()[cost] != "1" {
			return fmt.Errorf("got %v, labels %v", err, o.GetLabels())
		}
		return nil
	})
	for i := range 5 {
		b.create(in(workload(named(deployment, fmt.Sprintf("app-%d", i)), spec)))
	}
	sets := func() int { return len(b.list("apps/v1", "ReplicaSet", ns.Name)) }
	b.eventually("5 ReplicaSets", func() error {
		if n := sets(); n != 5 {
			return fmt.Errorf("there are %d", n)
		}
		return nil
	})
	before := b.versions(ns.Name)
	if err := b.admin.Patch(t.Context(), ns, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"cost-centre":"2"}}}`))); err != nil {
		t.Fatal(err)
	}
	b.eventually("the new value to count", func() error {
		o := b.object(in("{apiVersion: v1, kind: ConfigMap, metadata: {name: try, namespace: payments-dev}}"))
		if err := b.admin.Create(t.Context(), o, client.DryRunAll); err != nil || o.GetLabels()[cost] != "2" {
			return fmt.Errorf("got %v, labels %v", err, o.GetLabels())
		}
		return nil
	})
	time.Sleep(3 * time.Second)
	for name, generation := range b.versions(ns.Name) {
		if before[name] != generation {
			t.Errorf("%s is at generation %d, was at %d", name, generation, before[name])
		}
	}
	if n := sets(); n != 5 {
		t.Errorf("%d ReplicaSets after the namespace's label changed, want 5", n)
	}
	d := b.get(b.object(in(named(deployment, "app-0"))))
	if d.GetLabels()[cost] != "1" {
		t.Errorf("an object that nobody wrote carries %q", d.GetLabels()[cost])
	}
	if err := b.patch(d, `{"spec":{"replicas":0}}`); err != nil {
		t.Errorf("scale what carries the old value: %v", err)
	}
	if err := b.patch(d, `{"metadata":{"labels":{"cost-centre":null}}}`); err != nil {
		t.Errorf("remove the old value: %v", err)
	}
	if got := b.get(d).GetLabels()[cost]; got != "2" {
		t.Errorf("written anew it carries %q, want 2", got)
	}
	if err := b.differs(b.patch(d, `{"metadata":{"labels":{"cost-centre":"1"}}}`)); err != nil {
		t.Error(err)
	}
}

// versions are the generations of the Deployments and ReplicaSets of a namespace.
func (b *bed) versions(namespace string) map[string]int64 {
	all := map[string]int64{}
	for _, kind := range []string{"Deployment", "ReplicaSet"} {
		for _, o := range b.list("apps/v1", kind, namespace) {
			all[kind+"/"+o.GetName()] = o.GetGeneration()
		}
	}
	return all
}

// TestSubresourcesAreLeftAlone: status and scale go their way although an object would be filled in.
func TestSubresourcesAreLeftAlone(t *testing.T) { subresourcesAreLeftAlone(newBed(t)) }

func subresourcesAreLeftAlone(b *bed) {
	t := b.T
	w := b.create("{apiVersion: bank.example/v1, kind: Widget, metadata: {name: with-status, namespace: payments-dev}}")
	w = b.get(w)
	w.Object["status"] = map[string]any{"ready": true}
	w.SetLabels(nil)
	if err := b.admin.Status().Update(t.Context(), w); err != nil {
		t.Errorf("status: %v", err)
	}
	d := b.create(workload(named(deployment, "scaled"), spec))
	scale := b.object(`{apiVersion: autoscaling/v1, kind: Scale, spec: {replicas: 2}}`)
	if err := b.admin.SubResource("scale").Patch(t.Context(), d, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"replicas":2}}`)), client.WithSubResourceBody(scale)); err != nil {
		t.Errorf("scale: %v", err)
	}
}

// TestComesBack: what fills in and what refuses is put back where it is deleted or edited.
func TestComesBack(t *testing.T) {
	b := newBed(t)
	meta := metav1.ObjectMeta{Name: bundle.NameMetadata}
	edit := client.RawPatch("application/json-patch+json", []byte(`[{"op":"add","path":"/spec/matchConditions/-","value":{"name":"never","expression":"false"}}]`))
	spoil := map[string]struct {
		object client.Object
		do     func(client.Object) error
	}{
		"mutation deleted": {&admissionv1.MutatingAdmissionPolicy{ObjectMeta: meta}, func(o client.Object) error { return b.admin.Delete(t.Context(), o) }},
		"mutation edited":  {&admissionv1.MutatingAdmissionPolicy{ObjectMeta: meta}, func(o client.Object) error { return b.admin.Patch(t.Context(), o, edit) }},
		"binding deleted":  {&admissionv1.MutatingAdmissionPolicyBinding{ObjectMeta: meta}, func(o client.Object) error { return b.admin.Delete(t.Context(), o) }},
		"refusal deleted":  {&admissionv1.ValidatingAdmissionPolicy{ObjectMeta: meta}, func(o client.Object) error { return b.admin.Delete(t.Context(), o) }},
	}
	for what, s := range spoil {
		read := func() string {
			o := s.object.DeepCopyObject().(client.Object)
			if err := b.admin.Get(t.Context(), client.ObjectKeyFromObject(s.object), o); err != nil {
				return err.Error()
			}
			switch o := o.(type) {
			case *admissionv1.MutatingAdmissionPolicy:
				return o.Spec.String()
			case *admissionv1.MutatingAdmissionPolicyBinding:
				return o.Spec.String()
			case *admissionv1.ValidatingAdmissionPolicy:
				return o.Spec.String()
			}
			return ""
		}
		before := read()
		if err := s.do(s.object.DeepCopyObject().(client.Object)); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		b.eventually(what+": to be put back", func() error {
			if now := read(); now != before {
				return fmt.Errorf("it is still %.200s", now)
			}
			return nil
		})
	}
}
