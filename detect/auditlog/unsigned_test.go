package auditlog

import (
	"slices"
	"strings"
	"testing"
)

// TestUnsignedOf: images are read whole from the annotation of Ringfence's own bundles, and from nothing else.
func TestUnsignedOf(t *testing.T) {
	const key = "ringfence-workloads-warn/unsigned-images"
	api, redis := "r.bank.example/payments/api@sha256:"+strings.Repeat("a", 64), "r.bank.example/ext/redis:7@sha256:"+strings.Repeat("b", 64)
	both := "no signature known of " + redis + " at /spec/containers/1/image\nsignature counted until 2026-01-01T00:00:00Z: " + api + " at /spec/containers/0/image\n" +
		"no signature that counts of " + api + " at /spec/volumes/0/image/reference"
	for what, c := range map[string]struct {
		key, text, stage string
		want             []string
	}{
		"two":                {key, both, "ResponseComplete", []string{redis, api}},
		"cut":                {key, both[:len(both)-30], "ResponseComplete", []string{redis, api}},
		"before the answer":  {key, both, "RequestReceived", nil},
		"a stranger's":       {"evil/unsigned-images", both, "ResponseComplete", nil},
		"a tag":              {key, "no signature known of r.bank.example/payments/api:1 at /spec/containers/0/image", "ResponseComplete", nil},
		"too long":           {key, "no signature known of " + strings.Repeat("a", 2000) + "@sha256: at /spec/containers/0/image", "ResponseComplete", nil},
		"nothing of a place": {key, "100 things", "ResponseComplete", nil},
	} {
		var got []string
		for _, u := range UnsignedOf(Event{Stage: c.stage, ObjectRef: &ObjectRef{Namespace: "payments-dev"}, Annotations: map[string]string{c.key: c.text}}) {
			if got = append(got, u.Reference); u.Namespace != "payments-dev" {
				t.Errorf("%s: in %s", what, u.Namespace)
			}
		}
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
}
