package scan

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/server"
)

// said is what a Ringfence logs.
type said struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

// Write implements io.Writer.
func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

// String is all of it.
func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// reports runs a Ringfence that keeps policy reports, each written once a second at most.
func (b *bed) reports(log *said) { b.reportsOf(log, settings(b.dir)) }

func (b *bed) reportsOf(log *said, cfg server.Config) {
	b.Helper()
	cfg.ReportEvery, cfg.CountEvery = time.Second, time.Second
	srv, err := server.New(cfg, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx, rest.CopyConfig(cluster.Config)) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			b.Errorf("Ringfence ended: %v", err)
		}
	})
	b.Cleanup(b.stop)
}

// platform changes the Platform.
func (b *bed) platform(patch string) {
	b.Helper()
	p := &v1alpha1.Platform{}
	p.Name = v1alpha1.PlatformName
	if err := b.admin.Patch(b.Context(), p, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		b.Fatal(err)
	}
}

// kept are the reports of a kind, by namespace.
func (b *bed) kept(apiVersion, kind string) map[string]*unstructured.Unstructured {
	b.Helper()
	var list unstructured.UnstructuredList
	list.SetAPIVersion(apiVersion)
	list.SetKind(kind + "List")
	if err := b.admin.List(b.Context(), &list); err != nil && !meta.IsNoMatchError(err) { // discovery is behind a definition that came just now
		b.Fatal(err)
	}
	out := map[string]*unstructured.Unstructured{}
	for i := range list.Items {
		out[list.Items[i].GetNamespace()] = &list.Items[i]
	}
	return out
}

// number is a number of a report's summary.
func number(o *unstructured.Unstructured, of string) int64 {
	n, _, _ := unstructured.NestedInt64(o.Object, "summary", of)
	return n
}

const openReports, policyReports = "openreports.io/v1alpha1", "wgpolicyk8s.io/v1alpha2"

// TestReports: policy reports are kept where the Platform asks for them and the cluster serves them, are bounded, are written where they are others alone,
// come back where somebody takes or changes them, and go with what they are about. With -v it prints how large they are; RINGFENCE_REPORT_OBJECTS is of
// how many objects with one finding each.
func TestReports(t *testing.T) {
	b, n, log := newBed(t), 30, &said{}
	if text := os.Getenv("RINGFENCE_REPORT_OBJECTS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	b.reports(log)
	b.onboard()
	root, err := clustertest.Root()
	if err != nil {
		t.Fatal(err)
	}
	define := func(file, crd string) {
		t.Helper()
		if err := cluster.Install(t.Context(), filepath.Join(root, "report", "testdata", file)); err != nil {
			t.Fatal(err)
		}
		if err := cluster.AwaitCRD(t.Context(), crd); err != nil {
			t.Fatal(err)
		}
	}
	define("openreports.io_reports.yaml", "reports.openreports.io")
	time.Sleep(3 * time.Second) // what must not happen can only be waited for
	if all := b.kept(openReports, "Report"); len(all) > 0 {
		t.Errorf("nobody asked for %v", all)
	}
	b.platform(fmt.Sprintf(`{"spec":{"reports":{"openReports":true,"policyReports":true,"limit":%d}}}`, n/2))
	ringfencetest.Eventually(t, "the log to say what is not served", func() error {
		if want := "the cluster does not serve PolicyReport of wgpolicyk8s.io/v1alpha2; fix: install its definition, or take policyReports out of spec.reports"; strings.Count(log.String(), want) != 1 {
			return fmt.Errorf("not said once: %s", log)
		}
		return nil
	})
	for i := range n {
		if err := b.admin.Create(t.Context(), deployment(team, fmt.Sprint("kept-", i), false)); err != nil {
			t.Fatal(err)
		}
	}
	one := b.holds(openReports, "Report", n)
	if _, there := b.kept(openReports, "Report")["kube-system"]; there {
		t.Error("there is a report of a namespace that is exempt")
	}
	b.measured(n, one)
	b.outside(define)
	define("wgpolicyk8s.io_policyreports.yaml", "policyreports.wgpolicyk8s.io")
	b.holds(policyReports, "PolicyReport", n)
	b.rests("while nothing changes")
	b.stop()
	b.reports(log)
	b.rests("after it began anew")
	b.returns()
	b.ends()
}

// outside: what lies in no namespace has a report of its own, which counts what stands there and goes with it.
func (b *bed) outside(define func(file, crd string)) {
	b.Helper()
	define("openreports.io_clusterreports.yaml", "clusterreports.openreports.io")
	role := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": map[string]any{"name": "reported"},
		"rules": []any{map[string]any{"apiGroups": []any{"*"}, "resources": []any{"*"}, "verbs": []any{"*"}}}}}
	counts := func(want func(named bool) bool) func() error {
		return func() error {
			one := b.kept(openReports, "ClusterReport")[""]
			if one == nil || one.GetName() != "ringfence-scan" {
				return fmt.Errorf("no ClusterReport: %v", one)
			}
			if text := fmt.Sprint(one.Object["results"]); !want(strings.Contains(text, "reported")) {
				return fmt.Errorf("its results are %s", text)
			}
			return nil
		}
	}
	if err := b.admin.Create(b.Context(), role); err != nil {
		b.Fatal(err)
	}
	ringfencetest.Eventually(b.T, "the ClusterReport to name a role of everything", counts(func(named bool) bool { return named }))
	if err := b.admin.Delete(b.Context(), role); err != nil {
		b.Fatal(err)
	}
	ringfencetest.Eventually(b.T, "the ClusterReport to name it no more", counts(func(named bool) bool { return !named }))
}

// holds waits until the report of the team's namespace counts all and lists half.
func (b *bed) holds(apiVersion, kind string, n int) (one *unstructured.Unstructured) {
	b.Helper()
	ringfencetest.Eventually(b.T, kind+" to count what is open", func() error {
		if one = b.kept(apiVersion, kind)[team]; one == nil {
			return fmt.Errorf("no %s of %s", kind, team)
		}
		results, _, _ := unstructured.NestedSlice(one.Object, "results")
		all := int(number(one, "fail") + number(one, "warn") + number(one, "error"))
		if all < n || len(results) != n/2 || one.GetAnnotations()["ringfence.dev/left-out"] != strconv.Itoa(all-n/2) {
			return fmt.Errorf("%d of %d findings and %d results, with %v", all, n, len(results), one.GetAnnotations())
		}
		return nil
	})
	return one
}

// measured says how large a report is, and how often it was written.
func (b *bed) measured(n int, one *unstructured.Unstructured) {
	b.Helper()
	total, all := 0, b.kept(openReports, "Report")
	for _, o := range all {
		text, err := json.Marshal(o.Object)
		if err != nil {
			b.Fatal(err)
		}
		total += len(text)
	}
	text, err := json.Marshal(one.Object)
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%d findings, %d listed: a report of %d bytes, written %d times while they were made; %d reports of %d bytes in all", n, n/2, len(text), one.GetGeneration(), len(all), total)
}

// versions are those of every report.
func (b *bed) versions() map[string]string {
	out := map[string]string{}
	for kind, all := range map[string]map[string]*unstructured.Unstructured{"Report": b.kept(openReports, "Report"), "PolicyReport": b.kept(policyReports, "PolicyReport")} {
		for namespace, o := range all {
			out[kind+"/"+namespace] = o.GetResourceVersion()
		}
	}
	return out
}

// rests: nothing is written.
func (b *bed) rests(when string) {
	b.Helper()
	if when == "after it began anew" {
		b.one("open", rootID, "Deployment/kept-0") // it has judged everything
	}
	before := b.versions()
	time.Sleep(4 * time.Second) // what must not happen can only be waited for
	if after := b.versions(); fmt.Sprint(after) != fmt.Sprint(before) {
		b.Errorf("written %s: %v, then %v", when, before, after)
	}
}

// returns: a report that somebody edits or takes away comes back.
func (b *bed) returns() {
	b.Helper()
	was := b.kept(openReports, "Report")[team]
	if err := b.admin.Patch(b.Context(), was.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"results":[]}`))); err != nil {
		b.Fatal(err)
	}
	if err := b.admin.Delete(b.Context(), b.kept(policyReports, "PolicyReport")[team]); err != nil {
		b.Fatal(err)
	}
	ringfencetest.Eventually(b.T, "both to come back", func() error {
		now, gone := b.kept(openReports, "Report")[team], b.kept(policyReports, "PolicyReport")[team]
		if now == nil || gone == nil || fmt.Sprint(now.Object["results"]) != fmt.Sprint(was.Object["results"]) {
			return fmt.Errorf("%v, %v", now, gone)
		}
		return nil
	})
}

// ends: a report goes where its namespace is not guarded any more, and all go where nobody wants them.
func (b *bed) ends() {
	b.Helper()
	if b.kept(openReports, "Report")["default"] == nil {
		b.Error("there is no report of the namespace default")
	}
	ns := &unstructured.Unstructured{}
	ns.SetAPIVersion("v1")
	ns.SetKind("Namespace")
	ns.SetName("leaves")
	if err := b.admin.Create(b.Context(), ns); err != nil {
		b.Fatal(err)
	}
	ringfencetest.Eventually(b.T, "a report of a new namespace", func() error {
		if one := b.kept(openReports, "Report")["leaves"]; one == nil || number(one, "fail") != 0 {
			return fmt.Errorf("%v", one)
		}
		return nil
	})
	b.platform(`{"spec":{"exemptNamespaces":["leaves"],"reports":{"policyReports":false}}}`)
	ringfencetest.Eventually(b.T, "what nobody wants to be gone", func() error {
		if all := b.kept(policyReports, "PolicyReport"); len(all) > 0 || b.kept(openReports, "Report")["leaves"] != nil {
			return fmt.Errorf("%d PolicyReports, %v", len(all), b.kept(openReports, "Report")["leaves"])
		}
		return nil
	})
	if b.kept(openReports, "Report")[team] == nil {
		b.Error("the reports of the other form went too")
	}
	b.stop()
	b.platform(`{"spec":{"exemptNamespaces":null,"reports":null}}`)
	b.reports(&said{})
	none := func() error {
		if all := b.kept(openReports, "Report"); len(all) > 0 {
			return fmt.Errorf("%d Reports", len(all))
		}
		return nil
	}
	ringfencetest.Eventually(b.T, "what nobody wanted while Ringfence was down to be gone", none)
	b.platform(`{"spec":{"reports":{"openReports":true}}}`)
	ringfencetest.Eventually(b.T, "a report again", func() error {
		if b.kept(openReports, "Report")[team] == nil {
			return errors.New("there is none")
		}
		return nil
	})
	b.stop()
	cfg := settings(b.dir)
	cfg.NoScan = true
	b.reportsOf(&said{}, cfg)
	ringfencetest.Eventually(b.T, "what nobody scans any more to be gone", none)
}
