package auditlog

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// packedSuffix ends the names of files that were packed after their rotation.
const packedSuffix = ".gz"

// logFile is a file that is followed: one that grows, or a packed one.
type logFile interface {
	io.ReaderAt
	io.Closer
	Stat() (os.FileInfo, error)
}

// openLog opens a file, and unpacks it while it is read where its name says that it is packed.
func openLog(path string) (logFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if !strings.HasSuffix(path, packedSuffix) {
		return file, nil
	}
	return &packed{File: file}, nil
}

// packed reads a gzip file from its beginning to its end. It holds its head and the piece that was read last, so that what could
// not be kept is read again without unpacking all before it. Where the file is broken it ends, and broken says why.
type packed struct {
	*os.File
	zip    *gzip.Reader
	head   []byte // the first headSize bytes
	at     int64  // where the next piece begins
	last   []byte // the piece before it
	broken error
}

var _ logFile = (*packed)(nil)

// ReadAt implements io.ReaderAt: quick for the head, the last piece and what follows it.
func (p *packed) ReadAt(buf []byte, off int64) (int, error) {
	if len(p.head) < headSize && p.zip == nil && p.broken == nil {
		p.readHead()
	}
	if end := off + int64(len(buf)); off >= 0 && end <= int64(len(p.head)) {
		return copy(buf, p.head[off:end]), nil
	}
	if start := p.at - int64(len(p.last)); off >= start && off < p.at {
		return copy(buf, p.last[off-start:]), nil
	}
	if off < p.at {
		p.restart()
	}
	for p.at < off { // what was read before a restart
		if p.next(make([]byte, min(off-p.at, 256<<10))) == 0 {
			return 0, io.EOF
		}
	}
	n := p.next(buf)
	if n < len(buf) {
		return n, io.EOF
	}
	return n, nil
}

// readHead unpacks the head, and begins again.
func (p *packed) readHead() {
	p.restart()
	head := make([]byte, headSize)
	p.head = head[:p.next(head)]
	p.restart()
}

// restart begins at the beginning.
func (p *packed) restart() {
	p.at, p.last, p.broken, p.zip = 0, nil, nil, nil
	_, err := p.File.Seek(0, io.SeekStart)
	if err == nil {
		p.zip, err = gzip.NewReader(p.File)
	}
	p.fail(err)
}

// next reads the next piece, as much as there is.
func (p *packed) next(buf []byte) int {
	if p.broken != nil || p.zip == nil {
		return 0
	}
	n, err := io.ReadFull(p.zip, buf)
	if errors.Is(err, io.ErrUnexpectedEOF) && n < len(buf) {
		// Both a file that ended and one that was cut off say so: reading on tells which.
		_, err = p.zip.Read(make([]byte, 1))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		p.fail(err)
	}
	p.at += int64(n)
	p.last = append(p.last[:0], buf[:n]...)
	return n
}

func (p *packed) fail(err error) {
	if err == nil {
		return
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // an empty file has no beginning either
	}
	p.broken = fmt.Errorf("unpack %s: %w; what is in it before that was read", p.Name(), err)
}
