package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/render"
)

// stdinName is how standard input is called in findings.
const stdinName = "<stdin>"

// input is one file to read, one folder to render, or why a path gives neither.
type input struct {
	// name is the path as findings show it.
	name string
	err  error
	// render makes the documents of a chart or a kustomization; nil for a file. What it could make comes beside its faults.
	render func(context.Context) ([]render.Document, []error)
	// kustomization is true for one; a folder may be a chart and a kustomization.
	kustomization bool
}

// open opens a file. The error is an *manifest.Error.
func (in input) open(stdin io.Reader) (io.ReadCloser, error) {
	if in.err != nil {
		return nil, in.err
	}
	if in.name == stdinName {
		return io.NopCloser(stdin), nil
	}
	f, err := os.Open(in.name)
	if err != nil {
		return nil, pathFault(in.name, err)
	}
	return f, nil
}

// documents reads or renders the input. opened is called for each file that gives documents, before them; it is false
// once nobody waits any more.
func (in input) documents(ctx context.Context, stdin io.Reader, opened func() bool) iter.Seq2[manifest.Document, error] {
	return func(yield func(manifest.Document, error) bool) {
		if in.render != nil && in.err == nil {
			in.rendered(ctx, opened, yield)
			return
		}
		file, err := in.open(stdin)
		if err != nil {
			yield(manifest.Document{}, err)
			return
		}
		defer file.Close()
		if opened() {
			manifest.Split(file, in.name)(yield)
		}
	}
}

func (in input) rendered(ctx context.Context, opened func() bool, yield func(manifest.Document, error) bool) {
	docs, faults := in.render(ctx)
	seen := map[string]bool{} // a template that is rendered twice is one file
	for _, doc := range docs {
		for part, err := range manifest.SplitRendered(doc.Text, doc.In) {
			if !seen[doc.In.File] && !opened() {
				return
			}
			seen[doc.In.File] = true
			if !yield(part, err) {
				return
			}
		}
	}
	for _, err := range faults {
		if !yield(manifest.Document{}, err) {
			return
		}
	}
}

// expand lists the files that the paths name, each once and in order: a folder's recursively by name, "-" as stdin. With
// sources, charts and kustomizations are found in folders, and what ignore files name is passed over.
func expand(paths []string, s *sources) []input {
	var inputs []input
	seen := map[string]bool{}
	add := func(in input) {
		key := fmt.Sprint(in.render != nil, in.kustomization, in.name)
		if !seen[key] {
			seen[key] = true
			inputs = append(inputs, in)
		}
	}
	for _, path := range paths {
		if path == "-" {
			add(input{name: stdinName})
			continue
		}
		path = filepath.Clean(path)
		info, err := os.Stat(path)
		switch {
		case err != nil:
			add(input{name: path, err: pathFault(path, err)})
		case s != nil && info.Mode().IsRegular() && render.PackedChart(path):
			add(s.chart(path, render.OpenPackedChart))
		case !info.IsDir():
			add(fileInput(path, info.Mode()))
		default:
			for _, in := range folder(path, s) {
				add(in)
			}
		}
	}
	return inputs
}

// fileInput is a path that is no folder. A pipe or a device is refused unless it was handed over open, as a shell's <(...) is:
// opening another pipe waits for a writer, and a device may never end.
func fileInput(path string, mode fs.FileMode) input {
	handed := false
	for _, dir := range []string{"/dev/fd/", "/proc/self/fd/", "/dev/std"} {
		handed = handed || strings.HasPrefix(path, dir)
	}
	if mode&(fs.ModeNamedPipe|fs.ModeSocket|fs.ModeDevice) != 0 && !handed {
		return input{name: path, err: &manifest.Error{Location: finding.Location{File: path},
			Message: "is a pipe, socket or device; name a file, or give what it holds on standard input as -"}}
	}
	return input{name: path}
}

// pathFault says what is wrong with a path, without the system call.
func pathFault(path string, err error) error {
	message := "cannot be read: " + err.Error()
	var cause *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		message = "no such file or folder; check the path"
		if link, isLink := os.Readlink(path); isLink == nil {
			message = "is a link that leads nowhere (" + finding.Value(link) + "); remove it or make what it names"
		}
	case errors.Is(err, fs.ErrPermission):
		message = "permission denied; let the user who runs this read it"
	case errors.As(err, &cause):
		message = fmt.Sprintf("cannot be read: %v", cause.Err)
	}
	return &manifest.Error{Location: finding.Location{File: path}, Message: message}
}
