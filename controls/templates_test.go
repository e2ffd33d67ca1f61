package controls_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/internal/casefile"
	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/policy/cel"
)

// TestTemplates proves that a pod gets the same verdict inside every kind of templates.yaml as alone: every case that is a
// Pod is put into each of them, as the last of several where the kind has a list.
func TestTemplates(t *testing.T) {
	cat := catalogue(t)
	sets, err := cel.Compile(cat)
	if err != nil {
		t.Fatal(err)
	}
	engine, guard := policy.New(sets...), caseGuard(t)
	count := 0
	for _, c := range cat.Controls {
		if !slices.Contains(c.Groups, "workloads") || len(c.Kinds) > 0 {
			continue
		}
		cases, err := casefile.Read(os.DirFS("."), c.Dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range cases {
			if one.Object.Kind() != "Pod" || one.Update() || one.Object.Subject().Namespace != "" {
				continue
			}
			alone := places(engine, one.Input(guard), c.ID)
			for _, tmpl := range cat.Templates {
				if tmpl.Containers != "" { // carries a part of a pod only
					continue
				}
				in := one.Input(guard)
				in.Object = wrap(tmpl, in.Object)
				at := strings.TrimSuffix(tmpl.Pod, "/spec")
				if tmpl.Each != "" {
					at = tmpl.Each + "/1" + at
				}
				inside := places(engine, in, c.ID)
				for i := range inside {
					inside[i] = strings.Replace(inside[i], " at "+at+"/", " at /", 1)
				}
				if diff := cmp.Diff(alone, inside); diff != "" {
					t.Errorf("%s in a %s (-alone +inside):\n%s", one.File, tmpl.Kind, diff)
				}
				count++
			}
		}
	}
	t.Logf("%d pods inside other kinds", count)
}

// wrap puts a pod's spec and metadata into a kind with a pod template.
func wrap(tmpl control.Template, pod map[string]any) map[string]any {
	o := map[string]any{"apiVersion": tmpl.APIGroup + "/v1", "kind": tmpl.Kind, "metadata": pod["metadata"]}
	item := nest(strings.TrimSuffix(tmpl.Pod, "/spec"), map[string]any{"metadata": pod["metadata"], "spec": pod["spec"]})
	if tmpl.Each == "" {
		return merge(o, item)
	}
	return merge(o, nest(tmpl.Each, []any{item, item}))
}

func nest(pointer string, v any) map[string]any {
	steps := manifest.PointerSteps(pointer)
	for _, s := range slices.Backward(steps) {
		v = map[string]any{s: v}
	}
	return v.(map[string]any)
}

func merge(a, b map[string]any) map[string]any {
	for k, v := range b {
		a[k] = v
	}
	return a
}

// places are what one control finds in the last of the templates of an object.
func places(e *policy.Engine, in policy.Input, id string) (all []string) {
	subject := finding.Subject{APIVersion: fmt.Sprint(in.Object["apiVersion"]), Kind: fmt.Sprint(in.Object["kind"])}
	for _, f := range e.Judge(in, subject) {
		if f.Control == id && f.Outcome != finding.Pass && !strings.Contains(f.Path, "/replicatedJobs/0/") {
			all = append(all, f.Found+" at "+f.Path)
		}
	}
	return all
}

// TestTaskSteps: a Tekton Task carries containers under names of its own, and says less than a pod.
func TestTaskSteps(t *testing.T) {
	cat := catalogue(t)
	sets, err := cel.Compile(cat)
	if err != nil {
		t.Fatal(err)
	}
	engine, guard := policy.New(sets...), caseGuard(t)
	for part, want := range map[string]string{"steps": "true at /spec/steps/0/securityContext/privileged", "sidecars": "true at /spec/sidecars/0/securityContext/privileged"} {
		in := policy.Input{Guard: guard, Namespace: "payments-dev", Object: map[string]any{
			"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": map[string]any{"name": "build"},
			"spec": map[string]any{part: []any{map[string]any{"name": "a", "securityContext": map[string]any{"privileged": true}}}},
		}}
		if diff := cmp.Diff([]string{want}, places(engine, in, "RF-WL-01")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", part, diff)
		}
	}
}

// TestTooManyTemplates: an object with more templates than are looked at breaks the rules that count.
func TestTooManyTemplates(t *testing.T) {
	cat := catalogue(t)
	sets, err := cel.Compile(cat)
	if err != nil {
		t.Fatal(err)
	}
	jobs := make([]any, 6)
	for i := range jobs {
		jobs[i] = nest("/template/spec/template/spec", map[string]any{})
	}
	in := policy.Input{Guard: caseGuard(t), Namespace: "payments-dev", Object: map[string]any{
		"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "metadata": map[string]any{"name": "train"},
		"spec": map[string]any{"replicatedJobs": jobs},
	}}
	if diff := cmp.Diff([]string{"more than 5 templates at /spec/replicatedJobs"}, places(policy.New(sets...), in, "RF-WL-01")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	in.Object["spec"].(map[string]any)["replicatedJobs"] = jobs[:5]
	if got := places(policy.New(sets...), in, "RF-WL-01"); got != nil {
		t.Errorf("five templates: %v, want nothing", got)
	}
}

// TestTemplateFields judges pods within kinds outside Kubernetes itself, where fields have other names or are said elsewhere.
func TestTemplateFields(t *testing.T) {
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
