package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/manifest"
)

// stdinName is how standard input is called in findings.
const stdinName = "<stdin>"

// suffixes are what is read of a folder.
var suffixes = []string{".yaml", ".yml", ".json"}

// input is one file to read, or why a path gives none.
type input struct {
	// name is the path as findings show it.
	name string
	err  error
}

// open opens the input. The error is an *manifest.Error.
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

// expand lists the files that the paths name, each once and in order: a folder's recursively by name, "-" as stdin.
func expand(paths []string) []input {
	var inputs []input
	seen := map[string]bool{}
	add := func(in input) {
		if !seen[in.name] {
			seen[in.name] = true
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
			add(input{path, pathFault(path, err)})
		case !info.IsDir():
			add(input{name: path})
		default:
			for _, in := range folder(path) {
				add(in)
			}
		}
	}
	return inputs
}

// folder lists a folder's manifests; hidden folders and what is no regular file are passed over.
func folder(root string) []input {
	var inputs []input
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			inputs = append(inputs, input{path, pathFault(path, err)})
		case d.IsDir() && path != root && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case !d.IsDir() && slices.Contains(suffixes, strings.ToLower(filepath.Ext(path))):
			if info, err := os.Stat(path); err != nil || info.Mode().IsRegular() {
				inputs = append(inputs, input{name: path}) // a link that leads nowhere is reported when it is opened
			}
		}
		return nil
	})
	if err == nil && len(inputs) == 0 {
		err = &manifest.Error{Location: finding.Location{File: root}, Message: "no file ends in .yaml, .yml or .json here; name a folder that holds manifests"}
	}
	if err != nil {
		inputs = append(inputs, input{root, err})
	}
	return inputs
}

// pathFault says what is wrong with a path, without the system call.
func pathFault(path string, err error) error {
	message := "cannot be read: " + err.Error()
	var cause *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		message = "no such file or folder; check the path"
	case errors.Is(err, fs.ErrPermission):
		message = "permission denied; let the user who runs this read it"
	case errors.As(err, &cause):
		message = fmt.Sprintf("cannot be read: %v", cause.Err)
	}
	return &manifest.Error{Location: finding.Location{File: path}, Message: message}
}
