package scan

import (
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/tenant"
)

// TestCounts: `kubectl get tenants` shows how many findings are open, as `ringfence findings --open` has them; a tenant is written once in a while at
// most and never while nothing changes; and where nothing is scanned it says so.
func TestCounts(t *testing.T) {
	const every = 2 * time.Second
	b := newBed(t)
	cfg := settings(b.dir)
	cfg.CountEvery = every
	_, b.stop = ringfencetest.Start(t, cluster.Config, cfg, slog.LevelWarn)
	b.onboard()
	counts := b.counts()
	app := deployment(team, "counted", false)
	if err := b.admin.Create(t.Context(), app); err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "one finding more", func() error {
		if now := b.counts(); sum(now) <= sum(counts) {
			return fmt.Errorf("%+v", now)
		}
		return nil
	})
	if out := kubectl(t, "get", "tenants"); !strings.Contains(strings.Join(strings.Fields(out), " "), "READY CRITICAL HIGH MEDIUM LOW SCANNED AGE") || !strings.Contains(out, "payments") {
		t.Errorf("kubectl get tenants prints\n%s", out)
	}
	quiet := b.tenant()
	time.Sleep(3 * every) // what must not happen can only be waited for
	if now := b.tenant(); now.ResourceVersion != quiet.ResourceVersion {
		t.Errorf("written while nothing changed: %+v, then %+v", quiet.Status, now.Status)
	}
	b.writes(every)
	if err := b.admin.Delete(t.Context(), app); err != nil {
		t.Fatal(err)
	}
	ringfencetest.Eventually(t, "the counts of the beginning", func() error {
		if now := b.counts(); sum(now) != sum(counts) {
			return fmt.Errorf("%+v, want %+v", now, counts)
		}
		return nil
	})
	b.stop()
	cfg = settings(b.dir)
	cfg.NoScan, cfg.CountEvery = true, every
	_, b.stop = ringfencetest.Start(t, cluster.Config, cfg, slog.LevelWarn)
	ringfencetest.Eventually(t, "no scan to be no counts", func() error {
		now := b.tenant()
		c := apimeta.FindStatusCondition(now.Status.Conditions, tenant.ConditionScanned)
		if now.Status.Findings != nil || c == nil || c.Status != metav1.ConditionUnknown {
			return fmt.Errorf("%+v", now.Status)
		}
		return nil
	})
}

// writes: many changes in a few seconds are few writes.
func (b *bed) writes(every time.Duration) {
	b.Helper()
	start, versions := time.Now(), map[string]bool{}
	for i := 0; time.Since(start) < 3*every; i++ {
		o := deployment(team, "busy", false)
		err := b.admin.Create(b.Context(), o)
		if i%2 == 1 {
			err = b.admin.Delete(b.Context(), o)
		}
		if err != nil {
			b.Fatal(err)
		}
		for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			versions[b.tenant().ResourceVersion] = true
		}
	}
	if writes, most := len(versions)-1, int(time.Since(start)/every)+1; writes > most {
		b.Errorf("the Tenant was written %d times in %s; want %d at most", writes, time.Since(start), most)
	}
	_ = b.admin.Delete(b.Context(), deployment(team, "busy", false)) // gone already is as good
}

func (b *bed) tenant() *v1alpha1.Tenant {
	b.Helper()
	var t v1alpha1.Tenant
	if err := b.admin.Get(b.Context(), client.ObjectKey{Name: "payments"}, &t); err != nil {
		b.Fatal(err)
	}
	return &t
}

// counts waits until the status counts what the control plane answers, and gives it.
func (b *bed) counts() (counts v1alpha1.FindingCounts) {
	b.Helper()
	ringfencetest.Eventually(b.T, "the counts", func() error {
		answer, err := record.Fetch(b.Context(), b.http(), "http://ringfence", record.Query{Source: record.SourceScan, State: "open", Filter: record.Filter{Namespace: team}})
		if err != nil || answer.Scan == nil || answer.Scan.Whole == nil || answer.Scan.Waiting > 0 || answer.Behind > 0 {
			return fmt.Errorf("not judged: %+v, %v", answer.Scan, err)
		}
		of := map[finding.Severity]int32{}
		for _, f := range answer.Findings {
			of[f.Severity]++
		}
		want := v1alpha1.FindingCounts{Critical: of[finding.Critical], High: of[finding.High], Medium: of[finding.Medium], Low: of[finding.Low]}
		now := b.tenant()
		if now.Status.Findings == nil || !apimeta.IsStatusConditionTrue(now.Status.Conditions, tenant.ConditionScanned) {
			return fmt.Errorf("not counted: %+v", now.Status)
		}
		counts = *now.Status.Findings
		got := counts
		got.Counted, got.Waived = metav1.Time{}, 0
		if got != want {
			return fmt.Errorf("counts %+v, want %+v", got, want)
		}
		return nil
	})
	if counts.Counted.IsZero() || time.Since(counts.Counted.Time) > time.Hour {
		b.Errorf("counted at %v", counts.Counted)
	}
	return counts
}

func sum(c v1alpha1.FindingCounts) int32 { return c.Critical + c.High + c.Medium + c.Low }

// kubectl runs it as the administrator.
func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	root, err := clustertest.Root()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(root, "bin", "kubectl"), append(args, "--kubeconfig", cluster.Kubeconfig)...).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %v: %v\n%s", args, err, out)
	}
	return string(out)
}
