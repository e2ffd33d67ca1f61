package images

import (
	"archive/tar"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/cli"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/tenant"
)

type person = ringfencetest.Person

var (
	nina = person{Name: "oidc:nina@bank.example", Groups: []string{"oidc:importers"}, Object: "oid-nina"}                              // asks for imports
	erin = person{Name: "oidc:erin@bank.example", Groups: []string{"oidc:import-approvers"}, Object: "oid-erin"}                       // approves
	both = person{Name: "oidc:max@bank.example", Groups: []string{"oidc:importers", "oidc:import-approvers"}, Object: "oid-max"}       // may both, not for one import
	dual = person{Name: "oidc:max-admin@bank.example", Groups: []string{"oidc:importers", "oidc:import-approvers"}, Object: "oid-max"} // his second account
)

// importDesk is a place that imports: two registries, keys, and files about an image.
type importDesk struct {
	upstream, bank *door
	dir            string
	image          v1.Image
	digest         string
	vendor, key    string // private keys; the public ones beside them end in .pub
}

// TestImport takes images of outside into the bank's registry, on a real API server and two real registries.
func TestImport(t *testing.T) {
	b := open(t)
	b.write(t)
	stop := b.run(t)
	b.importers(t)
	stop() // what follows is held by the API server alone
	d := newImportDesk(t)
	t.Run("approved by another person", d.approved)
	t.Run("refused", d.refused)
	t.Run("a quorum that cannot be met", b.unmet)
	t.Run("forged and changed", func(t *testing.T) { d.forged(t, b) })
	t.Run("a tag that moves", d.moved)
	t.Run("killed", d.killed)
}

// importers have the roles, and the policies are in force.
func (b *bed) importers(t *testing.T) {
	t.Helper()
	bind := func(role, group string) client.Object {
		return &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: role + "-test"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: group}}}
	}
	for _, o := range []client.Object{
		&v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.PlatformName}, Spec: v1alpha1.PlatformSpec{Registries: []v1alpha1.Registry{"registry.bank.example"}}},
		&v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "payments"}, Spec: v1alpha1.TenantSpec{Owner: "payments-team@bank.example",
			Groups: v1alpha1.TenantGroups{Admin: "payments-admins", ReadOnly: "payments-readers"}, Environments: []v1alpha1.Environment{{Name: "dev"}}}},
		bind(tenant.RoleImporter, "oidc:importers"), bind(tenant.RoleImportApprover, "oidc:import-approvers"),
	} {
		ringfencetest.Eventually(t, "create "+o.GetName(), func() error { return client.IgnoreAlreadyExists(b.admin.Create(t.Context(), o)) })
	}
	ringfencetest.Eventually(t, "imports to be guarded", func() error {
		return ringfencetest.Refused(ringfencetest.AsPerson(t, cluster.Config, nina).Create(t.Context(), wanted("somebody"), client.DryRunAll), "in one's own name")
	})
}

// wanted is an import as one may ask for it.
func wanted(requester string) *v1alpha1.ImageImport {
	return &v1alpha1.ImageImport{ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-", Namespace: namespace}, Spec: v1alpha1.ImageImportSpec{Requester: requester, RequesterObject: "oid-nina",
		Source: "docker.io/library/redis:7", Digest: digest('a'), Destination: "registry.bank.example/ext/redis:7", Reason: "a cache", Ticket: "CHG1",
		Expires: metav1.NewTime(time.Now().Add(time.Hour).UTC().Truncate(time.Second))}}
}

func newImportDesk(t *testing.T) *importDesk {
	t.Helper()
	d := &importDesk{upstream: openDoor(t), bank: openDoor(t), dir: t.TempDir()}
	d.vendor, d.key = pair(t, d.dir, "vendor"), pair(t, d.dir, "bank")
	d.image = programImage(t, map[string]string{"bin/sh": "x", "app/redis": "the program"})
	d.digest = d.put(t, "library/redis:7", d.image)
	d.says(t, d.image)
	d.want(t, 0, "", "image", "sign", d.upstream.host+"/library/redis:7", "--key", d.vendor)
	return d
}

// pair makes a key pair and is the private one's file.
func pair(t *testing.T, dir, name string) string {
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
	file := filepath.Join(dir, name+".key")
	for f, block := range map[string]*pem.Block{file: {Type: "PRIVATE KEY", Bytes: der}, file + ".pub": {Type: "PUBLIC KEY", Bytes: public}} {
		if err := os.WriteFile(f, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

// programImage is an image of one layer with files, that runs as somebody.
func programImage(t *testing.T, files map[string]string) v1.Image {
	t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	i, err := mutate.AppendLayers(empty.Image, layer)
	if err == nil {
		i, err = mutate.Config(i, v1.Config{User: "65532"})
	}
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// put puts an image upstream.
func (d *importDesk) put(t *testing.T, at string, i v1.Image) string {
	t.Helper()
	ref, err := name.ParseReference(d.upstream.host + "/" + at)
	if err == nil {
		err = remote.Write(ref, i)
	}
	if err != nil {
		t.Fatal(err)
	}
	digest, err := i.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

// says writes a scan and a bill of materials of an image.
func (d *importDesk) says(t *testing.T, i v1.Image) {
	t.Helper()
	config, err := i.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]any{
		"trivy.json": map[string]any{"SchemaVersion": 2, "CreatedAt": time.Now().UTC(), "ArtifactName": "redis", "ArtifactType": "container_image", "Metadata": map[string]any{"ImageID": config.String()},
			"Results": []any{map[string]any{"Target": "redis", "Class": "os-pkgs", "Type": "debian", "Vulnerabilities": []any{}}}},
		"sbom.json": map[string]any{"bomFormat": "CycloneDX", "specVersion": "1.5", "metadata": map[string]any{"component": map[string]any{"type": "container", "name": "redis",
			"properties": []any{map[string]any{"name": "aquasecurity:trivy:ImageID", "value": config.String()}}}},
			"components": []any{map[string]any{"type": "library", "name": "redis", "version": "7", "purl": "pkg:deb/debian/redis@7"}}},
	} {
		raw, err := json.Marshal(text)
		if err == nil {
			err = os.WriteFile(filepath.Join(d.dir, file), raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// args are those of an import to a place of the bank's registry, by somebody.
func (d *importDesk) args(t *testing.T, p person, to string, more ...string) []string {
	t.Helper()
	file := func(name string) string { return filepath.Join(d.dir, name) }
	return append([]string{"image", "import", d.upstream.host + "/library/redis:7", "--to", d.bank.host + "/" + to, "--stage", file("stage-" + strings.NewReplacer("/", "-", ":", "-").Replace(to)),
		"-n", namespace, "--kubeconfig", kubeconfigOf(t, p), "--report", file("trivy.json"), "--sbom", file("sbom.json"), "--upstream-key", d.vendor + ".pub", "--key", d.key,
		"--evidence", file("evidence"), "--ticket", "CHG1", "--reason", "a cache"}, more...)
}

// kubeconfigOf is a file that speaks as somebody.
func kubeconfigOf(t *testing.T, p person) string {
	t.Helper()
	config, err := clientcmd.LoadFromFile(cluster.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range config.AuthInfos {
		who.Impersonate, who.ImpersonateGroups, who.ImpersonateUserExtra = p.Name, append([]string{"system:authenticated"}, p.Groups...), p.Extra()
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	return file
}

// want runs a command that must end with an exit code and say words; it returns what it printed.
func (d *importDesk) want(t *testing.T, code int, words string, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	got := cli.Main(t.Context(), args, cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Now: time.Now})
	if got != code || !strings.Contains(out.String()+errs.String(), words) {
		t.Fatalf("ringfence %s: exit code %d, want %d with %q; it said\n%s%s", strings.Join(args[:3], " "), got, code, words, out.String(), errs.String())
	}
	return out.String()
}

// waiting is the name of the import that a command says waits.
func waiting(t *testing.T, out string) string {
	t.Helper()
	_, rest, ok := strings.Cut(out, "waiting   "+namespace+"/")
	if !ok {
		t.Fatalf("no import waits: %s", out)
	}
	first, _, _ := strings.Cut(rest, "\n")
	return first
}

// lies tells what a reference of the bank's registry means, "" where there is nothing.
func (d *importDesk) lies(t *testing.T, at string) string {
	t.Helper()
	ref, err := name.ParseReference(d.bank.behind + "/" + at)
	if err != nil {
		t.Fatal(err)
	}
	got, err := remote.Head(ref)
	if err != nil {
		return ""
	}
	return got.Digest.String()
}

func (d *importDesk) approve(t *testing.T, p person, name string, code int, words string) {
	t.Helper()
	d.want(t, code, words, "image", "import", "approve", name, "-n", namespace, "--kubeconfig", kubeconfigOf(t, p))
}

func (d *importDesk) approved(t *testing.T) {
	var written atomic.Int64
	d.bank.watch(func(r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			written.Add(1)
		}
	})
	out := d.want(t, 3, "it has shells: /bin/sh", d.args(t, nina, "ext/redis:7")...)
	name := waiting(t, out)
	for _, words := range []string{d.digest, "signed upstream by key vendor.key.pub", "scanned by trivy: allow", "bill of materials of"} {
		if !strings.Contains(out, words) {
			t.Errorf("it does not say %q:\n%s", words, out)
		}
	}
	d.want(t, 0, "it has shells: /bin/sh", "image", "import", "show", name, "-n", namespace, "--kubeconfig", kubeconfigOf(t, erin))
	d.approve(t, nina, name, 1, "")
	d.want(t, 3, "waiting", d.args(t, nina, "ext/redis:7")...)
	if n := written.Load(); n != 0 {
		t.Errorf("%d requests wrote to the bank's registry before the approval", n)
	}
	d.approve(t, erin, name, 0, "it has shells")
	d.want(t, 0, "imported", d.args(t, nina, "ext/redis:7")...)
	if got := d.lies(t, "ext/redis:7"); got != d.digest {
		t.Errorf("the tag means %q, want %s", got, d.digest)
	}
	pinned := d.bank.host + "/ext/redis@" + d.digest
	d.want(t, 0, "signed by key bank.key.pub", "image", "verify", pinned, "--key", d.key+".pub")
	d.want(t, 0, "signed by key vendor.key.pub", "image", "verify", pinned, "--key", d.vendor+".pub")
	d.want(t, 0, erin.Name, "image", "verify", pinned, "--key", d.key+".pub", "--attestation", "https://ringfence.dev/image-import/v1")
	d.want(t, 0, "CycloneDX", "image", "verify", pinned, "--key", d.key+".pub", "--attestation", "https://cyclonedx.org/bom")
	d.want(t, 0, "/bin/sh", "image", "hygiene", pinned)
	kinds := d.want(t, 0, "image-import.v1", "evidence", "list", "--ledger", filepath.Join(d.dir, "evidence", "ledger"))
	if n := strings.Count(kinds, "image-import.v1"); n != 2 {
		t.Errorf("%d records of the import, want its request and its end:\n%s", n, kinds)
	}
	d.want(t, 0, `"state": "imported"`, "image", "import", "list", "-n", namespace, "-o", "json", "--kubeconfig", kubeconfigOf(t, erin))
	d.want(t, 0, "imported", d.args(t, nina, "ext/redis:7")...) // once more: it is there
}
