package install

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/ringfencetest"
)

// reports: policy reports of both forms are made, changed, and removed where nobody wants them any more.
func (b *bed) reports(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	for file, crd := range map[string]string{"openreports.io_reports.yaml": "reports.openreports.io", "wgpolicyk8s.io_policyreports.yaml": "policyreports.wgpolicyk8s.io",
		"openreports.io_clusterreports.yaml": "clusterreports.openreports.io", "wgpolicyk8s.io_clusterpolicyreports.yaml": "clusterpolicyreports.wgpolicyk8s.io"} {
		if err := cluster.Install(ctx, "../../../report/testdata/"+file); err != nil {
			t.Fatal(err)
		}
		if err := cluster.AwaitCRD(ctx, crd); err != nil {
			t.Fatal(err)
		}
	}
	platform := func(patch string) {
		t.Helper()
		p := &v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.PlatformName}}
		if err := b.admin.Patch(ctx, p, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
			t.Fatal(err)
		}
	}
	counts := func(apiVersion, kind string) (reports int, findings int64) {
		t.Helper()
		var list unstructured.UnstructuredList
		list.SetAPIVersion(apiVersion)
		list.SetKind(kind + "List")
		if err := b.admin.List(ctx, &list); err != nil {
			t.Fatal(err)
		}
		for _, o := range list.Items {
			for _, outcome := range []string{"fail", "warn", "error"} {
				n, _, _ := unstructured.NestedInt64(o.Object, "summary", outcome)
				findings += n
			}
		}
		return len(list.Items), findings
	}
	const open, older = "openreports.io/v1alpha1", "wgpolicyk8s.io/v1alpha2"
	platform(`{"spec":{"reports":{"openReports":true,"policyReports":true}}}`)
	var before int64
	ringfencetest.Eventually(t, "reports of both forms", func() error {
		some, found := counts(open, "Report")
		others, same := counts(older, "PolicyReport")
		if before = found; some == 0 || others != some || same != found {
			return fmt.Errorf("%d reports of %d findings, %d of %d", some, found, others, same)
		}
		return nil
	})
	var outside int64
	ringfencetest.Eventually(t, "a report of what lies in no namespace, in both forms", func() error {
		some, found := counts(open, "ClusterReport")
		if others, same := counts(older, "ClusterPolicyReport"); some != 1 || others != 1 || found != same {
			return fmt.Errorf("%d and %d reports of %d and %d findings", some, others, found, same)
		}
		outside = found
		return nil
	})
	everything := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "reported"}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}}}
	if err := b.admin.Create(ctx, everything); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.admin.Delete(ctx, everything) }()
	ringfencetest.Eventually(t, "both to count a role of everything", func() error {
		_, found := counts(open, "ClusterReport")
		if _, same := counts(older, "ClusterPolicyReport"); found <= outside || same != found {
			return fmt.Errorf("%d and %d findings, before %d", found, same, outside)
		}
		return nil
	})
	root := func(readOnly bool) { // RF-WL-15 warns of one that can be written
		t.Helper()
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "api"}}
		patch := fmt.Appendf(nil, `{"spec":{"template":{"spec":{"containers":[{"name":"api","securityContext":{"readOnlyRootFilesystem":%t}}]}}}}`, readOnly)
		if err := b.admin.Patch(ctx, d, client.RawPatch(types.StrategicMergePatchType, patch)); err != nil {
			t.Fatal(err)
		}
	}
	root(false)
	defer root(true)
	ringfencetest.Eventually(t, "both to have what is new", func() error {
		_, found := counts(open, "Report")
		if _, same := counts(older, "PolicyReport"); found <= before || same != found {
			return fmt.Errorf("%d and %d findings, before %d", found, same, before)
		}
		return nil
	})
	platform(`{"spec":{"reports":null}}`)
	ringfencetest.Eventually(t, "none to be left", func() error {
		some, _ := counts(open, "Report")
		others, _ := counts(older, "PolicyReport")
		cluster, _ := counts(open, "ClusterReport")
		if same, _ := counts(older, "ClusterPolicyReport"); some+others+cluster+same > 0 {
			return fmt.Errorf("%d and %d reports, %d and %d of no namespace", some, others, cluster, same)
		}
		return nil
	})
}
