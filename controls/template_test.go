package controls_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/policy/cel"
)

// TestTemplates judges pods within kinds outside Kubernetes itself, where fields have other names or are said elsewhere.
func TestTemplates(t *testing.T) {
	sets, err := cel.Compile(catalogue(t))
	if err != nil {
		t.Fatal(err)
	}
	engine, guard := policy.New(sets...), caseGuard(t)
	const image = "registry.bank.example/api@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	const limits = "{limits: {cpu: 1, memory: 1Gi, ephemeral-storage: 1Gi}}"
	for _, test := range []struct {
		name, text string
		ids, want  []string
	}{
		{"task", `{apiVersion: tekton.dev/v1, kind: Task, metadata: {name: build}, spec: {steps: [{name: a, image: ` + image + `, computeResources: ` + limits + `}]}}`,
			[]string{"RF-ID-07", "RF-IM-01", "RF-IM-02", "RF-WL-16", "RF-WL-17"}, nil},
		{"task with resources under the name of a pod's", `{apiVersion: tekton.dev/v1, kind: Task, metadata: {name: build}, spec: {steps: [{name: a, image: ` + image + `, resources: ` + limits + `}]}}`,
			[]string{"RF-WL-17"}, []string{"no ephemeral-storage limit at /spec/steps/0/computeResources/limits/ephemeral-storage"}},
		{"rollout", `{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: api}, spec: {template: {metadata: {annotations: {password: example}}, spec: {containers: [{name: a, image: nginx}]}}}}`,
			[]string{"RF-ID-07", "RF-IM-01", "RF-SE-02"}, []string{
				"default at /spec/template/spec/serviceAccountName", "no automountServiceAccountToken at /spec/template/spec/automountServiceAccountToken",
				"nginx at /spec/template/spec/containers/0/image", "a password, token or key at /spec/template/metadata/annotations/password",
			}},
		{"second job of a set", `{apiVersion: jobset.x-k8s.io/v1alpha2, kind: JobSet, metadata: {name: train}, spec: {replicatedJobs: [` +
			`{name: a, template: {spec: {template: {spec: {containers: [{name: a, image: "` + image + `"}]}}}}},` +
			`{name: b, template: {spec: {template: {spec: {containers: [{name: a, image: nginx}]}}}}}]}}`,
			[]string{"RF-IM-01"}, []string{"nginx at /spec/replicatedJobs/1/template/spec/template/spec/containers/0/image"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var object map[string]any
			if err := yaml.Unmarshal([]byte(test.text), &object); err != nil {
				t.Fatal(err)
			}
			subject := finding.Subject{APIVersion: object["apiVersion"].(string), Kind: object["kind"].(string), Name: "x"}
			var got []string
			for _, f := range engine.Judge(policy.Input{Object: object, Guard: guard, Namespace: "payments-dev"}, subject) {
				if f.Outcome == finding.Errored {
					t.Errorf("%s: %s", f.Control, *f.Reason)
				}
				if f.Outcome == finding.Fail && slices.Contains(test.ids, f.Control) {
					got = append(got, f.Found+" at "+f.Path)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
		})
	}
}
