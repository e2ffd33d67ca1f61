package auditlog

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// FuzzPacked: whatever a packed file holds, its pieces are what gzip makes of it up to where it breaks, also when one is read
// again, and whether it is broken is known at its end.
func FuzzPacked(f *testing.F) {
	var whole bytes.Buffer
	zip := gzip.NewWriter(&whole)
	_, _ = zip.Write(bytes.Repeat([]byte("{}\n"), 5000))
	_ = zip.Close()
	f.Add(whole.Bytes(), uint16(700))
	f.Add(whole.Bytes()[:whole.Len()-5], uint16(5000))
	f.Add(append(whole.Bytes(), whole.Bytes()...), uint16(1))
	f.Add([]byte{}, uint16(9))
	f.Fuzz(func(t *testing.T, data []byte, size uint16) {
		var want []byte
		fault := error(io.ErrUnexpectedEOF)
		if r, err := gzip.NewReader(bytes.NewReader(data)); err == nil {
			want, fault = io.ReadAll(io.LimitReader(r, 1<<20))
		}
		if len(want) == 1<<20 {
			t.Skip("too large")
		}
		path := filepath.Join(t.TempDir(), "a.gz")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := openLog(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		var got []byte
		piece, again := make([]byte, int(size)+64), make([]byte, int(size)+64)
		for {
			n, err := file.ReadAt(piece, int64(len(got)))
			if m, _ := file.ReadAt(again, int64(len(got))); n > 0 && !bytes.Equal(again[:m], piece[:n]) {
				t.Fatalf("at %d: %d bytes, read again %d others", len(got), n, m)
			}
			got = append(got, piece[:n]...)
			if n == 0 {
				break
			}
			if err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(got, want) || (file.(*packed).broken != nil) != (fault != nil) {
			t.Errorf("found %d bytes, broken %v; want %d, %v", len(got), file.(*packed).broken, len(want), fault)
		}
	})
}
