// Package jsonfile writes messages to a file, one on a line, for a collector that a bank already runs. The file is rotated
// by size; lines are on disk before they count as taken.
package jsonfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/forward/wire"
	"ringfence.dev/ringfence/internal/durable"
)

// Config are the settings of a sink.
type Config struct {
	// Path is the file. Older ones are PATH.1, the newest of them, to PATH.Keep.
	Path string `yaml:"path"`
	// MaxBytes is the size at which a new file is begun; unset is 100 MiB.
	MaxBytes int64 `yaml:"maxBytes"`
	// Keep is how many older files stay; unset is 10. The oldest goes: whatever collects them must keep up, and the ledger
	// still has all.
	Keep int `yaml:"keep"`
}

// Sink is a file.
type Sink struct {
	cfg  Config
	file *os.File
	size int64
}

var _ forward.Sink = (*Sink)(nil)

// Open makes a Sink.
func Open(s forward.Settings) (forward.Sink, error) {
	var cfg Config
	if err := s.Decode(&cfg); err != nil {
		return nil, err
	}
	cfg.Path = s.Path(cfg.Path)
	return New(cfg)
}

// New makes a Sink. The file is opened at the first batch.
func New(cfg Config) (*Sink, error) {
	if cfg.Path == "" {
		return nil, errors.New("path: want the name of a file")
	}
	if cfg.MaxBytes < 0 || cfg.Keep < 0 {
		return nil, errors.New("maxBytes and keep: want numbers above 0")
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 100 << 20
	}
	if cfg.Keep == 0 {
		cfg.Keep = 10
	}
	return &Sink{cfg: cfg}, nil
}

// Limits implements forward.Sink.
func (s *Sink) Limits() forward.Limits {
	return forward.Limits{Bytes: 4 << 20, Overhead: 1, Messages: 5000}
}

// Send implements forward.Sink.
func (s *Sink) Send(_ context.Context, batch []forward.Message) error {
	var text bytes.Buffer
	for i, m := range batch {
		if bytes.ContainsRune(m.Data, '\n') {
			return wire.Refuse(i, "write a line to %s: the message has more than one", s.cfg.Path)
		}
		text.Write(m.Data)
		text.WriteByte('\n')
	}
	if err := s.ready(int64(text.Len())); err != nil {
		return wire.Retry(0, "%w", err)
	}
	_, err := s.file.Write(text.Bytes())
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		// What stands there of the batch is cut off: it comes again.
		err = errors.Join(err, s.file.Truncate(s.size), s.Close())
		return wire.Retry(0, "write %s: %w", s.cfg.Path, err)
	}
	s.size += int64(text.Len())
	return nil
}

// ready opens the file, and begins a new one where the batch would make it too large or somebody moved it away.
func (s *Sink) ready(more int64) error {
	if s.file != nil {
		now, err := os.Stat(s.cfg.Path)
		open, err2 := s.file.Stat()
		if err != nil || err2 != nil || !os.SameFile(now, open) {
			_ = s.Close()
		}
	}
	if err := s.open(); err != nil {
		return err
	}
	if s.size == 0 || s.size+more <= s.cfg.MaxBytes {
		return nil
	}
	if err := s.Close(); err != nil {
		return fmt.Errorf("close %s: %w", s.cfg.Path, err)
	}
	for i := s.cfg.Keep; i > 0; i-- {
		from := s.cfg.Path
		if i > 1 {
			from += "." + strconv.Itoa(i-1)
		}
		if err := os.Rename(from, s.cfg.Path+"."+strconv.Itoa(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rotate %s: %w", s.cfg.Path, err)
		}
	}
	return s.open()
}

// open opens the file at its end. A line that a crash cut off is cut off wholly: it comes again.
func (s *Sink) open() error {
	if s.file != nil {
		return nil
	}
	f, err := os.OpenFile(s.cfg.Path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open a sink's file: %w", err)
	}
	size, err := wholeLines(f)
	if err == nil {
		err = f.Truncate(size)
	}
	if err == nil {
		err = durable.SyncFolder(filepath.Dir(s.cfg.Path))
	}
	if err != nil {
		_ = f.Close()
		return fmt.Errorf("open %s: %w", s.cfg.Path, err)
	}
	s.file, s.size = f, size
	return nil
}

// wholeLines is the size up to the end of the last whole line.
func wholeLines(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, errors.New("want a regular file")
	}
	buf := make([]byte, 64<<10)
	for end := info.Size(); end > 0; {
		start := max(0, end-int64(len(buf)))
		n, err := f.ReadAt(buf[:end-start], start)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			return start + int64(i) + 1, nil
		}
		end = start
	}
	return 0, nil
}

// Close implements forward.Sink.
func (s *Sink) Close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}
