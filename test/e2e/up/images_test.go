package up

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// images holds what `up --once` told of images to what the reports that it left say: one is refused because nobody scanned it, one runs
// with a warning of the day on which the forecast has it refused, and the forecast is that of the command.
func images(t *testing.T, dir, out string) {
	t.Helper()
	refused := below(out, "refused: pod payments-dev/not-scanned.")
	for _, part := range []string{"RF-IM-03 ", ": found no scan of registry.bank.example/", "; want every image by a digest that ", "; fix: have the digest scanned"} {
		if !strings.Contains(refused, part) {
			t.Errorf("the refusal of an image without a scan lacks %q: %s", part, refused)
		}
	}
	reports, err := filepath.Glob(filepath.Join(dir, "images", "reports", "*.json"))
	if err != nil || len(reports) == 0 {
		t.Fatalf("no reports are left: %v", err)
	}
	args := append([]string{"image", "forecast", "--advisories", filepath.Join(dir, "images", "advisories.gz"), "--days", "14", "-o", "json"}, reports...)
	text, prose, code := run(t, args...)
	var forecast struct {
		Changes []struct {
			At      time.Time
			Digests []string
			Why     string
		}
	}
	if err := json.Unmarshal([]byte(text), &forecast); err != nil || code != 1 || len(forecast.Changes) != 2 {
		t.Fatalf("image forecast = %d: %v, %s%s; want two changes", code, err, text, prose)
	}
	_, told, _ := strings.Cut(out, "forecast: 2 images become undeployable within 14 days")
	for _, c := range forecast.Changes {
		if in := time.Until(c.At); in <= 0 || in > 14*24*time.Hour || !strings.Contains(told, c.At.Format(time.RFC3339)+"  ") || !strings.Contains(told, c.Digests[0]) || !strings.Contains(told, c.Why) {
			t.Errorf("the story does not tell that %s is refused at %s: %s\n%s", c.Digests, c.At, c.Why, out)
		}
	}
	at := forecast.Changes[1].At.Format(time.RFC3339)
	if warned := below(out, "warned: pod payments-dev/vulnerable, whose image is refused from "+at); !strings.Contains(warned, "RF-IM-06 ") || !strings.Contains(warned, ": found refused from "+at+": CVE-") {
		t.Errorf("the warning does not name %s: %s", at, warned)
	}
}

// below is the line below that of the story which holds text; "" where there is none.
func below(out, text string) string {
	_, after, _ := strings.Cut(out, text)
	_, after, _ = strings.Cut(after, "\n")
	line, _, _ := strings.Cut(after, "\n")
	return line
}

// silenced: where the rules on images neither refuse nor warn, the story says so of both steps and ends with 1.
func silenced(t *testing.T, kubeconfig string) {
	t.Helper()
	patch := func(controls string) {
		t.Helper()
		if out, err := exec.Command(bin(t, "kubectl"), "--kubeconfig", kubeconfig, "patch", "platform", "platform", "--type=merge", "-p", `{"spec":{"controls":`+controls+`}}`).CombinedOutput(); err != nil {
			t.Fatalf("%s", out)
		}
	}
	patch(`{"RF-IM-03":{"action":"Audit"},"RF-IM-06":{"action":"Audit"}}`)
	out, prose, code := run(t, "up", "--once", "--yes", "--kubeconfig", kubeconfig)
	for _, wrong := range []string{"WRONG: pod payments-dev/not-scanned was admitted; want it refused by RF-IM-03", "WRONG: pod payments-dev/vulnerable is not admitted with a warning of RF-IM-06", "2 steps did not go"} {
		if code != 1 || !strings.Contains(out, wrong) {
			t.Errorf("up where no rule on images is in force = %d, want 1 and %q\n%s%s", code, wrong, out, prose)
		}
	}
	patch("null")
}
