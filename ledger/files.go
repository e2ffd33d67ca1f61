package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"ringfence.dev/ringfence/internal/durable"
)

const (
	// maxResource is the largest file of a ledger: a bundle of 256 entries of the largest size.
	maxResource = width * (MaxEntry + 2)
	// partSuffix ends the name of the bundle that is not full yet. It only grows, and loses the suffix when it is full.
	partSuffix = ".part"
	// fileMode lets a group of readers verify.
	fileMode = 0o640
	// fetchTimeout bounds the reading of one file over HTTP.
	fetchTimeout = 30 * time.Second
)

// Source reads one file of a ledger by the path that C2SP tlog-tiles gives it: "checkpoint", "tile/0/000",
// "tile/entries/x001/234.p/17". What is not there wraps fs.ErrNotExist.
type Source func(ctx context.Context, path string) ([]byte, error)

// Folder is the Source of a ledger in a folder, also while another process writes it. Tiles and bundles that are not full
// are not kept as files of their own: they are cut from what is there.
func Folder(dir string) Source {
	f := folder(dir)
	return func(ctx context.Context, path string) ([]byte, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if path == checkpointFile || path == keyringFile {
			return f.read(path)
		}
		level, n, have, err := parseTilePath(path)
		if err != nil {
			return nil, err
		}
		if level < 0 {
			return f.bundle(n, have)
		}
		return f.tile(level, n, have)
	}
}

// statusError is an answer that is neither a file nor says that there is none.
type statusError int

// Error implements error.
func (s statusError) Error() string { return fmt.Sprintf("found status %d; want 200", int(s)) }

// HTTP is the Source of a ledger that Handler, or any other server of tlog-tiles, serves below a URL.
func HTTP(client *http.Client, base string) Source {
	return func(ctx context.Context, path string) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base, "/")+"/"+path, nil)
		if err != nil {
			return nil, fmt.Errorf("fetch %s: %w", path, err)
		}
		response, err := client.Do(request)
		if err != nil {
			return nil, fmt.Errorf("fetch %s: %w", path, err)
		}
		defer response.Body.Close()
		switch {
		case response.StatusCode == http.StatusNotFound:
			return nil, fmt.Errorf("fetch %s: %w", path, fs.ErrNotExist)
		case response.StatusCode != http.StatusOK:
			return nil, fmt.Errorf("fetch %s: %w", path, statusError(response.StatusCode))
		}
		data, err := io.ReadAll(io.LimitReader(response.Body, maxResource+1))
		if err == nil && len(data) > maxResource {
			err = fmt.Errorf("found more than %d bytes", maxResource)
		}
		if err != nil {
			return nil, fmt.Errorf("fetch %s: %w", path, err)
		}
		return data, nil
	}
}

// parseTilePath is tilePath the other way; only what tilePath writes is taken.
func parseTilePath(path string) (level int, n int64, have int, err error) {
	wrong := fmt.Errorf("find %.80q: %w: want checkpoint or tile/<level>/<number>[.p/<width>]", path, fs.ErrNotExist)
	rest, ok := strings.CutPrefix(path, "tile/")
	kind, rest, found := strings.Cut(rest, "/")
	if !ok || !found || len(path) > 80 {
		return 0, 0, 0, wrong
	}
	level, have = -1, width
	if kind != "entries" {
		if level, err = strconv.Atoi(kind); err != nil || level < 0 || level >= levels {
			return 0, 0, 0, wrong
		}
	}
	if name, part, partial := strings.Cut(rest, ".p/"); partial {
		if have, err = strconv.Atoi(part); err != nil || have < 1 || have >= width {
			return 0, 0, 0, wrong
		}
		rest = name
	}
	n, err = strconv.ParseInt(strings.NewReplacer("x", "", "/", "").Replace(rest), 10, 64)
	if err != nil || n < 0 || tilePath(level, n, have) != path {
		return 0, 0, 0, wrong
	}
	return level, n, have, nil
}

// folder is the folder of a ledger.
type folder string

func (f folder) path(name string) string { return filepath.Join(string(f), filepath.FromSlash(name)) }

// read reads one file, bounded.
func (f folder) read(name string) ([]byte, error) {
	file, err := os.Open(f.path(name))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxResource+1))
	if err == nil && len(data) > maxResource {
		err = fmt.Errorf("read %s: found more than %d bytes", name, maxResource)
	}
	return data, err
}

// bundle reads the first entries of a bundle, whether it is full by now or not.
func (f folder) bundle(n int64, have int) ([]byte, error) {
	name := tilePath(-1, n, width)
	data, err := f.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		data, err = f.read(name + partSuffix)
		if errors.Is(err, fs.ErrNotExist) { // it was renamed between the two
			data, err = f.read(name)
		}
	}
	if err != nil || have == width {
		return data, err
	}
	end := 0
	entries, _ := split(data)
	for i, e := range entries {
		if i == have {
			break
		}
		end += 2 + len(e)
	}
	if len(entries) < have {
		return nil, fmt.Errorf("read %s: found %d entries; want %d: %w", name, len(entries), have, fs.ErrNotExist)
	}
	return data[:end], nil
}

// tile reads a tile. One that is not full is made of what lies below it.
func (f folder) tile(level int, n int64, have int) ([]byte, error) {
	data, err := f.read(tilePath(level, n, width))
	switch {
	case err == nil && len(data) != width*tlog.HashSize:
		return nil, fmt.Errorf("read %s: found %d bytes; want %d", tilePath(level, n, width), len(data), width*tlog.HashSize)
	case err == nil:
		return data[:have*tlog.HashSize], nil
	case have == width || !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	var hashes []tlog.Hash
	if level == 0 {
		if data, err = f.bundle(n, have); err != nil {
			return nil, err
		}
		entries, _ := split(data)
		for _, e := range entries {
			hashes = append(hashes, tlog.RecordHash(e))
		}
		return pack(hashes), nil
	}
	for i := range have {
		below, err := f.tile(level-1, n*width+int64(i), width)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, rootOf(unpack(below)))
	}
	return pack(hashes), nil
}

// replace writes a file in the folder whole or not at all.
func (f folder) replace(name string, data []byte) error {
	path := f.path(name)
	if err := f.mkdir(filepath.Dir(path)); err != nil {
		return err
	}
	return durable.Replace(path, data, fileMode)
}

// mkdir makes a folder and those above it, each on the disk before it is used.
func (f folder) mkdir(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if parent := filepath.Dir(path); parent != path {
		if err := f.mkdir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return durable.SyncFolder(filepath.Dir(path))
}
