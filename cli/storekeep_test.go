package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// TestStoreKeep: a kind that is none, and a time that is none, are refused before anything starts.
func TestStoreKeep(t *testing.T) {
	for _, given := range []string{"chnge.v1=24h", "change.v1=0s", "change.v1=-1h", "change.v1=a year", "change.v1"} {
		for _, command := range []string{"serve", "up"} {
			var out bytes.Buffer
			code := Main(t.Context(), []string{command, "--store-keep", given}, Env{Stdout: &out, Stderr: &out, Now: time.Now})
			if code != 2 || !strings.Contains(out.String(), "--store-keep") {
				t.Errorf("%s --store-keep %s: exit code %d, want 2 and the flag named in\n%s", command, given, code, &out)
			}
		}
	}
}
