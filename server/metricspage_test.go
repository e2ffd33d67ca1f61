package server

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/otlp"
	"ringfence.dev/ringfence/record"
)

// metric is what the page and a scrape say of one.
type metric struct{ kind, labels string }

// described are the metrics of docs/metrics.md.
func described(t *testing.T) map[string]metric {
	t.Helper()
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]metric{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(ringfence_[a-z0-9_]+)` \\| (\\w+) \\| ([^|]+) \\|([^|]*)\\|").FindAllStringSubmatch(string(page), -1) {
		if _, twice := out[m[1]]; twice || strings.TrimSpace(m[3]) == "" {
			t.Errorf("%s stands there twice, or without unit", m[1])
		}
		out[m[1]] = metric{m[2], strings.Join(slices.Sorted(slices.Values(strings.FieldsFunc(m[4], func(r rune) bool { return r == ',' || r == ' ' }))), ",")}
	}
	return out
}

// scraped are those of a scrape, without the labels' values.
func scraped(text string) map[string]metric {
	out := map[string]metric{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (ringfence_\w+) (\w+)$`).FindAllStringSubmatch(text, -1) {
		labels := map[string]bool{}
		for _, s := range regexp.MustCompile(`(?m)^`+m[1]+`(?:_bucket|_sum|_count)?\{([^}]*)\}`).FindAllStringSubmatch(text, -1) {
			for _, l := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(s[1], -1) {
				labels[l[1]] = true
			}
		}
		delete(labels, "le")
		out[m[1]] = metric{m[2], strings.Join(slices.Sorted(maps.Keys(labels)), ",")}
	}
	return out
}

// TestMetricsPage: docs/metrics.md names every metric of a control plane in which everything happened, with its type and labels, and
// no other.
func TestMetricsPage(t *testing.T) {
	r, dir, a := receive(t), shortDir(t), makeAuthority(t)
	s, stop := traced(t, Config{AuditAddress: "127.0.0.1:0", Socket: filepath.Join(dir, "s"), Witnesses: []string{"folder:" + filepath.Join(dir, "outside")},
		Webhook: WebhookConfig{Listen: "127.0.0.1:0", URL: "https://127.0.0.1:1"}, Traces: otlp.Config{Endpoint: r.URL, Sample: 1},
		API: APIConfig{Listen: "127.0.0.1:0", Cert: a.cert, Key: a.key}}, slog.New(slog.DiscardHandler))
	defer stop()
	if says := judge(judging(t, s), review("7c5e", true), ""); !strings.Contains(says, "RF-WL-01") {
		t.Fatal(says)
	}
	if code, _ := send(t, http.DefaultClient, s.AuditURL(), deletion("a")); code != http.StatusOK {
		t.Fatalf("answered %d", code)
	}
	s.evidence.queue.Promise(auditProducer, time.Hour)
	s.evidence.queue.Add(bundlesProducer, record.Record{ID: "no kind"})
	s.facts.hear("Guard", "7", time.Now())
	ends := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	s.facts.count(1, []v1alpha1.Waiver{{Spec: v1alpha1.WaiverSpec{Expires: ends}, Status: v1alpha1.WaiverStatus{Approval: &v1alpha1.WaiverApproval{}}},
		{Spec: v1alpha1.WaiverSpec{Expires: ends}}, {Spec: v1alpha1.WaiverSpec{Expires: "2020-01-01"}}}, time.Now())
	if _, err := os.Stat(filepath.Join(s.evidence.dir, "catalogue")); err != nil {
		eventually(t, "the catalogue to be recorded", func() bool { _, err := os.Stat(filepath.Join(s.evidence.dir, "catalogue")); return err == nil })
	}
	scrape := func() string {
		got, err := onUnix(s.cfg.Socket).Get("http://ringfence/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer got.Body.Close()
		text, err := io.ReadAll(got.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	var text string
	eventually(t, "a place outside to have a checkpoint", func() bool { text = scrape(); return strings.Contains(text, "ringfence_witness_size") })
	page, there := described(t), scraped(text)
	later := []string{"ringfence_policy_gaps_total", "ringfence_policy_gap_seconds_total", "ringfence_admission_gaps_total", // begin with the first gap, which takes a cluster
		"ringfence_mutation_requests_total", "ringfence_mutation_duration_seconds", "ringfence_mutation_stage_duration_seconds", "ringfence_mutation_gaps_total", // fill in, which takes one
		"ringfence_suspensions", "ringfence_elevations", "ringfence_objects", "ringfence_kind_gaps_total", "ringfence_kind_gap_seconds_total", // of what lies in one
		"ringfence_scan_objects", "ringfence_scan_waiting", "ringfence_scan_oldest_seconds", "ringfence_scan_judged_total", "ringfence_scan_unjudged", // held to the page
		"ringfence_scan_unread_kinds", "ringfence_scan_findings", // by test/e2e/scan
		"ringfence_signature_images", "ringfence_signature_answers_total", "ringfence_signature_registries_down", // by test/e2e/lookout
		"ringfence_image_reports", "ringfence_image_report_digests", "ringfence_image_reports_judged_timestamp_seconds", "ringfence_images_refused"} // by test/e2e/images
	for name, is := range there {
		if want, ok := page[name]; !ok || want != is {
			t.Errorf("%s is %+v; docs/metrics.md says %+v", name, is, want)
		}
	}
	for name := range page {
		if _, ok := there[name]; !ok && !slices.Contains(later, name) {
			t.Errorf("docs/metrics.md describes %s, which there is not", name)
		}
	}
	for _, want := range []string{`ringfence_waivers{state="live"} 1`, `ringfence_waivers{state="pending"} 1`, `ringfence_waivers{state="expired"} 1`, "ringfence_guards 1",
		`ringfence_door_requests_total{answer="ok",door="audit-webhook"} 1`, `ringfence_admission_requests_total{operation="CREATE",verdict="refused"} 1`,
		`ringfence_admission_stage_duration_seconds_count{stage="judge"} 1`, `ringfence_cache_age_seconds{kind="Guard"} `} {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	for _, secret := range []string{"payments-dev", "jane", "mallory"} {
		if strings.Contains(text, secret) {
			t.Errorf("a label says %s", secret)
		}
	}
}

// TestDoorAnswers: what each door answered is counted under one of four words, also where it said nothing.
func TestDoorAnswers(t *testing.T) {
	for code, want := range map[int]string{0: "ok", 200: "ok", 302: "ok", 404: "wrong", 413: "wrong", 429: "busy", 503: "busy", 500: "failed"} {
		if got := (&answered{code: code}).kind(); got != want {
			t.Errorf("%d is %s; want %s", code, got, want)
		}
	}
}

// onUnix is a client of a socket.
func onUnix(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
}
