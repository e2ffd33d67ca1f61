// Package render makes objects of Helm charts and Kustomize folders, in process and from files alone.
//
// It asks no cluster and no network, runs no program, reads no environment and writes no file. It judges nothing and does
// not look for what to render: the command line names each folder.
package render

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/manifest"
)

// Document is the text of one file, or what was rendered of it: any number of YAML documents.
type Document struct {
	// In names the file, and what rendered it: nothing for a file that is used as it stands.
	In   finding.Location
	Text []byte
}

// The bounds of what one chart or one kustomization may read. Helm's own bound of a whole chart is 100 MiB
// (pkg/chart/loader/archive); these keep check within the memory it may use.
const (
	// maxFile is 16 MiB: the largest published bundles of custom resource definitions are below 10.
	maxFile = 16 << 20
	// maxTotal is 64 MiB.
	maxTotal = 64 << 20
	// maxFiles is 10,000.
	maxFiles = 10_000
	// maxDepth is how many folders may lie in, or refer to, each other.
	maxDepth = 64
)

// budget is what may still be read.
type budget struct{ bytes, files int }

func newBudget() budget { return budget{maxTotal, maxFiles} }

// read reads a regular file within the budget. The error speaks of the file as shown.
func (b *budget) read(path, shown string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fault(shown, "%s", cause(err))
	case !info.Mode().IsRegular():
		return nil, fault(shown, "is no regular file; want a file, or a link to one")
	case info.Size() > maxFile:
		return nil, fault(shown, "is larger than 16 MiB, the most that is read of one file; split it or leave it out")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fault(shown, "%s", cause(err))
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fault(shown, "%s", cause(err))
	}
	if b.files, b.bytes = b.files-1, b.bytes-len(text); b.files < 0 || b.bytes < 0 {
		return nil, fault(shown, "with this file more than 10,000 files or 64 MiB would be read; leave out what is not needed")
	}
	return bytes.TrimPrefix(text, []byte("\ufeff")), nil
}

// fault is an error about a file.
func fault(file, format string, args ...any) *manifest.Error {
	return &manifest.Error{Location: finding.Location{File: file}, Message: oneLine(fmt.Sprintf(format, args...))}
}

// cause says why a file cannot be read, without the system call.
func cause(err error) string {
	var path *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "no such file or folder; check the path"
	case errors.Is(err, fs.ErrPermission):
		return "permission denied; let the user who runs this read it"
	case errors.As(err, &path):
		return "cannot be read: " + path.Err.Error()
	}
	return "cannot be read: " + err.Error()
}

// maxMessage is 1,000 bytes: what libraries say of an input can repeat the input.
const maxMessage = 1000

// oneLine joins the lines of what a library says.
func oneLine(s string) string {
	var parts []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			parts = append(parts, line)
		}
	}
	s = strings.Join(parts, " ")
	if len(s) > maxMessage {
		s = strings.ToValidUTF8(s[:maxMessage], "") + "…"
	}
	return s
}

// guarded runs what a library does with bytes from outside; a panic of the library becomes an error.
func guarded[T any](work func() (T, error)) (value T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the library that reads it broke off: %v", r)
		}
	}()
	return work()
}
