package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Kept is a manifest that came with an image, with a signature of it.
type Kept struct {
	Platform
	// Tag is cosign's older tag; "" where the manifest itself says what it is about.
	Tag string
}

// Keep brings manifests with signatures that were found with an image, by what Attached says they are from, into a folder.
func (c *Client) Keep(ctx context.Context, at Image, found []Attached, to *Folder) (all []Kept, err error) {
	f := &fetch{c.about(ctx, at.at.Context()), ctx, at.at.Context(), to}
	seen := map[string]bool{}
	for _, a := range found {
		if seen[a.From] {
			continue
		}
		seen[a.From] = true
		hash, err := v1.NewHash(a.From)
		if err != nil {
			return nil, err
		}
		doc, d, err := f.manifest(v1.Descriptor{Digest: hash, Size: -1})
		if err != nil {
			return nil, err
		}
		p, err := f.other(d, doc)
		if err != nil {
			return nil, err
		}
		k := Kept{Platform: p}
		switch {
		case doc.Subject != nil && doc.Subject.Digest.String() == at.Digest():
		case doc.Subject != nil:
			return nil, fmt.Errorf("%s@%s: %w: it is about another image", f.from, a.From, ErrForm)
		case a.Kind == Envelope:
			k.Tag = strings.Replace(at.Digest(), ":", "-", 1) + ".att"
		default:
			k.Tag = strings.Replace(at.Digest(), ":", "-", 1) + ".sig"
		}
		for _, b := range append([]v1.Descriptor{p.Config}, p.Layers...) {
			if err := f.blob(b); err != nil {
				return nil, err
			}
		}
		all = append(all, k)
	}
	return all, nil
}

// At is an image of a repository by its digest.
func At(repository, digest string) (Image, error) {
	d, err := name.NewDigest(repository + "@" + digest)
	if err != nil {
		return Image{}, fmt.Errorf("image %.200q: %w", repository, err)
	}
	return Image{d}, nil
}

// Pinned is the image that a reference meant when it was looked up.
func Pinned(reference, digest string) (Image, error) {
	ref, err := name.ParseReference(reference)
	if err != nil {
		return Image{}, fmt.Errorf("image %.200q: %w", reference, err)
	}
	return At(ref.Context().Name(), digest)
}

// Tagged splits a reference into its repository and its tag, which must be there.
func Tagged(reference string) (repository, tag string, err error) {
	t, err := name.NewTag(reference, name.StrictValidation)
	if err != nil {
		return "", "", fmt.Errorf("image %.200q: %w; want a registry, a repository and a tag", reference, err)
	}
	return t.Context().Name(), t.TagStr(), nil
}

// Push brings an image from a folder into a repository, under no tag: blobs first, then manifests by digest, the root last. What is there
// already is not sent again.
func (c *Client) Push(ctx context.Context, from *Folder, f *Fetched, to Image) error {
	repository := to.at.Context()
	c = c.about(ctx, repository)
	if err := c.blobs(ctx, from, f.blobs(), repository); err != nil {
		return err
	}
	manifests := []v1.Descriptor{}
	for _, p := range slices.Concat(f.Platforms, f.Others) {
		if p.Manifest.Digest != f.Root.Digest {
			manifests = append(manifests, p.Manifest)
		}
	}
	for _, d := range append(manifests, f.Root) {
		if err := c.manifest(ctx, from, d, repository.Digest(d.Digest.String())); err != nil {
			return err
		}
	}
	return nil
}

// PushKept brings what came with an image into the repository in which it lies now.
func (c *Client) PushKept(ctx context.Context, from *Folder, all []Kept, to Image) error {
	c = c.about(ctx, to.at.Context())
	for _, k := range all {
		if err := c.blobs(ctx, from, append([]v1.Descriptor{k.Config}, k.Layers...), to.at.Context()); err != nil {
			return err
		}
		var at name.Reference = to.at.Context().Digest(k.Manifest.Digest.String())
		if k.Tag != "" {
			at = to.at.Context().Tag(k.Tag)
		}
		if err := c.manifest(ctx, from, k.Manifest, at); err != nil {
			return err
		}
	}
	return nil
}

// Tag lets a tag mean an image that lies in the repository, and looks whether it does.
func (c *Client) Tag(ctx context.Context, from *Folder, f *Fetched, to Image, tag string) error {
	at := to.at.Context().Tag(tag)
	c = c.about(ctx, at.Context())
	if err := c.manifest(ctx, from, f.Root, at); err != nil {
		return err
	}
	now, err := remote.Head(at, c.with(ctx, at.Context())...)
	if err != nil {
		return told(at.Name(), err)
	}
	if now.Digest != f.Root.Digest {
		return fmt.Errorf("%s: %w: it means %s after it was set to %s", at, ErrLied, now.Digest, f.Root.Digest)
	}
	return nil
}

// Means is what a tag means now; the zero Image where there is none.
func (c *Client) Means(ctx context.Context, reference string) (Image, error) {
	i, err := c.Resolve(ctx, reference)
	if errors.Is(err, ErrMissing) {
		return Image{}, nil
	}
	return i, err
}

func (c *Client) blobs(ctx context.Context, from *Folder, all []v1.Descriptor, to name.Repository) error {
	for _, d := range all {
		if err := remote.WriteLayer(to, &staged{from, d}, c.with(ctx, to)...); err != nil {
			return told("write "+d.Digest.String()+" to "+to.Name(), err)
		}
	}
	return nil
}

func (c *Client) manifest(ctx context.Context, from *Folder, d v1.Descriptor, to name.Reference) error {
	text, err := from.Read(d.Digest.String(), maxManifest)
	if err != nil {
		return fmt.Errorf("read %s: %w", d.Digest, err)
	}
	if !sums(text, d.Digest) {
		return fmt.Errorf("read %s: %w: the folder was changed", d.Digest, ErrLied)
	}
	if err := remote.Put(to, written{text, d.MediaType}, c.with(ctx, to.Context())...); err != nil {
		return told("write to "+to.Name(), err)
	}
	return nil
}

// sums tells whether a text has a digest.
func sums(text []byte, digest v1.Hash) bool {
	got, _, err := v1.SHA256(bytes.NewReader(text))
	return err == nil && got == digest
}

// written is a manifest as it lies in a folder.
type written struct {
	text []byte
	kind types.MediaType
}

// RawManifest is the manifest.
func (w written) RawManifest() ([]byte, error) { return slices.Clone(w.text), nil }

// MediaType is its own.
func (w written) MediaType() (types.MediaType, error) { return w.kind, nil }

// staged is a blob in a folder, as the registry's library wants it.
type staged struct {
	from *Folder
	d    v1.Descriptor
}

// Digest is the blob's.
func (s *staged) Digest() (v1.Hash, error) { return s.d.Digest, nil }

// DiffID is not asked for by what writes blobs.
func (s *staged) DiffID() (v1.Hash, error) { return v1.Hash{}, errors.ErrUnsupported }

// Compressed is the blob.
func (s *staged) Compressed() (io.ReadCloser, error) { return s.from.Open(s.d.Digest.String()) }

// Uncompressed is not asked for by what writes blobs.
func (s *staged) Uncompressed() (io.ReadCloser, error) { return nil, errors.ErrUnsupported }

// Size is the blob's, in bytes.
func (s *staged) Size() (int64, error) { return s.d.Size, nil }

// MediaType is the blob's.
func (s *staged) MediaType() (types.MediaType, error) { return s.d.MediaType, nil }
