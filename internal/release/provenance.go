package release

import (
	"encoding/json"
	"strings"
)

// The types of statements and of what they say.
const (
	statementType  = "https://in-toto.io/Statement/v1"
	provenanceType = "https://slsa.dev/provenance/v1"
	materialsType  = "https://cyclonedx.org/bom"
	buildType      = "https://ringfence.dev/release/v1"
)

// statement is an in-toto statement about what has a digest.
type statement struct {
	Type          string          `json:"_type"`
	Subject       []subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name,omitempty"`
	Digest map[string]string `json:"digest"`
}

// provenance is SLSA's: what was built of what, and who says so. It carries no time of the build, which would make each release another.
type provenance struct {
	Definition definition `json:"buildDefinition"`
	Run        runDetails `json:"runDetails"`
}

type definition struct {
	BuildType string              `json:"buildType"`
	External  map[string]any      `json:"externalParameters"`
	Internal  map[string]string   `json:"internalParameters"`
	Resolved  []resourceDescribed `json:"resolvedDependencies"`
}

type resourceDescribed struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest,omitempty"`
}

type runDetails struct {
	Builder struct {
		ID string `json:"id"`
	} `json:"builder"`
}

// provenance says how programs came about: of which commit, by which Go, with which settings.
func (c *Config) provenance(o Origin, of ...*program) (json.RawMessage, error) {
	p := provenance{Definition: definition{
		BuildType: buildType,
		External:  map[string]any{"source": c.Source, "revision": o.Revision, "package": c.Package, "certificates": c.CA != ""},
		Internal:  map[string]string{"go": of[0].info.GoVersion, "version": o.Version},
		Resolved:  []resourceDescribed{{"git+" + c.Source + "@" + o.Revision, map[string]string{"gitCommit": o.Revision}}},
	}}
	p.Run.Builder.ID = c.Builder
	var built []string
	for _, one := range of {
		built = append(built, one.Platform.String())
		for _, s := range one.info.Settings {
			if !strings.HasPrefix(s.Key, "vcs") && s.Key != "GOARCH" && s.Key != "GOOS" {
				p.Definition.Internal[one.Platform.String()+" "+s.Key] = s.Value
			}
		}
	}
	p.Definition.External["platforms"] = built
	return json.Marshal(p)
}

// stated is the statement, not signed, that a predicate makes about a digest.
func stated(digest, predicateType string, predicate json.RawMessage) ([]byte, error) {
	return json.Marshal(statement{statementType, []subject{{product, map[string]string{"sha256": strings.TrimPrefix(digest, "sha256:")}}}, predicateType, predicate})
}
