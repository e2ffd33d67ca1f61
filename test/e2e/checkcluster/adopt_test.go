package checkcluster

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"ringfence.dev/ringfence/cli"
)

// TestAdoptCluster shows that tenant adopt reads a real API server, sends it nothing but GET, and maps a team with its
// groups and quota.
func TestAdoptCluster(t *testing.T) {
	connect(t)
	for _, ns := range []string{"adopted-dev", "adopted-prod"} {
		if err := admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns, Labels: map[string]string{"team": "adopted"}}}); err != nil {
			t.Fatal(err)
		}
		apply(t, ns, `apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: admins}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "oidc:adopted-developers"}]
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: quota}
spec: {hard: {pods: "7"}}`)
	}
	var asked, others atomic.Int64
	target, err := url.Parse(cluster.Config.Host)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(cluster.Config)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = transport
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1); r.Method != http.MethodGet {
			others.Add(1)
		}
		proxy.ServeHTTP(w, r)
	}))
	defer server.Close()
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	text := `{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],
clusters: [{name: c, cluster: {server: "` + server.URL + `"}}], users: [{name: u, user: {}}]}`
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, prose bytes.Buffer
	code := cli.Main(t.Context(), []string{"tenant", "adopt", "--cluster", "--kubeconfig", kubeconfig, "-o", filepath.Join(dir, "adopted")},
		cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &prose, Now: time.Now})
	if code != 0 {
		t.Fatalf("exit code %d: %s\n%s", code, prose.String(), out.String())
	}
	if asked.Load() == 0 || others.Load() != 0 {
		t.Errorf("%d requests, %d of them no GET; want GET alone", asked.Load(), others.Load())
	}
	got, err := os.ReadFile(filepath.Join(dir, "adopted", "tenants", "adopted.yaml"))
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"admin: adopted-developers # has admin rights in 2 of 2 namespaces", "namespace: adopted-prod", `pods: "7"`} {
		if !strings.Contains(string(got), want) {
			t.Errorf("the Tenant lacks %q:\n%s", want, got)
		}
	}
}
