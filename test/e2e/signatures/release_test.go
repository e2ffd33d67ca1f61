package signatures

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"ringfence.dev/ringfence/image/signature"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/release"
)

// TestRelease: a release's image, pushed, is verified by the key that the release was signed with, in its index and in the image of each
// platform; and what it was made of can be asked for.
func TestRelease(t *testing.T) {
	root, err := clustertest.Root()
	if err != nil {
		t.Fatal(err)
	}
	_, key, pub := pair(t)
	text, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := signature.NewSigner(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &release.Config{Root: root, Package: "./internal/release/testdata/tiny", Out: filepath.Join(t.TempDir(), "dist"),
		Platforms: []release.Platform{{OS: "linux", Arch: "amd64"}}, Signer: signer, Log: io.Discard,
		Origin: &release.Origin{Version: "v1.2.3", Revision: strings.Repeat("a", 40), Time: time.Unix(1e9, 0)},
		Source: "https://git.bank.example/ringfence", Builder: "https://ci.bank.example"}
	if _, err := c.Make(t.Context()); err != nil {
		t.Fatal(err)
	}
	for kind, start := range map[string]func(*testing.T) string{"distribution": distribution, "referrers API": referrers} {
		t.Run(kind, func(t *testing.T) {
			repository := start(t) + "/platform/ringfence"
			pushed, err := release.Push(t.Context(), c.Out, repository)
			if err != nil {
				t.Fatal(err)
			}
			if out := want(t, 0, "signed by key", "image", "verify", repository+":v1.2.3", "--key", pub); strings.TrimSpace(out) != pushed {
				t.Errorf("it verified %s; want %s", out, pushed)
			}
			_, _, other := pair(t)
			want(t, 1, "does not count", "image", "verify", pushed, "--key", other)
			want(t, 0, "git+https://git.bank.example/ringfence@aaaa", "image", "verify", pushed, "--key", pub, "--attestation", "https://slsa.dev/provenance/v1")
			want(t, 0, "pkg:golang/golang.org/x/mod@", "image", "verify", platformOf(t, pushed), "--key", pub, "--attestation", "https://cyclonedx.org/bom")
		})
	}
}

// platformOf is the only image of an index.
func platformOf(t *testing.T, index string) string {
	t.Helper()
	ref, err := name.NewDigest(index)
	if err != nil {
		t.Fatal(err)
	}
	list, err := remote.Index(ref)
	if err != nil {
		t.Fatal(err)
	}
	images, err := list.IndexManifest()
	if err != nil || len(images.Manifests) != 1 {
		t.Fatal(err, images)
	}
	return ref.Context().Digest(images.Manifests[0].Digest.String()).Name()
}
