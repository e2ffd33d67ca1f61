package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Folder keeps blobs and manifests by their digests, as the OCI image layout does. What is in it has the digest it is called by, whatever
// was interrupted: a part of a blob is called otherwise.
type Folder struct {
	dir string
}

// OpenFolder makes the folder where it is missing, and clears what an interrupted run left half done.
func OpenFolder(dir string) (*Folder, error) {
	f := &Folder{dir}
	if err := os.MkdirAll(f.blobs(), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for the image: %w", err)
	}
	parts, err := filepath.Glob(filepath.Join(f.blobs(), partPrefix+"*"))
	for _, p := range parts {
		err = errors.Join(err, os.Remove(p))
	}
	if err != nil {
		return nil, fmt.Errorf("clear the folder for the image: %w", err)
	}
	return f, nil
}

// partPrefix begins the name of what is not whole.
const partPrefix = "part-"

func (f *Folder) blobs() string { return filepath.Join(f.dir, "blobs", "sha256") }

func (f *Folder) file(digest v1.Hash) string { return filepath.Join(f.blobs(), digest.Hex) }

// Open opens a blob.
func (f *Folder) Open(digest string) (io.ReadCloser, error) {
	hash, err := v1.NewHash(digest)
	if err != nil {
		return nil, err
	}
	return os.Open(f.file(hash))
}

// has tells whether a blob is there, whole. One that is not what it is called is removed.
func (f *Folder) has(d v1.Descriptor) (bool, error) {
	file, err := os.Open(f.file(d.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return false, err
	}
	if hex.EncodeToString(sum.Sum(nil)) != d.Digest.Hex {
		return false, os.Remove(f.file(d.Digest))
	}
	return true, nil
}

// put keeps what a reader gives, which must be as long as the descriptor says and have its digest.
func (f *Folder) put(d v1.Descriptor, from io.Reader) (err error) {
	part, err := os.CreateTemp(f.blobs(), partPrefix)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, part.Close())
		if err == nil {
			err = os.Rename(part.Name(), f.file(d.Digest))
		}
		if err != nil {
			err = errors.Join(err, os.Remove(part.Name()))
		}
	}()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(part, sum), io.LimitReader(from, d.Size+1))
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrAway, err)
	case n != d.Size:
		return fmt.Errorf("%w: it is not as long as the registry says: %d bytes", ErrLied, d.Size)
	case hex.EncodeToString(sum.Sum(nil)) != d.Digest.Hex:
		return fmt.Errorf("%w: it is not what has this digest", ErrLied)
	}
	return nil
}

// putText keeps a text under its own digest.
func (f *Folder) putText(text []byte) (v1.Descriptor, error) {
	digest, size, err := v1.SHA256(bytes.NewReader(text))
	if err != nil {
		return v1.Descriptor{}, err
	}
	d := v1.Descriptor{Digest: digest, Size: size}
	return d, f.put(d, bytes.NewReader(text))
}

// Read reads a blob of at most so many bytes.
func (f *Folder) Read(digest string, most int64) ([]byte, error) {
	r, err := f.Open(digest)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("%s: it has more than %d bytes", digest, most)
	}
	return text, err
}

// Remove removes all blobs.
func (f *Folder) Remove() error { return os.RemoveAll(filepath.Join(f.dir, "blobs")) }
