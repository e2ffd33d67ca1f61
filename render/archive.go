package render

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"helm.sh/helm/v4/pkg/chart/loader/archive"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/manifest"
)

// PackedChart reports whether a file of this name is a chart as `helm package` packs it.
func PackedChart(name string) bool {
	name = strings.ToLower(name)
	return strings.HasSuffix(name, ".tgz") || strings.HasSuffix(name, ".tar.gz")
}

// OpenPackedChart reads a packed chart, in memory and within the bounds of a folder: nothing is written to a disk. The
// error is a *manifest.Error.
func OpenPackedChart(file string) (*Chart, error) {
	left := newBudget()
	packed, err := left.read(file, file)
	if err != nil {
		return nil, err
	}
	files, err := left.unpack(packed, file)
	if err != nil {
		return nil, err
	}
	if files, err = left.unpackAll(files, file, 0); err != nil {
		return nil, err
	}
	return newChart(file, files)
}

// packedInside matches the packed charts that a chart uses: helm passes over names that begin with _ or a dot.
var packedInside = regexp.MustCompile(`^(charts/[^/]+/)*charts/[^/_.][^/]*\.tgz$`)

// unpackAll puts the files of the packed charts in charts/ in their places, so that one budget bounds all of them: helm
// itself would allow each 100 MiB.
func (b *budget) unpackAll(files []archive.BufferedFile, shown string, depth int) ([]archive.BufferedFile, error) {
	var out []archive.BufferedFile
	for _, f := range files {
		dir, name := path.Split(f.Name)
		if !packedInside.MatchString(f.Name) {
			out = append(out, f)
			continue
		}
		at := filepath.Join(shown, filepath.FromSlash(f.Name))
		if depth >= maxDepth {
			return nil, fault(at, "is packed more than %d deep; unpack it", maxDepth)
		}
		inner, err := b.unpack(f.Data, at)
		if err != nil {
			return nil, err
		}
		if inner, err = b.unpackAll(inner, at, depth+1); err != nil {
			return nil, err
		}
		for _, g := range inner {
			// No folder of a chart has such a name beside it: two would be one.
			g.Name = dir + strings.TrimSuffix(name, ".tgz") + "@tgz/" + g.Name
			out = append(out, g)
		}
	}
	return out, nil
}

// unpack reads a packed chart: a folder, in a tar, in gzip. Names that lead out of it are refused, as are links and devices.
func (b *budget) unpack(packed []byte, shown string) ([]archive.BufferedFile, error) {
	unzipped, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fault(shown, "is no packed chart: %v; want what `helm package` writes", err)
	}
	// What is not part of any file counts too: a tar may consist of names alone.
	stream := &io.LimitedReader{R: unzipped, N: int64(b.bytes) + int64(b.files)*blockSize}
	var files []archive.BufferedFile
	for in := tar.NewReader(stream); ; {
		head, err := in.Next()
		switch {
		case errors.Is(err, io.EOF) && len(files) > 0:
			return files, nil
		case errors.Is(err, io.EOF):
			return nil, fault(shown, "holds no files; want what `helm package` writes")
		case err != nil:
			return nil, b.broken(stream, shown, err)
		}
		if b.files--; b.files < 0 {
			return nil, b.tooMuch(shown)
		}
		switch head.Typeflag {
		case tar.TypeXGlobalHeader, tar.TypeDir:
			continue
		case tar.TypeReg:
		default:
			return nil, fault(shown, "holds %s, which is no regular file; pack the chart with `helm package`, which follows links", finding.Value(head.Name))
		}
		name, err := inside(head.Name, shown)
		if err != nil {
			return nil, err
		}
		if head.Size > maxFile {
			return nil, fault(filepath.Join(shown, filepath.FromSlash(name)), "is larger than 16 MiB, the most that is read of one file; leave it out")
		}
		if b.bytes -= int(head.Size); b.bytes < 0 {
			return nil, b.tooMuch(shown)
		}
		text, err := io.ReadAll(in)
		if err != nil {
			return nil, b.broken(stream, shown, err)
		}
		files = append(files, archive.BufferedFile{Name: name, ModTime: head.ModTime, Data: bytes.TrimPrefix(text, []byte("\ufeff"))})
	}
}

// blockSize is 1 KiB, what a tar may take for each file beside what it holds: its header and the end of its last block.
const blockSize = 1024

// inside is the name of a file in its chart: without the chart's folder, and never outside of it.
func inside(name, shown string) (string, error) {
	folder, inner, _ := strings.Cut(strings.ReplaceAll(name, `\`, "/"), "/")
	cleaned := path.Clean(inner)
	switch {
	case folder == ChartFile:
		return "", fault(shown, "holds Chart.yaml at its top; want one folder that holds the chart, as `helm package` packs it")
	case inner == "" || !filepath.IsLocal(filepath.FromSlash(cleaned)) || cleaned == "." || folder == "" || folder == ".." || strings.Contains(cleaned, ":/"):
		return "", fault(shown, "holds %s, which leads out of the chart; pack it with `helm package`", finding.Value(name))
	}
	return cleaned, nil
}

func (b *budget) tooMuch(shown string) *manifest.Error {
	return fault(shown, "unpacks to more than 10,000 files or 64 MiB; leave out what is not needed")
}

func (b *budget) broken(stream *io.LimitedReader, shown string, err error) *manifest.Error {
	if stream.N <= 0 {
		return b.tooMuch(shown)
	}
	return fault(shown, "is no packed chart: %v; want what `helm package` writes, whole", err)
}
