package auditlog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"ringfence.dev/ringfence/internal/durable"
)

const (
	// maxLine bounds one event in a file, 4 MiB: an object of 1.5 MiB, twice, where the audit policy says RequestResponse.
	maxLine = 4 << 20
	// headSize is how much of a file's beginning tells it from others: an event with its id and its time.
	headSize = 4096
	// defaultPoll is how often a file is looked at.
	defaultPoll = time.Second
)

// Tail says which file to follow.
type Tail struct {
	// Path is what --audit-log-path names.
	Path string
	// Cursor is the file that remembers how far it was read. It holds no event.
	Cursor string
	// Poll is how often to look; zero is 1 s. Sleep waits, or returns the context's error; nil is the machine's clock.
	Poll  time.Duration
	Sleep func(context.Context, time.Duration) error
	// Broken is told of a packed file that cannot be unpacked to its end; nil tells nobody. It is counted as a gap too, and
	// the next file is read.
	Broken func(err error)
	// Failed is told why nothing can be read now or the cursor cannot be written, once for as long as it is the same; nil tells
	// nobody. Both are tried again. What was read and could not be kept is counted, and is the Sink's to tell.
	Failed func(err error)
}

// tailPlace is where the reading of a file stands: always at the beginning of a line.
type tailPlace struct {
	Offset int64 `json:"offset"`
	// Head is the SHA-256 of the file's first HeadLen bytes.
	Head    string `json:"head"`
	HeadLen int64  `json:"headLen"`
}

// follower follows one file.
type follower struct {
	Tail
	h       *Handler
	file    logFile
	at      tailPlace
	written tailPlace
	buf     []byte
	long    bool // within a line that is longer than maxLine
}

// Follow reads the audit events that are in a file and that are added to it, until ctx ends, which is no error. It goes on
// where it stopped after a restart, in files that were rotated away meanwhile too, also packed by gzip; where those are gone or
// broken, and where a file was cut short, a gap is counted. Events are handed on before the cursor is written: at least once. The file need
// not be there yet. An error is one of the cursor.
func (h *Handler) Follow(ctx context.Context, t Tail) error {
	if t.Poll <= 0 {
		t.Poll = defaultPoll
	}
	if t.Sleep == nil {
		t.Sleep = sleep
	}
	f := &follower{Tail: t, h: h, buf: make([]byte, 0, 64<<10)}
	defer f.close()
	if err := f.resume(); err != nil {
		return err
	}
	told := ""
	for ctx.Err() == nil {
		more, err := f.step(ctx)
		if err == nil && f.at != f.written && f.at.HeadLen > 0 { // the beginning of a file tells nothing: which one is it?
			err = f.save()
		}
		told = f.tell(err, told)
		if err != nil || !more {
			_ = t.Sleep(ctx, t.Poll)
		}
	}
	return nil
}

// tell tells of an error that is not the one that was told last, and returns what is told now.
func (f *follower) tell(err error, told string) string {
	if err == nil || errors.Is(err, errUnkept) {
		return ""
	}
	if err.Error() != told && f.Failed != nil {
		f.Failed(err)
	}
	return err.Error()
}

// sleep waits by the machine's clock.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// resume reads the cursor and finds the file it speaks of, which may have been rotated away.
func (f *follower) resume() error {
	text, err := os.ReadFile(f.Cursor)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(text, &f.at)
	}
	if err == nil && (f.at.Offset < 0 || f.at.HeadLen < 0 || f.at.HeadLen > headSize || f.at.HeadLen > f.at.Offset) {
		err = errors.New("found numbers that cannot be")
	}
	if err != nil {
		return fmt.Errorf("read the cursor %s: %w; fix: remove it to read the file from its beginning", f.Cursor, err)
	}
	f.written = f.at
	if f.at.HeadLen == 0 || f.isHead(f.Path) {
		return nil
	}
	rotated := f.rotated()
	i := slices.IndexFunc(rotated, f.isHead)
	if i < 0 {
		f.gap()
		f.at = tailPlace{}
		return nil
	}
	f.file, err = openLog(rotated[i])
	return err
}

// isHead reports whether a file begins as the one that was being read.
func (f *follower) isHead(path string) bool {
	if f.at.HeadLen == 0 {
		return false
	}
	file, err := openLog(path)
	if err != nil {
		return false
	}
	defer file.Close()
	head, err := headOf(file, f.at.HeadLen)
	return err == nil && head == f.at.Head
}

// headOf is the digest of a file's first bytes; an error where there are fewer.
func headOf(file io.ReaderAt, size int64) (string, error) {
	buf := make([]byte, size)
	if _, err := file.ReadAt(buf, 0); err != nil {
		return "", err
	}
	sum := sha256.Sum256(buf)
	return hex.EncodeToString(sum[:]), nil
}

// step reads the next piece. more is false where there is nothing to do but to wait.
func (f *follower) step(ctx context.Context) (more bool, err error) {
	if f.file == nil {
		if f.file, err = openLog(f.Path); err != nil {
			f.file = nil
			return false, err
		}
	}
	// Whether it was rotated away is asked before reading: what is read after is all there will be.
	away := f.isAway()
	if f.isCut() {
		f.gap()
		f.at, f.buf, f.long = tailPlace{}, f.buf[:0], false
	}
	n, err := f.read(ctx)
	if n > 0 || err != nil {
		return err == nil, err
	}
	if !away {
		return false, nil
	}
	return true, f.leave()
}

// leave ends with a file that was rotated away and opens the one that was begun after it. A line without an end is none
// that anybody will end.
func (f *follower) leave() error {
	next, err := f.successor()
	if err != nil {
		return err
	}
	if len(f.buf) > 0 || f.long {
		f.h.count(func(s *Stats) { s.Malformed++ })
	}
	if p, ok := f.file.(*packed); ok && p.broken != nil {
		f.gap()
		if f.Broken != nil {
			f.Broken(p.broken)
		}
	}
	f.close()
	f.file, f.at, f.buf, f.long = next, tailPlace{}, f.buf[:0], false
	return nil
}

// successor opens the file that was begun after the one that is being read: the next of the rotated ones, else Path. Path
// is opened before the others are listed, so that a rotation in between leaves nothing out.
func (f *follower) successor() (logFile, error) {
	newest, err := openLog(f.Path)
	if err != nil {
		return nil, err
	}
	same := func(path string, file logFile) bool {
		a, err := os.Stat(path)
		b, err2 := file.Stat()
		return err == nil && err2 == nil && os.SameFile(a, b)
	}
	rotated := f.rotated()
	i := slices.IndexFunc(rotated, func(path string) bool { return same(path, f.file) })
	if i < 0 { // it was packed since
		i = slices.IndexFunc(rotated, f.isHead)
	}
	if i < 0 || i+1 == len(rotated) || same(rotated[i+1], newest) {
		return newest, nil
	}
	older, err := openLog(rotated[i+1])
	if err != nil {
		return newest, nil // removed since
	}
	_ = newest.Close()
	return older, nil
}

// isAway reports whether Path is another file by now.
func (f *follower) isAway() bool {
	now, err := os.Stat(f.Path)
	if err != nil {
		return false // between two files, or not to be seen: wait
	}
	open, err := f.file.Stat()
	return err == nil && !os.SameFile(now, open)
}

// isCut reports whether the file is shorter than was read, or begins otherwise: it was emptied and written anew.
func (f *follower) isCut() bool {
	info, err := f.file.Stat()
	if _, isPacked := f.file.(*packed); isPacked || err != nil || f.at.Offset == 0 {
		return false
	}
	if info.Size() < f.at.Offset+int64(len(f.buf)) {
		return true
	}
	head, err := headOf(f.file, f.at.HeadLen)
	return err == nil && head != f.at.Head
}

// read reads one piece behind what was read, and hands on its whole lines. What could not be kept is read again.
func (f *follower) read(ctx context.Context) (int, error) {
	piece := make([]byte, 256<<10)
	from := f.at.Offset + int64(len(f.buf))
	n, err := f.file.ReadAt(piece, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read %s: %w", f.Path, err)
	}
	if n == 0 {
		return 0, nil
	}
	before, wasLong := len(f.buf), f.long
	f.buf = append(f.buf, piece[:n]...)
	end := bytes.LastIndexByte(f.buf, '\n') + 1
	b := batch{source: "file"}
	for line := range bytes.Lines(f.buf[:end]) {
		if f.long { // its beginning was counted
			f.long = false
			continue
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			e, err := decodeLine(line)
			f.h.one(&b, e, err)
		}
	}
	rest := f.buf[end:]
	if len(rest) > maxLine {
		if !f.long {
			b.Malformed++
		}
		f.long, end, rest = true, end+len(rest), nil
	}
	if end > 0 {
		err := f.h.keep(ctx, &b)
		f.h.done(b, nil)
		if err != nil {
			f.buf, f.long = f.buf[:before], wasLong
			return 0, err
		}
		f.at.Offset += int64(end)
		f.buf = append(f.buf[:0], rest...)
		if err := f.mark(); err != nil {
			return n, err
		}
	}
	return n, nil
}

// mark notes how the file begins, once more of it was read than before.
func (f *follower) mark() error {
	size := min(f.at.Offset, headSize)
	if size == f.at.HeadLen {
		return nil
	}
	head, err := headOf(f.file, size)
	if err != nil {
		return fmt.Errorf("read the beginning of %s: %w", f.Path, err)
	}
	f.at.Head, f.at.HeadLen = head, size
	return nil
}

// gap counts a place where events may be missing.
func (f *follower) gap() {
	f.h.count(func(s *Stats) { s.Gaps++ })
}

// close closes the file.
func (f *follower) close() {
	if f.file != nil {
		_ = f.file.Close()
		f.file = nil
	}
}

// save writes the cursor, so that a crash leaves the old one or the new.
func (f *follower) save() error {
	text, err := json.Marshal(f.at)
	if err == nil {
		err = durable.Replace(f.Cursor, append(text, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write the cursor %s: %w", f.Cursor, err)
	}
	f.written = f.at
	return nil
}
