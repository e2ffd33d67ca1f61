// Package static shows an API server that reads Ringfence's static policy from a folder of its own: nobody but Ringfence, an administrator
// neither, changes what guards. It starts that API server and runs Ringfence on it.
package static

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/cli"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/server"
)

const keeper = "system:serviceaccount:ringfence-system:ringfence"

var cluster *clustertest.Cluster

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run starts the API server with the folder that `ringfence control export` wrote.
func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "rf")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	policies, config := filepath.Join(dir, "policies"), filepath.Join(dir, "admission.yaml")
	var said bytes.Buffer
	if code := cli.Main(context.Background(), []string{"control", "export", "--format", "static", "-o", policies},
		cli.Env{Stdin: strings.NewReader(""), Stdout: &said, Stderr: &said, Now: time.Now}); code != 0 {
		fmt.Fprintln(os.Stderr, said.String())
		return 1
	}
	text := `apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
  - name: ValidatingAdmissionPolicy
    configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: ValidatingAdmissionPolicyConfiguration, staticManifestsDir: ` + policies + "}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return clustertest.Main(m.Run, func(c *clustertest.Cluster) { cluster = c }, "--nodes", "0", "--no-scheduler", "--apiserver-arg=--admission-control-config-file="+config)
}

// TestStatic: what Ringfence installed is Ringfence's alone to change; what others installed is theirs.
func TestStatic(t *testing.T) {
	if cluster == nil {
		t.Skip(clustertest.ErrUnavailable)
	}
	if os.Getenv(clustertest.EnvKubeconfig) != "" {
		t.Skip("skipped: the API server of a cluster that exists reads other files")
	}
	as := rest.CopyConfig(cluster.Config)
	as.Impersonate = rest.ImpersonationConfig{UserName: keeper, Groups: []string{"system:masters", "system:authenticated"}}
	ringfencetest.Start(t, as, server.Config{}, slog.LevelError)
	admin := ringfencetest.Client(t, cluster.Config)
	platform := &v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.PlatformName}, Spec: v1alpha1.PlatformSpec{Registries: []v1alpha1.Registry{"registry.bank.example"}}}
	ringfencetest.Eventually(t, "the Platform", func() error { return client.IgnoreAlreadyExists(admin.Create(t.Context(), platform.DeepCopy())) })
	ringfencetest.Eventually(t, "the rules to be in force", func() error { return ringfencetest.InForce(t.Context(), admin) })

	var policies admissionv1.ValidatingAdmissionPolicyList
	var bindings admissionv1.ValidatingAdmissionPolicyBindingList
	var kinds apiextensionsv1.CustomResourceDefinitionList
	for _, list := range []client.ObjectList{&policies, &bindings, &kinds} {
		if err := admin.List(t.Context(), list); err != nil {
			t.Fatal(err)
		}
	}
	const words = "changed by Ringfence alone"
	tried := 0
	refused := func(what string, err error) {
		t.Helper()
		if tried++; ringfencetest.Refused(err, words) != nil {
			t.Errorf("%s: got %v; want a refusal that says %q", what, err, words)
		}
	}
	for i := range policies.Items {
		p := &policies.Items[i]
		// Kubernetes writes into a policy's status what it thinks of its expressions, some seconds after it was made.
		edit := func(change func()) error {
			return retry.RetryOnConflict(retry.DefaultRetry, func() error {
				if err := admin.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
					return err
				}
				change()
				return admin.Update(t.Context(), p)
			})
		}
		refused("delete policy "+p.Name, admin.Delete(t.Context(), p.DeepCopy()))
		refused("weaken policy "+p.Name, edit(func() { p.Spec.FailurePolicy = new(admissionv1.Ignore) }))
		refused("take the label off policy "+p.Name, edit(func() { p.Labels = nil }))
	}
	for i := range bindings.Items {
		b := &bindings.Items[i]
		refused("delete binding "+b.Name, admin.Delete(t.Context(), b.DeepCopy()))
		weak := b.DeepCopy()
		weak.Spec.ValidationActions = []admissionv1.ValidationAction{admissionv1.Audit}
		refused("weaken binding "+b.Name, admin.Update(t.Context(), weak))
	}
	for i := range kinds.Items {
		if strings.HasSuffix(kinds.Items[i].Name, ".ringfence.dev") {
			refused("delete kind "+kinds.Items[i].Name, admin.Delete(t.Context(), &kinds.Items[i]))
		}
	}
	refused("delete all bindings", admin.DeleteAllOf(t.Context(), &admissionv1.ValidatingAdmissionPolicyBinding{}))
	mine := &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "ringfence-admission-2"}}
	refused("a webhook with our name", admin.Create(t.Context(), mine))
	if tried < 40 {
		t.Errorf("%d attempts; the lists are too short", tried)
	}
	theirs := &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "theirs"}}
	if err := admin.Create(t.Context(), theirs); err != nil {
		t.Errorf("a webhook of others: %v", err)
	}
	if err := admin.Delete(t.Context(), theirs); err != nil {
		t.Errorf("a webhook of others: %v", err)
	}
	keeps := ringfencetest.Client(t, as)
	if err := keeps.Delete(t.Context(), &bindings.Items[0]); err != nil {
		t.Errorf("Ringfence itself: %v", err)
	}
	t.Logf("%d attempts of an administrator, all refused", tried)
}
