package release

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Push brings the images of the release in dir, and everything attached to them, into a repository such as
// registry.bank.example/platform/ringfence, under the tag of their version. It returns what the images are called there. Credentials
// are those that docker login keeps.
func Push(ctx context.Context, dir, repository string) (string, error) {
	to, err := name.NewRepository(repository)
	if err != nil {
		return "", fmt.Errorf("push: %w", err)
	}
	from, err := layout.FromPath(filepath.Join(dir, imageDir))
	if err != nil {
		return "", fmt.Errorf("read the images of the release in %s: %w", dir, err)
	}
	root, err := from.ImageIndex()
	if err != nil {
		return "", fmt.Errorf("read the images of the release in %s: %w", dir, err)
	}
	list, err := root.IndexManifest()
	if err != nil {
		return "", fmt.Errorf("read the images of the release in %s: %w", dir, err)
	}
	options := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	var pushed string
	for _, d := range list.Manifests { // the images come first: what refers to them needs them there
		if !d.MediaType.IsIndex() {
			if err := pushAttached(from, d, to, options); err != nil {
				return "", fmt.Errorf("push %s: %w", d.Digest, err)
			}
			continue
		}
		index, err := root.ImageIndex(d.Digest)
		if err == nil {
			err = remote.WriteIndex(to.Tag(d.Annotations["org.opencontainers.image.ref.name"]), index, options...)
		}
		if err != nil {
			return "", fmt.Errorf("push %s: %w", d.Digest, err)
		}
		pushed = to.Digest(d.Digest.String()).Name()
	}
	return pushed, nil
}

// pushAttached pushes what was attached, its blobs first.
func pushAttached(from layout.Path, d v1.Descriptor, to name.Repository, options []remote.Option) error {
	raw, err := from.Bytes(d.Digest)
	if err != nil {
		return err
	}
	var m referrer
	if err := json.Unmarshal(raw, &m); err != nil {
		return err
	}
	for _, part := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		content, err := from.Bytes(part.Digest)
		if err == nil {
			err = remote.WriteLayer(to, static.NewLayer(content, part.MediaType), options...)
		}
		if err != nil {
			return err
		}
	}
	return remote.Put(to.Digest(d.Digest.String()), manifest(raw), options...)
}

// manifest is one as it is pushed.
type manifest []byte

// RawManifest is the manifest.
func (m manifest) RawManifest() ([]byte, error) { return m, nil }

// MediaType is an image manifest's.
func (m manifest) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }
