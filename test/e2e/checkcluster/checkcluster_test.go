// Package checkcluster runs `ringfence check --cluster` against a real API server, with and without rights, and through
// proxies that make the server forget, cut its pages short or refuse. What a server may do that no real one does is tested
// with package cluster.
package checkcluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/cli"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/kube"
)

// within is how long controllers may take to act.
const within = 60 * time.Second

// password is in a Secret, and must be in nothing that is said.
const password = "hunter2-hunter2-hunter2"

// The cluster of all tests; nil where there is none.
var (
	cluster *clustertest.Cluster
	admin   client.Client
)

func TestMain(m *testing.M) {
	os.Exit(clustertest.Main(m.Run, func(c *clustertest.Cluster) { cluster = c }, "--nodes", "1"))
}

// connect makes the client, and skips where there is no cluster.
func connect(t *testing.T) {
	t.Helper()
	if cluster == nil {
		t.Skip(clustertest.ErrUnavailable)
	}
	if admin == nil {
		var err error
		if admin, err = kube.NewClient(cluster.Config); err != nil {
			t.Fatal(err)
		}
	}
}

// create makes the objects of a YAML text in a new namespace of that name.
func create(t *testing.T, namespace, text string) {
	t.Helper()
	connect(t)
	if err := admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		t.Fatal(err)
	}
	apply(t, namespace, text)
}

func apply(t *testing.T, namespace, text string) {
	t.Helper()
	for _, doc := range strings.Split(text, "\n---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &u.Object); err != nil {
			t.Fatal(err)
		}
		u.SetNamespace(namespace)
		if err := admin.Create(t.Context(), u); err != nil {
			t.Fatalf("create %s: %v", u.GetName(), err)
		}
	}
}

// run is a run of check.
type run struct {
	code           int
	stdout, stderr string
}

func check(ctx context.Context, kubeconfig string, args ...string) run {
	var out, prose bytes.Buffer
	args = append([]string{"check", "--cluster", "--kubeconfig", kubeconfig}, args...)
	code := cli.Main(ctx, args, cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &prose, Now: time.Now})
	return run{code, out.String(), prose.String()}
}

// findings are those of a report in JSON.
func (r run) findings(t *testing.T) []finding.Finding {
	t.Helper()
	var report struct{ Findings []finding.Finding }
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil {
		t.Fatalf("%v: %s; %s", err, r.stdout, r.stderr)
	}
	return report.Findings
}

// subjects are the objects that findings are about, each once.
func subjects(fs []finding.Finding) (names []string) {
	for _, f := range fs {
		names = append(names, f.Subject.Kind+"/"+f.Subject.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

const bad = `apiVersion: apps/v1
kind: Deployment
metadata: {name: %s}
spec:
  replicas: %d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec: {hostPID: true, containers: [{name: c, image: nginx}]}`

// TestJudged shows that what was written by people is judged, that a replica is passed over and counted, that a replica
// which only says so is judged, and that no password is told.
func TestJudged(t *testing.T) {
	create(t, "judged", fmt.Sprintf(bad, "web", 2)+`
---
apiVersion: v1
kind: Secret
metadata: {name: hand-made, annotations: {kubectl.kubernetes.io/last-applied-configuration: `+password+`}}
stringData: {password: `+password+`}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: harmless}
data: {a: b}`)
	deadline := time.Now().Add(within)
	var r run
	for {
		r = check(t.Context(), cluster.Kubeconfig, "-n", "judged", "--only", "RF-WL-02,RF-SE-03", "-o", "json")
		if strings.Contains(r.stderr, "passed over what a controller made of objects that were judged: 3 (2 Pod, 1 ReplicaSet)") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("replicas are not passed over: %s", r.stderr)
		}
		time.Sleep(200 * time.Millisecond)
	}
	if got, want := subjects(r.findings(t)), []string{"Deployment/web", "Secret/hand-made"}; r.code != 1 || !slices.Equal(got, want) {
		t.Errorf("exit code %d, findings about %q; want 1 and %q", r.code, got, want)
	}
	if strings.Contains(r.stdout, `"location":{"file"`) {
		t.Errorf("a finding has a file: %s", r.stdout)
	}
	for _, format := range []string{"text", "json", "sarif", "junit", "github", "openreports", "policyreport"} {
		r := check(t.Context(), cluster.Kubeconfig, "-n", "judged", "--all", "-o", format)
		if r.code != 1 || strings.Contains(r.stdout+r.stderr, password[:14]) {
			t.Errorf("-o %s: exit code %d, or the password is told: %s", format, r.code, r.stderr)
		}
		if !strings.Contains(r.stdout, "hand-made") {
			t.Errorf("-o %s does not name the secret", format)
		}
		if format == "sarif" && !strings.Contains(r.stdout, `"uri":"kubernetes://judged/Deployment/web"`) {
			t.Errorf("-o sarif: no artifact of the deployment")
		}
		if format == "text" && !strings.Contains(r.stdout, "\njudged/Deployment/web (apps/v1): refused\n") {
			t.Errorf("-o text: no deployment: %s", r.stdout)
		}
	}
}

// TestForged shows that a Pod is not passed over for an owner that does not make Pods.
func TestForged(t *testing.T) {
	create(t, "forged", fmt.Sprintf(bad, "web", 0))
	owner := &unstructured.Unstructured{}
	owner.SetAPIVersion("apps/v1")
	owner.SetKind("Deployment")
	if err := admin.Get(t.Context(), client.ObjectKey{Namespace: "forged", Name: "web"}, owner); err != nil {
		t.Fatal(err)
	}
	apply(t, "forged", fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata:
  name: sly
  ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, uid: %s, controller: true}]
spec: {hostPID: true, containers: [{name: c, image: nginx}]}`, owner.GetUID()))
	r := check(t.Context(), cluster.Kubeconfig, "-n", "forged", "--only", "RF-WL-02", "-o", "json")
	if got, want := subjects(r.findings(t)), []string{"Deployment/web", "Pod/sly"}; !slices.Equal(got, want) {
		t.Errorf("findings about %q, want %q: %s", got, want, r.stderr)
	}
}

// TestNothing shows that a namespace that is not there is no pass.
func TestNothing(t *testing.T) {
	connect(t)
	r := check(t.Context(), cluster.Kubeconfig, "-n", "not-there")
	if r.code != 2 || !strings.Contains(r.stderr, "nothing was found to judge in namespace not-there of cluster") {
		t.Errorf("exit code %d, want 2: %s", r.code, r.stderr)
	}
}

// role is the ClusterRole that the documentation gives.
func role(t *testing.T) *rbacv1.ClusterRole {
	t.Helper()
	text, err := os.ReadFile("../../../docs/sources.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```yaml\n(apiVersion: rbac.*?)```").FindSubmatch(text)
	var r rbacv1.ClusterRole
	if m == nil || yaml.UnmarshalStrict(m[1], &r) != nil {
		t.Fatal("docs/sources.md holds no ClusterRole")
	}
	return &r
}

// TestDocumentedRole shows that the role in the documentation lists every kind that is judged, and grants nothing else.
func TestDocumentedRole(t *testing.T) {
	cat, err := control.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"ringfence.dev/platforms": true, "ringfence.dev/tenants": true}
	workloads, others := cat.Kinds()
	for _, k := range append(workloads, others...) {
		want[k.APIGroup+"/"+k.Resource] = true
	}
	for _, rule := range role(t).Rules {
		if !slices.Equal(rule.Verbs, []string{"list"}) || len(rule.APIGroups) != 1 {
			t.Errorf("rule %v, want one group and the verb list", rule)
		}
		for _, resource := range rule.Resources {
			name := rule.APIGroups[0] + "/" + resource
			if !want[name] {
				t.Errorf("%s is granted, and nothing lists it", name)
			}
			delete(want, name)
		}
	}
	if len(want) > 0 {
		t.Errorf("the role lacks %v", want)
	}
}

// reader is the kubeconfig of a new ServiceAccount with rules.
func reader(t *testing.T, name string, rules []rbacv1.PolicyRule) string {
	t.Helper()
	connect(t)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}}
	for _, o := range []client.Object{
		account,
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: name, Namespace: "default"}}},
	} {
		if err := admin.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	request := &authenticationv1.TokenRequest{}
	if err := admin.SubResource("token").Create(t.Context(), account, request); err != nil {
		t.Fatal(err)
	}
	proxy := forward(t, &rest.Config{Host: cluster.Config.Host, BearerToken: request.Status.Token, TLSClientConfig: rest.TLSClientConfig{CAData: cluster.Config.CAData, CAFile: cluster.Config.CAFile}}, nil)
	return proxy
}

// forward is the kubeconfig of a proxy that asks the API server as config says. change may answer itself, and is true then;
// nil changes nothing.
func forward(t *testing.T, config *rest.Config, change func(w http.ResponseWriter, r *http.Request) bool) string {
	t.Helper()
	to, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if change == nil || !change(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: proxy, contexts: [{name: proxy, context: {cluster: proxy}}], clusters: [{name: proxy, cluster: {server: %q}}]}`, server.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestRights shows that the documented role suffices, and that a right that is missing is named while the rest is judged.
func TestRights(t *testing.T) {
	create(t, "rights", fmt.Sprintf(bad, "web", 0))
	full := role(t).Rules
	if r := check(t.Context(), reader(t, "reader", full), "--only", "RF-WL-02,RF-SE-03,RF-ID-04,RF-GV-02"); r.code != 1 || strings.Contains(r.stderr, "403") {
		t.Errorf("with the documented role: exit code %d: %s", r.code, r.stderr)
	}
	if r := check(t.Context(), reader(t, "whole", full)); r.code != 1 || strings.Contains(r.stderr, "403") {
		t.Errorf("with the documented role: exit code %d: %s", r.code, r.stderr)
	}
	lesser := []rbacv1.PolicyRule{}
	for _, rule := range full {
		rule.Resources = slices.DeleteFunc(slices.Clone(rule.Resources), func(name string) bool { return name == "secrets" })
		lesser = append(lesser, rule)
	}
	r := check(t.Context(), reader(t, "lesser", lesser), "-n", "rights", "-o", "json")
	if got := subjects(r.findings(t)); r.code != 2 || !slices.Contains(got, "Deployment/web") {
		t.Errorf("without a right: exit code %d, findings about %q; want 2, and the deployment", r.code, got)
	}
	for _, want := range []string{"list secrets: the API server answers 403 Forbidden: secrets is forbidden", "grant the verb list"} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("standard error lacks %q: %s", want, r.stderr)
		}
	}
}

// TestPages shows that nothing is lost or judged twice where lists take many pages, where the server has forgotten a list,
// and where objects are deleted between pages.
func TestPages(t *testing.T) {
	create(t, "pages", fmt.Sprintf(bad, "web-0", 0))
	for i := 1; i < 9; i++ {
		apply(t, "pages", fmt.Sprintf(bad, fmt.Sprintf("web-%d", i), 0))
	}
	const expired = `{"kind":"Status","apiVersion":"v1","metadata":{%s},"status":"Failure","message":"The provided continue parameter is too old","reason":"Expired","code":410}`
	small := func(r *http.Request) (deployments bool, token string) {
		query := r.URL.Query()
		if query.Has("limit") {
			query.Set("limit", "2")
			r.URL.RawQuery = query.Encode()
		}
		return strings.HasSuffix(r.URL.Path, "/deployments"), query.Get("continue")
	}
	var asked atomic.Int32
	for name, change := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"small pages": func(_ http.ResponseWriter, r *http.Request) bool {
			small(r)
			return false
		},
		"forgotten": func(w http.ResponseWriter, r *http.Request) bool {
			if deployments, token := small(r); !deployments || token == "" || asked.Add(1) != 3 {
				return false
			}
			w.WriteHeader(http.StatusGone)
			fmt.Fprintf(w, expired, "")
			return true
		},
		"deleted in between": func(_ http.ResponseWriter, r *http.Request) bool {
			if deployments, token := small(r); deployments && token != "" {
				last := &unstructured.Unstructured{}
				last.SetAPIVersion("apps/v1")
				last.SetKind("Deployment")
				last.SetNamespace("pages")
				last.SetName("web-8")
				_ = admin.Delete(context.Background(), last) // the second time there is none
			}
			return false
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := check(t.Context(), forward(t, cluster.Config, change), "-n", "pages", "--only", "RF-WL-02", "-o", "json")
			got := subjects(r.findings(t))
			if len(got) < 8 || len(r.findings(t)) != len(got) || r.code != 1 {
				t.Errorf("exit code %d, %d findings about %q; want one for each of the deployments: %s", r.code, len(r.findings(t)), got, r.stderr)
			}
			if name == "forgotten" && !strings.Contains(r.stderr, "ringfence: the list of deployments.apps took longer than the API server remembers") {
				t.Errorf("that the list was begun again is not said: %s", r.stderr)
			}
		})
	}
}

// TestLarge shows that the largest object that the server takes is judged.
func TestLarge(t *testing.T) {
	create(t, "large", fmt.Sprintf(`apiVersion: v1
kind: ConfigMap
metadata: {name: large}
data: {a: %q}
---
`, strings.Repeat("x", 1<<20))+fmt.Sprintf(bad, "web", 0))
	if r := check(t.Context(), cluster.Kubeconfig, "-n", "large", "-o", "json"); r.code != 1 || !slices.Contains(subjects(r.findings(t)), "Deployment/web") {
		t.Errorf("exit code %d: %s", r.code, r.stderr)
	}
}

// TestInterrupted shows that what was judged until an interruption is reported.
func TestInterrupted(t *testing.T) {
	create(t, "interrupted", fmt.Sprintf(bad, "web", 0))
	ctx, cancel := context.WithCancel(t.Context())
	kubeconfig := forward(t, cluster.Config, func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/services") {
			time.Sleep(time.Second) // what came before is judged by then
			cancel()
			<-r.Context().Done()
			return true
		}
		return false
	})
	r := check(ctx, kubeconfig, "-n", "interrupted")
	if r.code != 2 || !strings.Contains(r.stdout, "interrupted/Deployment/web (apps/v1): refused") || !strings.Contains(r.stdout, "interrupted, the rest was not judged") {
		t.Errorf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
}

// TestGone shows that a server which goes away is not asked for every other kind, and that what was judged is reported.
func TestGone(t *testing.T) {
	create(t, "gone", fmt.Sprintf(bad, "web", 0))
	var away atomic.Bool
	var asked atomic.Int32
	kubeconfig := forward(t, cluster.Config, func(w http.ResponseWriter, r *http.Request) bool {
		if !away.Load() {
			away.Store(strings.HasSuffix(r.URL.Path, "/deployments"))
			return false
		}
		asked.Add(1)
		panic(http.ErrAbortHandler) // closes the connection
	})
	r := check(t.Context(), kubeconfig, "-n", "gone", "-o", "json")
	if got := subjects(r.findings(t)); r.code != 2 || !slices.Contains(got, "Deployment/web") || !strings.Contains(r.stderr, "more kinds were not asked for") {
		t.Errorf("exit code %d, findings about %q: %s", r.code, got, r.stderr)
	}
	if n := asked.Load(); n > 6 {
		t.Errorf("asked %d times", n)
	}
}

// TestSettings shows that Platform and Tenants are the cluster's own where it has them, and those of files where they are given.
func TestSettings(t *testing.T) {
	create(t, "payments-dev", strings.ReplaceAll(fmt.Sprintf(bad, "web", 0), "image: nginx", "image: registry.bank.example/web"))
	args := []string{"-n", "payments-dev", "--only", "RF-IM-01", "-o", "json"}
	r := check(t.Context(), cluster.Kubeconfig, args...)
	if r.code != 0 || !strings.Contains(r.stderr, "has no Platform") || !strings.Contains(r.stderr, "RF-IM-01 was not judged") {
		t.Errorf("without Ringfence: exit code %d: %s", r.code, r.stderr)
	}
	if err := cluster.InstallCRDs(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"platform.yaml", "tenant.yaml"} {
		if err := cluster.Install(t.Context(), filepath.Join("..", "..", "..", "samples", file)); err != nil {
			t.Fatal(err)
		}
	}
	// What passes as a file passes as the object that the server made of it.
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "samples", "compliant.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	apply(t, "payments-dev", string(text))
	r = check(t.Context(), cluster.Kubeconfig, "-n", "payments-dev", "-o", "json")
	for _, f := range r.findings(t) {
		if f.Subject.Name != "web" && f.Subject.Name != "default" {
			t.Errorf("a compliant object has the finding %s", f.Message)
		}
	}
	r = check(t.Context(), cluster.Kubeconfig, append(args, "--all")...)
	if r.code != 0 || !strings.Contains(r.stderr, "settings: Platform and 1 Tenants of cluster ") || len(r.findings(t)) == 0 {
		t.Errorf("with a Platform: exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	file := filepath.Join(t.TempDir(), "platform.yaml")
	other := "apiVersion: ringfence.dev/v1alpha1\nkind: Platform\nmetadata: {name: platform}\nspec: {profile: strict, registries: [other.bank.example]}\n"
	if err := os.WriteFile(file, []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	r = check(t.Context(), cluster.Kubeconfig, append(args, "--platform", file)...)
	if r.code != 1 || !strings.Contains(r.stderr, "those of the cluster do not count") {
		t.Errorf("with --platform: exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
}
