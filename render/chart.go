package render

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	values "helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	"helm.sh/helm/v4/pkg/ignore"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/manifest"
)

// ChartFile is the file that makes a folder a chart.
const ChartFile = "Chart.yaml"

// What a chart is told of the cluster, which is not asked.
const (
	// releaseName is what `helm template` calls a release that nobody named.
	releaseName = "release-name"
	// kubeVersion is that of the control plane in devcluster.
	kubeVersion = "v1.37.1"
)

// Chart is a Helm chart in a folder, or packed.
type Chart struct {
	dir   string
	files []archive.BufferedFile
}

// OpenChart reads a chart's files, those that .helmignore names left out. The error is a *manifest.Error.
func OpenChart(dir string) (*Chart, error) {
	r := chartReader{dir: dir, left: newBudget(), rules: ignore.Empty()}
	if file := filepath.Join(dir, ignore.HelmIgnore); exists(file) {
		text, err := r.left.read(file, file)
		if err != nil {
			return nil, err
		}
		rules, err := guarded(func() (*ignore.Rules, error) { return ignore.Parse(strings.NewReader(string(text))) })
		if err != nil {
			return nil, fault(file, "%v", err)
		}
		r.rules = rules
	}
	r.rules.AddDefaults()
	if err := r.folder("", nil); err != nil {
		return nil, err
	}
	files, err := r.left.unpackAll(r.files, dir, 0)
	if err != nil {
		return nil, err
	}
	return newChart(dir, files)
}

// OpenChartFS reads a chart of files that are part of this program, by a name to call it by. The error is a *manifest.Error.
func OpenChartFS(tree fs.FS, name string) (*Chart, error) {
	var files []archive.BufferedFile
	err := fs.WalkDir(tree, ".", func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := fs.ReadFile(tree, file)
		files = append(files, archive.BufferedFile{Name: file, Data: text})
		return err
	})
	if err != nil {
		return nil, fault(name, "%s", cause(err))
	}
	return newChart(name, files)
}

// newChart is a chart of files, whose dependencies must be among them.
func newChart(dir string, files []archive.BufferedFile) (*Chart, error) {
	c := &Chart{dir: dir, files: files}
	loaded, err := c.load()
	if err != nil {
		return nil, err
	}
	if missing := missing(loaded); len(missing) > 0 {
		do := "run helm dependency build " + dir + " first"
		if PackedChart(dir) {
			do = "run helm dependency build in its folder and pack it again"
		}
		return nil, fault(filepath.Join(dir, ChartFile), "chart %s depends on %s, not found in charts/; %s: nothing is fetched here", loaded.Name(), strings.Join(missing, ", "), do)
	}
	return c, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// chartReader reads the files of a chart.
type chartReader struct {
	dir   string
	left  budget
	rules *ignore.Rules
	files []archive.BufferedFile
}

// folder reads a folder of the chart and those in it. Links are followed, as helm does, unless they lead to a folder above.
func (r *chartReader) folder(name string, above []os.FileInfo) error {
	shown := filepath.Join(r.dir, filepath.FromSlash(name))
	info, err := os.Stat(shown)
	if err != nil {
		return fault(shown, "%s", cause(err))
	}
	if len(above) >= maxDepth || slices.ContainsFunc(above, func(known os.FileInfo) bool { return os.SameFile(known, info) }) {
		return fault(shown, "is a folder inside itself, by a link, or more than %d deep; remove the link", maxDepth)
	}
	entries, err := os.ReadDir(shown)
	if err != nil {
		return fault(shown, "%s", cause(err))
	}
	for _, e := range entries {
		inner := path.Join(name, e.Name())
		at := filepath.Join(r.dir, filepath.FromSlash(inner))
		to, err := os.Stat(at)
		if err != nil {
			return fault(at, "%s", cause(err))
		}
		switch {
		case r.rules.Ignore(inner, to):
		case to.IsDir():
			if err := r.folder(inner, append(above, info)); err != nil {
				return err
			}
		default:
			text, err := r.left.read(at, at)
			if err != nil {
				return err
			}
			r.files = append(r.files, archive.BufferedFile{Name: inner, ModTime: to.ModTime(), Data: text})
		}
	}
	return nil
}

// load makes a chart of the files; each rendering needs its own, for it writes to it.
func (c *Chart) load() (*chart.Chart, error) {
	files := make([]*archive.BufferedFile, len(c.files))
	for i, f := range c.files {
		files[i] = &f
	}
	loaded, err := guarded(func() (*chart.Chart, error) { return loader.LoadFiles(files) })
	if err != nil {
		return nil, c.loadFault(err)
	}
	return loaded, nil
}

// unreadable finds the file in what helm says of a chart that it cannot load.
var unreadable = regexp.MustCompile(`cannot load ([^\s:]+): (.*)`)

func (c *Chart) loadFault(err error) error {
	message := oneLine(err.Error())
	m := unreadable.FindStringSubmatch(message)
	switch {
	case strings.Contains(message, "error unpacking subchart"):
		return fault(filepath.Join(c.dir, "charts"), "%s", message)
	case m == nil:
		return fault(filepath.Join(c.dir, ChartFile), "%s", message)
	case m[1] == "values.yaml":
		return valuesFault(filepath.Join(c.dir, m[1]), err)
	default:
		return yamlFault(filepath.Join(c.dir, m[1]), err)
	}
}

// missing names the dependencies of Chart.yaml that are not in charts/.
func missing(c *chart.Chart) (names []string) {
	for _, want := range c.Metadata.Dependencies {
		if want != nil && !slices.ContainsFunc(c.Dependencies(), func(got *chart.Chart) bool { return got.Name() == want.Name }) {
			names = append(names, strings.TrimSpace(want.Name+" "+want.Version))
		}
	}
	return names
}

// Library reports whether the chart of a folder is one that others use and that renders nothing itself.
func Library(dir string) bool {
	left := newBudget()
	text, err := left.read(filepath.Join(dir, ChartFile), dir)
	if err != nil {
		return false
	}
	var c struct {
		Type string `json:"type"`
	}
	return manifest.DecodePart(text, dir, &c) == nil && c.Type == "library"
}

// Render renders the chart with values, into a namespace. What is rendered comes in the order of the templates' names, the
// custom resource definitions of crds/ before it. The error is a *manifest.Error.
func (c *Chart) Render(ctx context.Context, with Values, namespace string) ([]Document, error) {
	loaded, err := c.load()
	if err != nil {
		return nil, err
	}
	problem := func(err error) error { return c.renderFault(loaded.Name(), with, err) }
	input, err := guarded(func() (common.Values, error) { return renderValues(loaded, with, namespace) })
	if err != nil {
		return nil, problem(err)
	}
	var docs []Document
	for _, crd := range loaded.CRDObjects() {
		docs = append(docs, Document{finding.Location{File: c.file(loaded.Name(), filepath.ToSlash(crd.Filename))}, crd.File.Data})
	}
	rendered, err := bounded(ctx, func(ctx context.Context) (map[string]string, error) {
		return engine.Engine{CustomTemplateFuncs: stoppable(ctx)}.RenderWithContext(ctx, loaded, input)
	})
	if err != nil {
		return nil, problem(err)
	}
	for _, name := range slices.Sorted(mapKeys(rendered)) {
		if path.Base(name) != "NOTES.txt" && strings.TrimSpace(rendered[name]) != "" {
			docs = append(docs, Document{finding.Location{File: c.file(loaded.Name(), name), Rendered: with.by()}, []byte(rendered[name])})
		}
	}
	return docs, nil
}

func mapKeys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// renderValues is what templates see, checked against the schemas of the chart and of those that it uses.
func renderValues(c *chart.Chart, with Values, namespace string) (common.Values, error) {
	version, err := common.ParseKubeVersion(kubeVersion)
	if err != nil {
		return nil, err
	}
	if want := c.Metadata.KubeVersion; want != "" && !chartutil.IsCompatibleRange(want, version.String()) {
		return nil, fmt.Errorf("kubeVersion: found %s; charts are rendered for Kubernetes %s", want, kubeVersion)
	}
	tree := with.copied()
	if err := chartutil.ProcessDependencies(c, tree); err != nil {
		return nil, err
	}
	caps := common.DefaultCapabilities.Copy()
	caps.KubeVersion = *version
	release := common.ReleaseOptions{Name: releaseName, Namespace: namespace, Revision: 1, IsInstall: true}
	input, err := values.ToRenderValuesWithSchemaValidation(c, tree, release, caps, true)
	if err != nil {
		return nil, err
	}
	all, err := input.Table("Values")
	if err != nil {
		return nil, err
	}
	return input, checkSchemas(c, all)
}

// file is the path of a file of the chart, which helm names after the chart.
func (c *Chart) file(chartName, name string) string {
	return filepath.Join(c.dir, filepath.FromSlash(strings.TrimPrefix(name, chartName+"/")))
}

// place finds a template's line in what helm says of one that fails; the column counts from 0.
var place = regexp.MustCompile(`([^\s():]+/templates/[^\s():]+):([0-9]+)(?::([0-9]+))?\)?:?`)

// renderFault says which chart could not be rendered, and at which template and line as far as helm tells.
func (c *Chart) renderFault(name string, with Values, err error) error {
	var known *manifest.Error
	if errors.As(err, &known) {
		return known
	}
	message := oneLine(err.Error())
	out := fault(filepath.Join(c.dir, ChartFile), "chart %s", name)
	if m := place.FindStringSubmatchIndex(message); m != nil {
		group := func(i int) string {
			if m[2*i] < 0 {
				return ""
			}
			return message[m[2*i]:m[2*i+1]]
		}
		line, _ := strconv.Atoi(group(2)) // digits; one too long is 0, which is no line
		column, _ := strconv.Atoi(group(3))
		out.Location = finding.Location{File: c.file(name, group(1)), Line: line, Column: column + 1}
		message = strings.TrimSpace(message[m[1]:])
	}
	if with.name != "" {
		out.Message += " with " + with.name
	}
	out.Message += " cannot be rendered: " + strings.TrimSpace(message)
	if errors.Is(err, ErrRunaway) {
		return runaway{out}
	}
	return out
}
