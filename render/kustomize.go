package render

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/krusty"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/manifest"
)

// KustomizationFile reports whether a file of this name makes its folder a kustomization.
func KustomizationFile(name string) bool {
	return slices.Contains(konfig.RecognizedKustomizationFileNames(), name)
}

// Kustomization is a folder with a kustomization file, and everything that it refers to, read into memory. What cannot be
// read, lies where it must not, or lies elsewhere in the network is a fault: kustomize sees nothing but what was read, so
// it fetches nothing.
type Kustomization struct {
	// File is the kustomization file as shown.
	File string
	// Covers are the full paths, without links, of the files and folders that are used, the kustomization's own too.
	Covers map[string]bool
	// Uses are the folders among them that the kustomization refers to.
	Uses map[string]bool

	root   string
	memory *memory
	shown  map[string]string
	err    error
}

// OpenKustomization reads a kustomization and what it refers to. What is wrong with it is said by Build.
func OpenKustomization(dir string) *Kustomization {
	k := &Kustomization{File: filepath.Join(dir, konfig.DefaultKustomizationFileName()), Covers: map[string]bool{}, Uses: map[string]bool{},
		memory: newMemory(), shown: map[string]string{}}
	full, err := Resolve(dir)
	if err != nil {
		k.err = fault(dir, "%s", cause(err))
		return k
	}
	k.root = full
	t := tracer{Kustomization: k, dir: dir, left: newBudget(), read: map[string]bool{}}
	_, k.err = guarded(func() (any, error) { return nil, t.kustomization(full, nil, false) })
	return k
}

// Resolve is the full path of a file or folder with every link in it followed.
func Resolve(path string) (string, error) {
	full, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(full)
}

// Builder builds kustomizations, one at a time: kustomize keeps the schema that it builds with in the process. The zero
// value is ready.
type Builder struct{ mu sync.Mutex }

// Build builds a kustomization. The error is a *manifest.Error.
func (b *Builder) Build(k *Kustomization) ([]Document, error) {
	if k.err != nil {
		return nil, k.err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	text, err := guarded(func() ([]byte, error) {
		defer prefixed(k.File)()
		built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(k.memory, k.root)
		if err != nil {
			return nil, err
		}
		return built.AsYaml()
	})
	if err != nil {
		return nil, fault(k.File, "cannot be built: %s", k.relative(err.Error()))
	}
	return []Document{{finding.Location{File: k.File, Rendered: "kustomize"}, text}}, nil
}

// prefixed hands what kustomize writes to standard error, which are warnings of fields on their way out, to the log until
// done is called: kustomize knows no other way. Only one build runs at a time.
func prefixed(file string) (done func()) {
	stderr := os.Stderr
	read, write, err := os.Pipe()
	if err != nil {
		return func() {} // they are shown as they come
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(read)
		for lines.Scan() {
			log.Printf("%s: %s", file, finding.Clean(strings.TrimPrefix(lines.Text(), "# ")))
		}
		_, _ = io.Copy(io.Discard, read) // a line that is too long: whoever writes must not wait
	}()
	os.Stderr = write
	return func() {
		os.Stderr = stderr
		write.Close()
		<-ended
		read.Close()
	}
}

// relative writes the full paths in a message as they are shown elsewhere.
func (k *Kustomization) relative(message string) string {
	full := make([]string, 0, len(k.shown))
	for path := range k.shown {
		full = append(full, path)
	}
	slices.SortFunc(full, func(a, b string) int { return len(b) - len(a) }) // the longest first: none is cut in two
	for _, path := range full {
		message = strings.ReplaceAll(message, path, k.shown[path])
	}
	return message
}

// tracer follows what a kustomization refers to.
type tracer struct {
	*Kustomization
	dir  string // the first folder, as given
	left budget
	read map[string]bool // folders that were followed
}

// show is a full path as it is shown: as the first folder was given.
func (t *tracer) show(full string) string {
	shown := full
	if relative, err := filepath.Rel(t.root, full); err == nil && !filepath.IsAbs(t.dir) {
		shown = filepath.Join(t.dir, relative)
	}
	t.shown[full] = shown
	return shown
}

// copy reads a file into memory, at its path. It must lie in the folder that refers to it, links followed, as kustomize
// itself has it.
func (t *tracer) copy(path, root string) ([]byte, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fault(t.show(path), "%s", cause(err))
	}
	if !within(real, root) {
		return nil, fault(t.show(path), "lies outside of the folder of the kustomization that refers to it (%s); move it there, or make a base of it", t.show(root))
	}
	text, err := t.left.read(path, t.show(path))
	if err != nil {
		return nil, err
	}
	t.Covers[real] = true
	t.memory.put(path, text)
	return text, nil
}

func within(path, root string) bool {
	relative, err := filepath.Rel(root, path)
	return err == nil && relative != ".." && !strings.HasPrefix(relative, ".."+string(filepath.Separator))
}

// kustomization reads the kustomization of a folder and follows it. above are the folders that led here; config is true
// for one that holds configurations of transformers instead of objects.
func (t *tracer) kustomization(dir string, above []string, config bool) error {
	if slices.Contains(above, dir) || len(above) >= maxDepth {
		names := []string{}
		for _, a := range append(above[max(slices.Index(above, dir), 0):], dir) {
			names = append(names, t.show(a))
		}
		return fault(t.File, "a cycle: %s; remove one of these references", strings.Join(names, " -> "))
	}
	t.Covers[dir] = true
	if len(above) > 0 {
		t.Uses[dir] = true
	}
	key := fmt.Sprint(config, dir)
	if t.read[key] {
		return nil
	}
	file, text, err := t.file(dir)
	if err != nil {
		return err
	}
	if len(above) == 0 {
		t.File = t.show(file)
	}
	refs, err := newReferences(t.show(file), text, config)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		if err := t.follow(dir, ref, append(slices.Clip(above), dir)); err != nil {
			return err
		}
	}
	t.read[key] = true
	return nil
}

// file is the one kustomization file of a folder.
func (t *tracer) file(dir string) (file string, text []byte, err error) {
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		path := filepath.Join(dir, name)
		if _, err := os.Lstat(path); err != nil {
			continue
		}
		if file != "" {
			return "", nil, fault(t.show(path), "the folder holds %s too; keep one", filepath.Base(file))
		}
		file = path
	}
	if file == "" {
		return "", nil, fault(t.show(dir), "holds no kustomization.yaml; name a file, or a folder that holds one")
	}
	text, err = t.copy(file, dir)
	return file, text, err
}

// follow reads what a reference of a kustomization names.
func (t *tracer) follow(dir string, ref reference, above []string) error {
	path := filepath.Join(dir, ref.path)
	if filepath.IsAbs(ref.path) {
		return ref.fault("%s is an absolute path; name it from the folder of the kustomization", finding.Value(ref.path))
	}
	info, err := os.Stat(path)
	if err != nil {
		return ref.fault("%s: %s", t.show(path), cause(err))
	}
	if !info.IsDir() {
		text, err := t.copy(path, dir)
		switch {
		case err != nil:
			return err
		case ref.use == folders:
			return ref.fault("%s is a file; want a folder with a kustomization of the kind Component", t.show(path))
		case ref.use == configs:
			return scanConfig(t.show(path), text)
		case ref.use == objects:
			return legible(t.show(path), text)
		}
		return nil
	}
	if ref.use == data {
		return ref.fault("%s is a folder; want a file", t.show(path))
	}
	if real, err := filepath.EvalSymlinks(path); err != nil || real != path {
		return ref.fault("%s is reached by a link; name the folder itself", t.show(path))
	}
	return t.kustomization(path, above, ref.use == configs)
}

// legible says what is wrong with a file of objects, and where: kustomize does not tell the line.
func legible(file string, text []byte) error {
	for doc, err := range manifest.SplitRendered(text, finding.Location{File: file}) {
		if err != nil {
			return err
		}
		for _, err := range doc.Objects() {
			if err != nil {
				return err
			}
		}
	}
	return nil
}
