package fix

import (
	"encoding/json"
	"testing"

	"ringfence.dev/ringfence/control"
)

// TestRefused says what the API server would refuse beside a repair, and nothing of anything else.
func TestRefused(t *testing.T) {
	const escalation, storage = "/spec/containers/0/securityContext/allowPrivilegeEscalation", "/spec/containers/0/resources/limits/ephemeral-storage"
	for text, refused := range map[string]bool{
		`{"securityContext":{"privileged":true}}`:                               true,
		`{"securityContext":{"privileged":false}}`:                              false,
		`{"securityContext":{"privileged":"true"}}`:                             false,
		`{"securityContext":{"capabilities":{"add":["CAP_SYS_ADMIN"]}}}`:        true,
		`{"securityContext":{"capabilities":{"add":["SYS_ADMIN"]}}}`:            false,
		`{"securityContext":{"capabilities":{"add":"CAP_SYS_ADMIN"}}}`:          false,
		`{"securityContext":"x"}`:                                               false,
		`{}`:                                                                    false,
		`{"resources":{"requests":{"ephemeral-storage":"2Gi"}}}`:                true,
		`{"resources":{"requests":{"ephemeral-storage":2000000000}}}`:           true,
		`{"resources":{"requests":{"ephemeral-storage":"1Gi"}}}`:                false,
		`{"resources":{"requests":{"ephemeral-storage":"much"},"limits":null}}`: false,
	} {
		container := object(t, text)
		pod := map[string]any{"spec": map[string]any{"containers": []any{container}}}
		got := Refused(pod, escalation, control.Fix{Set: json.RawMessage("false")}) + Refused(pod, storage, control.Fix{Set: json.RawMessage(`"1Gi"`)})
		if (got != "") != refused {
			t.Errorf("Refused(%s) = %q, want one: %t", text, got, refused)
		}
	}
	if got := Refused(map[string]any{"a": "b"}, "/a", control.Fix{Remove: true}); got != "" {
		t.Errorf("a removal is refused: %s", got)
	}
}

// TestQuantity reads the forms of quantities.
func TestQuantity(t *testing.T) {
	for text, want := range map[string]float64{"1": 1, "1.5Gi": 1.5 * (1 << 30), "2k": 2000, "1e3": 1000, "500m": 0.5, "1E": 1e18, "1Ki": 1024} {
		if got, ok := quantity(text); !ok || got != want {
			t.Errorf("quantity(%s) = %v, %t; want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "Gi", "1Xi", "1GiB", "one", "1ki"} {
		if got, ok := quantity(text); ok {
			t.Errorf("quantity(%s) = %v, want none", text, got)
		}
	}
}
