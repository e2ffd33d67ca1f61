// Package images shows on a real API server that an image runs only while what is known of its digest admits it. It does so
// while Ringfence runs, and while it is stopped.
package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/policy/bundle"
	"ringfence.dev/ringfence/server"
)

const (
	repository = "registry.bank.example/payments/api"
	namespace  = "payments-dev"
	// The controls: scanned lately, no old vulnerability, none that will refuse it soon.
	scanID, vulnerabilityID, soonID = "RF-IM-03", "RF-IM-04", "RF-IM-06"
	// And signed as the bank demands.
	signedID = "RF-IM-05"
)

var cluster *clustertest.Cluster

func TestMain(m *testing.M) {
	os.Exit(clustertest.Main(m.Run, func(c *clustertest.Cluster) { cluster = c }))
}

// bed is a cluster, its administrator, one of a team, and what the team was warned of.
type bed struct {
	admin, team client.Client
	mu          sync.Mutex
	warnings    []string
	dir         string // of the facts
	facts       map[string]fact
	trust       image.Trust // whose signature counts; none until it is set
}

// fact is what is known of a digest; a zero time is none.
type fact struct {
	scanned, clean time.Time
	note, warn     string
	signed         time.Time // under the bed's trust; zero: it was looked at and lacks it
}

var never = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// HandleWarningHeader keeps a warning.
func (b *bed) HandleWarningHeader(_ int, _ string, text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.warnings = append(b.warnings, text)
}

// warned are the warnings since it was asked last.
func (b *bed) warned() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := strings.Join(b.warnings, "\n")
	b.warnings = nil
	return all
}

func open(t *testing.T) *bed {
	t.Helper()
	if cluster == nil {
		t.Skip(clustertest.ErrUnavailable)
	}
	b := &bed{dir: t.TempDir(), facts: map[string]fact{}}
	connect := func(config *rest.Config) client.Client {
		c, err := kube.NewClient(config)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	b.admin = connect(cluster.Config)
	team := rest.CopyConfig(cluster.Config)
	team.WarningHandler = b
	team.Impersonate = rest.ImpersonationConfig{UserName: "oidc:dave@bank.example", Groups: []string{"system:authenticated", "oidc:payments-admins"}}
	b.team = connect(team)
	return b
}

// run starts Ringfence; what it returns stops it.
func (b *bed) run(t *testing.T) (stop func()) {
	t.Helper()
	_, stop = ringfencetest.Start(t, cluster.Config, server.Config{ImageFacts: b.dir}, slog.LevelWarn)
	return stop
}

// write puts the facts into their folder at once, as one file.
func (b *bed) write(t *testing.T) {
	t.Helper()
	instant := func(t time.Time) any {
		if t.IsZero() {
			return nil
		}
		return t.UTC().Format(time.RFC3339)
	}
	var images []map[string]any
	for d, f := range b.facts {
		images = append(images, map[string]any{"digest": d, "scannedUntil": instant(f.scanned), "cleanUntil": instant(f.clean), "note": f.note, "warn": f.warn})
	}
	text, err := json.Marshal(map[string]any{"apiVersion": "ringfence.dev/v1alpha1", "kind": "ImageAdmission", "metadata": map[string]any{"name": "all"}, "spec": map[string]any{"images": images}})
	if err != nil {
		t.Fatal(err)
	}
	b.writeSignatures(t)
	part := filepath.Join(b.dir, "facts.part")
	if err := errors.Join(os.WriteFile(part, text, 0o600), os.Rename(part, filepath.Join(b.dir, "facts.json"))); err != nil {
		t.Fatal(err)
	}
}

// writeSignatures puts what is known of signatures beside the facts, once there is a trust.
func (b *bed) writeSignatures(t *testing.T) {
	t.Helper()
	if b.trust.Name == "" {
		return
	}
	var all []image.Signed
	for d, f := range b.facts {
		all = append(all, image.Signed{Digest: d, Trust: b.trust.ID(), Until: f.signed, By: "key release"})
	}
	text, err := image.Signatures(all)
	if err != nil {
		t.Fatal(err)
	}
	part := filepath.Join(b.dir, "signatures.part")
	if err := errors.Join(os.WriteFile(part, text, 0o600), os.Rename(part, filepath.Join(b.dir, "signatures.json"))); err != nil {
		t.Fatal(err)
	}
}

// onboard has a tenant and the rules in force.
func (b *bed) onboard(t *testing.T) {
	t.Helper()
	for _, o := range []client.Object{
		&v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.PlatformName}, Spec: v1alpha1.PlatformSpec{Registries: []v1alpha1.Registry{"registry.bank.example", "docker.io"}}},
		&v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "payments"}, Spec: v1alpha1.TenantSpec{
			Owner: "payments-team@bank.example", Groups: v1alpha1.TenantGroups{Admin: "payments-admins", ReadOnly: "payments-readers"},
			Environments: []v1alpha1.Environment{{Name: "dev"}},
		}},
	} {
		ringfencetest.Eventually(t, "create "+o.GetName(), func() error { return client.IgnoreAlreadyExists(b.admin.Create(t.Context(), o)) })
	}
	ringfencetest.Eventually(t, "the rules to be in force", func() error {
		if is := b.condition(t, bundle.ConditionEnforced); is == nil || is.Status != metav1.ConditionTrue {
			return fmt.Errorf("condition: %v", is)
		}
		return ringfencetest.RefusedBy(b.team.Create(t.Context(), pod("x", at('f')), client.DryRunAll), scanID)
	})
	if _, young := b.facts[digest('c')]; !young {
		return
	}
	ringfencetest.Eventually(t, "the API server to warn: it takes up each policy by itself", func() error {
		b.warned()
		err := b.team.Create(t.Context(), pod("x", at('c')), client.DryRunAll)
		if warned := b.warned(); err != nil || !strings.Contains(warned, soonID) {
			return fmt.Errorf("%v, warned %q", err, warned)
		}
		return nil
	})
}

func (b *bed) condition(t *testing.T, name string) *metav1.Condition {
	t.Helper()
	var p v1alpha1.Platform
	if err := b.admin.Get(t.Context(), client.ObjectKey{Name: v1alpha1.PlatformName}, &p); err != nil {
		t.Fatal(err)
	}
	return meta.FindStatusCondition(p.Status.Conditions, name)
}

// guard is what the Guard says of a digest.
func (b *bed) guard(t *testing.T, d string) (of v1alpha1.GuardImage, named bool) {
	t.Helper()
	var g v1alpha1.Guard
	if err := b.admin.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: v1alpha1.GuardName}, &g); err != nil {
		t.Fatal(err)
	}
	if g.Spec.Images == nil {
		return of, false
	}
	of, named = g.Spec.Images.Admitted[d]
	return of, named
}

func digest(hex rune) string { return "sha256:" + strings.Repeat(string(hex), 64) }
func at(hex rune) string     { return repository + "@" + digest(hex) }

func spec(image string) corev1.PodSpec {
	yes, no := true, false
	amount := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi")}
	return corev1.PodSpec{
		AutomountServiceAccountToken: &no,
		SecurityContext:              &corev1.PodSecurityContext{RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
		Containers: []corev1.Container{{
			Name: "api", Image: image, Resources: corev1.ResourceRequirements{Requests: amount, Limits: amount},
			SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
		}},
	}
}

func pod(name, image string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Spec: spec(image)}
}

func deployment(name, image string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Spec: appsv1.DeploymentSpec{
		Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec(image)},
	}}
}
