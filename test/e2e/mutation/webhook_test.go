package mutation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/admission"
	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/mutate"
	"ringfence.dev/ringfence/policy/bundle"
	"ringfence.dev/ringfence/server"
)

// older is the API server as one of Kubernetes 1.35 is by default: without MutatingAdmissionPolicy. Nothing else of an older server
// is proved by it.
var older = []string{
	"--apiserver-arg=--runtime-config=admissionregistration.k8s.io/v1/mutatingadmissionpolicies=false,admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings=false",
	"--apiserver-arg=--disable-admission-plugins=MutatingAdmissionPolicy",
}

// door is the configuration of an admission door on a free port.
func door(t *testing.T, mutations string) server.Config {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	at := free.Addr().String()
	return server.Config{Webhook: server.WebhookConfig{Listen: at, URL: "https://" + at, Mutations: mutations, Settle: time.Second, Drain: time.Millisecond}}
}

// on is the bed in a test of its own.
func (b *bed) on(t *testing.T) *bed {
	return &bed{T: t, admin: b.admin, config: b.config, stop: b.stop}
}

// mutated is the reason of the condition that says which door fills in.
func (b *bed) mutated(want string) {
	b.Helper()
	b.eventually("the condition Mutated to say "+want, func() error {
		var p v1alpha1.Platform
		if err := b.admin.Get(b.Context(), client.ObjectKey{Name: v1alpha1.PlatformName}, &p); err != nil {
			return err
		}
		if c := meta.FindStatusCondition(p.Status.Conditions, bundle.ConditionMutated); c == nil || c.Reason != want {
			return fmt.Errorf("it is %v", c)
		}
		return nil
	})
}

// TestWebhook: on a server without MutatingAdmissionPolicy the webhook fills in, in every way as the native policies do. It comes
// back where it is taken away, and where Ringfence is stopped nobody is locked out.
func TestWebhook(t *testing.T) {
	if cluster == nil {
		t.Skip(clustertest.ErrUnavailable)
	}
	native := map[string]string{}
	t.Run("native", func(t *testing.T) { native = newBed(t).answers() })
	second, err := clustertest.Start(older...)
	if errors.Is(err, clustertest.ErrUnavailable) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.Stop)
	b := newBedOn(t, second.Config, door(t, server.MutationsAuto))
	b.mutated("Webhook")
	for name, behaves := range map[string]func(*bed){
		"twin": twin, "defaults are told": defaultsAreTold, "no fights": noFights, "what runs is left alone": whatRunsIsLeftAlone,
		"metadata is copied": metadataIsCopied, "metadata that differs": metadataThatDiffers, "namespace changes": namespaceChanges,
		"subresources are left alone": subresourcesAreLeftAlone, "parity": parity, "comes back": webhookComesBack,
	} {
		t.Run(name, func(t *testing.T) { behaves(b.on(t)) })
	}
	t.Run("byte for byte", func(t *testing.T) {
		got := b.on(t).answers()
		if len(got) < 100 || len(got) != len(native) {
			t.Errorf("%d answers of the webhook's server, %d of the native one; want at least 100", len(got), len(native))
		}
		for name, want := range native {
			if d := cmp.Diff(want, got[name]); d != "" {
				t.Errorf("%s: native (-), webhook (+):\n%s", name, d)
			}
		}
	})
	t.Run("stopped", func(t *testing.T) { webhookStopped(b.on(t)) })
}

// TestDoorChanges: native policies take over of the webhook, and it of them, and only one is there in the end.
func TestDoorChanges(t *testing.T) {
	if cluster == nil {
		t.Skip(clustertest.ErrUnavailable)
	}
	there := func(b *bed, o client.Object, want bool) {
		b.Helper()
		b.eventually(fmt.Sprintf("%T there: %v", o, want), func() error {
			err := b.admin.Get(b.Context(), client.ObjectKeyFromObject(o), o)
			if (err == nil) != want || client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("got %v", err)
			}
			return nil
		})
	}
	policies := func() client.Object {
		return &admissionv1.MutatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: bundle.NameMetadata}}
	}
	webhook := func() client.Object {
		return &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: admission.FillName}}
	}
	t.Run("always", func(t *testing.T) {
		b := newBedOn(t, cluster.Config, door(t, server.MutationsAlways))
		b.mutated("Webhook")
		there(b, webhook(), true)
		there(b, policies(), false)
	})
	t.Run("never", func(t *testing.T) {
		b := newBedOn(t, cluster.Config, door(t, server.MutationsNever))
		b.mutated("NativePolicies")
		there(b, policies(), true)
		there(b, webhook(), false)
	})
}

// answers are what the API server makes of every case of this package and of the catalogue's controls of pods, in JSON, with what
// it says beside.
func (b *bed) answers() map[string]string {
	b.Helper()
	b.create(account)
	told := &warnings{}
	as := rest.CopyConfig(b.config)
	as.WarningHandler, as.QPS = told, -1
	server, err := client.New(as, client.Options{})
	if err != nil {
		b.Fatal(err)
	}
	all := map[string]*unstructured.Unstructured{}
	maps.Copy(all, cases(b.T))
	for i, text := range templates {
		for j, state := range podStates {
			all[fmt.Sprintf("template %d, state %d", i, j)] = b.inState(text, state)
		}
	}
	for i, text := range []string{
		"{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: payments-dev}}",
		"{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: payments-dev, labels: {}, annotations: {}}}",
		`{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: payments-dev, labels: {cost-centre: "4711"}}}`,
		`{apiVersion: v1, kind: Secret, metadata: {name: a, namespace: payments-dev, labels: {cost-centre: "1"}}}`,
		"{apiVersion: bank.example/v1, kind: Widget, metadata: {name: a, namespace: payments-dev}, spec: {template: {spec: {containers: [{name: a}]}}}}",
		"{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: a, namespace: payments-dev}}",
		"{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: kube-system}}",
		"{apiVersion: v1, kind: Event, metadata: {name: a, namespace: payments-dev}, involvedObject: {namespace: payments-dev}}",
		"{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: a, namespace: payments-dev, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: a, uid: a, controller: true}]}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: registry.bank.example/a/b:1}]}}}}",
	} {
		all[fmt.Sprintf("object %d", i)] = b.object(text)
	}
	out := map[string]string{}
	for name, o := range all {
		before := len(told.all())
		err := server.Create(b.Context(), o, client.DryRunAll)
		out[name] = answer(b.T, o, err, slices.Clone(told.all()[before:]))
	}
	return out
}

// anew are what the API server makes up at each request: uids, names of volumes for tokens, and names of what a generateName asks.
var anew = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|kube-api-access-[a-z0-9]{5}|"d-[a-z0-9]{5}"`)

// answer is an object and what was said of it, without what differs from one try to the next.
func answer(t *testing.T, o *unstructured.Unstructured, err error, told []string) string {
	t.Helper()
	for _, field := range []string{"uid", "creationTimestamp", "name", "managedFields", "resourceVersion"} {
		unstructured.RemoveNestedField(o.Object, "metadata", field)
	}
	text, bad := json.MarshalIndent(o.Object, "", " ")
	if bad != nil {
		t.Fatal(bad)
	}
	slices.Sort(told) // policies are asked in no order
	said := string(text) + "\n" + fmt.Sprint(err) + "\n" + strings.Join(told, "\n")
	return anew.ReplaceAllString(said, "#")
}

// webhookComesBack: the registration that is taken away or changed is put back.
func webhookComesBack(b *bed) {
	get := func() (*admissionv1.MutatingWebhookConfiguration, error) {
		w := &admissionv1.MutatingWebhookConfiguration{}
		return w, b.admin.Get(b.Context(), client.ObjectKey{Name: admission.FillName}, w)
	}
	before, err := get()
	if err != nil {
		b.Fatal(err)
	}
	for what, spoil := range map[string]func() error{
		"deleted": func() error { return b.admin.Delete(b.Context(), before.DeepCopy()) },
		"edited": func() error {
			return b.admin.Patch(b.Context(), before.DeepCopy(), client.RawPatch("application/json-patch+json", []byte(`[{"op":"replace","path":"/webhooks/0/matchConditions","value":[{"name":"never","expression":"false"}]}]`)))
		},
	} {
		if err := spoil(); err != nil {
			b.Fatalf("%s: %v", what, err)
		}
		b.eventually(what+": to be put back", func() error {
			now, err := get()
			if err == nil && cmp.Diff(before.Webhooks, now.Webhooks) != "" {
				err = errors.New("it is as it was spoilt")
			}
			return err
		})
	}
	b.eventually("the door to be asked again", func() error {
		o := b.object("{apiVersion: v1, kind: ConfigMap, metadata: {name: try, namespace: payments-dev}}")
		if err := b.admin.Create(b.Context(), o, client.DryRunAll); err != nil || o.GetLabels()[cost] == "" {
			return fmt.Errorf("labels %v, %v", o.GetLabels(), err)
		}
		return nil
	})
}

// webhookStopped: with Ringfence stopped nothing is filled in, and nobody is locked out.
func webhookStopped(b *bed) {
	b.stop()
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	begun := time.Now()
	for _, text := range []string{
		"{apiVersion: v1, kind: ConfigMap, metadata: {name: unlabelled, namespace: payments-dev}}",
		"{apiVersion: v1, kind: ConfigMap, metadata: {name: system, namespace: kube-system}}",
		"{apiVersion: v1, kind: Namespace, metadata: {name: born-while-down}}",
		workload(named(deployment, "stated"), spec),
	} {
		o := b.object(text)
		if err := b.admin.Create(ctx, o); err != nil {
			b.Errorf("%s %s: %v", o.GetKind(), o.GetName(), err)
			continue
		}
		b.Cleanup(func() { _ = b.admin.Delete(context.Background(), o) })
		if len(o.GetLabels()) > 0 && o.GetKind() == "ConfigMap" {
			b.Errorf("%s carries %v: who filled it in?", o.GetName(), o.GetLabels())
		}
		o.SetAnnotations(map[string]string{"a": "b"})
		if err := b.admin.Update(ctx, o); err != nil && o.GetKind() != "Deployment" { // its controller may have written meanwhile
			b.Errorf("update %s %s: %v", o.GetKind(), o.GetName(), err)
		}
	}
	b.eventually("a Pod of a Deployment that states everything", func() error {
		for _, pod := range b.list("v1", "Pod", dev) {
			if strings.HasPrefix(pod.GetName(), "stated-") {
				return nil
			}
		}
		return errors.New("there is none")
	})
	lacking := b.object(bareOf(templates[0]))
	if filled := mutate.Object(lacking.Object, mutate.Namespace{}, b.guard()); len(filled.Defaults) == 0 {
		b.Fatal("the case needs no defaults")
	}
	if err := b.admin.Create(ctx, lacking, client.DryRunAll); err == nil && lacking.GetAnnotations()[v1alpha1.AnnotationDefaulted] != "" {
		b.Error("defaults were filled in while Ringfence is stopped")
	}
	b.Logf("%v for all", time.Since(begun).Round(time.Millisecond))
}
