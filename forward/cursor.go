package forward

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"ringfence.dev/ringfence/internal/durable"
)

// ErrForeignCursor means that a cursor was not made on this ledger: the record that it says was sent last is not there.
// To go on from it would leave records out.
var ErrForeignCursor = errors.New("the cursor is of another ledger")

// position is a place between two messages.
type position struct {
	// Next is the index of the record to read next; Message how many of its messages were acknowledged.
	Next    uint64 `json:"next"`
	Message int    `json:"message"`
}

// cursor is what a Follower remembers across restarts. It holds no secret and no text of a record.
type cursor struct {
	Sink string `json:"sink"`
	position
	// Last is the id of the record before Next, "" at the beginning.
	Last string `json:"last"`
}

// readCursor reads a cursor file; a missing one is the beginning.
func readCursor(path, sink string) (cursor, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return cursor{Sink: sink}, nil
	}
	var c cursor
	if err == nil {
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.DisallowUnknownFields()
		err = dec.Decode(&c)
	}
	if err == nil && (c.Sink != sink || c.Message < 0 || c.Next > 0 && c.Last == "") {
		err = fmt.Errorf("found sink %q, next %d, last %q; want a cursor of sink %q", c.Sink, c.Next, c.Last, sink)
	}
	if err != nil {
		return c, fmt.Errorf("read the cursor %s: %w; fix: restore the file, or remove it to send everything again", path, err)
	}
	return c, nil
}

// write replaces the cursor file so that a crash at any moment leaves the old or the new one.
func (c cursor) write(path string) error {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return durable.Replace(path, append(data, '\n'), 0o600)
}

// aside is one line of the file of what a sink could not take.
type aside struct {
	Time   string          `json:"time"`
	Sink   string          `json:"sink"`
	Index  uint64          `json:"index"`
	ID     string          `json:"id"`
	Reason string          `json:"reason"`
	Data   json.RawMessage `json:"data"`
}

// appendAside adds a line durably.
func appendAside(path string, a aside) error {
	line, err := json.Marshal(a)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("put aside: %w", err)
	}
	// A line that a crash cut off is ended first, so that this one can be read.
	if info, e := f.Stat(); e == nil && info.Size() > 0 && !endsLine(path, info.Size()) {
		line = append([]byte("\n"), line...)
	}
	_, err = f.Write(append(line, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("put aside in %s: %w", path, err)
	}
	return durable.SyncFolder(filepath.Dir(path))
}

// endsLine reports whether a file's last byte ends a line.
func endsLine(path string, size int64) bool {
	f, err := os.Open(path)
	if err != nil {
		return true
	}
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], size-1)
	return err != nil || b[0] == '\n'
}
