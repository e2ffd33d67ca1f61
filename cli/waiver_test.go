package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestWaiverEnds: check takes a waiver for live until its very end and no longer, by the clock it is given.
func TestWaiverEnds(t *testing.T) {
	dir := t.TempDir()
	bank, bad := filepath.Join(dir, "bank.yaml"), filepath.Join(dir, "bad.yaml")
	for file, text := range map[string]string{
		bank: `apiVersion: ringfence.dev/v1alpha1
kind: Platform
metadata: {name: platform}
spec: {registries: [registry.bank.example]}
---
apiVersion: ringfence.dev/v1alpha1
kind: Tenant
metadata: {name: payments}
spec:
  owner: payments-team@bank.example
  groups: {admin: payments-admins, readOnly: payments-readers}
  environments: [{name: dev}]
---
apiVersion: ringfence.dev/v1alpha1
kind: Waiver
metadata: {name: w, namespace: payments-dev}
spec: {control: RF-WL-02, subjects: [{kind: Pod, name: a}], reason: why not, ticket: T, owner: c@bank.example, requester: d, expires: "2027-01-31"}
status: {approval: {approver: e, approvedAt: "2027-01-01T00:00:00Z"}}
`,
		bad: pod + "spec: {hostPID: true, containers: []}\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	end := time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		now  time.Time
		code int
	}{{end.Add(-1), 0}, {end, 1}, {end.Add(time.Second), 1}} {
		var out, prose bytes.Buffer
		code := Main(t.Context(), []string{"check", "--platform", bank, "--only", "RF-WL-02", bad}, Env{Stdout: &out, Stderr: &prose, Now: func() time.Time { return tc.now }})
		if code != tc.code || strings.Contains(out.String(), "waived by w") != (code == 0) || strings.Contains(prose.String(), "it ended at 2027-02-01T00:00:00Z") != (code == 1) {
			t.Errorf("at %v: exit code %d, want %d: %s%s", tc.now, code, tc.code, out.String(), prose.String())
		}
	}
}
