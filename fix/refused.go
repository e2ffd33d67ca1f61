package fix

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/manifest"
)

// Refused says why the API server would refuse an object with a repair at a pointer, as what to settle first; empty where
// it would not. It knows what stands beside the places that the catalogue's repairs write to
// (k8s.io/kubernetes/pkg/apis/core/validation, ValidateSecurityContext and ValidateContainerResourceRequirements).
func Refused(object map[string]any, pointer string, f control.Fix) string {
	steps := manifest.PointerSteps(pointer)
	if f.Remove || len(steps) < 2 {
		return ""
	}
	beside, _ := lookUp(object, steps[:len(steps)-1])
	fields, _ := beside.(map[string]any)
	switch steps[len(steps)-1] {
	case "allowPrivilegeEscalation":
		if f.Value() != false {
			return ""
		}
		if fields["privileged"] == true {
			return "allowPrivilegeEscalation: false beside privileged: true; remove privileged first"
		}
		capabilities, _ := fields["capabilities"].(map[string]any)
		if add, _ := capabilities["add"].([]any); slices.Contains(add, any("CAP_SYS_ADMIN")) {
			return "allowPrivilegeEscalation: false beside the capability CAP_SYS_ADMIN; remove the capability first"
		}
	case "ephemeral-storage":
		requested, there := lookUp(object, append(slices.Clone(steps[:len(steps)-2]), "requests", "ephemeral-storage"))
		if steps[len(steps)-2] == "limits" && there && above(requested, f.Value()) {
			return "a limit of ephemeral-storage below what requests asks for; set limits.ephemeral-storage to what the container may fill"
		}
	}
	return ""
}

// above reports whether one quantity is more than another. What is none is not.
func above(a, b any) bool {
	x, xOK := quantity(a)
	y, yOK := quantity(b)
	return xOK && yOK && x > y
}

// quantity reads a quantity of Kubernetes as near as a float64 is; false for what is none.
func quantity(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	case string:
		number := strings.TrimRight(v, "EPTGMKkimun")
		unit, known := units(strings.TrimPrefix(v, number))
		n, err := strconv.ParseFloat(number, 64)
		return n * unit, known && err == nil
	}
	return 0, false
}

// units is what a suffix of a quantity stands for.
func units(suffix string) (float64, bool) {
	const decimal, binary = "kMGTPE", "KMGTPE"
	if suffix == "" {
		return 1, true
	}
	if i := strings.Index(binary, suffix[:1]); len(suffix) == 2 && suffix[1] == 'i' && i >= 0 {
		return math.Pow(1024, float64(i+1)), true
	}
	if i := strings.Index(decimal, suffix); len(suffix) == 1 && i >= 0 {
		return math.Pow(1000, float64(i+1)), true
	}
	if i := strings.Index("mun", suffix); len(suffix) == 1 && i >= 0 {
		return math.Pow(1000, -float64(i+1)), true
	}
	return 0, false
}
