package cluster

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"ringfence.dev/ringfence/control"
)

// TestWatch shows what comes of each way in which a server may tell of changes.
func TestWatch(t *testing.T) {
	pods := Resource{Kind: control.Kind{Kind: "Pod", Resource: "pods"}, Version: "v1", Namespaced: true}
	secrets := Resource{Kind: control.Kind{Kind: "Secret", Resource: "secrets"}, Version: "v1", Namespaced: true}
	pod := func(what, name, version string) string {
		return fmt.Sprintf(`{"type":%q,"object":{"metadata":{"name":%q,"resourceVersion":%q,"managedFields":[{}]},"status":{"phase":"x"}}}`, what, name, version)
	}
	row := func(columns, name string) string {
		return fmt.Sprintf(`{"type":"ADDED","object":{%s"rows":[{"cells":["n","Opaque"],"object":{"metadata":{"name":%q,"resourceVersion":"7"}}}]}}`, columns, name)
	}
	forgotten := `{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old resource version"}}`
	for name, tt := range map[string]struct {
		of   Resource
		body string
		code int
		want string // events
		err  error
		says string // in the error
	}{
		"changes":             {of: pods, body: pod("ADDED", "a", "1") + pod("MODIFIED", "a", "2") + "\n" + pod("DELETED", "a", "3"), want: "a 1, a 2, -a 3"},
		"a bookmark":          {of: pods, body: `{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}}`, want: " 9"},
		"nothing":             {of: pods},
		"forgotten":           {of: pods, body: pod("ADDED", "a", "1") + forgotten, want: "a 1", err: ErrForgotten},
		"forgotten at once":   {of: pods, code: 410, body: `{"message":"expired"}`, err: ErrForgotten},
		"forbidden":           {of: pods, code: 403, body: `{"message":"no"}`, says: "grant the verb"},
		"an error of its own": {of: pods, body: `{"type":"ERROR","object":{"code":500,"message":"etcd\nis gone"}}`, says: "500"},
		"broken off":          {of: pods, body: pod("ADDED", "a", "1") + `{"type":"ADD`, want: "a 1", err: errBroken},
		"no object":           {of: pods, body: `{"type":"ADDED","object":7}`, err: errShape},
		"another type":        {of: pods, body: `{"type":"MOVED","object":{}}`, err: errShape},
		"a Secret":            {of: secrets, body: row(`"columnDefinitions":[{"name":"Name"},{"name":"Type"}],`, "s") + row("", "s2"), want: "s 7, s2 7"},
		"a Secret's bookmark": {of: secrets, body: `{"type":"BOOKMARK","object":{"rows":[{"object":{"metadata":{"resourceVersion":"8"}}}]}}`, want: " 8"},
		"a Secret with all":   {of: secrets, body: `{"type":"ADDED","object":{"metadata":{"name":"s"},"data":{"p":"aHVudGVyMg=="}}}`, err: errShape},
		"without a column":    {of: secrets, body: row("", "s"), err: errShape},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if q := r.URL.Query(); r.Method != http.MethodGet || q.Get("watch") != "1" || q.Get("resourceVersion") != "5" {
					t.Errorf("asked for %s %s", r.Method, r.URL)
				}
				if tt.code != 0 {
					w.WriteHeader(tt.code)
				}
				fmt.Fprint(w, tt.body)
			}))
			defer server.Close()
			c, err := Of(&rest.Config{Host: server.URL}, Config{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			err = nil
			for e, fault := range c.Watch(t.Context(), tt.of, "5") {
				if err = fault; err != nil {
					break
				}
				name := ""
				if meta, ok := e.Object["metadata"].(map[string]any); ok {
					name, _ = meta["name"].(string)
					if meta["managedFields"] != nil || e.Object["status"] != nil && tt.of.Kind.Kind != "Pod" || e.Object["kind"] != tt.of.Kind.Kind {
						t.Errorf("got %v", e.Object)
					}
				}
				if e.Gone {
					name = "-" + name
				}
				got = append(got, name+" "+e.Version)
			}
			if text := strings.Join(got, ", "); text != tt.want {
				t.Errorf("got %q, want %q", text, tt.want)
			}
			if wrong := tt.err != nil || tt.says != ""; wrong != (err != nil) || tt.err != nil && !errors.Is(err, tt.err) || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want %v with %q", err, tt.err, tt.says)
			}
		})
	}
}

// FuzzWatch: whatever a server sends, reading ends, and what is yielded is an object or a version.
func FuzzWatch(f *testing.F) {
	f.Add(`{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"1"}}}`, false)
	f.Add(`{"type":"ADDED","object":{"columnDefinitions":[{"name":"Type"}],"rows":[{"cells":["x"],"object":{"metadata":{"name":"a"}}}]}}`, true)
	f.Add(`{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"1"}}}{"type":"ERROR","object":{"code":410}}`, false)
	f.Fuzz(func(t *testing.T, text string, hidden bool) {
		of := Resource{Kind: control.Kind{Kind: "Pod", Resource: "pods"}, Version: "v1"}
		if hidden {
			of.Kind = control.Kind{Kind: "Secret", Resource: "secrets"}
		}
		w := &watch{Resource: of, typed: -1, yield: func(e Event, err error) bool {
			if e.Object == nil && e.Gone || err != nil || hidden && e.Object["data"] != nil {
				t.Errorf("yielded %+v, %v", e, err)
			}
			return true
		}}
		_ = w.read(strings.NewReader(text)) // an error is an answer
	})
}

// TestPack: what is unpacked is what was packed, without what changes by itself.
func TestPack(t *testing.T) {
	object := func(version string) map[string]any {
		return map[string]any{"kind": "Pod", "metadata": map[string]any{"name": "a", "resourceVersion": version}, "spec": map[string]any{"n": int64(7)},
			"status": map[string]any{"conditions": []any{map[string]any{"at": version}}}}
	}
	var p Packer
	one, sum, err := p.Pack(object("1"))
	_, again, wrong := p.Pack(object("2"))
	if err != nil || wrong != nil || sum != again {
		t.Errorf("two versions of the same differ: %x, %x, %v, %v", sum, again, err, wrong)
	}
	value, err := Unpack(one)
	if got, want := fmt.Sprint(value), "map[kind:Pod metadata:map[name:a] spec:map[n:7] status:map[conditions:[]]]"; got != want || err != nil {
		t.Errorf("unpacked %s, %v; want %s", got, err, want)
	}
	if spec, ok := value["spec"].(map[string]any); !ok || spec["n"] != int64(7) {
		t.Errorf("a whole number came back as %T", value["spec"])
	}
	if _, err := Unpack([]byte("nothing")); err == nil {
		t.Error("what was not packed is unpacked")
	}
}
