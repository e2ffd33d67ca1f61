// Package parity proves on a real API server that every case of the catalogue gets one verdict at every door: from the
// engine, which `ringfence check` runs, and from the installed bundles. A file and the object the server makes of it do too.
package parity

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/install"
	"ringfence.dev/ringfence/internal/casefile"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/policy/bundle"
	"ringfence.dev/ringfence/policy/cel"
)

// The namespaces of the test: in one every control denies, in one every control only audits, and one turns from the
// second into the first.
const (
	denying  = "parity-deny"
	auditing = "parity-audit"
	turning  = "parity-turn"
)

// verdicts is a client whose refusals and warnings are read as control ids.
type verdicts struct {
	client.Client
	mu       sync.Mutex
	warnings []string
}

// HandleWarningHeaderWithContext keeps a warning.
func (v *verdicts) HandleWarningHeaderWithContext(_ context.Context, _ int, _ string, text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.warnings = append(v.warnings, text)
}

var refusalLine = regexp.MustCompile(`(RF-[A-Z]{2}-[0-9]{2}) .*?: found (.*?)(?: and at [0-9]+ more)?; want `)

// ask makes a request and returns, for each control that the answer names, the first place it found; refused says whether
// the request was. Any error but a refusal by a bundle fails the test.
func (v *verdicts) ask(t *testing.T, do func() error) (found map[string]string, refused bool) {
	t.Helper()
	v.warnings = nil
	err := do()
	found = map[string]string{}
	texts := v.warnings
	if err != nil {
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "ValidatingAdmissionPolicy 'ringfence-") {
			t.Fatalf("request: %v", err)
		}
		texts = append(texts, err.Error())
	}
	for _, text := range texts {
		if m := refusalLine.FindStringSubmatch(text); m != nil {
			found[m[1]] = m[2]
		}
	}
	return found, err != nil
}

func TestParity(t *testing.T) {
	cluster, err := clustertest.Start("--nodes", "0")
	if errors.Is(err, clustertest.ErrUnavailable) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	v := &verdicts{}
	config := rest.CopyConfig(cluster.Config)
	config.WarningHandlerWithContext, config.QPS, config.Burst = v, 500, 1000
	c, err := kube.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	v.Client = c
	cat, err := control.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	sets, err := cel.Compile(cat)
	if err != nil {
		t.Fatal(err)
	}
	prepare(t, v, cat)
	p := &parity{verdicts: v, engine: policy.New(sets...), catalogue: cat, guard: guard(t, guardSpec(cat, v1alpha1.Deny))}

	var updates []casefile.Case
	for _, ctrl := range cat.Controls {
		cases, err := casefile.Read(os.DirFS("../../../controls"), ctrl.Dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range cases {
			if one.Update() {
				updates = append(updates, one)
				continue
			}
			t.Run(one.File, func(t *testing.T) { p.create(t, one) })
		}
	}
	for i, one := range updates {
		old := place(one.Old, turning, fmt.Sprint("u", i))
		if err := c.Create(t.Context(), old); err != nil {
			t.Fatalf("%s: create the stored object: %v", one.File, err)
		}
	}
	put(t, c, turning, guardSpec(cat, v1alpha1.Deny))
	inForce(t, v, turning)
	for i, one := range updates {
		t.Run(one.File, func(t *testing.T) { p.update(t, one, fmt.Sprint("u", i)) })
	}
	t.Logf("%d cases of %d controls: the same verdict from the engine and the API server", p.cases, len(cat.Controls))
}

type parity struct {
	*verdicts
	engine    *policy.Engine
	catalogue *control.Catalogue
	guard     *policy.Guard
	cases     int
}

// create asks for a dry-run CREATE where everything denies, and where everything is let through judges what the server
// made of the file.
func (p *parity) create(t *testing.T, c casefile.Case) {
	p.cases++
	want := p.judge(c.Object.Value, c.Object.Subject(), namespaceOf(c, denying), nil)
	o := place(c.Object, namespaceOf(c, denying), "")
	got, refused := p.ask(t, func() error { return p.Create(t.Context(), o, client.DryRunAll) })
	if diff := cmp.Diff(want, got); diff != "" || refused != (len(want) > 0) {
		t.Errorf("refused = %v; controls and first places (-engine +server):\n%s", refused, diff)
	}
	if namespaceOf(c, denying) != denying {
		return // judged by its own namespace, which denies
	}
	served := place(c.Object, auditing, "")
	if err := p.Create(t.Context(), served, client.DryRunAll); err != nil {
		t.Fatalf("create where nothing is denied: %v", err)
	}
	subject := finding.Subject{APIVersion: served.GetAPIVersion(), Kind: served.GetKind(), Name: served.GetName()}
	if diff := cmp.Diff(want, p.judge(served.Object, subject, denying, nil)); diff != "" {
		t.Errorf("the file and the object the server made of it differ (-file +object):\n%s", diff)
	}
}

func (p *parity) update(t *testing.T, c casefile.Case, name string) {
	p.cases++
	want := p.judge(c.Object.Value, c.Object.Subject(), turning, c.Old.Value)
	o := place(c.Object, turning, name)
	got, refused := p.ask(t, func() error {
		return retry.RetryOnConflict(retry.DefaultRetry, func() error { // the Deployment controller writes too
			stored := o.DeepCopy()
			if err := p.Get(t.Context(), client.ObjectKeyFromObject(o), stored); err != nil {
				return err
			}
			o.SetResourceVersion(stored.GetResourceVersion())
			return p.Update(t.Context(), o, client.DryRunAll)
		})
	})
	if diff := cmp.Diff(want, got); diff != "" || refused != (len(want) > 0) {
		t.Errorf("refused = %v; controls and first places (-engine +server):\n%s", refused, diff)
	}
}

// judge is what the engine finds: for each control that fails, its first place.
func (p *parity) judge(object map[string]any, subject finding.Subject, namespace string, old map[string]any) map[string]string {
	in := policy.Input{Object: object, OldObject: old, Namespace: namespace, Guard: p.guard}
	if old != nil {
		in.Operation = "UPDATE"
	}
	found := map[string]string{}
	for _, f := range p.engine.Judge(in, subject) {
		if _, first := found[f.Control]; f.Outcome != finding.Pass && !first {
			found[f.Control] = fmt.Sprintf("%s at %s", shorten(f.Found), f.Path)
		}
	}
	return found
}

// shorten cuts a value as the native message does.
func shorten(s string) string {
	if runes := []rune(s); len(runes) > 64 {
		return string(runes[:63]) + "…"
	}
	return s
}

func namespaceOf(c casefile.Case, otherwise string) string {
	if ns := c.Object.Subject().Namespace; ns != "" {
		return ns
	}
	return otherwise
}

// place is a copy of the object for a namespace, with another name where one is given.
func place(o *manifest.Object, namespace, name string) *unstructured.Unstructured {
	u := (&unstructured.Unstructured{Object: o.Value}).DeepCopy()
	u.SetNamespace(namespace)
	if name != "" {
		u.SetName(name)
	}
	return u
}

// prepare installs kinds, Guards and bundles and waits until they are in force.
func prepare(t *testing.T, v *verdicts, cat *control.Catalogue) {
	t.Helper()
	c := v.Client
	ctx := t.Context()
	if err := install.CRDs(ctx, c, v1alpha1.CRDs()); err != nil {
		t.Fatal(err)
	}
	for _, ns := range []string{denying, auditing, turning} {
		err := c.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})
		if client.IgnoreAlreadyExists(err) != nil {
			t.Fatal(err)
		}
	}
	for ns, action := range map[string]v1alpha1.Action{
		denying: v1alpha1.Deny, auditing: v1alpha1.Audit, turning: v1alpha1.Audit,
		"default": v1alpha1.Deny, "kube-public": v1alpha1.Deny, "kube-node-lease": v1alpha1.Deny,
	} {
		put(t, c, ns, guardSpec(cat, action))
	}
	for _, b := range bundle.Build(cat, nil) {
		if err := errors.Join(c.Create(ctx, b.Policy), c.Create(ctx, b.Binding)); err != nil {
			t.Fatal(err)
		}
	}
	inForce(t, v, denying)
	for _, ns := range []string{denying, auditing, turning} { // Pods need their namespace's account
		err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
			err := c.Get(ctx, client.ObjectKey{Namespace: ns, Name: "default"}, &corev1.ServiceAccount{})
			return err == nil, client.IgnoreNotFound(err)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// inForce waits until both bundles of each group speak in a namespace (the group objects speaks in default only): policies
// and parameters take effect up to a second late, and not all at once.
func inForce(t *testing.T, v *verdicts, ns string) {
	t.Helper()
	probes := []client.Object{
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "probe", Namespace: ns},
			Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 1}}}},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "probe", Namespace: ns},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "nginx"}}}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "probe", Namespace: "default"}},
	}
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		for _, probe := range probes {
			v.warnings = nil
			err := v.Create(ctx, probe.DeepCopyObject().(client.Object), client.DryRunAll)
			if !apierrors.IsForbidden(err) || !refusalLine.MatchString(err.Error()) || !slices.ContainsFunc(v.warnings, refusalLine.MatchString) {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		t.Fatalf("the bundles did not come into force in %s: %v", ns, err)
	}
}

func guardSpec(cat *control.Catalogue, action v1alpha1.Action) v1alpha1.GuardSpec {
	spec := v1alpha1.GuardSpec{Tenant: "payments", Registries: []v1alpha1.Registry{"registry.bank.example"}, Actions: map[string]v1alpha1.Action{}}
	for _, c := range cat.Controls {
		spec.Actions[c.ID] = action
	}
	return spec
}

func guard(t *testing.T, spec v1alpha1.GuardSpec) *policy.Guard {
	t.Helper()
	g, err := policy.NewGuard(spec)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func put(t *testing.T, c client.Client, ns string, spec v1alpha1.GuardSpec) {
	t.Helper()
	g := &v1alpha1.Guard{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.GuardName, Namespace: ns}, Spec: spec}
	err := c.Create(t.Context(), g)
	if apierrors.IsAlreadyExists(err) {
		var stored v1alpha1.Guard
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(g), &stored); err != nil {
			t.Fatal(err)
		}
		stored.Spec = spec
		err = c.Update(t.Context(), &stored)
	}
	if err != nil {
		t.Fatal(err)
	}
}
