package mutation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/mutate"
)

const (
	// bare states nothing that is filled in.
	bare = `{serviceAccountName: app, securityContext: {runAsNonRoot: true}, containers: [BARE], initContainers: [INIT]}`
	// one is a container that states nothing.
	one = `{name: app, image: "registry.bank.example/payments/api:1", resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {cpu: 20m, memory: 16Mi, ephemeral-storage: 16Mi}}}`
)

func bareOf(text string) string {
	text = workload(text, bare)
	return strings.NewReplacer("BARE", one, "INIT", strings.Replace(one, "name: app", "name: init", 1)).Replace(text)
}

// templates are objects of every kind that holds a pod.
var templates = []string{
	`{apiVersion: v1, kind: Pod, metadata: {generateName: d-, namespace: payments-dev}, spec: SPEC}`,
	`{apiVersion: v1, kind: PodTemplate, metadata: {name: d, namespace: payments-dev}, template: {spec: SPEC}}`,
	`{apiVersion: v1, kind: ReplicationController, metadata: {name: d, namespace: payments-dev}, spec: {replicas: 0, selector: {app: d}, template: {metadata: {labels: {app: d}}, spec: SPEC}}}`,
	`{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, namespace: payments-dev}, spec: {replicas: 0, selector: {matchLabels: {app: d}}, template: {metadata: {labels: {app: d}}, spec: SPEC}}}`,
	`{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: d, namespace: payments-dev}, spec: {replicas: 0, serviceName: d, selector: {matchLabels: {app: d}}, template: {metadata: {labels: {app: d}}, spec: SPEC}}}`,
	`{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: d, namespace: payments-dev}, spec: {selector: {matchLabels: {app: d}}, template: {metadata: {labels: {app: d}}, spec: SPEC}}}`,
	`{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: d, namespace: payments-dev}, spec: {replicas: 0, selector: {matchLabels: {app: d}}, template: {metadata: {labels: {app: d}}, spec: SPEC}}}`,
	`{apiVersion: batch/v1, kind: Job, metadata: {name: d, namespace: payments-dev}, spec: {suspend: true, template: {spec: SPEC}}}`,
	`{apiVersion: batch/v1, kind: CronJob, metadata: {name: d, namespace: payments-dev}, spec: {suspend: true, schedule: "0 0 * * *", jobTemplate: {spec: {template: {spec: SPEC}}}}}`,
}

// account is what pods run as; its token is on, as Kubernetes has it.
const account = `{apiVersion: v1, kind: ServiceAccount, metadata: {name: app, namespace: payments-dev}}`

// guard is the Guard of the tenant's namespace, which package mutate reads, too.
func (b *bed) guard() *v1alpha1.GuardSpec {
	b.Helper()
	var g v1alpha1.Guard
	if err := b.admin.Get(b.Context(), client.ObjectKey{Namespace: dev, Name: v1alpha1.GuardName}, &g); err != nil {
		b.Fatal(err)
	}
	return &g.Spec
}

// TestTwin: for each kind, and for each way of stating some of the fields, the API server fills in what package mutate says.
func TestTwin(t *testing.T) { twin(newBed(t)) }

func twin(b *bed) {
	t := b.T
	b.create(account)
	spec := b.guard()
	ns := mutate.Namespace{Labels: map[string]string{cost: "4711"}, Annotations: map[string]string{snow: "SNOW-1"}}
	for _, text := range templates {
		for i, state := range podStates {
			o := b.inState(text, state)
			path := strings.Split(mutate.PodPath(o.Object), "/")[1:]
			want := mutate.Object(o.Object, ns, spec).Apply(o.Object)
			made := o.DeepCopy()
			if err := b.admin.Create(t.Context(), made, client.DryRunAll); err != nil {
				if strings.Contains(err.Error(), "denied request: RF-") { // the choices of states 4 and 5 are refused by rules
					continue
				}
				t.Errorf("%s, state %d: %v", o.GetKind(), i, err)
				continue
			}
			if d := cmp.Diff(fields(want, path), fields(made.Object, path)); d != "" {
				t.Errorf("%s, state %d: package mutate (-) and the API server (+) differ:\n%s", o.GetKind(), i, d)
			}
		}
	}
}

// podStates are ways of stating some of what is filled in, and none.
var podStates = []func(pod, container map[string]any){
	func(_, _ map[string]any) {},
	func(pod, _ map[string]any) { delete(pod, "securityContext") },
	func(pod, _ map[string]any) {
		pod["securityContext"] = map[string]any{"seccompProfile": map[string]any{"type": "Unconfined"}}
	},
	func(_, c map[string]any) {
		c["securityContext"] = map[string]any{"seccompProfile": map[string]any{"type": "RuntimeDefault"}, "capabilities": map[string]any{"add": []any{"NET_BIND_SERVICE"}}}
	},
	func(_, c map[string]any) { c["securityContext"] = map[string]any{"privileged": true} },
	func(_, c map[string]any) {
		c["securityContext"] = map[string]any{"capabilities": map[string]any{"add": []any{"CAP_SYS_ADMIN"}, "drop": []any{"NET_RAW"}}}
	},
	func(_, c map[string]any) {
		c["securityContext"] = map[string]any{"allowPrivilegeEscalation": true, "capabilities": map[string]any{"drop": []any{}}}
	},
	func(pod, _ map[string]any) { pod["automountServiceAccountToken"] = true },
	func(pod, _ map[string]any) {
		delete(pod, "securityContext")
		pod["os"] = map[string]any{"name": "windows"}
	},
}

// inState is an object of a template whose pod was changed so.
func (b *bed) inState(text string, state func(pod, container map[string]any)) *unstructured.Unstructured {
	b.Helper()
	o := b.object(bareOf(text))
	path := strings.Split(mutate.PodPath(o.Object), "/")[1:]
	pod, _, _ := unstructured.NestedMap(o.Object, path...)
	if strings.Contains(text, "kind: Job") || strings.Contains(text, "kind: CronJob") {
		pod["restartPolicy"] = "Never"
	}
	state(pod, pod["containers"].([]any)[0].(map[string]any))
	if err := unstructured.SetNestedMap(o.Object, pod, path...); err != nil {
		b.Fatal(err)
	}
	return o
}

// fields are the parts of an object that are filled in.
func fields(object map[string]any, path []string) (all []string) {
	metadata := &unstructured.Unstructured{Object: object}
	pod, _, _ := unstructured.NestedMap(object, path...)
	all = append(all, metadata.GetLabels()[cost]+" "+metadata.GetAnnotations()[snow]+" "+metadata.GetAnnotations()[v1alpha1.AnnotationDefaulted])
	seccomp, _, _ := unstructured.NestedMap(pod, "securityContext", "seccompProfile")
	all = append(all, fmt.Sprint(seccomp, pod["automountServiceAccountToken"]))
	for _, list := range []string{"containers", "initContainers"} {
		containers, _ := pod[list].([]any)
		for _, c := range containers {
			security, _, _ := unstructured.NestedMap(c.(map[string]any), "securityContext")
			capabilities, _ := security["capabilities"].(map[string]any)
			drop, _ := capabilities["drop"].([]any)
			all = append(all, fmt.Sprint(security["allowPrivilegeEscalation"], security["privileged"], drop, capabilities["add"], security["seccompProfile"]))
		}
	}
	return all
}

// TestDefaultsAreTold: what was added stands in an annotation and in a warning, a Pod loses the token it was given, and
// rules find nothing to refuse.
func TestDefaultsAreTold(t *testing.T) { defaultsAreTold(newBed(t)) }

func defaultsAreTold(b *bed) {
	t := b.T
	b.create(account)
	warned := &warnings{}
	as := rest.CopyConfig(b.config)
	as.WarningHandler = warned
	c, err := kube.NewClient(as)
	if err != nil {
		t.Fatal(err)
	}
	o := b.object(bareOf(templates[0]))
	if err := c.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.admin.Delete(context.Background(), o) })
	const all = "seccompProfile, dropCapabilities, privilegeEscalation, serviceAccountToken"
	if got := o.GetAnnotations()[v1alpha1.AnnotationDefaulted]; got != all {
		t.Errorf("annotation %q, want %q", got, all)
	}
	if !slices.ContainsFunc(warned.all(), func(w string) bool { return strings.Contains(w, "added by the platform: "+all) }) {
		t.Errorf("warnings %q, want one of what was added", warned.all())
	}
	if text := fmt.Sprint(o.Object["spec"]); strings.Contains(text, "kube-api-access") {
		t.Errorf("the token is still mounted: %s", text)
	}
	said := len(warned.all())
	if err := c.Patch(t.Context(), o, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"x":"y"}}}`))); err != nil {
		t.Fatal(err)
	}
	for _, w := range warned.all()[said:] {
		if strings.Contains(w, "added by the platform") {
			t.Errorf("warned again at an update: %s", w)
		}
	}
	debug := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"ephemeralContainers":[{"name":"debug","image":"registry.bank.example/payments/api:1"}]}}`))
	if err := b.admin.SubResource("ephemeralcontainers").Patch(t.Context(), o, debug); err != nil {
		t.Errorf("an ephemeral container: %v", err)
	}
}

type warnings struct {
	mu    sync.Mutex
	lines []string // under mu
}

// HandleWarningHeader keeps the text.
func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, text)
}

func (w *warnings) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.lines)
}

// TestNoFights: the same manifest applied again, by server-side apply or by replacing the object, changes nothing, and no
// controller makes a second ReplicaSet.
func TestNoFights(t *testing.T) { noFights(newBed(t)) }

func noFights(b *bed) {
	t := b.T
	b.create(account)
	for i, text := range templates[1:] {
		text = strings.ReplaceAll(bareOf(text), "name: d,", "name: fight,")
		if strings.Contains(text, "Job") {
			text = strings.Replace(text, "serviceAccountName", "restartPolicy: Never, serviceAccountName", 1)
		}
		apply := func() *unstructured.Unstructured {
			t.Helper()
			o := b.object(text)
			if err := b.admin.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("gitops"), client.ForceOwnership); err != nil {
				t.Fatalf("apply template %d: %v", i, err)
			}
			return b.get(o)
		}
		first := apply()
		t.Cleanup(func() { _ = b.admin.Delete(context.Background(), first) })
		for range 2 {
			if again := apply(); again.GetGeneration() != first.GetGeneration() || again.GetAnnotations()[v1alpha1.AnnotationDefaulted] == "" {
				t.Errorf("%s: applied again it is at generation %d, was at %d; annotations %v", first.GetKind(), again.GetGeneration(), first.GetGeneration(), again.GetAnnotations())
			}
		}
		if first.GetKind() == "Job" {
			continue // whose selector the server makes: nobody can replace one by its manifest
		}
		b.eventually("replace "+first.GetKind(), func() error {
			o := b.object(text)
			now := b.get(first)
			o.SetResourceVersion(now.GetResourceVersion())
			if revision := now.GetAnnotations()["deployment.kubernetes.io/revision"]; revision != "" { // losing it counts as a change
				o.SetAnnotations(map[string]string{"deployment.kubernetes.io/revision": revision})
			}
			if err := b.admin.Update(t.Context(), o); err != nil {
				return err
			}
			if o.GetGeneration() != now.GetGeneration() {
				t.Errorf("%s: replaced by the same manifest it is at generation %d, was at %d", o.GetKind(), o.GetGeneration(), now.GetGeneration())
			}
			return nil
		})
	}
}

// TestWhatRunsIsLeftAlone: what stood before the defaults were switched on is not touched by writes that leave its pod as
// it is, gets them with its next pod, and its ReplicaSets are never made anew.
func TestWhatRunsIsLeftAlone(t *testing.T) { whatRunsIsLeftAlone(newBed(t)) }

func whatRunsIsLeftAlone(b *bed) {
	t := b.T
	b.create(account)
	b.platform(`{"spec":{"defaults":{"seccompProfile":"Disabled","dropCapabilities":"Disabled","privilegeEscalation":"Disabled","serviceAccountToken":"Disabled"}}}`, 0)
	t.Cleanup(func() { _ = b.patchPlatform(context.Background(), `{"spec":{"defaults":null}}`) })
	text := strings.ReplaceAll(strings.Replace(bareOf(templates[3]), "replicas: 0", "replicas: 1", 1), "name: d,", "name: old,")
	d := b.create(strings.ReplaceAll(text, "app: d}", "app: old}"))
	job := b.create(strings.ReplaceAll(strings.Replace(bareOf(templates[7]), "serviceAccountName", "restartPolicy: Never, serviceAccountName", 1), "name: d,", "name: old,"))
	if d.GetAnnotations()[v1alpha1.AnnotationDefaulted] != "" {
		t.Fatalf("defaults are off, and were filled in: %v", d.Object)
	}
	b.platform(`{"spec":{"defaults":null}}`, 4)
	for _, o := range []*unstructured.Unstructured{d, job} {
		generation := b.get(o).GetGeneration()
		if err := b.patch(o, `{"metadata":{"labels":{"seen":"yes"}}}`); err != nil {
			t.Errorf("label %s: %v", o.GetKind(), err)
		}
		if now := b.get(o); now.GetGeneration() != generation {
			t.Errorf("a label brought %s to generation %d, was at %d", o.GetKind(), now.GetGeneration(), generation)
		}
	}
	if err := b.patch(job, `{"spec":{"template":{"spec":{"nodeSelector":{"zone":"a"}}}}}`); err != nil {
		t.Errorf("a suspended Job that was there before: %v", err)
	}
	if err := b.patch(d, `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"now"}}}}}`); err != nil {
		t.Fatal(err)
	}
	if now := b.get(d); now.GetAnnotations()[v1alpha1.AnnotationDefaulted] != "" {
		t.Error("a restart filled in defaults")
	}
	if err := b.patch(d, `{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":5}}}}`); err != nil {
		t.Fatal(err)
	}
	if now := b.get(d); now.GetAnnotations()[v1alpha1.AnnotationDefaulted] == "" {
		t.Error("a changed pod did not get the defaults")
	}
	b.eventually("three ReplicaSets and no more", func() error {
		n := 0
		for _, rs := range b.list("apps/v1", "ReplicaSet", dev) {
			if strings.HasPrefix(rs.GetName(), "old-") {
				n++
			}
		}
		if n != 3 {
			return fmt.Errorf("there are %d", n)
		}
		return nil
	})
}

// platform changes the Platform and waits until the tenant's Guard names as many defaults as are wanted, and they count.
func (b *bed) platform(patch string, want int) {
	b.Helper()
	b.eventually("the Platform to change", func() error { return b.patchPlatform(b.Context(), patch) })
	b.eventually("the Guard to follow", func() error {
		if got := len(b.guard().Defaults); got != want {
			return fmt.Errorf("it names %d defaults, want %d", got, want)
		}
		o := b.object(bareOf(templates[1]))
		if err := b.admin.Create(b.Context(), o, client.DryRunAll); err != nil {
			return err
		}
		if filled := o.GetAnnotations()[v1alpha1.AnnotationDefaulted] != ""; filled != (want > 0) {
			return fmt.Errorf("filled in: %v", filled)
		}
		return nil
	})
}

func (b *bed) patchPlatform(ctx context.Context, patch string) error {
	o := &v1alpha1.Platform{}
	o.Name = v1alpha1.PlatformName
	return b.admin.Patch(ctx, o, client.RawPatch("application/merge-patch+json", []byte(patch)))
}
