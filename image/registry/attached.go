package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// What is read of one image at most: manifests that refer to it, and bytes of one thing attached.
const (
	maxReferrers = 200
	maxAttached  = 32 << 20
)

// The media types that carry signatures, beginning so.
const (
	bundleType   = "application/vnd.dev.sigstore.bundle"
	simpleType   = "application/vnd.dev.cosign.simplesigning"
	envelopeType = "application/vnd.dsse.envelope"
	emptyType    = "application/vnd.oci.empty.v1+json"
)

// Attached is a signature or a statement that a registry keeps with an image. Nothing of it is verified.
type Attached struct {
	// Kind says what Content is.
	Kind Kind
	// Content is the layer.
	Content []byte
	// Annotations are the layer's.
	Annotations map[string]string
	// From is the manifest it stands in, by digest.
	From string
}

// Kind is what was attached.
type Kind string

// The kinds.
const (
	// Bundle is a sigstore bundle.
	Bundle Kind = "bundle"
	// Cosign is what cosign signed of an image before there were bundles; the signature is in the annotations.
	Cosign Kind = "cosign"
	// Envelope is a DSSE envelope that cosign attached before there were bundles.
	Envelope Kind = "envelope"
)

// kindOf tells by the layer's type alone: descriptors in a referrers list are typed wrongly in the wild.
func kindOf(mediaType string) Kind {
	switch {
	case strings.HasPrefix(mediaType, bundleType):
		return Bundle
	case strings.HasPrefix(mediaType, simpleType):
		return Cosign
	case strings.HasPrefix(mediaType, envelopeType):
		return Envelope
	}
	return ""
}

// manifest is what is read of an image manifest.
type manifest struct {
	Layers []v1.Descriptor `json:"layers"`
}

// Attached reads what signatures and statements the registry keeps with an image: by the referrers API, by the fallback tag of
// registries without it, and by cosign's older tags. None is an empty list. The error is ErrAway, or says what is too large.
func (c *Client) Attached(ctx context.Context, image Image) ([]Attached, error) {
	c = c.about(ctx, image.at.Context())
	index, err := remote.Referrers(image.at, c.with(ctx, image.at.Context())...)
	if err != nil {
		return nil, told("what refers to "+image.String(), err)
	}
	list, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("what refers to %s: %w: %w", image, ErrAway, err)
	}
	if len(list.Manifests) > maxReferrers {
		return nil, fmt.Errorf("%d manifests refer to %s; want at most %d", len(list.Manifests), image, maxReferrers)
	}
	var all []Attached
	seen, room := map[string]bool{}, c.most
	add := func(ref name.Reference, missing bool) error {
		found, err := c.layers(ctx, ref, &room)
		if missing && errors.Is(err, ErrMissing) {
			return nil
		}
		if len(found) > 0 && !seen[found[0].From] { // one manifest may be found by both roads
			seen[found[0].From] = true
			all = append(all, found...)
		}
		return err
	}
	for _, d := range list.Manifests {
		if d.MediaType.IsIndex() {
			continue
		}
		if err := add(image.at.Context().Digest(d.Digest.String()), false); err != nil {
			return nil, err
		}
	}
	for _, suffix := range []string{".sig", ".att"} {
		if err := add(image.at.Context().Tag(strings.Replace(image.Digest(), ":", "-", 1)+suffix), true); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// layers reads the layers of a manifest that carry signatures, as long as there is room.
func (c *Client) layers(ctx context.Context, ref name.Reference, room *int64) ([]Attached, error) {
	described, err := remote.Get(ref, c.with(ctx, ref.Context())...)
	if err != nil {
		return nil, told(ref.Name(), err)
	}
	var m manifest
	if err := json.Unmarshal(described.Manifest, &m); err != nil {
		return nil, nil //nolint:nilerr // a manifest of another kind carries no signature
	}
	var all []Attached
	for _, l := range m.Layers {
		kind := kindOf(string(l.MediaType))
		if kind == "" {
			continue
		}
		content, err := c.blob(ctx, ref.Context().Digest(l.Digest.String()), l.Size, min(maxAttached, *room))
		if err != nil {
			return nil, err
		}
		*room -= int64(len(content))
		all = append(all, Attached{kind, content, l.Annotations, described.Digest.String()})
	}
	return all, nil
}

// blob reads a blob of at most so many bytes, which has the digest that it is asked by.
func (c *Client) blob(ctx context.Context, at name.Digest, size, most int64) ([]byte, error) {
	if size > most {
		return nil, fmt.Errorf("%s: it has %d bytes; want at most %d here", at, size, most)
	}
	layer, err := remote.Layer(at, c.with(ctx, at.Context())...)
	if err != nil {
		return nil, told(at.Name(), err)
	}
	body, err := layer.Compressed()
	if err != nil {
		return nil, told(at.Name(), err)
	}
	defer body.Close()
	content, err := io.ReadAll(io.LimitReader(body, most+1))
	switch {
	case err != nil:
		return nil, told(at.Name(), err)
	case int64(len(content)) > most:
		return nil, fmt.Errorf("%s: it has more than %d bytes", at, most)
	}
	return content, nil
}

// Attach keeps a bundle with an image, as a manifest that refers to it, and returns the digest of that manifest. Registries without the
// referrers API get the fallback tag too. The image must be there.
func (c *Client) Attach(ctx context.Context, image Image, mediaType, predicateType string, bundle []byte, now time.Time) (string, error) {
	c = c.about(ctx, image.at.Context())
	subject, err := remote.Head(image.at, c.with(ctx, image.at.Context())...)
	if err != nil {
		return "", told(image.String(), err)
	}
	config, content := static.NewLayer([]byte("{}"), emptyType), static.NewLayer(bundle, types.MediaType(mediaType))
	r := referrer{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: mediaType,
		Subject: v1.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size},
		Annotations: map[string]string{"dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": predicateType,
			"org.opencontainers.image.created": now.UTC().Format(time.RFC3339)}}
	for _, layer := range []v1.Layer{config, content} {
		if err := remote.WriteLayer(image.at.Context(), layer, c.with(ctx, image.at.Context())...); err != nil {
			return "", told("write to "+image.Repository(), err)
		}
	}
	r.Config, err = describe(config)
	if err == nil {
		var d v1.Descriptor
		d, err = describe(content)
		r.Layers = []v1.Descriptor{d}
	}
	if err != nil {
		return "", err
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return "", err
	}
	digest, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return "", err
	}
	if err := remote.Put(image.at.Context().Digest(digest.String()), stored(raw), c.with(ctx, image.at.Context())...); err != nil {
		return "", told("write to "+image.Repository(), err)
	}
	return digest.String(), nil
}

// referrer is the manifest of something attached.
type referrer struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     types.MediaType   `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        v1.Descriptor     `json:"config"`
	Layers        []v1.Descriptor   `json:"layers"`
	Subject       v1.Descriptor     `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

// stored is a manifest as it is pushed.
type stored []byte

// RawManifest is the manifest.
func (s stored) RawManifest() ([]byte, error) { return slices.Clone(s), nil }

// MediaType is an image manifest's.
func (s stored) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

func describe(l v1.Layer) (d v1.Descriptor, err error) {
	if d.Digest, err = l.Digest(); err == nil {
		if d.Size, err = l.Size(); err == nil {
			d.MediaType, err = l.MediaType()
		}
	}
	return d, err
}
