package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// What is taken of one image at most.
const (
	// maxManifest is what the distribution specification lets registries refuse beyond.
	maxManifest = 4 << 20
	// maxConfig: a configuration has some kilobytes.
	maxConfig = 8 << 20
	// maxLayers: no more can be mounted one over another by Linux's overlayfs as containerd uses it, 127 by Docker.
	maxLayers = 256
	// maxPlatforms: the largest official images are for some 20, and have a manifest of provenance for each.
	maxPlatforms = 64
)

var (
	// ErrLied says that a registry gave something else than it was asked for, or than it announced.
	ErrLied = errors.New("the registry does not give what was asked for")
	// ErrForm says that an image is none that may be imported: too large, of other media types, or not an image.
	ErrForm = errors.New("the image cannot be taken")
)

// Fetched is an image in a Folder.
type Fetched struct {
	// Root is what the image's digest names: an index or a manifest.
	Root v1.Descriptor
	// Platforms are those that can run, Others manifests of an index that say something of them, such as provenance.
	Platforms, Others []Platform
	// Size is what all blobs have, in bytes as they lie in the registry.
	Size int64
}

// Platform is one manifest of an image.
type Platform struct {
	// Name is for instance linux/arm64; "" where the image is no index.
	Name        string
	Manifest    v1.Descriptor
	Config      v1.Descriptor
	Layers      []v1.Descriptor
	Annotations map[string]string
}

// document is what is read of an index or a manifest.
type document struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     types.MediaType   `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Manifests     []v1.Descriptor   `json:"manifests"`
	Config        v1.Descriptor     `json:"config"`
	Layers        []v1.Descriptor   `json:"layers"`
	Subject       *v1.Descriptor    `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

// Fetch brings an image into a folder: every platform of it, at most so many bytes. What is there already is not fetched again. The error is
// ErrAway, ErrMissing, ErrLied or ErrForm, or one of the folder.
func (c *Client) Fetch(ctx context.Context, at Image, to *Folder, most int64) (*Fetched, error) {
	f := &fetch{c.about(ctx, at.at.Context()), ctx, at.at.Context(), to}
	hash, err := v1.NewHash(at.Digest())
	if err != nil || hash.Algorithm != "sha256" {
		return nil, fmt.Errorf("%s: %w: want a digest of sha256", at, ErrForm)
	}
	out := &Fetched{}
	doc, root, err := f.manifest(v1.Descriptor{Digest: hash, Size: -1})
	if err != nil {
		return nil, err
	}
	out.Root = root
	switch {
	case root.MediaType.IsImage():
		p, err := f.platform("", root, doc)
		if err != nil {
			return nil, err
		}
		out.Platforms = []Platform{p}
	case root.MediaType.IsIndex():
		if err := f.index(doc, out); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("%s: %w: its media type is %.100q", at, ErrForm, root.MediaType)
	}
	blobs := out.blobs()
	for _, b := range blobs {
		if out.Size += b.Size; out.Size > most || out.Size < 0 {
			return nil, fmt.Errorf("%s: %w: it has more than %d bytes", at, ErrForm, most)
		}
	}
	for _, b := range blobs {
		if err := f.blob(b); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// blobs are all of an image, each once.
func (f *Fetched) blobs() (all []v1.Descriptor) {
	seen := map[v1.Hash]bool{}
	for _, p := range slices.Concat(f.Platforms, f.Others) {
		for _, d := range append([]v1.Descriptor{p.Config}, p.Layers...) {
			if !seen[d.Digest] {
				seen[d.Digest] = true
				all = append(all, d)
			}
		}
	}
	return all
}

// fetch is one image on its way.
type fetch struct {
	*Client
	ctx  context.Context
	from name.Repository
	to   *Folder
}

// index takes the manifests of an index.
func (f *fetch) index(doc document, out *Fetched) error {
	if len(doc.Manifests) == 0 || len(doc.Manifests) > maxPlatforms {
		return fmt.Errorf("%s: %w: its index has %d manifests; want 1 to %d", f.from, ErrForm, len(doc.Manifests), maxPlatforms)
	}
	for _, d := range doc.Manifests {
		if !d.MediaType.IsImage() {
			return fmt.Errorf("%s: %w: its index holds a %.100q; want manifests of images", f.from, ErrForm, d.MediaType)
		}
		child, at, err := f.manifest(d)
		if err != nil {
			return err
		}
		name := ""
		if d.Platform != nil {
			name = d.Platform.String()
		}
		if d.Annotations["vnd.docker.reference.type"] == "attestation-manifest" && name == "unknown/unknown" {
			p, err := f.other(at, child)
			if err != nil {
				return err
			}
			out.Others = append(out.Others, p)
			continue
		}
		p, err := f.platform(name, at, child)
		if err != nil {
			return err
		}
		out.Platforms = append(out.Platforms, p)
	}
	if len(out.Platforms) == 0 {
		return fmt.Errorf("%s: %w: its index has no image that can run", f.from, ErrForm)
	}
	return nil
}

// platform checks the manifest of an image that can run.
func (f *fetch) platform(name string, at v1.Descriptor, doc document) (Platform, error) {
	p := Platform{name, at, doc.Config, doc.Layers, doc.Annotations}
	wrong := func(format string, args ...any) (Platform, error) {
		return p, fmt.Errorf("%s@%s: %w: %s", f.from, at.Digest, ErrForm, fmt.Sprintf(format, args...))
	}
	switch {
	case doc.Subject != nil || doc.ArtifactType != "" || len(doc.Manifests) > 0:
		return wrong("it is an artifact and no image")
	case doc.Config.MediaType != types.OCIConfigJSON && doc.Config.MediaType != types.DockerConfigJSON:
		return wrong("its configuration is a %.100q; want one of an image", doc.Config.MediaType)
	case doc.Config.Size > maxConfig:
		return wrong("its configuration has %d bytes; want at most %d", doc.Config.Size, maxConfig)
	case len(doc.Layers) == 0 || len(doc.Layers) > maxLayers:
		return wrong("it has %d layers; want 1 to %d", len(doc.Layers), maxLayers)
	}
	for _, d := range append([]v1.Descriptor{doc.Config}, doc.Layers...) {
		if d.Digest.Algorithm != "sha256" || len(d.Digest.Hex) != 64 || d.Size <= 0 || len(d.URLs) > 0 {
			return wrong("what it names lies elsewhere, is empty, or has no digest of sha256: %.100q", d.Digest)
		}
	}
	for _, d := range doc.Layers {
		switch d.MediaType {
		case types.OCILayer, types.OCIUncompressedLayer, types.OCILayerZStd, types.DockerLayer, types.DockerUncompressedLayer:
		default:
			return wrong("a layer is a %.100q; want an archive that is plain or packed with gzip or zstd, and lies in the registry", d.MediaType)
		}
	}
	return p, nil
}

// other checks a manifest that says something of an image.
func (f *fetch) other(at v1.Descriptor, doc document) (Platform, error) {
	p := Platform{"", at, doc.Config, doc.Layers, doc.Annotations}
	for _, d := range append([]v1.Descriptor{doc.Config}, doc.Layers...) {
		if d.Digest.Algorithm != "sha256" || len(d.Digest.Hex) != 64 || d.Size <= 0 || d.Size > maxAttached || len(d.URLs) > 0 || len(doc.Layers) > maxLayers {
			return p, fmt.Errorf("%s@%s: %w: a statement about it is too large, lies elsewhere or has no digest of sha256", f.from, at.Digest, ErrForm)
		}
	}
	return p, nil
}

// manifest fetches one by digest. A size of -1 is any.
func (f *fetch) manifest(d v1.Descriptor) (doc document, at v1.Descriptor, err error) {
	ref := f.from.Digest(d.Digest.String())
	if d.Digest.Algorithm != "sha256" || d.Size > maxManifest {
		return doc, at, fmt.Errorf("%s: %w: want a manifest of at most %d bytes, by a digest of sha256", ref, ErrForm, maxManifest)
	}
	text, err := f.to.Read(d.Digest.String(), maxManifest)
	if err != nil || !sums(text, d.Digest) {
		got, err := remote.Get(ref, f.within(f.ctx, f.from, maxManifest+1)...)
		if err != nil {
			return doc, at, told(ref.Name(), err)
		}
		text = got.Manifest
		if len(text) > maxManifest || d.Size >= 0 && int64(len(text)) != d.Size || !sums(text, d.Digest) {
			return doc, at, fmt.Errorf("%s: %w", ref, ErrLied)
		}
		if _, err := f.to.putText(text); err != nil {
			return doc, at, fmt.Errorf("keep %s: %w", ref, err)
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return doc, at, fmt.Errorf("%s: %w: read its manifest: %w", ref, ErrForm, err)
	}
	if doc.MediaType == "" && len(doc.Manifests) == 0 { // OCI lets it be left out, and Docker never does
		doc.MediaType = types.OCIManifestSchema1
	} else if doc.MediaType == "" {
		doc.MediaType = types.OCIImageIndex
	}
	if doc.SchemaVersion != 2 || d.MediaType != "" && d.MediaType != doc.MediaType || len(doc.Manifests) > 0 && len(doc.Layers) > 0 {
		return doc, at, fmt.Errorf("%s: %w: it is a %.100q of schema version %d, which is not what was announced", ref, ErrForm, doc.MediaType, doc.SchemaVersion)
	}
	return doc, v1.Descriptor{MediaType: doc.MediaType, Digest: d.Digest, Size: int64(len(text))}, nil
}

// blob fetches one by digest.
func (f *fetch) blob(d v1.Descriptor) error {
	ref := f.from.Digest(d.Digest.String())
	there, err := f.to.has(d)
	if there || err != nil {
		return err
	}
	layer, err := remote.Layer(ref, f.within(f.ctx, f.from, max(d.Size, maxManifest)+1)...) // a token comes the same way, and put counts
	if err != nil {
		return told(ref.Name(), err)
	}
	body, err := layer.Compressed()
	if err != nil {
		return told(ref.Name(), err)
	}
	defer body.Close()
	if err := f.to.put(d, body); err != nil {
		return fmt.Errorf("%s: %w", ref, err)
	}
	return nil
}
