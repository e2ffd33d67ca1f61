package builtin

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

func newSet(t testing.TB) *Set {
	t.Helper()
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func servers(t testing.TB, s *Set, versions ...string) Servers {
	t.Helper()
	on, err := s.Servers(versions)
	if err != nil {
		t.Fatal(err)
	}
	return on
}

// TestData reads every line of the data, of which a judgement reads only what it needs.
func TestData(t *testing.T) {
	s := newSet(t)
	for name, typ := range s.types {
		for line := range strings.SplitSeq(strings.TrimSuffix(typ.text, "\n"), "\n") {
			if _, _, err := s.field(line); err != nil && typ.text != "" {
				t.Errorf("type %s: %q: %v", name, line, err)
			}
		}
	}
	if got := s.Span(); got != "1.30 to 1.37" {
		t.Errorf("the data is of %s", got)
	}
	for name := range s.removed {
		if _, ok := s.kinds[name]; ok {
			t.Errorf("%v is served, and was removed", name)
		}
		if use := s.removed[name].use; use != "-" && s.kinds[id{use, name.kind}].in != s.all {
			t.Errorf("%v: %s is not served everywhere", name, use)
		}
	}
}

// TestUpstream asks for an object of every kind with every field set, as Kubernetes' own tests keep them.
func TestUpstream(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/api").Output()
	if err != nil {
		t.Fatal(err)
	}
	s := newSet(t)
	for folder, version := range map[string]string{"HEAD": "1.37", "v1.33.0": "1.33", "v1.34.0": "1.34", "v1.35.0": "1.35", "v1.36.0": "1.36"} {
		files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "testdata", folder, "*.json"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", folder, len(files), err)
		}
		judged, accepted := 0, 0
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var obj map[string]any
			if err := json.Unmarshal(data, &obj); err != nil {
				t.Fatal(err)
			}
			apiVersion, _ := obj["apiVersion"].(string)
			kind, _ := obj["kind"].(string)
			on := servers(t, s, version)
			if k := s.kinds[id{apiVersion, kind}]; k.in&on.each == 0 || strings.Contains(file, "after_roundtrip") {
				continue // not served by this version; or what a later one writes
			}
			judged++
			clean := true
			for _, f := range s.Judge(obj, on) {
				if strings.Contains(f.Message, "want one of") {
					continue // every text in these objects is the name of its field
				}
				clean = false
				t.Errorf("%s: %s %s", filepath.Base(file), f.Path, f.Message)
			}
			if clean {
				accepted++
			}
		}
		t.Logf("%s: %d of %d accepted, %d files", folder, accepted, judged, len(files))
	}
}

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: registry.bank.example/web@sha256:0000000000000000000000000000000000000000000000000000000000000000
        ports: [{containerPort: 8080, protocol: TCP}]
        env: [{name: A, value: b}, {name: B, valueFrom: {secretKeyRef: {name: a, key: b}}}]
        resources: {requests: {cpu: 100m, memory: 128Mi}, limits: {cpu: "1", memory: 256Mi}}
        securityContext: {runAsNonRoot: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}
        livenessProbe: {httpGet: {path: /, port: 8080}}
        volumeMounts: [{name: tmp, mountPath: /tmp}]
      volumes: [{name: tmp, emptyDir: {sizeLimit: 1Gi}}]
`

func object(t testing.TB, text string) (obj map[string]any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), &obj); err != nil {
		t.Fatal(err)
	}
	return obj
}

// TestJudge is what a user reads of each kind of fault.
func TestJudge(t *testing.T) {
	meta := "metadata: {name: a}\n"
	for _, c := range []struct {
		name, text string
		on, want   []string
	}{
		{name: "good", text: deployment},
		{name: "unknown field", text: strings.Replace(deployment, "replicas:", "replica:", 1), want: []string{"/spec/replica unknown field \"replica\"; did you mean `replicas`?"}},
		{name: "wrong type", text: strings.Replace(deployment, "replicas: 3", `replicas: "3"`, 1), want: []string{`/spec/replicas found "3"; want a whole number; write it without quotes`}},
		{name: "too large", text: strings.Replace(deployment, "replicas: 3", `replicas: 3000000000`, 1), want: []string{"/spec/replicas found 3e+09; want a whole number of 32 bits"}},
		{name: "missing", text: strings.Replace(deployment, "- name: web\n        image", "- image", 1), want: []string{"/spec/template/spec/containers/0 field name is missing; add it"}},
		{name: "null is missing", text: strings.Replace(deployment, "- name: web\n", "- name: null\n", 1), want: []string{"/spec/template/spec/containers/0 field name is missing; add it"}},
		{name: "no such word", text: strings.Replace(deployment, "protocol: TCP", "protocol: tcp", 1), want: []string{"/spec/template/spec/containers/0/ports/0/protocol found \"tcp\"; want one of SCTP, TCP, UDP; did you mean `TCP`?"}},
		{name: "quantity", text: strings.Replace(deployment, "128Mi", "128MB", 1), want: []string{`/spec/template/spec/containers/0/resources/requests/memory found "128MB"; want a quantity, such as 2, 500m or 128Mi`}},
		{name: "int or string", text: strings.Replace(deployment, "port: 8080}}", "port: 80.5}}", 1), want: []string{"/spec/template/spec/containers/0/livenessProbe/httpGet/port found 80.5; want a whole number or text"}},
		{name: "time", text: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, creationTimestamp: today}\n", want: []string{`/metadata/creationTimestamp found "today"; want a time, such as 2027-01-31T18:00:00Z`}},
		{name: "status is the server's to fill, but not to misspell", text: deployment + "status: {conditions: [{type: A}], replica: 1}\n", want: []string{"/status/replica unknown field \"replica\"; did you mean `replicas`?"}},
		{name: "no value of a secret is told", text: "apiVersion: v1\nkind: Secret\n" + meta + "data: {a: hunter2!}\nstringData: {b: 4711}\n", want: []string{
			"/data/a found text that is no base64; want base64; what is not encoded belongs in stringData", "/stringData/b found a number; want text; write it in quotes"}},
		{name: "misspelt kind", text: "apiVersion: apps/v1\nkind: Deploymnet\n" + meta, want: []string{"/kind found \"Deploymnet\" of \"apps/v1\"; no server from 1.30 to 1.37 serves such a kind; did you mean `Deployment`?"}},
		{name: "wrong group", text: "apiVersion: v1\nkind: Deployment\n" + meta, want: []string{`/apiVersion found "v1"; no server from 1.30 to 1.37 serves Deployment in it; use apiVersion: apps/v1`}},
		{name: "another group", text: "apiVersion: bank.example/v1\nkind: Deployment\nspec: 5\n"},
		{name: "removed long ago", text: "apiVersion: extensions/v1beta1\nkind: Ingress\n" + meta, want: []string{`/apiVersion "extensions/v1beta1" of Ingress was removed in Kubernetes 1.22; use apiVersion: networking.k8s.io/v1`}},
		{name: "removed for nothing", text: "apiVersion: policy/v1beta1\nkind: PodSecurityPolicy\n" + meta, want: []string{`/apiVersion "policy/v1beta1" of PodSecurityPolicy was removed in Kubernetes 1.25; remove it; the labels of Pod Security Admission on namespaces took its place`}},
		{name: "removed lately, which some server still takes", text: "apiVersion: flowcontrol.apiserver.k8s.io/v1beta3\nkind: FlowSchema\n" + meta},
		{name: "removed lately", text: "apiVersion: flowcontrol.apiserver.k8s.io/v1beta3\nkind: FlowSchema\n" + meta, on: []string{"1.31-1.34"},
			want: []string{`/apiVersion found "flowcontrol.apiserver.k8s.io/v1beta3" of FlowSchema; it was removed in Kubernetes 1.32; use apiVersion: flowcontrol.apiserver.k8s.io/v1`}},
		{name: "not served yet", text: "apiVersion: networking.k8s.io/v1\nkind: IPAddress\n" + meta, on: []string{"v1.32.1", "1.33"},
			want: []string{`/apiVersion found "networking.k8s.io/v1" of IPAddress; it is served from Kubernetes 1.33 on; use apiVersion: networking.k8s.io/v1beta1`}},
		{name: "a new field, which some server takes", text: strings.Replace(deployment, "volumes:", "resources: {limits: {cpu: 1}}\n      volumes:", 1)},
		{name: "a new field", text: strings.Replace(deployment, "volumes:", "resources: {limits: {cpu: 1}}\n      volumes:", 1), on: []string{"1.30", "1.31", "1.37"},
			want: []string{"/spec/template/spec/resources Kubernetes 1.30 to 1.31 does not know the field resources; remove it for these servers"}},
		{name: "what is wrong everywhere hides what is wrong somewhere", text: strings.Replace(strings.Replace(deployment, "volumes:", "resources: {}\n      volumes:", 1), "replicas: 3", "replicas: a", 1),
			want: []string{`/spec/replicas found "a"; want a whole number`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSet(t)
			var got []string
			for _, f := range s.Judge(object(t, c.text), servers(t, s, c.on...)) {
				got = append(got, f.Path+" "+f.Message)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestServers is what --kube-version takes.
func TestServers(t *testing.T) {
	s := newSet(t)
	for _, good := range []string{"1.30", "v1.37.1", "1.30-1.37", "1.31.0-1.32"} {
		if _, err := s.Servers([]string{good}); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "1", "1.29", "1.38", "2.30", "1.34-1.33", "1.34-", "latest", "1.-30"} {
		if _, err := s.Servers([]string{bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// TestHostile is what costs too much where work or words are not bounded.
func TestHostile(t *testing.T) {
	s := newSet(t)
	wide := object(t, deployment)
	spec := wide["spec"].(map[string]any)
	for i := range 200_000 {
		spec["unknown"+strconv.Itoa(i)] = "a"
	}
	var deep any = "a"
	for range 100_000 {
		deep = map[string]any{"not": deep}
	}
	for name, obj := range map[string]map[string]any{"wide": wide, "deep": {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"spec": map[string]any{"versions": []any{map[string]any{"schema": map[string]any{"openAPIV3Schema": deep}}}}}} {
		start := time.Now()
		first := s.Judge(obj, Servers{})
		if took := time.Since(start); len(first) == 0 || len(first) > 101 || took > 30*time.Second {
			t.Errorf("%s: %d faults after %s", name, len(first), took)
		}
		if diff := cmp.Diff(first, s.Judge(obj, Servers{})); diff != "" {
			t.Errorf("%s: another answer the second time: %s", name, diff)
		}
	}
}

// FuzzJudge judges whatever JSON says is an object.
func FuzzJudge(f *testing.F) {
	text, err := yaml.YAMLToJSON([]byte(deployment))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"apiVersion":"v1","kind":"Secret","data":{"":1},"status":[],"metadata":{"managedFields":[null,{"time":""}]}}`))
	s := newSet(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		var obj map[string]any
		if json.Unmarshal(text, &obj) != nil {
			return
		}
		for _, fault := range s.Judge(obj, Servers{}) {
			if fault.Message == "" || len(fault.Message) > 1024 || strings.ContainsAny(fault.Message, "\n\r") {
				t.Errorf("message %q is not one short line", fault.Message)
			}
		}
	})
}

// BenchmarkJudge is one Deployment; design.md allows check a millisecond for all it does with one.
func BenchmarkJudge(b *testing.B) {
	s := newSet(b)
	obj := object(b, deployment)
	b.ReportAllocs()
	for b.Loop() {
		if len(s.Judge(obj, Servers{})) > 0 {
			b.Fatal("faults")
		}
	}
}

// BenchmarkNew is what every start of check pays.
func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		newSet(b)
	}
}
