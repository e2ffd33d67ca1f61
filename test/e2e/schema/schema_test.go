// Package schema holds package schema/builtin to the API server: what it finds wrong with an object of Kubernetes' own kinds,
// the server refuses; what the server says of form, it finds. The objects in testdata are broken in every place, so that
// nothing but the server decides what is required.
package schema

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/schema/builtin"
)

// lab asks both.
type lab struct {
	set    *builtin.Set
	on     builtin.Servers
	http   *http.Client
	host   string
	client client.Client
}

func newLab(t *testing.T) *lab {
	t.Helper()
	cluster, err := clustertest.Start("--nodes", "0", "--no-scheduler")
	if errors.Is(err, clustertest.ErrUnavailable) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	l := &lab{host: cluster.Config.Host}
	if l.set, err = builtin.New(); err != nil {
		t.Fatal(err)
	}
	if l.on, err = l.set.Servers([]string{"1.37"}); err != nil {
		t.Fatal(err)
	}
	if l.http, err = rest.HTTPClientFor(cluster.Config); err != nil {
		t.Fatal(err)
	}
	if l.client, err = kube.NewClient(cluster.Config); err != nil {
		t.Fatal(err)
	}
	return l
}

// create asks the server to create an object strictly, without doing so. refused is "" where it would.
func (l *lab) create(t *testing.T, path string, obj map[string]any) (refused string) {
	t.Helper()
	text, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.host+path+"?dryRun=All&fieldValidation=Strict", bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	answer, err := l.http.Do(req)
	if err != nil && strings.Contains(err.Error(), "INTERNAL_ERROR") {
		return "500 the server's handler ended without an answer" // a job with a success policy and odd completions does that
	}
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode < 300 {
		return ""
	}
	var status struct{ Message string }
	_ = json.Unmarshal(body, &status) // no JSON is no message
	return fmt.Sprintf("%d %s", answer.StatusCode, status.Message)
}

// path is where objects of a kind are created; "" where the server has no such kind.
func (l *lab) path(obj map[string]any) string {
	apiVersion, _ := obj["apiVersion"].(string)
	kind, _ := obj["kind"].(string)
	gvk := schema.FromAPIVersionAndKind(apiVersion, kind)
	mapping, err := l.client.RESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return ""
	}
	path := "/apis/" + apiVersion
	if gvk.Group == "" {
		path = "/api/" + apiVersion
	}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		path += "/namespaces/default"
		if m, ok := obj["metadata"].(map[string]any); ok {
			delete(m, "namespace")
		}
	}
	return path + "/" + mapping.Resource.Resource
}

// faults are those of package builtin.
func (l *lab) faults(obj map[string]any) (lines []string) {
	for _, f := range l.set.Judge(obj, l.on) {
		lines = append(lines, f.Path+" "+f.Message)
	}
	return lines
}

func read(t *testing.T, pattern string) (objects []*manifest.Object) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %v", pattern, err)
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		for o, err := range manifest.Read(f, name) {
			if err != nil {
				t.Fatal(err)
			}
			objects = append(objects, o)
		}
		f.Close()
	}
	return objects
}

// TestObjects breaks objects that the server takes in every place and every way, one at a time, and asks both.
func TestObjects(t *testing.T) {
	l := newLab(t)
	asked, refused, ours := 0, 0, 0
	for _, o := range read(t, "testdata/objects.yaml") {
		path := l.path(o.Value)
		t.Run(strings.ReplaceAll(o.APIVersion(), "/", ".")+"."+o.Kind(), func(t *testing.T) {
			if why := l.create(t, path, o.Value); why != "" || len(l.faults(o.Value)) > 0 {
				t.Fatalf("a good object: server: %s; we: %v", why, l.faults(o.Value))
			}
			for _, one := range mutants(o.Value) {
				asked++
				why, faults := l.create(t, path, one.obj), l.faults(one.obj)
				if why != "" {
					refused++
				}
				if len(faults) > 0 {
					ours++
				}
				// Below items and additionalProperties a definition is decoded by code of its own; package builtin lets it be.
				beyond := strings.Contains(one.what, "/items") || strings.Contains(one.what, "/additionalProperties")
				formal := strings.Contains(why, "strict decoding error") || strings.Contains(why, "cannot be handled as a") || strings.Contains(why, "json: ")
				switch {
				case why == "" && len(faults) > 0:
					t.Errorf("%s: the server takes it; we: %v", one.what, faults)
				case formal && len(faults) == 0 && !beyond:
					t.Errorf("%s: the server: %s; we find nothing", one.what, why)
				}
			}
		})
	}
	t.Logf("asked %d times; the server refused %d, we %d", asked, refused, ours)
}

// mutant is an object with one thing wrong.
type mutant struct {
	what string
	obj  map[string]any
}

// mutants are copies of an object: each with a field taken away, a value of another type, an unknown field or an unknown word.
func mutants(obj map[string]any) (all []mutant) {
	var visit func(v any, steps []string)
	add := func(what string, steps []string, change func(parent any, step string)) {
		copied := runtime.DeepCopyJSON(obj)
		var at any = copied
		for _, s := range steps[:len(steps)-1] {
			switch v := at.(type) {
			case map[string]any:
				at = v[s]
			case []any:
				i, _ := strconv.Atoi(s)
				at = v[i]
			}
		}
		change(at, steps[len(steps)-1])
		all = append(all, mutant{what + " /" + strings.Join(steps, "/"), copied})
	}
	set := func(value any) func(any, string) {
		return func(parent any, step string) {
			switch p := parent.(type) {
			case map[string]any:
				p[step] = value
			case []any:
				i, _ := strconv.Atoi(step)
				p[i] = value
			}
		}
	}
	visit = func(v any, steps []string) {
		if len(steps) > 0 && steps[0] != "apiVersion" && steps[0] != "kind" {
			add("without", steps, func(parent any, step string) {
				if m, ok := parent.(map[string]any); ok {
					delete(m, step)
				} else {
					set(nil)(parent, step)
				}
			})
			for _, other := range []any{"Wrong", int64(77), 1.5, true, []any{"Wrong"}, map[string]any{"wrong": "Wrong"}} {
				add(fmt.Sprintf("%v at", other), steps, set(other))
			}
		}
		switch v := v.(type) {
		case map[string]any:
			add("unknown field at", append(slices.Clone(steps), "unknownField"), set("a"))
			for _, key := range slices.Sorted(maps.Keys(v)) {
				visit(v[key], append(slices.Clone(steps), key))
			}
		case []any:
			for i, item := range v {
				visit(item, append(slices.Clone(steps), strconv.Itoa(i)))
			}
		}
	}
	visit(obj, nil)
	return all
}

// TestCases asks for every case of the catalogue and every object of the sample bank: where the server takes it, so do we.
func TestCases(t *testing.T) {
	l := newLab(t)
	asked, refused := 0, 0
	objects := slices.Concat(read(t, "../../../controls/*/*/tests/*.yaml"), read(t, "../../../samples/*.yaml"), read(t, "../../../samples/refused/*.yaml"))
	for _, o := range objects {
		path := l.path(o.Value)
		if path == "" {
			continue // of a kind that must be installed first
		}
		why, faults := l.create(t, path, o.Value), l.faults(o.Value)
		asked++
		if len(faults) > 0 {
			refused++
		}
		if why == "" && len(faults) > 0 {
			t.Errorf("%s: the server takes it; we: %v", o.Locate("").Source(), faults)
		}
		if strings.Contains(why, "strict decoding error") && len(faults) == 0 {
			t.Errorf("%s: the server: %s; we find nothing", o.Locate("").Source(), why)
		}
		if len(faults) > 0 {
			t.Logf("%s: %s; we: %v", o.Locate("").Source(), why, faults)
		}
	}
	t.Logf("%d of %d objects asked, %d with faults of form", asked, len(objects), refused)
}
