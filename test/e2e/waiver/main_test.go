// Package waiver shows on a real API server who can get a waiver and what it lets in, until when. Ringfence is stopped
// wherever it should not be needed.
package waiver

import (
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/server"
	"ringfence.dev/ringfence/tenant"
)

const (
	image     = "registry.bank.example/payments/api:1"
	namespace = "payments-dev"
	another   = "payments-test"
	// waivedID is the control that is waived here: host namespaces. It denies in every profile.
	waivedID = "RF-WL-02"
	otherID  = "RF-WL-01"
	noneID   = "RF-WL-03" // unwaivable
)

var cluster *clustertest.Cluster

func TestMain(m *testing.M) {
	os.Exit(clustertest.Main(m.Run, func(c *clustertest.Cluster) { cluster = c }))
}

// person is who a client speaks as.
type person struct {
	name   string
	groups []string
}

var (
	dave    = person{"oidc:dave@bank.example", []string{"oidc:payments-admins"}} // of the team
	erin    = person{"oidc:erin@bank.example", []string{"oidc:security"}}        // approves
	frank   = person{"oidc:frank@bank.example", []string{"oidc:security"}}
	mallory = person{"oidc:mallory@bank.example", []string{"oidc:payments-admins", "oidc:status-writers"}} // may write the status
)

func as(t *testing.T, p person) client.Client {
	t.Helper()
	return ringfencetest.As(t, cluster.Config, p.name, p.groups...)
}

func masters(t *testing.T) client.Client {
	t.Helper()
	if cluster == nil {
		t.Skip(clustertest.ErrUnavailable)
	}
	c, err := kube.NewClient(cluster.Config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// run starts Ringfence; what it returns stops it.
func run(t *testing.T) (stop func()) {
	t.Helper()
	_, stop = ringfencetest.Start(t, cluster.Config, server.Config{}, slog.LevelWarn)
	return stop
}

// onboard runs Ringfence until the bank is in force, and leaves it running.
func onboard(t *testing.T) (admin client.Client, stop func()) {
	t.Helper()
	admin = masters(t)
	stop = run(t)
	bind := func(name, role, group string) *rbacv1.ClusterRoleBinding {
		return &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: group}}}
	}
	for _, o := range []client.Object{
		&v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.PlatformName}, Spec: v1alpha1.PlatformSpec{
			Registries: []v1alpha1.Registry{"registry.bank.example"},
			Controls:   map[string]v1alpha1.ControlRollout{noneID: {Action: v1alpha1.Deny, Unwaivable: true}},
		}},
		&v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "payments"}, Spec: v1alpha1.TenantSpec{
			Owner: "payments-team@bank.example", Groups: v1alpha1.TenantGroups{Admin: "payments-admins", ReadOnly: "payments-readers"},
			Environments: []v1alpha1.Environment{{Name: "dev"}, {Name: "test"}},
		}},
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "status-writers"}, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"ringfence.dev"}, Resources: []string{"waivers", "waivers/status"}, Verbs: []string{"get", "create", "update", "patch"}}}},
		bind("status-writers", "status-writers", "oidc:status-writers"),
		bind("waiver-approvers", tenant.RoleApprover, "oidc:security"),
	} {
		ringfencetest.Eventually(t, "create "+o.GetName(), func() error { return client.IgnoreAlreadyExists(admin.Create(t.Context(), o)) })
	}
	ringfencetest.Eventually(t, "the rules to be in force", func() error { return ringfencetest.InForce(t.Context(), admin) })
	for _, ns := range []string{namespace, another} {
		ringfencetest.Eventually(t, "a bad pod to be refused in "+ns, func() error {
			return ringfencetest.RefusedBy(as(t, dave).Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: ns}, Spec: template(true)}, client.DryRunAll), waivedID)
		})
	}
	ringfencetest.Eventually(t, "waivers to be guarded", func() error {
		w := wish("probe")
		w.Spec.Requester = "somebody"
		return ringfencetest.Refused(as(t, dave).Create(t.Context(), w, client.DryRunAll), "in one's own name")
	})
	return admin, stop
}

// grant writes waivers into a Guard as only system:masters can, with Ringfence stopped: the live ones, and those that ended
// before Ringfence could take them out.
func grant(t *testing.T, admin client.Client, ends map[string]time.Time) {
	t.Helper()
	waivers := map[string]v1alpha1.SubjectWaivers{}
	for key, end := range ends {
		waivers[key] = v1alpha1.SubjectWaivers{waivedID: {Name: "w", Expires: end.UTC().Format(time.RFC3339), Ticket: "T", Approver: erin.name}}
	}
	var guard v1alpha1.Guard
	if err := admin.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: v1alpha1.GuardName}, &guard); err != nil {
		t.Fatal(err)
	}
	guard.Spec.Waivers = waivers
	if err := admin.Update(t.Context(), &guard); err != nil {
		t.Fatal(err)
	}
}

// wish is a waiver as dave asks for it.
func wish(name string) *v1alpha1.Waiver {
	return &v1alpha1.Waiver{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Spec: v1alpha1.WaiverSpec{
		Control: waivedID, Subjects: []v1alpha1.WaiverSubject{{Kind: "Deployment", Name: "api"}}, Reason: "the vendor needs it", Ticket: "RISK-1",
		Owner: "frank@bank.example", Requester: dave.name, Expires: time.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339),
	}}
}

// approve writes an approval in a name, as somebody.
func approve(t *testing.T, by person, name, approver string) error {
	t.Helper()
	w := &v1alpha1.Waiver{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}}
	return as(t, by).SubResource("status").Patch(t.Context(), w, merge(`{"status":{"approval":{"approver":%q,"approvedAt":%q}}}`, approver, time.Now().UTC().Format(time.RFC3339)))
}

func merge(format string, args ...any) client.Patch {
	return client.RawPatch(types.MergePatchType, fmt.Appendf(nil, format, args...))
}

// template is a pod that is right, or has one fault.
func template(hostPID bool) corev1.PodSpec {
	spec := ringfencetest.PodSpec(image)
	spec.HostPID = hostPID
	return spec
}

// workload is an object of every kind with a pod template, and a key of the Guard for it; none runs.
func workloads(name string, hostPID bool) map[string]client.Object {
	app, zero, yes := map[string]string{"app": name}, int32(0), true
	in := metav1.ObjectMeta{Name: name, Namespace: namespace}
	selector := &metav1.LabelSelector{MatchLabels: app}
	pod := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: app}, Spec: template(hostPID)}
	once := *pod.DeepCopy()
	once.Spec.RestartPolicy = corev1.RestartPolicyNever
	return map[string]client.Object{
		"Deployment.apps":       &appsv1.Deployment{ObjectMeta: in, Spec: appsv1.DeploymentSpec{Replicas: &zero, Selector: selector, Template: pod}},
		"StatefulSet.apps":      &appsv1.StatefulSet{ObjectMeta: in, Spec: appsv1.StatefulSetSpec{Replicas: &zero, Selector: selector, Template: pod}},
		"DaemonSet.apps":        &appsv1.DaemonSet{ObjectMeta: in, Spec: appsv1.DaemonSetSpec{Selector: selector, Template: pod}},
		"ReplicaSet.apps":       &appsv1.ReplicaSet{ObjectMeta: in, Spec: appsv1.ReplicaSetSpec{Replicas: &zero, Selector: selector, Template: pod}},
		"ReplicationController": &corev1.ReplicationController{ObjectMeta: in, Spec: corev1.ReplicationControllerSpec{Replicas: &zero, Selector: app, Template: &pod}},
		"PodTemplate":           &corev1.PodTemplate{ObjectMeta: in, Template: pod},
		"Job.batch":             &batchv1.Job{ObjectMeta: in, Spec: batchv1.JobSpec{Suspend: &yes, Template: once}},
		"CronJob.batch": &batchv1.CronJob{ObjectMeta: in, Spec: batchv1.CronJobSpec{Schedule: "0 0 1 1 *", Suspend: &yes,
			JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: once}}}},
	}
}
