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
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
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
	b, n, lies := newBed(t), 200, 3*time.Second
	if text := os.Getenv("RINGFENCE_SCAN_OBJECTS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	if text := os.Getenv("RINGFENCE_SCAN_REST"); text != "" {
		var err error
		if lies, err = time.ParseDuration(text); err != nil {
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
	before, cpu, writes, bytes, start := judged(b), processor(t), revision(b), stored(b), time.Now()
	time.Sleep(lies) // what must not happen can only be waited for
	took, spent := time.Since(start), processor(t)-cpu
	grown := stored(b) - bytes
	writes = revision(b) - writes
	if writes > 200+int(60*took.Minutes()) { // leases are renewed, every two seconds each
		t.Errorf("etcd was written %d times in %s while nothing changed", writes, took)
	}
	if again := judged(b) - before; again > n/10 {
		t.Errorf("%d of %d objects were judged while nothing changed", again, n)
	}
	runtime.GC()
	t.Logf("%d objects; judged %v after the start; at rest %.2f processor seconds a minute; resident %d MiB; etcd: %d writes a minute, leases of all components among them, %d bytes more", whole.Objects,
		whole.Whole.Sub(whole.Started).Round(time.Millisecond), spent.Seconds()/took.Minutes(), resident(t)>>20, int(float64(writes)/took.Minutes()), grown)
}

// revision is etcd's, which each write moves by one.
func revision(b *bed) int {
	b.Helper()
	var list corev1.NamespaceList
	if err := b.admin.List(b.Context(), &list, client.Limit(1)); err != nil {
		b.Fatal(err)
	}
	n, err := strconv.Atoi(list.ResourceVersion)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// stored is how large etcd's file is, as the API server tells.
func stored(b *bed) int {
	b.Helper()
	config := rest.CopyConfig(cluster.Config)
	config.GroupVersion, config.NegotiatedSerializer = &corev1.SchemeGroupVersion, scheme.Codecs
	asks, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		b.Fatal(err)
	}
	text, err := asks.Get().AbsPath("/metrics").DoRaw(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "apiserver_storage_size_bytes{") {
			size, err := strconv.ParseFloat(strings.Fields(line)[1], 64)
			if err != nil {
				b.Fatal(err)
			}
			return int(size)
		}
	}
	b.Fatal("the API server does not say how large its storage is")
	return 0
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
