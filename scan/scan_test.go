package scan_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/cluster"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/scan"
)

// rule finds the annotation bad of an object, and counts how often it was asked.
type rule struct {
	mu    sync.Mutex
	asked int
}

func (*rule) Match(_, kind string) (control.Kind, bool) {
	return control.Kind{Kind: kind}, slices.Contains([]string{"Pod", "ConfigMap", "Secret"}, kind) || kind == "ReplicaSet"
}

func (r *rule) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

func (r *rule) Judge(in policy.Input) []policy.Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	out := policy.Result{Control: &control.Control{ID: "RF-ZZ-01", Title: "Nothing bad"}}
	meta, _ := in.Object["metadata"].(map[string]any)
	notes, _ := meta["annotations"].(map[string]any)
	if bad, ok := notes["bad"].(string); ok {
		out.Violations = []policy.Violation{{Found: bad, Path: "/metadata/annotations/bad"}}
	}
	return []policy.Result{out}
}

// server is an API server of some kinds.
type server struct {
	*httptest.Server
	mu      sync.Mutex
	version int
	objects map[string]map[string]map[string]any // by resource, then by namespace and name
	streams map[string][]chan string
	gone    bool // no version is remembered
	broken  bool // nobody may ask what the group apps serves
	lists   int
}

var served = map[string]string{"pods": "Pod", "configmaps": "ConfigMap", "replicasets": "ReplicaSet", "secrets": "Secret"}

func serve(t *testing.T) *server {
	s := &server{objects: map[string]map[string]map[string]any{}, streams: map[string][]chan string{}, version: 1}
	s.Server = httptest.NewServer(http.HandlerFunc(s.answer))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

func (s *server) answer(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	resource := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	switch {
	case r.URL.Path == "/apis":
		fmt.Fprint(w, `{"groups":[{"name":"apps","versions":[{"version":"v1"}],"preferredVersion":{"version":"v1"}}]}`)
	case r.URL.Path == "/api/v1":
		fmt.Fprint(w, `{"resources":[{"name":"pods","kind":"Pod","namespaced":true,"verbs":["list"]},{"name":"configmaps","kind":"ConfigMap","namespaced":true,"verbs":["list"]},{"name":"secrets","kind":"Secret","namespaced":true,"verbs":["list"]}]}`)
	case r.URL.Path == "/apis/apps/v1" && s.broken:
		http.Error(w, "broken", http.StatusInternalServerError)
	case r.URL.Path == "/apis/apps/v1":
		fmt.Fprint(w, `{"resources":[{"name":"replicasets","kind":"ReplicaSet","namespaced":true,"verbs":["list"]}]}`)
	case served[resource] == "":
		http.NotFound(w, r)
	case r.URL.Query().Get("watch") == "":
		s.lists++
		var all []string
		for _, o := range s.objects[resource] {
			all = append(all, s.text(resource, o))
		}
		if resource == "secrets" {
			fmt.Fprintf(w, `{"metadata":{"resourceVersion":"%d"},"columnDefinitions":[{"name":"Type"}],"rows":[%s]}`, s.version, strings.Join(all, ","))
			return
		}
		fmt.Fprintf(w, `{"metadata":{"resourceVersion":"%d"},"items":[%s]}`, s.version, strings.Join(all, ","))
	case s.gone:
		s.gone = false
		w.WriteHeader(http.StatusGone)
		fmt.Fprint(w, `{"message":"too old"}`)
	default:
		s.stream(w, r, resource)
	}
}

// stream sends events until the caller has gone. s.mu is held.
func (s *server) stream(w http.ResponseWriter, r *http.Request, resource string) {
	events := make(chan string, 100)
	s.streams[resource] = append(s.streams[resource], events)
	s.mu.Unlock()
	defer s.mu.Lock()
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case e, more := <-events:
			if !more {
				return
			}
			fmt.Fprintln(w, e)
			w.(http.Flusher).Flush()
		}
	}
}

// watched waits until somebody watches: what is put before would not be heard of.
func (s *server) watched(t *testing.T, resource string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		s.mu.Lock()
		n := len(s.streams[resource])
		s.mu.Unlock()
		if n > 0 {
			return
		}
	}
	t.Fatalf("nobody watches %s", resource)
}

func (s *server) text(resource string, o map[string]any) string {
	if resource == "secrets" {
		o = map[string]any{"cells": []string{"Opaque"}, "object": map[string]any{"metadata": o["metadata"]}}
	}
	text, _ := json.Marshal(o)
	return string(text)
}

// put writes an object, with its annotations and who made it; a nil meta removes it.
func (s *server) put(resource, name string, meta map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	what := "MODIFIED"
	if s.objects[resource] == nil {
		s.objects[resource] = map[string]map[string]any{}
	}
	if meta == nil {
		what, meta = "DELETED", map[string]any{}
		delete(s.objects[resource], name)
	}
	o := map[string]any{"metadata": meta, "status": map[string]any{"at": s.version}}
	meta["name"], meta["namespace"], meta["uid"], meta["resourceVersion"] = name, "ns", "uid-"+name, fmt.Sprint(s.version)
	if what != "DELETED" {
		s.objects[resource][name] = o
	}
	text := s.text(resource, o)
	if resource == "secrets" {
		text = fmt.Sprintf(`{"columnDefinitions":[{"name":"Type"}],"rows":[%s]}`, text)
	}
	for _, events := range s.streams[resource] {
		events <- fmt.Sprintf(`{"type":%q,"object":%s}`, what, text)
	}
}

// forget ends all watches, and the next one is told that its version is too old.
func (s *server) forget(resource string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
	for _, events := range s.streams[resource] {
		close(events)
	}
	s.streams[resource] = nil
}

func bad(value string) map[string]any {
	return map[string]any{"annotations": map[string]any{"bad": value}}
}

// bed is a scan of a server.
type bed struct {
	t      *testing.T
	server *server
	rule   *rule
	scan   *scan.Scan

	mu    sync.Mutex
	now   time.Time
	guard scan.Guard
	told  []string
	under []string // the apiVersion of each that was told
	fails int      // so often Keep fails
}

func start(t *testing.T, s *server, guard scan.Guard, known ...scan.Known) *bed {
	t.Helper()
	b := &bed{t: t, server: s, rule: &rule{}, now: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC), guard: guard}
	c, err := cluster.Of(&rest.Config{Host: s.URL}, cluster.Config{})
	if err != nil {
		t.Fatal(err)
	}
	b.scan, err = scan.New(scan.Config{Cluster: c, Workloads: []control.Kind{{Kind: "Pod", Resource: "pods"}, {APIGroup: "apps", Kind: "ReplicaSet", Resource: "replicasets"}},
		Others: []control.Kind{{Kind: "ConfigMap", Resource: "configmaps"}, {Kind: "Secret", Resource: "secrets"}, {APIGroup: "x.example", Kind: "Later", Resource: "laters"}},
		Engine: policy.New(b.rule), Guard: b.guards, Exempt: func(string) bool { return false }, Known: known, Keep: b.keep, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Now: func() time.Time { b.mu.Lock(); defer b.mu.Unlock(); return b.now }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- b.scan.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return b
}

func (b *bed) guards(_ context.Context, namespace string, now time.Time) (scan.Guard, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.guard
	if !g.Next.After(now) {
		g.Next = time.Time{}
	}
	return g, nil
}

func (b *bed) keep(_ context.Context, changes []record.ScanChange, _ time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fails > 0 {
		b.fails--
		return errors.New("not now")
	}
	for _, c := range changes {
		b.under = append(b.under, c.Subject.APIVersion)
		b.told = append(b.told, strings.TrimSpace(fmt.Sprint(c.What, " ", c.Subject.Kind, "/", c.Subject.Name, " ", c.Value, " ", c.Action, " ", c.Why)))
	}
	return nil
}

// turn changes the Guard, and the clock.
func (b *bed) turn(by time.Duration, change func(*scan.Guard)) {
	b.mu.Lock()
	b.now = b.now.Add(by)
	change(&b.guard)
	b.mu.Unlock()
	b.scan.GuardChanged("ns")
}

// settle waits until nothing waits, and is what was told since.
func (b *bed) wants(want ...string) {
	b.t.Helper()
	var got []string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		b.mu.Lock()
		got = slices.Clone(b.told)
		b.mu.Unlock()
		if slices.Sort(got); len(got) >= len(want) && b.scan.State().Waiting == 0 {
			break
		}
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		b.t.Errorf("told %q; want %q", got, want)
	}
	b.mu.Lock()
	b.told = nil
	b.mu.Unlock()
}

func guarded(t *testing.T, version string, action v1alpha1.Action) scan.Guard {
	t.Helper()
	g, err := policy.NewGuard(v1alpha1.GuardSpec{Actions: map[string]v1alpha1.Action{"RF-ZZ-01": action}})
	if err != nil {
		t.Fatal(err)
	}
	return scan.Guard{Policy: g, Version: version}
}

// TestLife takes findings through a life: each change is told once, in the order in which it comes, and nothing else is.
func TestLife(t *testing.T) {
	s := serve(t)
	s.put("configmaps", "old", bad("1"))
	s.put("secrets", "s", bad("s"))
	s.put("replicasets", "rs", bad("r"))
	s.put("pods", "rs-1", map[string]any{"annotations": map[string]any{"bad": "r"}, "ownerReferences": []any{map[string]any{"controller": true, "apiVersion": "apps/v1", "kind": "ReplicaSet", "uid": "uid-rs"}}})
	b := start(t, s, guarded(t, "1", "Deny"))
	b.mu.Lock()
	b.fails = 1
	b.mu.Unlock()
	b.wants("opened ConfigMap/old 1 Deny", "opened ReplicaSet/rs r Deny", "opened Secret/s s Deny")
	asked := b.rule.count()
	s.put("configmaps", "old", bad("1")) // a heartbeat: version and status alone
	s.put("configmaps", "new", nil)
	s.put("configmaps", "new", map[string]any{"labels": map[string]any{"a": "b"}})
	b.wants()
	time.Sleep(300 * time.Millisecond) // time in which too much could be told
	b.wants()
	if got := b.rule.count() - asked; got != 1 {
		t.Errorf("the rule was asked %d times for what changed nothing and one new object; want once", got)
	}
	s.put("configmaps", "old", bad("2"))
	b.wants("stays ConfigMap/old 2 Deny")
	s.put("configmaps", "old", map[string]any{})
	b.wants("closed ConfigMap/old 2 Deny fixed")
	s.put("secrets", "s", nil)
	b.wants("closed Secret/s s Deny deleted")
	s.forget("configmaps")
	s.put("configmaps", "new", bad("n"))
	b.wants("opened ConfigMap/new n Deny")
	s.put("replicasets", "rs", nil) // what it made is judged in its place
	for b.scan.State().Waiting == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	b.mu.Lock()
	b.now = b.now.Add(time.Minute)
	b.mu.Unlock()
	b.wants("closed ReplicaSet/rs r Deny deleted", "opened Pod/rs-1 r Deny")
}

// TestEarly: what waits for the one that it says made it is not judged, and so not everything is.
func TestEarly(t *testing.T) {
	s := serve(t)
	s.put("pods", "rs-1", map[string]any{"annotations": map[string]any{"bad": "r"}, "ownerReferences": []any{map[string]any{"controller": true, "apiVersion": "apps/v1", "kind": "ReplicaSet", "uid": "nobody's"}}})
	b := start(t, s, guarded(t, "1", "Deny"))
	time.Sleep(500 * time.Millisecond) // in which it could be called judged
	if state := b.scan.State(); state.Waiting != 1 || !state.Whole.IsZero() {
		t.Errorf("while its maker may come: %+v", state)
	}
	b.mu.Lock()
	b.now = b.now.Add(time.Minute)
	b.mu.Unlock()
	b.wants("opened Pod/rs-1 r Deny")
	if state := b.scan.State(); state.Whole.IsZero() {
		t.Errorf("after it was judged: %+v", state)
	}
}

// TestRules: another Guard judges its namespace anew and tells only what differs; without one nothing is known.
func TestRules(t *testing.T) {
	s := serve(t)
	s.put("configmaps", "a", bad("1"))
	b := start(t, s, scan.Guard{Version: "none"})
	for b.scan.State().Unjudged == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	if state := b.scan.State(); !slices.Equal(state.Unguarded, []string{"ns"}) || len(b.scan.Standing()) > 0 {
		t.Errorf("without a Guard: %+v", state)
	}
	b.wants()
	b.turn(0, func(g *scan.Guard) { *g = guarded(t, "1", "Deny") })
	b.wants("opened ConfigMap/a 1 Deny")
	b.turn(0, func(g *scan.Guard) { *g = guarded(t, "2", "Warn") })
	b.wants("stays ConfigMap/a 1 Warn")
	b.turn(0, func(g *scan.Guard) { *g = scan.Guard{Version: "gone"} }) // the Guard is gone: what stood goes on
	for deadline := time.Now().Add(10 * time.Second); b.scan.State().Unjudged == 0 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
	}
	b.wants()
	if len(b.scan.Standing()) != 1 || b.scan.State().Unjudged != 1 {
		t.Errorf("without a Guard any more: %v stand, %+v", b.scan.Standing(), b.scan.State())
	}
	b.turn(0, func(g *scan.Guard) { *g = scan.Guard{Version: "exempt", Exempt: true} })
	b.wants("closed ConfigMap/a 1 Warn rules")
	waived := func(until time.Time) func(g *scan.Guard) {
		return func(g *scan.Guard) {
			p, err := policy.NewGuard(v1alpha1.GuardSpec{Waivers: map[string]v1alpha1.SubjectWaivers{"ConfigMap/a": {"RF-ZZ-01": {Name: "w", Expires: until.Format(time.RFC3339)}}}})
			if err != nil {
				t.Error(err)
			}
			*g = scan.Guard{Policy: p, Version: "w" + until.String(), Next: until}
		}
	}
	end := b.now.Add(time.Hour)
	b.turn(0, waived(end))
	b.wants("waived ConfigMap/a 1 Deny")
	b.turn(time.Hour-time.Nanosecond, func(*scan.Guard) {})
	time.Sleep(300 * time.Millisecond) // time in which it could open too early
	b.wants()
	b.turn(time.Nanosecond, func(*scan.Guard) {}) // to the second, and nobody wrote the Guard
	b.wants("opened ConfigMap/a 1 Deny")
	b.turn(-time.Minute, func(*scan.Guard) {}) // the clock was set back: it lives again
	b.wants("waived ConfigMap/a 1 Deny")
}

// TestRestart: what stood is neither told again nor lost; what went meanwhile closes.
func TestRestart(t *testing.T) {
	s := serve(t)
	s.put("configmaps", "a", bad("1"))
	s.put("configmaps", "fixed", map[string]any{})
	at := func(kind, name, value string) scan.Known {
		return scan.Known{Subject: finding.Subject{APIVersion: "v1", Kind: kind, Namespace: "ns", Name: name}, Control: "RF-ZZ-01", Outcome: finding.Fail, Action: finding.Deny, Value: value,
			Path: "/metadata/annotations/bad", Since: time.Unix(1, 0)}
	}
	b := start(t, s, guarded(t, "1", "Deny"), at("ConfigMap", "a", "1"), at("ConfigMap", "gone", "1"), at("ConfigMap", "fixed", "1"), at("Unheard", "x", "1"),
		scan.Known{Subject: finding.Subject{APIVersion: "x.example/v1", Kind: "Later", Namespace: "ns", Name: "l"}, Control: "RF-ZZ-01"})
	b.wants("closed ConfigMap/gone 1 Deny deleted", "closed ConfigMap/fixed 1 Deny start", "closed Unheard/x 1 Deny rules", "closed Later/l   deleted")
	if all := b.scan.Standing(); len(all) != 1 || all[0].Since.Unix() != 1 {
		t.Errorf("%v stand; want a, since it stood", all)
	}
}

// TestUnasked: kinds of a part of the API that cannot be asked about are unread, and no clean ones, until it can be.
func TestUnasked(t *testing.T) {
	s := serve(t)
	s.broken = true
	s.put("replicasets", "rs", bad("1"))
	b := start(t, s, guarded(t, "1", "Deny"))
	for deadline := time.Now().Add(10 * time.Second); b.scan.State().Whole.IsZero() && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
	}
	if state := b.scan.State(); !slices.Equal(state.Unread, []string{"replicasets.apps"}) {
		t.Errorf("unread are %q; want what nobody could ask about", state.Unread)
	}
	s.mu.Lock()
	s.broken = false
	s.mu.Unlock()
	b.wants("opened ReplicaSet/rs 1 Deny")
	if state := b.scan.State(); len(state.Unread) > 0 {
		t.Errorf("unread are %q afterwards", state.Unread)
	}
}

// TestAnotherVersion: what stood of an object closes under the version that it was told of with, also where the cluster serves another since:
// those who keep findings know it by that.
func TestAnotherVersion(t *testing.T) {
	s := serve(t)
	s.put("replicasets", "rs", bad("1"))
	b := start(t, s, guarded(t, "1", "Deny"), scan.Known{Subject: finding.Subject{APIVersion: "apps/v1beta2", Kind: "ReplicaSet", Namespace: "ns", Name: "rs"}, Control: "RF-ZZ-01",
		Outcome: finding.Fail, Action: finding.Deny, Value: "1", Path: "/metadata/annotations/bad", Since: time.Unix(1, 0)})
	for deadline := time.Now().Add(10 * time.Second); b.scan.State().Whole.IsZero() && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
	}
	b.wants()
	s.watched(t, "replicasets")
	if all := b.scan.Standing(); len(all) != 1 || all[0].Since.Unix() != 1 || all[0].Subject.APIVersion != "apps/v1beta2" {
		t.Errorf("%+v stand; want it as it was told", all)
	}
	s.put("replicasets", "rs", map[string]any{})
	b.wants("closed ReplicaSet/rs 1 Deny fixed")
	s.put("replicasets", "rs", bad("2"))
	b.wants("opened ReplicaSet/rs 2 Deny")
	if want := []string{"apps/v1beta2", "apps/v1"}; !slices.Equal(b.under, want) {
		t.Errorf("told of it as %q; want %q", b.under, want)
	}
}
