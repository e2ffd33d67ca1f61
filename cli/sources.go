package cli

import (
	"cmp"
	"context"
	"strings"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/render"
)

// sources render the charts and kustomizations that are found in folders.
type sources struct {
	namespace string
	// values are the sets that each chart is rendered with, at least one.
	values []render.Values
	// files are the full paths of the values files, which are no manifests.
	files   map[string]bool
	builder render.Builder
	// charts counts those that were found.
	charts int
}

// newSources reads the values files: those of every set first, then each set's own.
func newSources(namespace string, values, sets []string) (*sources, [][]error) {
	s := &sources{namespace: cmp.Or(namespace, "default"), files: map[string]bool{}}
	if len(sets) == 0 {
		sets = []string{""}
	}
	var faults [][]error
	for _, set := range sets {
		files := values[:len(values):len(values)]
		if set != "" {
			files = append(files, strings.Split(set, ",")...)
		}
		for _, file := range files {
			if full, err := render.Resolve(file); err == nil {
				s.files[full] = true
			}
		}
		v, err := render.LoadValues(files)
		if err != nil {
			faults = append(faults, []error{err})
			continue
		}
		s.values = append(s.values, v)
	}
	return s, faults
}

// chart renders a chart that open opens, once with each set of values.
func (s *sources) chart(dir string, open func(string) (*render.Chart, error)) input {
	s.charts++
	return input{name: dir, render: func(ctx context.Context) (docs []render.Document, faults []error) {
		c, err := open(dir)
		if err != nil {
			return nil, []error{err}
		}
		asTheyStand := false // custom resource definitions are the same with any values
		for _, values := range s.values {
			rendered, err := c.Render(ctx, values, s.namespace)
			if err != nil {
				faults = append(faults, err)
				continue
			}
			for _, doc := range rendered {
				if doc.In.Rendered != "" || !asTheyStand {
					docs = append(docs, doc)
				}
			}
			asTheyStand = true
		}
		if len(docs) == 0 && len(faults) == 0 && len(s.values) > 0 {
			faults = append(faults, &manifest.Error{Location: finding.Location{File: dir},
				Message: "the chart renders nothing to judge; give the --values that it is installed with, or name a chart that uses it"})
		}
		return docs, faults
	}}
}

// kustomization builds the kustomization of a folder.
func (s *sources) kustomization(dir string) input {
	return input{name: dir, kustomization: true, render: func(context.Context) ([]render.Document, []error) {
		docs, err := s.builder.Build(render.OpenKustomization(dir))
		if err != nil {
			return nil, split(err)
		}
		return docs, nil
	}}
}

// split is each of the errors that were joined, so that each is printed on a line of its own.
func split(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}
