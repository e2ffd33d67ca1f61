package local

import (
	"bytes"
	"os"
	"testing"
)

// TestAuditPolicy: the local API server logs what docs/audit.md asks of any.
func TestAuditPolicy(t *testing.T) {
	if want, err := os.ReadFile("../docs/audit-policy.yaml"); err != nil || !bytes.Equal(auditPolicy, want) {
		t.Errorf("local/audit-policy.yaml is not docs/audit-policy.yaml (%v): cp docs/audit-policy.yaml local/", err)
	}
}
