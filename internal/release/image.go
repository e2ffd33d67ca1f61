package release

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"ringfence.dev/ringfence/image/signature"
)

// The types of what is attached without a signature, and of the configuration that it has none of.
const (
	bomMedia       = "application/vnd.cyclonedx+json"
	statementMedia = "application/vnd.in-toto+json"
	emptyMedia     = "application/vnd.oci.empty.v1+json"
)

// nonroot is who the program runs as; the number is the one that distroless images use.
const nonroot = "65532:65532"

// caFile is where Go looks first for the authorities that are trusted.
const caFile = "etc/ssl/certs/ca-certificates.crt"

// files are all that is in an image: the program, a name for its user, and the authorities where a file of them was given. There is no
// shell and nothing to write to.
func (c *Config) files(p *program) ([]entry, error) {
	all := []entry{
		{name: "etc/", mode: 0o755},
		{name: "etc/group", mode: 0o644, data: []byte("root:x:0:\nnonroot:x:65532:\n")},
		{name: "etc/passwd", mode: 0o644, data: []byte("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n")},
	}
	if c.CA != "" {
		text, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("read the authorities that images trust: %w", err)
		}
		all = append(all, entry{name: "etc/ssl/", mode: 0o755}, entry{name: "etc/ssl/certs/", mode: 0o755}, entry{name: caFile, mode: 0o644, data: text})
	}
	return append(all, entry{name: "usr/", mode: 0o755}, entry{name: "usr/bin/", mode: 0o755}, entry{name: "usr/bin/" + product, mode: 0o755, path: p.path}), nil
}

// image makes the image of a program. Its layer is written below dir, where it must stay until the image has been written.
func (c *Config) image(p *program, o Origin, dir string) (v1.Image, error) {
	entries, err := c.files(p)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, p.OS+"_"+p.Arch+".tar.gz")
	if err := archive(file, entries, o.Time); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromFile(file, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, fmt.Errorf("read the layer of the image for %s: %w", p.Platform, err)
	}
	at := v1.Time{Time: o.Time.UTC()}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{
		OS: p.OS, Architecture: p.Arch, Created: at, RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{User: nonroot, WorkingDir: "/", Entrypoint: []string{"/usr/bin/" + product}, Env: []string{"PATH=/usr/bin"}, Labels: c.labels(o)},
	})
	if err == nil {
		img, err = mutate.Append(img, mutate.Addendum{Layer: layer, History: v1.History{Created: at, CreatedBy: "make release"}})
	}
	if err != nil {
		return nil, fmt.Errorf("make the image for %s: %w", p.Platform, err)
	}
	return mutate.Annotations(img, c.labels(o)).(v1.Image), nil
}

func (c *Config) labels(o Origin) map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":    product,
		"org.opencontainers.image.source":   c.Source,
		"org.opencontainers.image.version":  o.Version,
		"org.opencontainers.image.revision": o.Revision,
		"org.opencontainers.image.created":  o.Time.UTC().Format(time.RFC3339),
		"org.opencontainers.image.licenses": "Apache-2.0",
	}
}

// images writes the OCI layout: one index of the images of programs, and what is attached to it and to each. It returns the
// index's digest.
func (c *Config) images(programs []*program, o Origin, boms map[Platform][]byte) (string, error) {
	dir, err := os.MkdirTemp(c.Out, "layers-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	var each []v1.Image
	for _, p := range programs {
		img, err := c.image(p, o, dir)
		if err != nil {
			return "", err
		}
		each = append(each, img)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: p.OS, Architecture: p.Arch}}})
	}
	index = mutate.Annotations(index, c.labels(o)).(v1.ImageIndex)
	out, err := layout.Write(filepath.Join(c.Out, imageDir), empty.Index)
	if err == nil {
		err = out.AppendIndex(index, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tag(o.Version)}))
	}
	if err != nil {
		return "", fmt.Errorf("write the images: %w", err)
	}
	for i, p := range programs {
		to, err := described(each[i])
		if err == nil {
			err = c.attachAll(out, to, o, boms[p.Platform], p)
		}
		if err != nil {
			return "", fmt.Errorf("attach to the image for %s: %w", p.Platform, err)
		}
	}
	to, err := described(index)
	if err == nil {
		err = c.attachAll(out, to, o, nil, programs...)
	}
	return to.Digest.String(), err
}

// tag is a version as a tag, in which no plus may stand.
func tag(version string) string { return strings.ReplaceAll(version, "+", "-") }

// described is the descriptor of an image or an index.
func described(of interface {
	RawManifest() ([]byte, error)
	MediaType() (types.MediaType, error)
}) (v1.Descriptor, error) {
	raw, err := of.RawManifest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	digest, size, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return v1.Descriptor{}, err
	}
	media, err := of.MediaType()
	return v1.Descriptor{MediaType: media, Digest: digest, Size: size}, err
}

// attachAll attaches the bill of materials, where there is one, and the provenance; with a key each signed, and a signature of the image.
func (c *Config) attachAll(out layout.Path, to v1.Descriptor, o Origin, bom []byte, of ...*program) error {
	made, err := c.provenance(o, of...)
	if err != nil {
		return err
	}
	digest := to.Digest.String()
	if bom != nil {
		if err := attach(out, to, bomMedia, bom, nil); err != nil {
			return err
		}
	}
	if c.Signer == nil {
		text, err := stated(digest, provenanceType, made)
		if err != nil {
			return err
		}
		return attach(out, to, statementMedia, text, map[string]string{"in-toto.io/predicate-type": provenanceType})
	}
	signed := []statement{{PredicateType: signature.PredicateImage}, {PredicateType: provenanceType, Predicate: made}}
	if bom != nil {
		signed = append(signed, statement{PredicateType: materialsType, Predicate: bom})
	}
	for _, s := range signed {
		bundle, err := c.Signer.Sign(product, digest, s.PredicateType, s.Predicate)
		if err == nil {
			err = attach(out, to, signature.MediaType, bundle, map[string]string{
				"dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": s.PredicateType})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// referrer is the manifest of something attached.
type referrer struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     types.MediaType   `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        v1.Descriptor     `json:"config"`
	Layers        []v1.Descriptor   `json:"layers"`
	Subject       v1.Descriptor     `json:"subject"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// attach writes a manifest that refers to an image or an index, and what it carries.
func attach(out layout.Path, to v1.Descriptor, media string, content []byte, about map[string]string) error {
	config, err := blob(out, emptyMedia, []byte("{}"))
	if err != nil {
		return err
	}
	layer, err := blob(out, media, content)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(referrer{2, types.OCIManifestSchema1, media, config, []v1.Descriptor{layer}, to, about})
	if err != nil {
		return err
	}
	d, err := blob(out, string(types.OCIManifestSchema1), raw)
	if err != nil {
		return err
	}
	d.ArtifactType, d.Annotations = media, about
	return out.AppendDescriptor(d)
}

func blob(out layout.Path, media string, content []byte) (v1.Descriptor, error) {
	digest, size, err := v1.SHA256(bytes.NewReader(content))
	if err != nil {
		return v1.Descriptor{}, err
	}
	return v1.Descriptor{MediaType: types.MediaType(media), Digest: digest, Size: size}, out.WriteBlob(digest, io.NopCloser(bytes.NewReader(content)))
}
