package cel_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"

	"ringfence.dev/ringfence/internal/casefile"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/policy/bundle"
	"ringfence.dev/ringfence/policy/vap"
)

// maxCost is a tenth of what the API server grants a whole policy (k8s.io/apiserver pkg/apis/cel RuntimeCELCostBudget).
// The Engine counts no cost while it judges: what a rule may cost is bounded here.
const maxCost = 1_000_000

// TestCost holds what each control costs, counted as the API server counts it, to a bound: over every case, and over the
// largest pods that rules look at.
func TestCost(t *testing.T) {
	cat, guard := catalogueAndGuard(t)
	large := policy.Input{Object: largest(), Namespace: "payments-dev", Guard: guard, Operation: "CREATE"}
	for _, c := range cat.Controls {
		v, err := vap.Validator(bundle.Single(c), version.MajorMinor(1, 30))
		if err != nil {
			t.Fatal(err)
		}
		cases, err := casefile.Read(os.DirFS("../../controls"), c.Dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range cases {
			in := policy.Input{Object: one.Object.Value, Namespace: "payments-dev", Guard: guard, Operation: "CREATE"}
			if one.Update() {
				in.Operation, in.OldObject = "UPDATE", one.Old.Value
			}
			within(t, one.File, v, in)
		}
		if strings.Contains(fmt.Sprint(c.Groups), "workloads") {
			within(t, c.ID+", the largest pod", v, large)
			update := large
			update.Operation, update.OldObject = "UPDATE", large.Object
			within(t, c.ID+", the largest pod at UPDATE", v, update)
		}
	}
}

// within fails where the validator cannot judge with maxCost.
func within(t *testing.T, name string, v validating.Validator, in policy.Input) {
	t.Helper()
	params := &unstructured.Unstructured{Object: in.Guard.Params()}
	for _, d := range v.Validate(context.Background(), schema.GroupVersionResource{}, attributes(in), params, nil, maxCost, nil).Decisions {
		if d.Evaluation == validating.EvalError && strings.Contains(d.Message, "cost") {
			t.Errorf("%s costs more than %d: %s", name, maxCost, d.Message)
		}
	}
}

// largest is a Pod of as many containers and volumes as rules look at, with something to find in each.
func largest() map[string]any {
	var containers, volumes []any
	for i := range 100 {
		containers = append(containers, map[string]any{
			"name": fmt.Sprintf("c%d", i), "image": "docker.io/library/" + strings.Repeat("a", 200),
			"securityContext": map[string]any{"privileged": true, "runAsUser": int64(0), "runAsGroup": int64(0), "runAsNonRoot": false},
			"ports":           []any{map[string]any{"containerPort": int64(80), "hostPort": int64(80)}},
			"resources":       map[string]any{"requests": map[string]any{"cpu": "0"}, "limits": map[string]any{"memory": "0"}},
		})
		volumes = append(volumes, map[string]any{"name": fmt.Sprintf("v%d", i), "hostPath": map[string]any{"path": "/" + strings.Repeat("b", 200)}})
	}
	return map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "large", "namespace": "payments-dev"},
		"spec": map[string]any{"containers": containers, "volumes": volumes, "hostPID": true}}
}
