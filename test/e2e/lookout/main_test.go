// Package lookout shows on a real API server and real registries that the control plane finds the signatures of what was refused by itself.
// It shows that nothing else becomes admissible by that, and what registries that lie, fail or attack get.
package lookout

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/cli"
	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/ringfencetest"
)

const (
	namespace = "payments-dev"
	// signedID is the control that asks for signatures.
	signedID = "RF-IM-05"
)

var (
	cluster   *clustertest.Cluster
	auditFile string
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "rf")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	root, err := clustertest.Root()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	auditFile = filepath.Join(dir, "audit.log")
	return clustertest.Main(m.Run, func(c *clustertest.Cluster) { cluster = c },
		"--audit-policy", filepath.Join(root, "docs", "audit-policy.yaml"), "--apiserver-arg=--audit-log-path="+auditFile)
}

// bed is a cluster, its administrator, one of a team, and the folder of facts.
type bed struct {
	admin, team   client.Client
	facts, socket string
	scanned       []image.Admitted
}

// onboard has a tenant, and a Platform that demands the signature of a key of all images, in force.
func (b *bed) onboard(t *testing.T, pub string, registries ...string) {
	t.Helper()
	p := &v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.PlatformName}, Spec: v1alpha1.PlatformSpec{
		Controls: map[string]v1alpha1.ControlRollout{signedID: {Action: v1alpha1.Deny}}}}
	for _, r := range registries {
		p.Spec.Registries = append(p.Spec.Registries, v1alpha1.Registry(r))
	}
	p.Spec.Images.Trust = []v1alpha1.TrustRule{trust(t, pub)}
	for _, o := range []client.Object{p, &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "payments"}, Spec: v1alpha1.TenantSpec{
		Owner: "payments-team@bank.example", Groups: v1alpha1.TenantGroups{Admin: "payments-admins", ReadOnly: "payments-readers"},
		Environments: []v1alpha1.Environment{{Name: "dev"}},
	}}} {
		ringfencetest.Eventually(t, "create "+o.GetName(), func() error { return client.IgnoreAlreadyExists(b.admin.Create(t.Context(), o)) })
	}
	ringfencetest.Eventually(t, "the rules to be in force", func() error { return ringfencetest.InForce(t.Context(), b.admin) })
}

// trust is a rule that demands the signature of a key.
func trust(t *testing.T, pub string) v1alpha1.TrustRule {
	t.Helper()
	text, err := os.ReadFile(pub)
	if err != nil {
		t.Fatal(err)
	}
	return v1alpha1.TrustRule{Name: "bank", Keys: []v1alpha1.TrustKey{{Name: "release", PEM: string(text)}}}
}

// scan says of digests that they were scanned and nothing was found, so that signatures alone decide.
func (b *bed) scan(t *testing.T, references ...string) {
	t.Helper()
	for _, r := range references {
		b.scanned = append(b.scanned, image.Admitted{Digest: image.DigestOf(r), ScannedUntil: time.Now().Add(24 * time.Hour), CleanUntil: image.Never()})
	}
	text, err := image.Admission(b.scanned)
	part := filepath.Join(b.facts, "scans.part")
	if err = errors.Join(err, os.WriteFile(part, text, 0o600), os.Rename(part, filepath.Join(b.facts, "scans.json"))); err != nil {
		t.Fatal(err)
	}
}

// known are the digests of which the folder says that they are signed, and those of which it says that they lack it.
func (b *bed) known(t *testing.T) (signed, lacking []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(b.facts, "ringfence-signatures.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	all, err := image.ParseSignatures(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Until.IsZero() {
			lacking = append(lacking, s.Digest)
		} else {
			signed = append(signed, s.Digest)
		}
	}
	return signed, lacking
}

// metric is the value of a metric as it is scraped; "" where there is none.
func (b *bed) metric(t *testing.T, name string) string {
	t.Helper()
	for line := range strings.Lines(ringfencetest.Scrape(t, b.socket)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// try has the team try an image.
func (b *bed) try(t *testing.T, reference string) error {
	t.Helper()
	return b.team.Create(t.Context(), pod("x", reference), client.DryRunAll)
}

func pod(name, reference string) *corev1.Pod {
	yes, no := true, false
	amount := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi")}
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Spec: corev1.PodSpec{
		AutomountServiceAccountToken: &no,
		SecurityContext:              &corev1.PodSecurityContext{RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
		Containers: []corev1.Container{{
			Name: "api", Image: reference, Resources: corev1.ResourceRequirements{Requests: amount, Limits: amount},
			SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
		}},
	}}
}

// push pushes a new image and gives its reference by digest.
func push(t *testing.T, tag string) string {
	t.Helper()
	made, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(tag)
	if err == nil {
		err = remote.Write(ref, made)
	}
	if err != nil {
		t.Fatal(err)
	}
	digest, err := made.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return ref.Context().Name() + "@" + digest.String()
}

// pair writes a key pair and gives its files.
func pair(t *testing.T) (key, pub string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	key, pub = filepath.Join(dir, "bank.key"), filepath.Join(dir, "bank.pub")
	for file, block := range map[string]*pem.Block{key: {Type: "PRIVATE KEY", Bytes: der}, pub: {Type: "PUBLIC KEY", Bytes: public}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return key, pub
}

// sign signs an image as a pipeline does.
func sign(t *testing.T, reference, key string) {
	t.Helper()
	var out bytes.Buffer
	if code := cli.Main(t.Context(), []string{"image", "sign", reference, "--key", key}, cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Now: time.Now}); code != 0 {
		t.Fatalf("image sign %s: exit code %d\n%s", reference, code, &out)
	}
}
