package access

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// SchemaVersion is what JSON says of its own form. Fields are only added.
const SchemaVersion = "ringfence.dev/authentication/v1"

// JSON writes everything: the configuration, how to apply it, and what becomes of each demand.
func (a *Authentication) JSON(w io.Writer) error {
	text, err := marshal(struct {
		SchemaVersion string `json:"schemaVersion"`
		*Authentication
	}{SchemaVersion, a}, "  ")
	if err == nil {
		_, err = w.Write(text)
	}
	return err
}

// YAML writes the configuration alone, below comments that say how to apply it and what becomes of each demand. The same
// options give the same bytes.
func (a *Authentication) YAML(w io.Writer) error {
	text, err := marshal(a.Configuration, "")
	if err != nil {
		return err
	}
	// JSON is YAML, and keeps the fields in order; only its style is changed.
	var node yaml.Node
	if err := yaml.Unmarshal(text, &node); err != nil {
		return fmt.Errorf("write %s: %w", a.Form, err)
	}
	restyle(&node)
	var out bytes.Buffer
	for _, line := range a.head() {
		fmt.Fprintln(&out, strings.TrimRight("# "+line, " "))
	}
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(&node); err != nil {
		return fmt.Errorf("write %s: %w", a.Form, err)
	}
	if err := encoder.Close(); err != nil {
		return fmt.Errorf("write %s: %w", a.Form, err)
	}
	_, err = w.Write(out.Bytes())
	return err
}

// head are the comments.
func (a *Authentication) head() []string {
	lines := []string{"Sign-in for " + string(a.For) + " " + a.Server + ": " + a.Form, "Made by: ringfence access authn. Make it anew where the Platform changes.", "", "To apply:"}
	for _, step := range a.Apply {
		lines = append(lines, "- "+step)
	}
	lines = append(lines, "", "What becomes of each demand:")
	for _, d := range a.Demands {
		lines = append(lines, fmt.Sprintf("- %s, %s: %s", d.ID, d.State, d.How))
	}
	return lines
}

// marshal is JSON in which < > & stay what they are: expressions are read by people.
func marshal(v any, indent string) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", indent)
	err := encoder.Encode(v)
	return out.Bytes(), err
}

// restyle writes a node as people write YAML: blocks, no quotes where none are needed, texts of several lines as they are.
func restyle(n *yaml.Node) {
	switch {
	case n.Kind != yaml.ScalarNode:
		n.Style = 0
	case n.Tag == "!!str" && strings.Contains(n.Value, "\n"):
		n.Style = yaml.LiteralStyle
	case n.Tag == "!!str":
		n.Style = 0 // the encoder quotes what would be read as something else
	}
	for _, c := range n.Content {
		restyle(c)
	}
}
