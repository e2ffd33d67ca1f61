package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/ignore"
	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/render"
)

// suffixes are what is read of a folder.
var suffixes = []string{".yaml", ".yml", ".json"}

// walker lists what a folder holds.
type walker struct {
	// sources is nil where files alone are wanted and nothing is ignored.
	sources *sources
	inputs  []input
	// kustomizations are the folders of those among the inputs, in the same order.
	kustomizations []string
	// ignored and libraries count what was passed over.
	ignored, libraries int
}

// folder lists a folder's manifests, charts and kustomizations; hidden folders and links to folders are passed over.
func folder(root string, s *sources) []input {
	w := walker{sources: s}
	var rules *ignore.Folder
	if s != nil {
		var err error
		if rules, err = ignore.Open(root); err != nil {
			return []input{{name: root, err: ignoreFault(root, err)}}
		}
	}
	w.walk(root, rules, true)
	if len(w.kustomizations) > 0 {
		w.settleKustomizations()
	}
	if s != nil && len(s.files) > 0 {
		w.drop(s.files)
	}
	if len(w.inputs) == 0 {
		message := "no file ends in .yaml, .yml or .json here; name a folder that holds manifests"
		switch {
		case w.ignored > 0:
			message = "nothing to judge here: .gitignore or .ringfenceignore names all there is; name a file, or add a line with ! to .ringfenceignore"
		case w.libraries > 0:
			message = "nothing to judge here: a library chart renders nothing itself; name a chart that uses it"
		}
		w.fault(root, &manifest.Error{Location: finding.Location{File: root}, Message: message})
	}
	return w.inputs
}

func (w *walker) fault(path string, err error) {
	w.inputs = append(w.inputs, input{name: path, err: err})
}

func (w *walker) walk(dir string, rules *ignore.Folder, top bool) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		w.fault(dir, pathFault(dir, err))
		return
	}
	if w.sources != nil && w.rendered(dir, entries, top) {
		return
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if e.IsDir() && strings.HasPrefix(e.Name(), ".") {
			continue
		}
		manifests := !e.IsDir() && slices.Contains(suffixes, strings.ToLower(filepath.Ext(path)))
		if !e.IsDir() && !manifests || w.sources != nil && render.KustomizationFile(e.Name()) {
			continue
		}
		if rules != nil && rules.Passes(e.Name(), e.IsDir()) {
			w.ignored++
			continue
		}
		if e.IsDir() {
			w.enter(path, e.Name(), rules)
			continue
		}
		if info, err := os.Stat(path); err != nil {
			w.fault(path, pathFault(path, err))
		} else if !info.IsDir() {
			w.inputs = append(w.inputs, fileInput(path, info.Mode()))
		}
	}
}

func (w *walker) enter(path, name string, rules *ignore.Folder) {
	if rules != nil {
		inner, err := rules.Enter(name)
		if err != nil {
			w.fault(path, ignoreFault(path, err))
			return
		}
		rules = inner
	}
	w.walk(path, rules, false)
}

// ignoreFault says that an ignore file cannot be read: what it would leave out is not known, so the folder is not judged.
func ignoreFault(dir string, err error) error {
	path := dir
	var cause *fs.PathError
	if errors.As(err, &cause) {
		path = filepath.Join(dir, filepath.Base(cause.Path))
	}
	return pathFault(path, err)
}

// rendered takes a folder that is a chart or a kustomization. It is true for a chart, of which nothing is judged raw: what
// lies in it are templates, values and the charts that it uses.
func (w *walker) rendered(dir string, entries []fs.DirEntry, top bool) bool {
	holds := func(is func(name string) bool) bool {
		return slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return !e.IsDir() && is(e.Name()) })
	}
	if holds(render.KustomizationFile) {
		w.kustomizations = append(w.kustomizations, dir)
		w.inputs = append(w.inputs, w.sources.kustomization(dir))
	}
	if !holds(func(name string) bool { return name == render.ChartFile }) {
		return false
	}
	if !top && render.Library(dir) {
		w.libraries++
	} else {
		w.inputs = append(w.inputs, w.sources.chart(dir, render.OpenChart))
	}
	return true
}

// settleKustomizations leaves the kustomizations that no other one refers to, and of the files those that none uses.
func (w *walker) settleKustomizations() {
	opened := make(map[string]*render.Kustomization, len(w.kustomizations))
	full := map[string]string{}
	used, covered := map[string]bool{}, map[string]bool{}
	for _, dir := range w.kustomizations {
		k := render.OpenKustomization(dir)
		opened[dir] = k
		full[dir], _ = render.Resolve(dir) // a folder that vanished is reported when it is built
		for path := range k.Uses {
			used[path] = true
		}
		for path := range k.Covers {
			covered[path] = true
		}
	}
	built, reached := map[string]bool{}, map[string]bool{}
	build := func(dir string) {
		built[dir] = true
		for path := range opened[dir].Covers {
			reached[path] = true
		}
	}
	for _, dir := range w.kustomizations {
		if !used[full[dir]] {
			build(dir)
		}
	}
	for _, dir := range w.kustomizations { // those that only refer to each other
		if !reached[full[dir]] {
			build(dir)
		}
	}
	w.inputs = slices.DeleteFunc(w.inputs, func(in input) bool { return in.kustomization && !built[in.name] })
	w.drop(covered)
}

// drop leaves out the files with these full paths.
func (w *walker) drop(files map[string]bool) {
	w.inputs = slices.DeleteFunc(w.inputs, func(in input) bool {
		path, err := render.Resolve(in.name)
		return err == nil && in.render == nil && in.err == nil && files[path]
	})
}
