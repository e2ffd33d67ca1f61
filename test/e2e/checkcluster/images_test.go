package checkcluster

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/cli"
	"ringfence.dev/ringfence/image"
)

const (
	clean   = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	unknown = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// TestImages: which images run is what the nodes say of pods; what no report names would be refused.
func TestImages(t *testing.T) {
	connect(t)
	const ns = "running-images"
	if err := admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}); err != nil {
		t.Fatal(err)
	}
	// No node takes them: a simulated one would say of what they run what it thinks.
	for name, digest := range map[string]string{"known": clean, "unknown": unknown} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: corev1.PodSpec{
			AutomountServiceAccountToken: new(false), NodeSelector: map[string]string{"no": "such-node"}, Containers: []corev1.Container{{Name: "api", Image: "registry.bank.example/" + name + ":1"}}}}
		if err := admin.Create(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		status := `{"status":{"containerStatuses":[{"name":"api","image":"x","ready":true,"restartCount":0,"imageID":"registry.bank.example/` + name + `@` + digest + `"}]}}`
		if err := admin.Status().Patch(t.Context(), pod, client.RawPatch(types.MergePatchType, []byte(status))); err != nil {
			t.Fatal(err)
		}
	}
	report := filepath.Join(t.TempDir(), "trivy.json")
	text := `{"SchemaVersion":2,"CreatedAt":"` + time.Now().UTC().Format(time.RFC3339) + `","ArtifactName":"registry.bank.example/known:1","ArtifactType":"container_image",
"Metadata":{"RepoDigests":["registry.bank.example/known@` + clean + `"]},"Results":[{"Target":"known","Class":"os-pkgs","Type":"debian"}]}`
	if err := os.WriteFile(report, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ask := func(want int, words string, args ...string) string {
		t.Helper()
		var out, prose bytes.Buffer
		args = append(append([]string{"image"}, args...), "--kubeconfig", cluster.Kubeconfig, "-n", ns)
		code := cli.Main(t.Context(), args, cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &prose, Now: time.Now})
		if code != want || !strings.Contains(out.String()+prose.String(), words) {
			t.Errorf("ringfence %s: exit code %d, want %d with %q:\n%s%s", strings.Join(args, " "), code, want, words, out.String(), prose.String())
		}
		return out.String()
	}
	ask(0, "2 images of 2 pods", "ls")
	ask(0, "sha256:aaaaaaaaaaaa", "where", "known:1")
	ask(0, ns+" Pod/unknown, 1 pod", "where", unknown)
	ask(1, "0 images of 2 pods", "where", "sha256:cc")
	out := ask(1, "not scanned", "preflight", report)
	if strings.Contains(out, "aaaa") || !strings.Contains(out, ns+" Pod/unknown") {
		t.Errorf("preflight lists\n%s", out)
	}
	// A signature that nobody knows leaves undecided what is scanned; one that is known to be missing refuses it.
	trust := image.Trust{Name: "bank", Keys: []image.TrustedKey{{Name: "k", PEM: "-----BEGIN PUBLIC KEY-----\n"}}}
	settings := filepath.Join(t.TempDir(), "settings.yaml")
	for until, want := range map[string]struct{ says, row string }{
		"":                             {"signature: not signed as rule bank demands", "deny"},
		"until: 2020-01-01T00:00:00Z,": {"signature: its signature counted until 2020-01-01T00:00:00Z", "undecided"},
		"until: 2999-01-01T00:00:00Z,": {"", ""},
	} {
		text := "apiVersion: ringfence.dev/v1alpha1\nkind: Platform\nmetadata: {name: platform}\nspec: {images: {trust: [{name: bank, keys: [{name: k, pem: \"-----BEGIN PUBLIC KEY-----\\n\"}]}]}}\n---\n" +
			"apiVersion: ringfence.dev/v1alpha1\nkind: ImageSignatures\nmetadata: {name: s}\nspec: {signatures: [{digest: \"" + clean + "\", " + until + " trust: " + trust.ID() + "}]}\n"
		if err := os.WriteFile(settings, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		listed := ask(1, want.says, "preflight", report, "--platform", settings)
		if row := regexp.MustCompile(`sha256:a+ .*` + want.row).MatchString(listed); row != (want.row != "") {
			t.Errorf("with %q preflight lists\n%s", until, listed)
		}
	}
	if err := os.Remove(settings); err != nil {
		t.Fatal(err)
	}
	ask(0, ns+" Pod/known, 1 pod", "show", clean, report, "--cluster")
	var answer struct {
		SchemaVersion string
		Images        []struct {
			Digest, Outcome string
			Why             []string
		}
	}
	if err := json.Unmarshal([]byte(ask(0, "", "ls", report, "-o", "json")), &answer); err != nil {
		t.Fatal(err)
	}
	if len(answer.Images) != 2 || answer.Images[0].Digest != clean || answer.Images[0].Outcome != "allow" || answer.Images[1].Outcome != "deny" {
		t.Errorf("%+v", answer)
	}
	ask(2, "no report named", "preflight")
	ask(2, "want text or json", "ls", "-o", "yaml")
}
