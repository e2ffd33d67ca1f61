package server

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const alertsFile = "../integrations/prometheus/ringfence.rules.yaml"

// TestAlerts: promtool finds the alerts well formed and their tests passing.
func TestAlerts(t *testing.T) {
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Skip("promtool is not installed; in Debian it is in the package prometheus")
	}
	for _, args := range [][]string{{"check", "rules", filepath.Base(alertsFile)}, {"test", "rules", "ringfence.rules.test.yaml"}} {
		cmd := exec.Command("promtool", args...)
		cmd.Dir = filepath.Dir(alertsFile)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// TestAlertsAreExplained: the runbook has the part that an alert names, and the alert; and Ringfence has the metrics it asks for.
func TestAlertsAreExplained(t *testing.T) {
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Annotations struct{ Runbook string }
			}
		}
	}
	text, err := os.ReadFile(alertsFile)
	if err == nil {
		err = yaml.Unmarshal(text, &rules)
	}
	if err != nil || len(rules.Groups) == 0 {
		t.Fatalf("%d groups of alerts, %v", len(rules.Groups), err)
	}
	runbook, err := os.ReadFile("../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^## (.+)$`).FindAllStringSubmatch(string(runbook), -1) {
		parts[strings.ReplaceAll(strings.ToLower(m[1]), " ", "-")] = true
	}
	source := metricsSource(t)
	for _, r := range rules.Groups[0].Rules {
		if !parts[r.Annotations.Runbook] {
			t.Errorf("%s names the part %q of the runbook, which is not there", r.Alert, r.Annotations.Runbook)
		}
		if !strings.Contains(string(runbook), "`"+r.Alert+"`") {
			t.Errorf("the runbook does not name %s", r.Alert)
		}
		for _, metric := range regexp.MustCompile(`ringfence_\w+`).FindAllString(r.Expr, -1) {
			short := strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(metric, "ringfence_audit_"), "ringfence_forward_"), "ringfence_store_"), "ringfence_admission_")
			short = strings.TrimSuffix(short, "_bucket") // of a histogram
			if !strings.Contains(source, `"`+short+`"`) {
				t.Errorf("%s asks for %s, which no package has", r.Alert, metric)
			}
		}
	}
}

// metricsSource is the text of every file that names metrics.
func metricsSource(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, pattern := range []string{"../*/*metrics.go", "../*/*/metrics.go", "../ledger/witness/publisher.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(text)
		}
	}
	return all.String()
}
