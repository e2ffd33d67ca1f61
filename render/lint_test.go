package render

import (
	"testing"

	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
)

// TestLint: Helm's own linter has nothing to say of Ringfence's chart, and would say what is wrong with another.
func TestLint(t *testing.T) {
	values := map[string]any{"image": map[string]any{"repository": "registry.bank.example/ringfence", "digest": "sha256:1111111111111111111111111111111111111111111111111111111111111111"}}
	said := lint.RunAll("../charts/ringfence", values, "ringfence-system")
	for _, m := range said.Messages {
		if m.Severity > support.InfoSev {
			t.Errorf("helm lint: %v", m)
		}
	}
	if said := lint.RunAll(t.TempDir(), nil, "ringfence-system"); said.HighestSeverity != support.ErrorSev {
		t.Errorf("helm lint of an empty folder: %v, want an error", said.Messages)
	}
}
