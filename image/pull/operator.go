package pull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"ringfence.dev/ringfence/control"
)

const operatorGroup = "aquasecurity.github.io"

// operatorKinds are what the trivy-operator says of images.
var operatorKinds = []control.Kind{{APIGroup: operatorGroup, Version: "v1alpha1", Kind: "VulnerabilityReport"}, {APIGroup: operatorGroup, Version: "v1alpha1", Kind: "ClusterVulnerabilityReport"}}

// openOperator reads what the trivy-operator leaves in a cluster.
func openOperator(c Config) (Reports, error) {
	c = c.defaults()
	if c.Cluster == nil {
		return nil, errors.New("want a cluster")
	}
	return c.objects, nil
}

// objects are the reports, one object each: the whole list is never in memory.
func (c Config) objects(ctx context.Context) iter.Seq2[Report, error] {
	return func(yield func(Report, error) bool) {
		resources, faults, err := c.Cluster.Resources(ctx, operatorKinds)
		if err = errors.Join(append(faults, err)...); err != nil {
			yield(Report{}, err)
			return
		}
		if len(resources) == 0 {
			yield(Report{}, fmt.Errorf("the cluster %s serves no VulnerabilityReport of %s; is the trivy-operator there?", c.Cluster.Name(), operatorGroup))
			return
		}
		n := 0
		for _, r := range resources {
			if c.Namespace != "" && !r.Namespaced {
				continue
			}
			for object, err := range c.Cluster.List(ctx, r, c.Namespace) {
				if n++; err == nil && n > c.Limits.Reports {
					err = fmt.Errorf("list %s: more than %d; narrow them with --namespace", r, c.Limits.Reports)
				}
				if err != nil {
					yield(Report{}, err)
					return
				}
				one, err := reportOf(object)
				if !yield(one, err) || err != nil {
					return
				}
			}
		}
	}
}

// reportOf is an object without what changes while the report does not, such as its version.
func reportOf(object map[string]any) (Report, error) {
	meta, _ := object["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	about := name
	kept := map[string]any{"name": name}
	if namespace, _ := meta["namespace"].(string); namespace != "" {
		about = namespace + "/" + name
		kept["namespace"] = namespace
	}
	text, err := json.Marshal(map[string]any{"apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": kept, "report": object["report"]})
	if err != nil {
		return Report{}, fmt.Errorf("write %s: %w", about, err)
	}
	return Report{About: about, Text: text}, nil
}
