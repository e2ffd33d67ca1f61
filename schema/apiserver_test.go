package schema

import (
	"context"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apischema "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// kubeconfigEnv names a cluster whose API server is asked the same cases; the test installs the CRDs in it.
const kubeconfigEnv = "RINGFENCE_TEST_KUBECONFIG"

// TestParity asks a real API server every case of the table: it accepts and refuses what Validate accepts and refuses,
// and fills in the same defaults.
func TestParity(t *testing.T) {
	path := os.Getenv(kubeconfigEnv)
	if path == "" {
		t.Skipf("set %s to the kubeconfig of a cluster to compare with its API server", kubeconfigEnv)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	installCRDs(ctx, t, client)
	s := newSet(t)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			obj := object(t, c.yaml)
			got := s.Validate(obj)
			s.Default(obj)
			answer, err := create(ctx, client, &unstructured.Unstructured{Object: object(t, c.yaml)})
			if err != nil && !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) {
				t.Fatalf("the server gave no verdict: %v", err)
			}
			if (err == nil) != (len(got) == 0) {
				t.Fatalf("the server says: %v\nValidate says:\n%s", err, text(got))
			}
			if err == nil && c.yaml != "" {
				compareSpec(t, answer.Object["spec"], obj["spec"])
			}
		})
	}
}

func compareSpec(t *testing.T, server, ours any) {
	t.Helper()
	a, _ := yaml.Marshal(server)
	b, _ := yaml.Marshal(ours)
	if string(a) != string(b) {
		t.Errorf("the server stores:\n%s\nDefault gives:\n%s", a, b)
	}
}

func create(ctx context.Context, client dynamic.Interface, obj *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	plural := v1alpha1.GroupVersion.WithResource(strings.ToLower(obj.GetKind()) + "s")
	dryRun := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict}
	if obj.GetKind() == "Guard" {
		return client.Resource(plural).Namespace(metav1.NamespaceDefault).Create(ctx, obj, dryRun)
	}
	return client.Resource(plural).Create(ctx, obj, dryRun)
}

func installCRDs(ctx context.Context, t *testing.T, client dynamic.Interface) {
	t.Helper()
	resource := client.Resource(apischema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	names, err := fs.Glob(v1alpha1.CRDs(), "*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("embedded CRDs: %v, %v", names, err)
	}
	for _, name := range names {
		data, err := fs.ReadFile(v1alpha1.CRDs(), name)
		if err != nil {
			t.Fatal(err)
		}
		crd := &unstructured.Unstructured{Object: object(t, string(data))}
		if _, err := resource.Apply(ctx, crd.GetName(), crd, metav1.ApplyOptions{FieldManager: "schema-test", Force: true}); err != nil {
			t.Fatalf("install %s: %v", name, err)
		}
		for ; ; time.Sleep(50 * time.Millisecond) {
			now, err := resource.Get(ctx, crd.GetName(), metav1.GetOptions{})
			if err != nil {
				t.Fatalf("wait for %s: %v", name, err)
			}
			if established(now) {
				break
			}
		}
	}
}

func established(crd *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
	for _, c := range conditions {
		if c, ok := c.(map[string]any); ok && c["type"] == "Established" && c["status"] == "True" {
			return true
		}
	}
	return false
}
