package scan

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/local"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/server"
)

// TestAtRest judges many objects and then watches them lie there: none is judged again. With -v it prints what that costs this process,
// which is Ringfence and this test. RINGFENCE_SCAN_OBJECTS is how many there are, RINGFENCE_SCAN_REST for how long they rest.
func TestAtRest(t *testing.T) {
	b, n, rest := newBed(t), 200, 3*time.Second
	if text := os.Getenv("RINGFENCE_SCAN_OBJECTS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	if text := os.Getenv("RINGFENCE_SCAN_REST"); text != "" {
		var err error
		if rest, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	// No evidence is kept here: what stands is held in memory, and what closed is not known.
	_, b.stop = ringfencetest.Start(t, cluster.Config, server.Config{Socket: local.SocketPath(b.dir)}, slog.LevelWarn)
	b.onboard()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "rest"}}
	ringfencetest.Eventually(t, "the namespace", func() error { return client.IgnoreAlreadyExists(b.admin.Create(t.Context(), ns)) })
	made := 0
	ringfencetest.Eventually(t, "the objects", func() error {
		for ; made < n; made++ {
			o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("o-", made), Namespace: "rest"}, Data: map[string]string{"text": strings.Repeat("x", made%1000)}}
			if err := b.admin.Create(t.Context(), o); client.IgnoreAlreadyExists(err) != nil {
				return err
			}
		}
		return nil
	})
	state := func() (s record.Scanned) {
		t.Helper()
		ringfencetest.Eventually(t, "everything to be judged", func() error {
			answer, err := record.Fetch(t.Context(), b.http(), "http://ringfence", record.Query{Source: record.SourceScan})
			if err != nil || answer.Scan == nil || answer.Scan.Whole == nil || answer.Scan.Waiting > 0 || answer.Scan.Objects < n {
				return fmt.Errorf("%+v, %v", answer.Scan, err)
			}
			s = *answer.Scan
			return nil
		})
		return s
	}
	if err := b.admin.Create(t.Context(), deployment("rest", "rests", false)); client.IgnoreAlreadyExists(err) != nil {
		t.Fatal(err)
	}
	if f := b.one("open", rootID, "Deployment/rests"); f.Stands.State != "open" || f.Action != finding.Warn || f.Title == "" {
		t.Errorf("from memory: %+v, %+v", f, f.Stands)
	}
	if _, err := b.found("closed", rootID); !errors.Is(err, record.ErrRefused) {
		t.Errorf("what closed, without evidence: %v", err)
	}
	whole := state()
	before, cpu, start := judged(b), processor(t), time.Now()
	time.Sleep(rest) // what must not happen can only be waited for
	took, spent := time.Since(start), processor(t)-cpu
	if again := judged(b) - before; again > n/10 {
		t.Errorf("%d of %d objects were judged while nothing changed", again, n)
	}
	runtime.GC()
	t.Logf("%d objects; judged %v after the start; at rest %.2f processor seconds a minute; resident %d MiB", whole.Objects, whole.Whole.Sub(whole.Started).Round(time.Millisecond),
		spent.Seconds()/took.Minutes(), resident(t)>>20)
}

// judged is how often an object was judged since the start.
func judged(b *bed) int {
	b.Helper()
	for line := range strings.Lines(b.scrape()) {
		if text, ok := strings.CutPrefix(line, "ringfence_scan_judged_total "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err != nil {
				b.Fatal(err)
			}
			return int(n)
		}
	}
	b.Fatal("no metric says how often an object was judged")
	return 0
}

// processor is the time that this process has used.
func processor(t *testing.T) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// resident is the memory that this process holds.
func resident(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}
