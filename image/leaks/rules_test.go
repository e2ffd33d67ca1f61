package leaks

import "testing"

// TestRules: all of gitleaks' rules are read.
func TestRules(t *testing.T) {
	if rules, err := load(); err != nil || len(rules.rules) != 222 {
		t.Errorf("%d rules, %v; gitleaks 8.30.1 has 222", len(rules.rules), err)
	}
}
