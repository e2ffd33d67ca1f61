package content

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// What is a shell or a package manager, by its name in one of the folders of programs.
var (
	shells   = slices.Concat([]string{"sh", "bash", "ash", "dash", "zsh", "ksh", "busybox", "toybox", "csh", "tcsh", "fish", "pwsh"})
	managers = slices.Concat([]string{"apk", "apt", "apt-get", "dpkg", "rpm", "yum", "dnf", "dnf5", "microdnf", "tdnf", "zypper", "pacman", "opkg"})
	programs = slices.Concat([]string{"bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin", "busybox"})
)

// A text is looked at in windows, which share what a secret may be long.
const (
	window  = 1 << 20
	overlap = 16 << 10
	// zstdMemory is what a stream may make us hold: the window of the format's own recommendation is 8 MiB, of --ultra 128.
	zstdMemory = 128 << 20
)

// layer looks into one layer, which must unpack to diffID.
func (l *look) layer(ctx context.Context, from Layer, diffID string) error {
	file, err := from.Open()
	if err != nil {
		return err
	}
	defer file.Close()
	plain, done, err := unpacked(from.MediaType, &stopped{ctx, file})
	if err != nil {
		return err
	}
	defer done()
	sum := sha256.New()
	counted := &counter{io.TeeReader(plain, sum), &l.out.Bytes, l.bounds.Bytes}
	if err := l.entries(from.Digest, tar.NewReader(counted)); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, counted); err != nil { // what stands after the archive's end is of the layer too
		return err
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != diffID {
		return fmt.Errorf("it unpacks to %s; its configuration says %.80s", got, diffID)
	}
	return nil
}

// unpacked reads what a layer of a media type unpacks to.
func unpacked(mediaType string, r io.Reader) (plain io.Reader, done func(), err error) {
	switch {
	case strings.HasSuffix(mediaType, "gzip"):
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, nil, fmt.Errorf("unpack it with gzip: %w", err)
		}
		return z, func() { _ = z.Close() }, nil
	case strings.HasSuffix(mediaType, "zstd"):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(zstdMemory))
		if err != nil {
			return nil, nil, fmt.Errorf("unpack it with zstd: %w", err)
		}
		return z, z.Close, nil
	}
	return r, func() {}, nil
}

// entries looks at the files of a layer. What it takes away is taken from the layers below alone.
func (l *look) entries(digest string, files *tar.Reader) error {
	added := map[string]bool{}
	for {
		h, err := files.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read its archive: %w", err)
		}
		if l.out.Files++; l.out.Files > l.bounds.Files {
			return fmt.Errorf("%w: more than %d files", ErrTooLarge, l.bounds.Files)
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		dir, base := path.Split(name)
		switch {
		case base == ".wh..wh..opq":
			l.gone(strings.TrimSuffix(dir, "/"), true)
		case strings.HasPrefix(base, ".wh."):
			l.gone(dir+strings.TrimPrefix(base, ".wh."), false)
		case h.Typeflag == tar.TypeReg:
			if err := l.file(digest, name, files); err != nil {
				return fmt.Errorf("read its file %.200q: %w", name, err)
			}
		}
		if h.Typeflag != tar.TypeDir && slices.Contains(programs, strings.TrimSuffix(dir, "/")) && (slices.Contains(shells, base) || slices.Contains(managers, base)) {
			added[name] = true
		}
	}
	for name := range added {
		l.present[name] = true
	}
	return nil
}

// gone takes a path and what is below it from the layers so far; the folder itself stays where it is only emptied.
func (l *look) gone(name string, emptied bool) {
	for p := range l.present {
		if strings.HasPrefix(p, name+"/") || name == "" || p == name && !emptied {
			delete(l.present, p)
		}
	}
}

// file looks for secrets in a file, if it is text.
func (l *look) file(digest, name string, r io.Reader) error {
	line, kept := 1, 0
	for first := true; ; first = false {
		n, err := io.ReadFull(r, l.buffer[kept:])
		text := l.buffer[:kept+n]
		last := err == io.EOF || err == io.ErrUnexpectedEOF
		switch {
		case err != nil && !last:
			return err
		case first && bytes.IndexByte(text[:min(len(text), 8<<10)], 0) >= 0:
			l.secrets(digest, name, nil, 1) // its name may say it
			return nil
		case first && name == "etc/passwd":
			l.passwd = slices.Clone(text)
		}
		l.secrets(digest, name, text, line)
		if last {
			return nil
		}
		cut := len(text) - overlap
		line += bytes.Count(text[:cut], []byte("\n"))
		kept = copy(l.buffer, text[cut:])
	}
}

// counter reads at most so many bytes of all layers.
type counter struct {
	r    io.Reader
	read *int64
	most int64
}

// Read reads on.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if *c.read += int64(n); *c.read > c.most {
		return 0, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, c.most)
	}
	return n, err
}

// stopped ends a read when its context does.
type stopped struct {
	ctx context.Context
	r   io.Reader
}

// Read reads on.
func (s *stopped) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(p)
}
