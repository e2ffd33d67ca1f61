package mutation

import (
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/mutate"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/policy/cel"
)

var anyID = regexp.MustCompile(`RF-[A-Z]{2}-[0-9]{2}`)

// TestParity: with the defaults on, each case of a control of pods gets one verdict from the API server, which fills in
// what is absent, and from the engine after package mutate, which is what `ringfence check` runs.
func TestParity(t *testing.T) { parity(newBed(t)) }

func parity(b *bed) {
	t := b.T
	b.create(account)
	spec := b.guard()
	guard, err := policy.NewGuard(*spec)
	if err != nil {
		t.Fatal(err)
	}
	cat, err := control.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	sets, err := cel.Compile(cat)
	if err != nil {
		t.Fatal(err)
	}
	engine := policy.New(sets...)
	told := &warnings{}
	as := rest.CopyConfig(b.config)
	as.WarningHandler, as.QPS = told, -1
	server, err := kube.NewClient(as)
	if err != nil {
		t.Fatal(err)
	}
	ns := mutate.Namespace{Labels: map[string]string{cost: "4711"}, Annotations: map[string]string{snow: "SNOW-1"}}
	judged, filled := 0, 0
	for name, o := range cases(t) {
		r := mutate.Object(o.Object, ns, spec)
		subject := finding.Subject{APIVersion: o.GetAPIVersion(), Kind: o.GetKind(), Namespace: dev, Name: o.GetName()}
		var want []string
		for _, f := range engine.Judge(policy.Input{Object: r.Apply(o.Object), Namespace: dev, Guard: guard, Username: "system:admin"}, subject) {
			if f.Outcome == finding.Fail && f.Action != finding.Audit {
				want = append(want, f.Control)
			}
		}
		before := len(told.all())
		err := server.Create(t.Context(), o.DeepCopy(), client.DryRunAll)
		if err != nil && !strings.Contains(err.Error(), "denied request: RF-") {
			continue // the API server would not have it anyway
		}
		var got []string
		for _, w := range told.all()[before:] {
			got = append(got, anyID.FindAllString(strings.SplitN(w, ": found", 2)[0], 1)...)
		}
		slices.Sort(want)
		slices.Sort(got)
		want, got = slices.Compact(want), slices.Compact(got)
		if !slices.Equal(want, got) {
			t.Errorf("%s: the API server says %v (%v), the engine %v after filling in %v", name, got, err, want, r.Defaults)
		}
		judged++
		if len(r.Defaults) > 0 {
			filled++
		}
	}
	t.Logf("%d cases, %d of them filled in", judged, filled)
	if judged < 50 || filled < 20 {
		t.Errorf("%d cases were judged and %d filled in, want 50 and 20", judged, filled)
	}
}

// cases are the objects of the catalogue's cases that hold a pod and are not updates, in the tenant's namespace.
func cases(t *testing.T) map[string]*unstructured.Unstructured {
	t.Helper()
	all := map[string]*unstructured.Unstructured{}
	names, err := fs.Glob(controls.FS, "pod/*/tests/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(controls.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		o := &unstructured.Unstructured{}
		if strings.HasPrefix(path.Base(name), "update-") || strings.Contains(string(text), "\n---") || yaml.Unmarshal(text, &o.Object) != nil || mutate.PodPath(o.Object) == "" {
			continue
		}
		o.SetNamespace(dev)
		all[name] = o
		if strings.HasPrefix(path.Base(name), "pass-") {
			all[name+", stripped"] = strip(t, o.DeepCopy())
		}
	}
	return all
}

// strip takes away what is filled in.
func strip(t *testing.T, o *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	at := strings.Split(mutate.PodPath(o.Object), "/")[1:]
	pod, _, err := unstructured.NestedMap(o.Object, at...)
	if err != nil {
		t.Fatal(err)
	}
	delete(pod, "automountServiceAccountToken")
	unstructured.RemoveNestedField(pod, "securityContext", "seccompProfile")
	for _, list := range []string{"containers", "initContainers"} {
		containers, _ := pod[list].([]any)
		for _, c := range containers {
			if c, ok := c.(map[string]any); ok {
				unstructured.RemoveNestedField(c, "securityContext", "capabilities", "drop")
				unstructured.RemoveNestedField(c, "securityContext", "allowPrivilegeEscalation")
			}
		}
	}
	if err := unstructured.SetNestedMap(o.Object, pod, at...); err != nil {
		t.Fatal(err)
	}
	return o
}
