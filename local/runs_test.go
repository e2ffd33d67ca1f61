package local

import "testing"

// TestRunsOn: where the platform cannot run it says so before it makes anything.
func TestRunsOn(t *testing.T) {
	for _, c := range []struct {
		goos, kubeconfig string
		want             bool
	}{
		{"linux", "", true}, {"linux", "kind", true}, {"darwin", "kind", true},
		{"darwin", "", false}, {"windows", "", false}, {"windows", "kind", false},
	} {
		if err := runsOn(c.goos, c.kubeconfig); (err == nil) != c.want {
			t.Errorf("runsOn(%s, %q) = %v", c.goos, c.kubeconfig, err)
		}
	}
}
