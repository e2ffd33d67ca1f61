package release

import (
	"cmp"
	"encoding/json"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// bom is a bill of materials: CycloneDX 1.6, of which it has what is known of a Go program and no more.
type bom struct {
	Format       string       `json:"bomFormat"`
	Spec         string       `json:"specVersion"`
	Version      int          `json:"version"`
	Metadata     bomMetadata  `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type bomMetadata struct {
	Timestamp string    `json:"timestamp"`
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version"`
	PURL       string     `json:"purl"`
	Properties []property `json:"properties,omitempty"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref string   `json:"ref"`
	On  []string `json:"dependsOn"`
}

// materials writes what a program is built of, from what Go wrote into the program itself: its modules and Go's own library. Go does not
// say which module needs which, so all are given as needed by the program.
func materials(p *program, o Origin) ([]byte, error) {
	b := bom{Format: "CycloneDX", Spec: "1.6", Version: 1, Components: []component{}, Metadata: bomMetadata{
		Timestamp: o.Time.UTC().Format(time.RFC3339),
		Component: module("application", p.info.Main.Path, o.Version, property{"ringfence:platform", p.Platform.String()}, property{"ringfence:revision", o.Revision}),
	}}
	for _, m := range p.info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		b.Components = append(b.Components, module("library", m.Path, m.Version, property{"go:sum", m.Sum}))
	}
	b.Components = append(b.Components, standardLibrary(p.info))
	slices.SortFunc(b.Components, func(x, y component) int { return cmp.Compare(x.Ref, y.Ref) })
	on := make([]string, len(b.Components))
	for i, c := range b.Components {
		on[i] = c.Ref
	}
	b.Dependencies = []dependency{{b.Metadata.Component.Ref, on}}
	text, err := json.MarshalIndent(b, "", "  ")
	return append(text, '\n'), err
}

// standardLibrary is named as vulnerability databases name it.
func standardLibrary(info *debug.BuildInfo) component {
	version, _, _ := strings.Cut(strings.TrimPrefix(info.GoVersion, "go"), " ")
	return module("library", "stdlib", version)
}

func module(kind, path, version string, about ...property) component {
	escaped := strings.ReplaceAll(url.PathEscape(path), "%2F", "/")
	c := component{Type: kind, Name: path, Version: version, PURL: "pkg:golang/" + escaped + "@" + url.QueryEscape(version)}
	c.Ref = c.PURL
	c.Properties = slices.DeleteFunc(about, func(p property) bool { return p.Value == "" })
	return c
}
