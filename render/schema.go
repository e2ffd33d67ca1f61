package render

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"helm.sh/helm/v4/pkg/chart/common"
	chart "helm.sh/helm/v4/pkg/chart/v2"
)

// noLoader refuses what a schema refers to outside of itself. Helm would fetch it, from the network or from any file.
type noLoader struct{}

var _ jsonschema.URLLoader = noLoader{}

// Load refuses.
func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("it refers to %s, and nothing is fetched here; put that part into the schema itself, under $defs", url)
}

// checkSchemas holds values to the values.schema.json of a chart and of each chart in it.
func checkSchemas(c *chart.Chart, tree common.Values) error {
	if c.Schema != nil {
		if err := checkSchema(c.Schema, tree.AsMap()); err != nil {
			return fmt.Errorf("values.schema.json of %s: %w", c.Name(), err)
		}
	}
	for _, sub := range c.Dependencies() {
		part, ok := tree[sub.Name()].(map[string]any)
		if !ok {
			continue
		}
		if err := checkSchemas(sub, part); err != nil {
			return err
		}
	}
	return nil
}

func checkSchema(text []byte, tree map[string]any) error {
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("not valid JSON: %w", err)
	}
	const name = "file:///values.schema.json"
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(noLoader{})
	if err := compiler.AddResource(name, parsed); err != nil {
		return err
	}
	compiled, err := compiler.Compile(name)
	if err != nil {
		return err
	}
	err = compiled.Validate(tree)
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return err
	}
	_, faults, _ := strings.Cut(invalid.Error(), "\n") // the first line names the schema
	return fmt.Errorf("the values do not fit: %s", faults)
}
