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
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/cli"
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
