package release

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"ringfence.dev/ringfence/image/signature"
)

var commit = Origin{Version: "v1.2.3+dirty", Revision: strings.Repeat("a", 40), Time: time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC)}

// tiny makes a release of the tiny program, for Linux alone where change does not say otherwise.
func tiny(t *testing.T, change func(*Config)) (*Release, string) {
	t.Helper()
	o := commit
	c := &Config{Root: "../..", Package: "./internal/release/testdata/tiny", Out: filepath.Join(t.TempDir(), "dist"),
		Platforms: platforms[:1], Origin: &o, Source: "https://git.bank.example/ringfence",
		Builder: "https://ci.bank.example", Log: io.Discard}
	if change != nil {
		change(c)
	}
	r, err := c.Make(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r, c.Out
}

// both makes a release for a platform with images and for one without.
func both(c *Config) {
	c.Platforms, c.Commands = []Platform{{"linux", "amd64"}, {"windows", "amd64"}}, commands()
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestReproducible: the same commit gives the same bytes, another commit others; everything written stands in SHA256SUMS with its sum.
func TestReproducible(t *testing.T) {
	first, dir := tiny(t, both)
	second, again := tiny(t, both)
	a, b := read(t, dir, "SHA256SUMS"), read(t, again, "SHA256SUMS")
	if !bytes.Equal(a, b) || first.Image != second.Image || first.Image == "" {
		t.Errorf("two releases of one commit differ: image %s and %s\n%s\n%s", first.Image, second.Image, a, b)
	}
	other, _ := tiny(t, func(c *Config) { c.Origin.Time = c.Origin.Time.Add(time.Hour) })
	if other.Image == first.Image {
		t.Error("another commit has the same image")
	}
	for _, want := range []string{"ringfence_linux_amd64", "ringfence_linux_amd64.tar.gz", "ringfence_windows_amd64.exe", "ringfence_windows_amd64.zip",
		"ringfence_linux_amd64.cdx.json", "image/index.json", "image/blobs/" + strings.Replace(first.Image, ":", "/", 1)} {
		if digest, err := sum(filepath.Join(dir, want)); err != nil || !strings.Contains(string(a), digest+"  "+want+"\n") {
			t.Errorf("SHA256SUMS lacks %s %s (%v)", digest, want, err)
		}
	}
	t.Run("archives", func(t *testing.T) { testArchives(t, dir) })
	t.Run("krew", func(t *testing.T) { testKrew(t, dir) })
	t.Run("materials", func(t *testing.T) { testMaterials(t, dir) })
}

// testArchives: each has the program, which may be run, the licence and those of others; with the commit's time.
func testArchives(t *testing.T, dir string) {
	t.Helper()
	zipped, err := gzip.NewReader(bytes.NewReader(read(t, dir, "ringfence_linux_amd64.tar.gz")))
	if err != nil {
		t.Fatal(err)
	}
	found, texts := map[string]os.FileMode{}, map[string]string{}
	for r := tar.NewReader(zipped); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(commit.Time) || h.Uid != 0 || h.Uname != "" {
			t.Errorf("%s: %v of %d %s", h.Name, h.ModTime, h.Uid, h.Uname)
		}
		found[h.Name] = h.FileInfo().Mode()
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		texts[h.Name] = string(text)
	}
	if found["ringfence"] != 0o755 || found["LICENSE"] != 0o644 || found["man/man1/ringfence-check.1"] != 0o644 {
		t.Errorf("tar.gz: %v", found)
	}
	if others := texts["THIRD-PARTY-LICENSES"]; !strings.Contains(others, "==== The Go library go") || !strings.Contains(others, "Redistribution and use") {
		t.Errorf("the licences of others: %.300q, want Go's at least", others)
	}
	text := read(t, dir, "ringfence_windows_amd64.zip")
	z, err := zip.NewReader(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(z.File))
	for i, f := range z.File {
		names[i] = f.Name
		if !f.Modified.Equal(commit.Time) {
			t.Errorf("%s: %v", f.Name, f.Modified)
		}
	}
	if !slices.Contains(names, "ringfence.exe") {
		t.Errorf("zip: %q", names)
	}
}

// open reads the one image of a release, and the manifests that refer to it or to the index.
func open(t *testing.T, dir string, r *Release) (image v1.Image, attached map[string][]referrer) {
	t.Helper()
	path := layout.Path(filepath.Join(dir, imageDir))
	root, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	list, err := root.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	attached = map[string][]referrer{}
	for _, d := range list.Manifests {
		if !d.MediaType.IsIndex() {
			var m referrer
			raw, err := path.Bytes(d.Digest)
			if err := errors.Join(err, json.Unmarshal(raw, &m)); err != nil {
				t.Fatal(err)
			}
			attached[m.Subject.Digest.String()] = append(attached[m.Subject.Digest.String()], m)
			continue
		}
		index, err := root.ImageIndex(d.Digest)
		if err != nil || d.Digest.String() != r.Image || d.Annotations["org.opencontainers.image.ref.name"] != "v1.2.3-dirty" {
			t.Fatal(err, d)
		}
		if err := validate.Index(index); err != nil {
			t.Error(err)
		}
		images, err := index.IndexManifest()
		if err != nil || len(images.Manifests) != 1 || images.Manifests[0].Platform.String() != "linux/amd64" {
			t.Fatal(err, images)
		}
		if image, err = index.Image(images.Manifests[0].Digest); err != nil {
			t.Fatal(err)
		}
	}
	return image, attached
}

// TestImage: the image is valid, runs as nobody, and has the program, a name for its user and nothing else; authorities only where given.
func TestImage(t *testing.T) {
	r, dir := tiny(t, nil)
	image, attached := open(t, dir, r)
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532:65532" || config.Config.Labels["org.opencontainers.image.revision"] != commit.Revision || !config.Created.Equal(commit.Time) {
		t.Errorf("%+v", config)
	}
	bare := contents(t, image)
	if want := []string{"etc/", "etc/group", "etc/passwd", "usr/", "usr/bin/", "usr/bin/ringfence"}; !slices.Equal(bare, want) {
		t.Errorf("the image has %q, want %q", bare, want)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if kinds := artifacts(attached[digest.String()]); !slices.Equal(kinds, []string{bomMedia, statementMedia}) {
		t.Errorf("without a key %q are attached to the image", kinds)
	}
	if kinds := artifacts(attached[r.Image]); !slices.Equal(kinds, []string{statementMedia}) {
		t.Errorf("without a key %q are attached to the index", kinds)
	}
	t.Run("signed", func(t *testing.T) { testSigned(t, r) })
	authorities := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authorities, []byte("authorities"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, dir = tiny(t, func(c *Config) { c.CA = authorities })
	image, _ = open(t, dir, r)
	if got := contents(t, image); !slices.Contains(got, caFile) {
		t.Errorf("with authorities the image has %q", got)
	}
}

func artifacts(all []referrer) (kinds []string) {
	for _, m := range all {
		kinds = append(kinds, m.ArtifactType)
	}
	return kinds
}

func contents(t *testing.T, image v1.Image) (names []string) {
	t.Helper()
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatal(err, len(layers))
	}
	body, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	for r := tar.NewReader(body); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Mode&0o022 != 0 {
			t.Errorf("%s may be written: %o", h.Name, h.Mode)
		}
		names = append(names, h.Name)
	}
}

// testSigned: with a key, everything attached is signed by it for the digest that it is attached to, and so are the checksums.
func testSigned(t *testing.T, plain *Release) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	signer, err := signature.NewSigner(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), nil)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := signature.New(signature.Trust{Keys: []signature.Key{{Name: "release", PEM: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})}}})
	if err != nil {
		t.Fatal(err)
	}
	r, dir := tiny(t, func(c *Config) { c.Signer = signer })
	if r.Image != plain.Image {
		t.Error("a key changes the image")
	}
	_, attached := open(t, dir, r)
	var kinds []string
	for digest, all := range attached {
		for _, m := range all {
			if m.ArtifactType != signature.MediaType {
				kinds = append(kinds, m.ArtifactType)
				continue
			}
			bundle, err := layout.Path(filepath.Join(dir, imageDir)).Bytes(m.Layers[0].Digest)
			if err != nil {
				t.Fatal(err)
			}
			s, err := verifier.Bundle(bundle, digest)
			if err != nil {
				t.Errorf("%s: %v", digest, err)
			}
			kinds = append(kinds, s.Predicate)
		}
	}
	slices.Sort(kinds)
	want := []string{bomMedia, materialsType, signature.PredicateImage, signature.PredicateImage, provenanceType, provenanceType}
	if slices.Sort(want); !slices.Equal(kinds, want) {
		t.Errorf("attached are %q, want %q", kinds, want)
	}
	digest, err := sum(filepath.Join(dir, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := verifier.Bundle(read(t, dir, "SHA256SUMS.sigstore.json"), "sha256:"+digest); err != nil {
		t.Error(err)
	}
}

// testMaterials: the bill of materials lists the modules of the program, each in the version that deps.txt lists, and Go's library.
func testMaterials(t *testing.T, dir string) {
	t.Helper()
	var b bom
	if err := json.Unmarshal(read(t, dir, "ringfence_linux_amd64.cdx.json"), &b); err != nil {
		t.Fatal(err)
	}
	deps := string(read(t, "../../deps.txt"))
	var found []string
	for _, c := range b.Components {
		found = append(found, c.Name)
		if c.Name != "stdlib" && !strings.Contains(deps, c.Name+" "+c.Version+"\n") {
			t.Errorf("deps.txt does not list %s %s", c.Name, c.Version)
		}
	}
	if !slices.Equal(found, []string{"golang.org/x/mod", "stdlib"}) || len(b.Dependencies[0].On) != 2 {
		t.Errorf("found %q and %v", found, b.Dependencies)
	}
	if b.Metadata.Component.PURL != "pkg:golang/ringfence.dev/ringfence@v1.2.3%2Bdirty" {
		t.Error(b.Metadata.Component.PURL)
	}
}

// TestCommand: platforms are those there are, keys are read, and what is wrong is said with exit code 1.
func TestCommand(t *testing.T) {
	for words, args := range map[string][]string{
		"want some of [linux/amd64 linux/arm64 darwin/amd64": {"-platforms", "linux/amd64,plan9/386"},
		"want flags alone":      {"dist"},
		"read the key":          {"-key", filepath.Join(t.TempDir(), "none.pem")},
		"read the images of":    {"-push", "registry.bank.example/ringfence", "-out", t.TempDir()},
		"can only contain":      {"-push", "registry.bank.example/Ring fence"},
		"flag provided but not": {"-sing"},
	} {
		var log bytes.Buffer
		if code := Main(t.Context(), args, nil, io.Discard, &log); code != 1 || !strings.Contains(log.String(), words) {
			t.Errorf("%q: exit code %d, want 1 with %q; it said\n%s", args, code, words, log.String())
		}
	}
}

// TestOrigin: a program that does not say its commit makes no release, and neither do files that differ from it.
func TestOrigin(t *testing.T) {
	full := []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.time", Value: "2026-11-01T10:00:00Z"}, {Key: "vcs.modified", Value: "true"}}
	o, err := origin(&debug.BuildInfo{Main: debug.Module{Version: "v1.0.0"}, Settings: full})
	if err != nil || o.Revision != "abc" || !o.Modified || !o.Time.Equal(commit.Time) {
		t.Errorf("%+v %v", o, err)
	}
	for _, info := range []*debug.BuildInfo{{Main: debug.Module{Version: "(devel)"}, Settings: full}, {Main: debug.Module{Version: "v1.0.0"}, Settings: full[1:]},
		{Main: debug.Module{Version: "v1.0.0"}, Settings: full[:1]}} {
		if o, err := origin(info); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
	modified := commit
	modified.Modified = true
	c := &Config{Root: "../..", Package: "./internal/release/testdata/tiny", Out: t.TempDir(), Platforms: platforms[:1], Origin: &modified, Log: io.Discard}
	if _, err := c.Make(t.Context()); err == nil || !strings.Contains(err.Error(), "nobody could make this release again") {
		t.Errorf("files that differ: %v", err)
	}
	if _, err := c.Make(t.Context()); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("a folder that is not empty: %v", err)
	}
}
