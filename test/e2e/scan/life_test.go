package scan

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/record"
)

// TestScan takes findings through their lives, beside what must not disturb them. It wants the cluster before any rule is in force, and so is the
// first of these tests.
func TestScan(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	create := func(o client.Object) {
		t.Helper()
		ringfencetest.Eventually(t, "create "+o.GetName(), func() error { return client.IgnoreAlreadyExists(b.admin.Create(ctx, o)) })
	}
	create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: lone}})
	for _, name := range []string{"fixed", "stays", "deleted"} {
		create(deployment(lone, name, true))
	}
	large := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "large", Namespace: lone}, Data: map[string]string{"all": strings.Repeat("0123456789abcdef", 62_000)}}
	create(large) // a megabyte is what the API server takes
	b.run()
	b.onboard()

	// What was bad before Ringfence came opens, each once: what a controller made of it is judged in its place.
	opened := b.one("open", hostID, "Deployment/stays")
	if s := opened.Stands; opened.Action != finding.Deny || opened.Found != "true" || s.State != "open" || s.Until != nil || time.Since(s.Since) > 10*time.Minute {
		t.Errorf("it opened as %+v, %+v", opened, s)
	}
	b.eventually("the three, and no more", "open", hostID, func(all map[string][]finding.Finding) error {
		if len(all) != 3 {
			return fmt.Errorf("open: %v", all)
		}
		return nil
	})

	// Fixed, it closes.
	fixed := deployment(lone, "fixed", false)
	if err := b.admin.Get(ctx, client.ObjectKeyFromObject(fixed), fixed); err != nil {
		t.Fatal(err)
	}
	before := fixed.DeepCopy()
	fixed.Spec.Template.Spec.HostPID = false
	if err := b.admin.Patch(ctx, fixed, client.MergeFrom(before)); err != nil { // its controller writes too
		t.Fatal(err)
	}
	if f := b.one("closed", hostID, "Deployment/fixed"); f.Stands.Why != "fixed" || f.Stands.Until == nil || f.Stands.Until.Before(f.Stands.Since) {
		t.Errorf("it closed as %+v", f.Stands)
	}

	b.waiverEnds()
	b.controlSwitched(opened)
	b.kindComesLater()
	b.restarts(opened)
	b.commands()
	b.outcomes()
	b.metrics()
}

// waiverEnds: what a waiver lets in is waived, and opens at the second of its end.
func (b *bed) waiverEnds() {
	b.Helper()
	b.waive("vendor", time.Now().Add(time.Hour))
	ringfencetest.Eventually(b.T, "the waived Deployment", func() error {
		return client.IgnoreAlreadyExists(b.admin.Create(b.Context(), deployment(team, "vendor", true)))
	})
	if f := b.one("waived", hostID, "Deployment/vendor"); f.Waiver == nil || f.Waiver.Name != "vendor" || f.Stands.State != "waived" {
		b.Errorf("waived as %+v, %+v", f.Waiver, f.Stands)
	}
	end := time.Now().Add(6 * time.Second).Truncate(time.Second) // an end may only come nearer
	ringfencetest.Eventually(b.T, "the waiver to end soon", func() error {
		return b.admin.Patch(b.Context(), &v1alpha1.Waiver{ObjectMeta: metav1.ObjectMeta{Name: "vendor", Namespace: team}},
			client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"expires":%q}}`, end.UTC().Format(time.RFC3339))))
	})
	f := b.one("open", hostID, "Deployment/vendor")
	if late := f.Stands.Since.Sub(end); late < 0 || late > time.Minute {
		b.Errorf("it opened %v after the end of its waiver", late)
	}
	if f := b.one("closed", hostID, "Deployment/vendor"); f.Stands.Why != "opened" {
		b.Errorf("what was waived ended as %+v", f.Stands)
	}
}

// controlSwitched: a finding stays when its control's action is another, with that action.
func (b *bed) controlSwitched(was finding.Finding) {
	b.Helper()
	for _, action := range []v1alpha1.Action{v1alpha1.Warn, v1alpha1.Deny} {
		ringfencetest.Eventually(b.T, "switch the control", func() error {
			var p v1alpha1.Platform
			if err := b.admin.Get(b.Context(), client.ObjectKey{Name: v1alpha1.PlatformName}, &p); err != nil {
				return err
			}
			p.Spec.Controls = map[string]v1alpha1.ControlRollout{hostID: {Action: action}}
			return b.admin.Update(b.Context(), &p)
		})
		b.eventually("the finding to have the action", "open", hostID, func(all map[string][]finding.Finding) error {
			f := all["Deployment/stays"]
			if len(f) != 1 || string(f[0].Action) != string(action) || !f[0].Stands.Since.Equal(was.Stands.Since) {
				return fmt.Errorf("found %+v", f)
			}
			return nil
		})
	}
}

// kindComesLater: objects of a kind that is defined while the scan runs are judged; when the kind goes, so do their findings.
func (b *bed) kindComesLater() {
	b.Helper()
	keep := true
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "ciliumnetworkpolicies.cilium.io"}, Spec: apiextensionsv1.CustomResourceDefinitionSpec{
		Group: "cilium.io", Scope: apiextensionsv1.NamespaceScoped, Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "ciliumnetworkpolicies", Kind: "CiliumNetworkPolicy"},
		Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v2", Served: true, Storage: true, Schema: &apiextensionsv1.CustomResourceValidation{
			OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: &keep}}}}}}
	if err := b.admin.Create(b.Context(), crd); err != nil {
		b.Fatal(err)
	}
	policy := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": map[string]any{"name": "later", "namespace": lone},
		"spec": map[string]any{"endpointSelector": map[string]any{"matchLabels": map[string]any{"app": "api"}},
			"egress": []any{map[string]any{"toFQDNs": []any{map[string]any{"matchName": "db.payments.bank.example"}}}}}}}
	ringfencetest.Eventually(b.T, "the policy", func() error { return client.IgnoreAlreadyExists(b.admin.Create(b.Context(), policy.DeepCopy())) })
	b.one("open", dnsID, "CiliumNetworkPolicy/later")
	if err := b.admin.Delete(b.Context(), crd); err != nil {
		b.Fatal(err)
	}
	if f := b.one("closed", dnsID, "CiliumNetworkPolicy/later"); f.Stands.Why != "deleted" {
		b.Errorf("with its kind it closed as %+v", f.Stands)
	}
}

// restarts: what stood is not told again, and what went while nobody looked closes.
func (b *bed) restarts(was finding.Finding) {
	b.Helper()
	before := b.records()
	b.stop()
	if err := b.admin.Delete(b.Context(), deployment(lone, "deleted", true)); err != nil {
		b.Fatal(err)
	}
	b.run()
	if f := b.one("closed", hostID, "Deployment/deleted"); f.Stands.Why != "deleted" {
		b.Errorf("what went meanwhile closed as %+v", f.Stands)
	}
	if f := b.one("open", hostID, "Deployment/stays"); !f.Stands.Since.Equal(was.Stands.Since) {
		b.Errorf("after the restart it stands since %v; want %v", f.Stands.Since, was.Stands.Since)
	}
	b.same(before, "Deployment/deleted ")

	// Killed at the moment in which the last finding came, it forgets none and repeats none either.
	b.stop()
	kill := b.apart()
	if err := b.admin.Create(b.Context(), deployment(lone, "late", false)); err != nil {
		b.Fatal(err)
	}
	b.one("open", rootID, "Deployment/late")
	before = b.records()
	kill()
	b.run()
	b.same(before, "")
}

// same holds what is found to what was, but for what closed since, and for those of a name.
func (b *bed) same(before map[string]bool, but string) {
	b.Helper()
	again := b.records()
	for key := range again {
		if !before[key] && !strings.Contains(key, " closed ") {
			b.Errorf("%s: told anew by the restart", key)
		}
	}
	for key := range before {
		if !again[key] && (but == "" || !strings.Contains(key, but)) {
			b.Errorf("%s: lost in the restart", key)
		}
	}
}

// records is what was found in the test's namespaces, in every state: with another beginning a finding is another.
func (b *bed) records() map[string]bool {
	b.Helper()
	out := map[string]bool{}
	for _, state := range []string{"open", "waived", "closed"} {
		b.eventually("all that is "+state, state, "", func(all map[string][]finding.Finding) error {
			for name, fs := range all {
				for _, f := range fs {
					if f.Subject.Namespace == lone || f.Subject.Namespace == team {
						out[fmt.Sprint(name, " ", f.Control, " ", f.Path, " ", state, " ", f.Stands.Since)] = true
					}
				}
			}
			return nil
		})
	}
	return out
}

// commands: the command says the same in each of its forms, and how far it reaches.
func (b *bed) commands() {
	b.Helper()
	if out, prose := b.command(0, "--open", "--namespace", lone, "--control", hostID); !strings.Contains(out, "Deployment/stays: "+hostID) || strings.Contains(out, "fixed") ||
		!regexp.MustCompile(`\d+ objects judged as they were \d+s ago`).MatchString(prose) {
		b.Errorf("--open: %s%s", out, prose)
	}
	if out, _ := b.command(0, "--closed", "--since", "1h", "--control", hostID); !strings.Contains(out, "(fixed)") || !strings.Contains(out, "(deleted)") {
		b.Errorf("--closed: %s", out)
	}
	if out, _ := b.command(0, "--open", "--tenant", "payments", "-o", "json"); !strings.Contains(out, `"state": "open"`) || strings.Contains(out, lone) || !strings.Contains(out, `"asOf"`) {
		b.Errorf("-o json: %.2000s", out)
	}
	if out, _ := b.command(0, "--open", "-o", "policyreport"); !strings.Contains(out, "kind: PolicyReport") || !strings.Contains(out, hostID) {
		b.Errorf("-o policyreport: %.2000s", out)
	}
	for _, wrong := range [][]string{{"--open", "--closed"}, {"--source", "moon"}, {"--source", "audit", "--open"}, {"-o", "policyreport"}} {
		b.command(2, wrong...)
	}
	answer, err := record.Fetch(b.Context(), b.http(), "http://ringfence", record.Query{Source: record.SourceScan})
	if err != nil || answer.Scan == nil || answer.Scan.Objects < 10 || len(answer.Scan.Unread) > 0 || len(answer.Scan.Unguarded) > 0 || answer.From != "store" {
		b.Errorf("the scan is %+v, %v", answer.Scan, err)
	}
}

// outcomes: what was fixed is counted, and what nobody observed is said.
func (b *bed) outcomes() {
	b.Helper()
	out, _ := b.ringfence(0, "outcomes", "--since", "1d")
	for _, want := range []string{`open +[1-9]\d* critical`, `tenants +0 of 1 have nothing open`, `fixed +[1-9]`, `time to fix +mean`, `stopped in pipelines +0 of 0 runs`,
		`unknown +what the cluster refused: no audit event`, `unknown +what pipelines stopped`} {
		if !regexp.MustCompile(want).MatchString(out) {
			b.Errorf("outcomes lack %q: %s", want, out)
		}
	}
	if out, _ := b.ringfence(0, "outcomes", "-o", "json"); !strings.Contains(out, `"schemaVersion": "ringfence.dev/outcomes/v1"`) {
		b.Errorf("-o json: %.500s", out)
	}
	b.ringfence(2, "outcomes", "--since", "moon")
}

// metrics: the numbers that docs/metrics.md names are there.
func (b *bed) metrics() {
	b.Helper()
	text := b.scrape()
	for name, kind := range map[string]string{"objects": "gauge", "waiting": "gauge", "oldest_seconds": "gauge", "judged_total": "counter", "unjudged": "gauge", "unread_kinds": "gauge", "findings": "gauge"} {
		if !strings.Contains(text, "# TYPE ringfence_scan_"+name+" "+kind+"\n") {
			b.Errorf("the metrics lack ringfence_scan_%s, a %s", name, kind)
		}
	}
	if !regexp.MustCompile(`ringfence_scan_findings\{severity="critical",state="open"\} [1-9]|ringfence_scan_findings\{severity="high",state="open"\} [1-9]`).MatchString(text) {
		b.Errorf("no finding stands: %s", regexp.MustCompile(`(?m)^ringfence_scan.*$`).FindAllString(text, -1))
	}
}

// scrape is what the control plane tells of itself.
func (b *bed) scrape() string {
	b.Helper()
	answer, err := b.http().Get("http://ringfence/metrics")
	if err != nil {
		b.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}
