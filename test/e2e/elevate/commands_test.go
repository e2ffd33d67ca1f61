package elevate

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/cli"
	"ringfence.dev/ringfence/internal/ringfencetest"
)

// typed runs `ringfence access token` with a kubeconfig that speaks as somebody, and has no token of a sign-in.
func (b *bed) typed(t *testing.T, p person, name string) (code int, stdout, stderr string) {
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
	var out, prose bytes.Buffer
	code = cli.Main(t.Context(), []string{"access", "token", name, "-n", namespace, "--dir", b.folder, "--kubeconfig", file},
		cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &prose, Now: time.Now})
	return code, out.String(), prose.String()
}

// TestTokenWithoutProvider: where the Platform names no identity provider, as under ringfence up, the command gives a token to whoever
// asked for the elevation and to nobody else who may open the socket: not to who approved it, nor to who has every right. Where it names
// one, who shows no token of a sign-in gets none.
func TestTokenWithoutProvider(t *testing.T) {
	b := newBed(t)
	platform := &v1alpha1.Platform{}
	if err := b.admin.Get(t.Context(), client.ObjectKey{Name: v1alpha1.PlatformName}, platform); err != nil {
		t.Fatal(err)
	}
	identity := func(patch string) {
		if err := b.admin.Patch(context.Background(), platform.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
			t.Fatal(err)
		}
	}
	e := b.live(t, "nobodys-provider")
	if code, out, prose := b.typed(t, dave, e.Name); code != 1 || out != "" || !strings.Contains(prose, "names an identity provider") {
		t.Errorf("dave without a sign-in: exit code %d, %q, want 1: %s", code, out, prose)
	}
	identity(`{"spec":{"identity":{"issuer":null,"mfa":null}}}`)
	t.Cleanup(func() { identity(`{"spec":{"identity":{"issuer":"https://login.bank.example","mfa":"mfa"}}}`) })
	ringfencetest.Eventually(t, "dave to get a token", func() error {
		if code, out, prose := b.typed(t, dave, e.Name); code != 0 || len(out) < 100 {
			return fmt.Errorf("exit code %d: %s", code, prose)
		}
		return nil
	})
	for _, p := range []person{erin, mallory} {
		if code, out, prose := b.typed(t, p, e.Name); code != 1 || out != "" || !strings.Contains(prose, dave.Name+" asked for it and gets its tokens, and you are "+p.Name) {
			t.Errorf("%s: exit code %d, %d bytes, want 1 and none: %s", p.Name, code, len(out), prose)
		}
	}
}
