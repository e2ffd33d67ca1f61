// Package parity proves on a real API server that every case of the catalogue gets one verdict at every door: from the
// engine, which `ringfence check` runs, and from the installed bundles. A file and the object the server makes of it do too.
package parity

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/internal/casefile"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/policy/cel"
)

// The namespaces in which cases without one of their own are judged, and those of them that are updates.
const (
	denying  = "parity"
	updating = "parity-updates"
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

// answer makes a request and returns, for each control that the answer names, the first place it found, and the refusal.
// Any other error fails the test, but for a kind or version that the server does not know.
func (v *verdicts) answer(t *testing.T, do func() error) (found map[string]string, err error) {
	t.Helper()
	v.warnings = nil
	err = do()
	found = map[string]string{}
	texts := v.warnings
	if err != nil {
		if apimeta.IsNoMatchError(err) || apierrors.IsInvalid(err) {
			return nil, err
		}
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
	return found, err
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
	p := &parity{config: config, verdicts: v, engine: policy.New(sets...), catalogue: cat, guard: newGuard(t, casefile.Guard())}
	p.read(t)
	p.prepare(t)
	p.auditing(t)
	p.storeLargest(t)
	p.turn(t, v1alpha1.Deny)
	for _, one := range p.cases {
		t.Run(one.File, func(t *testing.T) { p.ask(t, one) })
	}
	t.Run("largest objects", p.budgets)
	t.Logf("%d cases of %d controls: the same verdict from the engine and the API server; %d of them the API server does not know or does not ask about", len(p.cases), len(cat.Controls), p.beyond)
}

type parity struct {
	*verdicts
	config    *rest.Config
	engine    *policy.Engine
	catalogue *control.Catalogue
	guard     *policy.Guard
	cases     []*place
	beyond    int
}

// place is a case and where it is tried.
type place struct {
	casefile.Case
	control   control.Control
	namespace string // "" for what lies in none
	name      string // the case's own, but for stored objects of one name
	// unreachable says that the API server asks no policy about the kind.
	unreachable bool
}

func (p *parity) read(t *testing.T) {
	taken := map[string]bool{}
	for _, ctrl := range p.catalogue.Controls {
		cases, err := casefile.Read(os.DirFS("../../../controls"), ctrl.Dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range cases {
			subject := one.Object.Subject()
			at := &place{Case: one, control: ctrl, namespace: cmp.Or(subject.Namespace, denying), name: subject.Name}
			kind, _ := p.engine.Match(subject.APIVersion, subject.Kind)
			at.unreachable = slices.ContainsFunc(p.catalogue.Groups(), func(g control.Group) bool { return g.Unreachable && g.Kinds[0].APIGroup == kind.APIGroup })
			switch {
			case kind.ClusterScoped:
				at.namespace = ""
			case one.Update() && subject.Namespace == "":
				at.namespace = updating
			}
			if key := fmt.Sprint(at.namespace, subject.Kind, subject.Name); one.Update() {
				if taken[key] {
					at.name = fmt.Sprintf("%s-%d", subject.Name, len(p.cases))
				}
				taken[key] = true
			}
			p.cases = append(p.cases, at)
		}
	}
	for i, at := range p.cases { // a namespace that cases lie in is there already, and not as this one wants it
		if at.Update() && at.Object.Kind() == "Namespace" && slices.Contains(p.namespaces(), at.name) {
			at.name = fmt.Sprintf("%s-%d", at.name, i)
		}
	}
}

// object is a copy of an object of the case for its place.
func (c *place) object(o *manifest.Object) *unstructured.Unstructured {
	u := (&unstructured.Unstructured{Object: o.Value}).DeepCopy()
	u.SetNamespace(c.namespace)
	u.SetName(c.name)
	return u
}

// auditing stores the old objects of update cases while nothing is refused, and judges what the server makes of each file:
// its defaults must not change the verdict.
func (p *parity) auditing(t *testing.T) {
	for _, c := range p.cases {
		if c.unreachable || c.Connect() || c.Asked() {
			continue // stored, they would be called; and what is never stored gets no defaults
		}
		if c.Update() {
			if err := p.Create(t.Context(), c.object(c.Old)); err != nil && !apierrors.IsAlreadyExists(err) && !apimeta.IsNoMatchError(err) {
				t.Errorf("%s: create the stored object: %v", c.File, err)
			}
			continue
		}
		served := c.object(c.Object)
		if err := p.Create(t.Context(), served, client.DryRunAll); apimeta.IsNoMatchError(err) || apierrors.IsAlreadyExists(err) || apierrors.IsInvalid(err) && hasEphemeral(served) {
			continue
		} else if err != nil {
			t.Errorf("%s: create where nothing is denied: %v", c.File, err)
			continue
		}
		subject := finding.Subject{APIVersion: served.GetAPIVersion(), Kind: served.GetKind(), Name: served.GetName()}
		want, got := p.judge(c, c.Object.Value, c.Object.Subject(), nil), p.judge(c, served.Object, subject, nil)
		for id, places := range want { // what the server writes in two ways, as AppArmor's annotation and field, is found twice
			if len(got[id]) > len(places) {
				got[id] = slices.DeleteFunc(got[id], func(at string) bool { return !slices.Contains(places, at) })
			}
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("%s: the file and the object the server made of it differ (-file +object):\n%s", c.File, diff)
		}
	}
}

// hasEphemeral reports whether a Pod has ephemeral containers, which it can get at an UPDATE alone.
func hasEphemeral(pod *unstructured.Unstructured) bool {
	ephemeral, _, _ := unstructured.NestedSlice(pod.Object, "spec", "ephemeralContainers")
	return len(ephemeral) > 0
}

// ask makes the request of a case where everything denies and compares the server's answer with the engine's.
func (p *parity) ask(t *testing.T, c *place) {
	var old map[string]any
	if c.Update() {
		old = c.object(c.Old).Object
	}
	want := p.judge(c, c.object(c.Object).Object, c.Object.Subject(), old)
	if c.unreachable && c.Update() {
		return // stored, it would be called
	}
	if c.unreachable { // no policy is asked: the control says that it only detects
		p.beyond++
		if err := p.Create(t.Context(), c.object(c.Object), client.DryRunAll); err != nil && !apierrors.IsInvalid(err) || c.control.Maturity != "detective" {
			t.Errorf("err = %v, maturity %s; want no refusal and a detective control", err, c.control.Maturity)
		}
		return
	}
	got, err := p.request(t, c)
	if apimeta.IsNoMatchError(err) || apierrors.IsInvalid(err) { // the server refuses what it does not know, and what its schema does not allow
		p.beyond++
		if len(want) == 0 && !c.Update() {
			t.Errorf("the server refuses it without asking a policy, and the engine finds nothing wrong with it: %v", err)
		}
		return
	}
	if diff := sameVerdict(want, got, len(want) > mostWarnings || len(p.warnings) > mostWarnings); diff != "" || (err != nil) != (len(want) > 0) {
		t.Errorf("refused = %v; controls and first places (-engine +server):\n%s", err != nil, diff)
	}
}

// request is the server's answer as dry run.
func (p *parity) request(t *testing.T, c *place) (found map[string]string, err error) {
	o := c.object(c.Object)
	return p.answer(t, func() error {
		if c.Connect() {
			return p.connect(t, c)
		}
		if c.Asked() {
			return p.askToken(t, c)
		}
		if !c.Update() {
			err := p.Create(t.Context(), o, client.DryRunAll)
			if apierrors.IsAlreadyExists(err) {
				return nil
			}
			return err
		}
		return retry.RetryOnConflict(retry.DefaultRetry, func() error { // the Deployment controller writes too
			stored := o.DeepCopy()
			if err := p.Get(t.Context(), client.ObjectKeyFromObject(o), stored); err != nil {
				return err
			}
			o.SetResourceVersion(stored.GetResourceVersion())
			if hasEphemeral(o) { // their only door
				return p.SubResource("ephemeralcontainers").Update(t.Context(), o, client.DryRunAll)
			}
			return p.Update(t.Context(), o, client.DryRunAll)
		})
	})
}

// judge is what the engine finds: for each control that fails, its places in order.
func (p *parity) judge(c *place, object map[string]any, subject finding.Subject, old map[string]any) map[string][]string {
	in := c.Input(p.guard)
	in.Object, in.OldObject, in.Namespace = object, old, c.namespace
	found := map[string][]string{}
	for _, f := range p.engine.Judge(in, subject) {
		if f.Outcome != finding.Pass {
			found[f.Control] = append(found[f.Control], fmt.Sprintf("%s at %s", shorten(f.Found), f.Path))
		}
	}
	for _, places := range found {
		slices.Sort(places) // what is found among the keys of a map has no order
	}
	return found
}

// mostWarnings is how many warnings of 256 bytes fit into the 4 KiB that the API server has for those of one answer; it
// drops the rest. The audit event has them all.
const mostWarnings = 14

// sameVerdict compares the engine's places with the one that the server names for each control; dropped says that the
// server had too many warnings, its own among them, to name all.
func sameVerdict(engine map[string][]string, server map[string]string, dropped bool) string {
	want := map[string]string{}
	for id, places := range engine {
		if dropped && server[id] == "" {
			continue
		}
		want[id] = places[0]
		if slices.Contains(places, server[id]) {
			want[id] = server[id]
		}
	}
	return gocmp.Diff(want, server)
}

// shorten cuts a value as the native message does.
func shorten(s string) string {
	if runes := []rune(s); len(runes) > 64 {
		return string(runes[:63]) + "…"
	}
	return s
}
