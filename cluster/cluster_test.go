package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/cluster"
	"ringfence.dev/ringfence/control"
)

const token = "token-that-nobody-may-see"

// connect is a Cluster that asks a server, and what it noted.
func connect(t *testing.T, server string, timeout time.Duration) (*cluster.Cluster, *[]string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: one, contexts: [{name: one, context: {cluster: one, user: one}}],
clusters: [{name: one, cluster: {server: %q}}], users: [{name: one, user: {token: %s}}]}`, server, token)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var notes []string
	c, err := cluster.Connect(cluster.Config{Kubeconfig: file, Timeout: timeout, Note: func(text string) { notes = append(notes, text) }})
	if err != nil {
		t.Fatal(err)
	}
	return c, &notes
}

var pods = cluster.Resource{Kind: control.Kind{Kind: "Pod", Resource: "pods"}, Version: "v1", Namespaced: true}

// list lists a resource and gives the names that came, and the error at the end.
func list(ctx context.Context, c *cluster.Cluster, r cluster.Resource) (names []string, err error) {
	for value, fault := range c.List(ctx, r, "") {
		if fault != nil {
			return names, fault
		}
		names = append(names, value["metadata"].(map[string]any)["name"].(string))
	}
	return names, nil
}

// page is a list of pods, and where it goes on.
func page(next string, names ...string) string {
	var items []string
	for _, name := range names {
		items = append(items, fmt.Sprintf(`{"metadata":{"name":%q,"namespace":"a"}}`, name))
	}
	return fmt.Sprintf(`{"kind":"PodList","apiVersion":"v1","metadata":{"continue":%q},"items":[%s]}`, next, strings.Join(items, ","))
}

const gone = `{"kind":"Status","apiVersion":"v1","metadata":{"continue":%q},"status":"Failure","message":"The provided continue parameter is too old","reason":"Expired","code":410}`

// TestPages shows what comes of each way in which a server may answer. answer gives the body for a continue token, and a
// status code where it is not 200.
func TestPages(t *testing.T) {
	broken := 0
	tests := map[string]struct {
		answer func(token string) (int, string)
		want   string // names, and what the error holds
		fails  string
		notes  int
	}{
		"one page":         {answer: func(string) (int, string) { return 200, page("", "x", "y") }, want: "x y"},
		"an empty list":    {answer: func(string) (int, string) { return 200, page("") }},
		"items are null":   {answer: func(string) (int, string) { return 200, `{"metadata":{},"items":null}` }},
		"items come first": {answer: func(string) (int, string) { return 200, `{"items":[{"metadata":{"name":"x"}}],"metadata":{}}` }, want: "x"},
		"two pages": {answer: func(token string) (int, string) {
			return 200, map[string]string{"": page("2", "x"), "2": page("", "y")}[token]
		}, want: "x y"},
		"an object that comes twice": {answer: func(token string) (int, string) {
			return 200, map[string]string{"": page("2", "x"), "2": page("", "x", "y")}[token]
		}, want: "x y"},
		"expired, with a place to go on": {answer: func(token string) (int, string) {
			if token == "2" {
				return 410, fmt.Sprintf(gone, "2-now")
			}
			return 200, map[string]string{"": page("2", "x"), "2-now": page("", "y")}[token]
		}, want: "x y", notes: 1},
		"expired, begun again": {answer: func() func(string) (int, string) {
			asked := 0
			return func(token string) (int, string) {
				if asked++; token == "2" && asked == 2 {
					return 410, fmt.Sprintf(gone, "")
				}
				return 200, map[string]string{"": page("2", "x"), "2": page("", "y")}[token]
			}
		}(), want: "x y", notes: 1},
		"expired again and again": {answer: func(token string) (int, string) {
			if token == "2" {
				return 410, fmt.Sprintf(gone, "")
			}
			return 200, page("2", "x")
		}, want: "x", fails: "the rest was not read", notes: 3},
		"broken off once": {answer: func(token string) (int, string) {
			if broken++; broken == 1 {
				return 200, page("", "x", "y")[:80]
			}
			return 200, page("", "x", "y")
		}, want: "x y"},
		"broken off": {answer: func(string) (int, string) { return 200, page("", "x", "y")[:130] }, want: "x", fails: "broke off"},
		"pages without end": {answer: func(token string) (int, string) {
			return 200, page(token + "1")
		}, fails: "nothing new"},
		"the same page for ever": {answer: func(string) (int, string) { return 200, page("2", "x") }, want: "x", fails: "nothing new"},
		"forbidden": {answer: func(string) (int, string) {
			return 403, `{"kind":"Status","message":"pods is forbidden: User \"x\" cannot list resource \"pods\"","code":403}`
		}, fails: `list pods: the API server answers 403 Forbidden: pods is forbidden: User "x" cannot list resource "pods"; not judged: grant the verb list`},
		"not logged in": {answer: func(string) (int, string) { return 401, `{"message":"Unauthorized"}` }, fails: "log in anew"},
		"no JSON":       {answer: func(string) (int, string) { return 200, "<html>" }, fails: "not JSON"},
		"no list":       {answer: func(string) (int, string) { return 200, `["x"]` }, fails: "no list"},
		"no object":     {answer: func(string) (int, string) { return 200, `{"items":["x"]}` }, fails: "no list"},
		"elsewhere":     {answer: func(string) (int, string) { return 302, "" }, fails: "302"},
		"a text of many lines": {answer: func(string) (int, string) {
			return 500, `{"message":"one\ntwo\u001b[31m ` + strings.Repeat("x", 5000) + `"}`
		}, fails: "one\ufffdtwo\ufffd[31m xxx"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodGet || r.URL.Path != "/api/v1/pods" || r.URL.Query().Get("limit") != "500" {
					t.Errorf("asked for %s %s", r.Method, r.URL)
				}
				code, text := tt.answer(r.URL.Query().Get("continue"))
				w.WriteHeader(code)
				fmt.Fprint(w, text)
			}))
			defer server.Close()
			c, notes := connect(t, server.URL, 5*time.Second)
			names, err := list(t.Context(), c, pods)
			if got := strings.Join(names, " "); got != tt.want {
				t.Errorf("listed %q, want %q", got, tt.want)
			}
			if tt.fails == "" && err != nil || tt.fails != "" && (err == nil || !strings.Contains(err.Error(), tt.fails)) {
				t.Errorf("error %v, want one with %q", err, tt.fails)
			}
			if err != nil && (len(err.Error()) > 1000 || strings.Contains(err.Error(), token)) {
				t.Errorf("the error is long or holds the token: %s", err)
			}
			if len(*notes) != tt.notes {
				t.Errorf("%d notes, want %d: %q", len(*notes), tt.notes, *notes)
			}
		})
	}
}

// TestDeadline shows that a server that does not answer, or never ends an answer, is not waited for.
func TestDeadline(t *testing.T) {
	end := make(chan struct{})
	tests := map[string]http.HandlerFunc{
		"no answer": func(http.ResponseWriter, *http.Request) { <-end },
		"an answer without end": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, page("", "x")[:110])
			w.(http.Flusher).Flush()
			<-end
		},
		"an answer that comes slowly": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"items":[`)
			for r.Context().Err() == nil {
				if _, err := fmt.Fprint(w, " "); err != nil {
					return
				}
				w.(http.Flusher).Flush()
				time.Sleep(10 * time.Millisecond)
			}
		},
		"busy for ever": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(http.StatusTooManyRequests)
		},
	}
	t.Cleanup(func() { close(end) })
	for name, handler := range tests {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(handler)
			t.Cleanup(server.CloseClientConnections)
			c, _ := connect(t, server.URL, 300*time.Millisecond)
			start := time.Now()
			_, err := list(t.Context(), c, pods)
			if !errors.Is(err, cluster.ErrUnreachable) || !strings.Contains(err.Error(), "within 300ms") {
				t.Errorf("error %v, want one of the deadline", err)
			}
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// TestLarge shows that an object without end takes no memory without end.
func TestLarge(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, strings.TrimSuffix(page("", "x"), "]}"), `,{"metadata":{"name":"`)
		for range 1 << 10 {
			if _, err := io.WriteString(w, strings.Repeat("x", 1<<20)); err != nil {
				return
			}
		}
	}))
	defer server.Close()
	c, _ := connect(t, server.URL, 30*time.Second)
	names, err := list(t.Context(), c, pods)
	if len(names) != 1 || err == nil || !strings.Contains(err.Error(), "larger than 16 MiB") {
		t.Errorf("listed %d with the error %v, want 1 and that the second is too large", len(names), err)
	}
	var memory runtime.MemStats
	if runtime.ReadMemStats(&memory); memory.Sys > 300<<20 {
		t.Errorf("%d MiB were taken", memory.Sys>>20)
	}
}

// TestSecrets shows that what is in a Secret is not asked for, and not taken from a server that sends it all the same.
func TestSecrets(t *testing.T) {
	secrets := cluster.Resource{Kind: control.Kind{Kind: "Secret", Resource: "secrets"}, Version: "v1", Namespaced: true}
	body := `{"kind":"Table","columnDefinitions":[{"name":"Name"},{"name":"Type"}],"metadata":{},"rows":[{"cells":["x","Opaque"],
		"object":{"kind":"PartialObjectMetadata","metadata":{"name":"x","annotations":{"kubectl.kubernetes.io/last-applied-configuration":"hunter2"}}}}]}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Accept"); !strings.Contains(got, "as=Table") || strings.Contains(got, ",") {
			t.Errorf("asked for %s, want nothing but tables", got)
		}
		fmt.Fprint(w, body)
	}))
	defer server.Close()
	c, _ := connect(t, server.URL, 30*time.Second)
	for value, err := range c.List(t.Context(), secrets, "") {
		if got, want := fmt.Sprint(value, err), "map[apiVersion:v1 kind:Secret metadata:map[name:x] type:Opaque] <nil>"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	body = `{"kind":"SecretList","items":[{"metadata":{"name":"x"},"data":{"p":"aHVudGVyMg=="}}]}`
	if names, err := list(t.Context(), c, secrets); len(names) > 0 || err == nil {
		t.Errorf("listed %q with the error %v, want an error", names, err)
	}
}

// TestTrim shows what is left of an object.
func TestTrim(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"items":[{"metadata":{"name":"x","uid":"u","managedFields":[{}],"annotations":{"a":"b","kubectl.kubernetes.io/last-applied-configuration":"{}"}},
			"spec":{"n":7},"status":{"phase":"Running","conditions":[]}}]}`)
	}))
	defer server.Close()
	c, _ := connect(t, server.URL, 30*time.Second)
	deployments := cluster.Resource{Kind: control.Kind{APIGroup: "apps", Kind: "Deployment", Resource: "deployments"}, Version: "v1"}
	for r, want := range map[*cluster.Resource]string{
		&pods:        "map[apiVersion:v1 kind:Pod metadata:map[annotations:map[a:b] name:x uid:u] spec:map[n:7] status:map[conditions:[] phase:Running]]",
		&deployments: "map[apiVersion:apps/v1 kind:Deployment metadata:map[annotations:map[a:b] name:x uid:u] spec:map[n:7]]",
	} {
		for value, err := range c.List(t.Context(), *r, "") {
			if got := fmt.Sprint(value); err != nil || got != want {
				t.Errorf("%s: %s, %v; want %s", r, got, err, want)
			}
		}
	}
}

// TestResources shows which version of a kind is listed, and what comes of a group that cannot be asked.
func TestResources(t *testing.T) {
	served := map[string]string{
		"/apis": `{"groups":[{"name":"a.io","versions":[{"version":"v2"},{"version":"v1"}],"preferredVersion":{"version":"v2"}},
			{"name":"b.io","versions":[{"version":"v1"}],"preferredVersion":{"version":"v1"}}]}`,
		"/apis/a.io/v2": `{"resources":[{"name":"ones","kind":"One","verbs":["list"],"namespaced":true},{"name":"ones/status","kind":"One","verbs":["list"]}]}`,
		"/apis/a.io/v1": `{"resources":[{"name":"ones","kind":"One","verbs":["list"],"namespaced":true},{"name":"olds","kind":"Old","verbs":["list"]},{"name":"secretives","kind":"Secretive","verbs":["create"]}]}`,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if served[r.URL.Path] == "" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		fmt.Fprint(w, served[r.URL.Path])
	}))
	defer server.Close()
	c, _ := connect(t, server.URL, 30*time.Second)
	kind := func(group, name, version string) control.Kind {
		return control.Kind{APIGroup: group, Kind: name, Version: version}
	}
	got, faults, err := c.Resources(t.Context(), []control.Kind{
		kind("a.io", "One", "*"), kind("a.io", "One", ""), kind("a.io", "Old", "*"), kind("a.io", "Old", "v2"), kind("a.io", "Secretive", "*"), kind("c.io", "Unknown", "*"),
		kind("b.io", "Broken", "*"), kind("b.io", "Broken", ""),
	})
	var names []string
	for _, r := range got {
		names = append(names, r.String()+"@"+r.APIVersion())
	}
	if want := "ones.a.io@a.io/v2 ones.a.io@a.io/v1 olds.a.io@a.io/v1"; err != nil || strings.Join(names, " ") != want {
		t.Errorf("resources %q, %v; want %s", names, err, want)
	}
	if len(faults) != 1 || !strings.Contains(faults[0].Error(), "ask what /apis/b.io/v1 serves: ") {
		t.Errorf("faults %q, want one of b.io", faults)
	}
}

// TestConnect shows what is said where a kubeconfig or a server is of no use, and that no secret is.
func TestConnect(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	c, _ := connect(t, strings.Replace(closed.URL, "http://", "http://user:"+token+"@", 1), time.Second)
	_, _, err := c.Resources(t.Context(), nil)
	if !errors.Is(err, cluster.ErrUnreachable) || !strings.Contains(err.Error(), closed.URL+" (context one): connection refused; check --context") || strings.Contains(err.Error(), token) {
		t.Errorf("nobody listens: %v", err)
	}
	tls := httptest.NewTLSServer(nil)
	defer tls.Close()
	c, _ = connect(t, tls.URL, time.Second)
	if _, _, err = c.Resources(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "certificate-authority") {
		t.Errorf("a server that nobody vouches for: %v", err)
	}
	for text, want := range map[string]string{
		"":     "no kubeconfig",
		"{":    "check it with: kubectl config view",
		"a: b": "no kubeconfig",
		"{apiVersion: v1, kind: Config, current-context: x}":                                                                                 "context was not found",
		"{apiVersion: v1, kind: Config, users: [{name: x, user: {client-certificate-data: " + token + "}}], current-context: x}":             "check it with",
		"{apiVersion: v1, kind: Config, users: [{name: x, user: {client-certificate-data: [" + token + "]}}], contexts: {a: " + token + "}}": "check it with",
	} {
		file := filepath.Join(t.TempDir(), "kubeconfig")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := cluster.Connect(cluster.Config{Kubeconfig: file})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), token) {
			t.Errorf("kubeconfig %q: %v, want an error with %q and without the token", text, err, want)
		}
	}
}

// TestOwners shows what is taken for a replica, and which forgeries are not.
func TestOwners(t *testing.T) {
	object := func(apiVersion, kind, uid, owner string, controls any) map[string]any {
		meta := map[string]any{"uid": uid}
		if of := strings.Split(owner, " "); owner != "" {
			meta["ownerReferences"] = []any{map[string]any{"apiVersion": of[0], "kind": of[1], "uid": of[2], "controller": controls}}
		}
		return map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": meta, "spec": map[string]any{}}
	}
	var owners cluster.Owners
	debugged := object("v1", "Pod", "5", "apps/v1 ReplicaSet 2", true)
	debugged["spec"] = map[string]any{"ephemeralContainers": []any{map[string]any{}}}
	for i, tt := range []struct {
		value map[string]any
		want  bool
	}{
		{object("apps/v1", "Deployment", "1", "", nil), false},
		{object("apps/v1", "ReplicaSet", "2", "apps/v1 Deployment 1", true), true},
		{object("v1", "Pod", "3", "apps/v1 ReplicaSet 2", true), true},
		{object("v1", "Pod", "4", "apps/v1 ReplicaSet 2", false), false},
		{debugged, false},
		{object("v1", "Pod", "6", "apps/v1 Deployment 1", true), false},      // which makes no Pods
		{object("v1", "Pod", "7", "apps/v1 ReplicaSet 99", true), false},     // was not seen
		{object("v1", "Pod", "8", "apps/v1 StatefulSet 2", true), false},     // is another kind
		{object("v1", "Pod", "9", "v1 Pod 9", true), false},                  // its own
		{object("v1", "Pod", "10", "argoproj.io/v1 Rollout 1", true), false}, // of another group
		{object("batch/v1", "CronJob", "11", "", nil), false},
		{object("batch/v1", "Job", "12", "batch/v1 CronJob 11", true), true},
		{object("v1", "Pod", "13", "batch/v1 Job 12", true), true},
		// No controller of Kubernetes makes these, and none takes such a reference away.
		{object("apps/v1", "Deployment", "14", "apps/v1 ReplicaSet 2", true), false},
		{object("apps/v1", "StatefulSet", "15", "apps/v1 Deployment 1", true), false},
		{object("apps/v1", "ReplicaSet", "16", "batch/v1 CronJob 11", true), false},
		{object("batch/v1", "Job", "17", "apps/v1 Deployment 1", true), false},
		{object("batch/v1", "CronJob", "18", "batch/v1 Job 12", true), false},
		{object("v1", "Pod", "19", "v1 Pod 3", true), false},
		{map[string]any{"metadata": "x", "spec": 1}, false},
		{nil, false},
	} {
		if got := owners.Made(tt.value); got != tt.want {
			t.Errorf("%d: Made(%v) = %v, want %v", i, tt.value, got, tt.want)
		}
	}
}

// TestByOwner shows that owners are listed before what they own.
func TestByOwner(t *testing.T) {
	var kinds []cluster.Resource
	for _, k := range []control.Kind{{Kind: "Pod"}, {APIGroup: "apps", Kind: "ReplicaSet"}, {APIGroup: "apps", Kind: "Deployment"}, {APIGroup: "batch", Kind: "Job"}, {APIGroup: "argoproj.io", Kind: "Rollout"}} {
		kinds = append(kinds, cluster.Resource{Kind: k})
	}
	var got []string
	for _, r := range cluster.ByOwner(kinds) {
		got = append(got, r.Kind.Kind)
	}
	if want := "Deployment Rollout Job ReplicaSet Pod"; strings.Join(got, " ") != want {
		t.Errorf("order %s, want %s", got, want)
	}
}
