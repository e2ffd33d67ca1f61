package release

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// entry is a file or, where its name ends in a slash, a folder of an archive. Its content is data, or the file at path.
type entry struct {
	name string
	mode int64
	data []byte
	path string
}

// content opens the entry's bytes and says how many they are.
func (e entry) content() (io.ReadCloser, int64, error) {
	if e.path == "" {
		return io.NopCloser(strings.NewReader(string(e.data))), int64(len(e.data)), nil
	}
	f, err := os.Open(e.path)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// archive writes entries as .zip or .tar.gz, as the name of its file says, all with one time and owned by root.
func archive(file string, entries []entry, at time.Time) error {
	pack := packTar
	if path.Ext(file) == ".zip" {
		pack = packZip
	}
	out, err := os.Create(file)
	if err == nil {
		err = errors.Join(pack(out, entries, at), out.Close())
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

// packTar writes what is the same for the same entries: in their order, with nothing of this machine.
func packTar(w io.Writer, entries []entry, at time.Time) error {
	zipped, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	out := tar.NewWriter(zipped)
	for _, e := range entries {
		body, size, err := e.content()
		if err != nil {
			return err
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Mode: e.mode, Size: size, ModTime: at.UTC(), Format: tar.FormatUSTAR}
		if strings.HasSuffix(e.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := out.WriteHeader(h); err != nil {
			return errors.Join(err, body.Close())
		}
		_, err = io.Copy(out, body)
		if err := errors.Join(err, body.Close()); err != nil {
			return err
		}
	}
	return errors.Join(out.Close(), zipped.Close())
}

func packZip(w io.Writer, entries []entry, at time.Time) error {
	out := zip.NewWriter(w)
	for _, e := range entries {
		body, _, err := e.content()
		if err != nil {
			return err
		}
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: at.UTC()}
		h.SetMode(os.FileMode(e.mode))
		into, err := out.CreateHeader(h)
		if err == nil {
			_, err = io.Copy(into, body)
		}
		if err := errors.Join(err, body.Close()); err != nil {
			return err
		}
	}
	return out.Close()
}

// sum is a file's SHA-256 in hexadecimal.
func sum(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read %s: %w", file, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// sums writes SHA256SUMS, as sha256sum -c reads it, of the sums of files by their names.
func sums(out string, of map[string]string) error {
	var text strings.Builder
	for _, file := range slices.Sorted(maps.Keys(of)) {
		fmt.Fprintf(&text, "%s  %s\n", of[file], file)
	}
	return os.WriteFile(out, []byte(text.String()), 0o644)
}
