package admission_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"

	"ringfence.dev/ringfence/admission"
	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/mutate"
)

// patch fills in of objects of payments-dev; bare has no Guard, broken cannot be read, slow is not read in time.
func patch(ctx context.Context, w admission.Write) (f admission.Filling, err error) {
	switch w.Namespace {
	case "bare":
		return f, admission.ErrNoGuard
	case "broken":
		return f, errors.New("disk on fire")
	case "panics":
		panic("a rule")
	case "slow":
		<-ctx.Done()
	}
	spec := &v1alpha1.GuardSpec{RequiredLabels: []string{"team"}, Defaults: []v1alpha1.Default{v1alpha1.DefaultServiceAccountToken, v1alpha1.DefaultSeccompProfile}}
	ns := mutate.Namespace{Labels: map[string]string{"team": "a"}}
	f.Patch, err = mutate.Admitted(mutate.Request{Update: w.Update, Object: w.Object, Old: w.Old}, ns, spec).JSONPatch(w.Object)
	return f, err
}

func filler(t testing.TB) *admission.Filler {
	t.Helper()
	f, err := admission.NewFiller(admission.FillConfig{Fill: patch, Metrics: admission.NewFillMetrics(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func fill(f http.Handler, path string, body []byte) *httptest.ResponseRecorder {
	in := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
	in.Header.Set("Content-Type", "application/json")
	out := httptest.NewRecorder()
	f.ServeHTTP(out, in)
	return out
}

// TestFill: whatever comes, no answer refuses: it is a yes, with a patch or without, or an HTTP error, which the registration has
// the API server ignore.
func TestFill(t *testing.T) {
	f := filler(t)
	plain := func(change func(fields)) []byte {
		return podReview(func(r fields) {
			r["object"] = fields{"apiVersion": "v1", "kind": "Pod", "metadata": fields{"name": "a"}, "spec": fields{"containers": []any{fields{"name": "c"}}}}
			if change != nil {
				change(r)
			}
		})
	}
	set := func(key string, value any) []byte { return plain(func(r fields) { r[key] = value }) }
	for name, c := range map[string]struct {
		body  []byte
		code  int
		patch bool
	}{
		"a Pod":                    {plain(nil), 200, true},
		"dry run":                  {set("dryRun", true), 200, true},
		"a subresource":            {set("subResource", "ephemeralcontainers"), 200, false},
		"what lies nowhere":        {set("namespace", ""), 200, false},
		"kube-system":              {set("namespace", "kube-system"), 200, false},
		"ringfence-system":         {set("namespace", "ringfence-system"), 200, false},
		"no Guard":                 {set("namespace", "bare"), 200, false},
		"unreadable facts":         {set("namespace", "broken"), 503, false},
		"slow facts":               {set("namespace", "slow"), 503, false},
		"a panic":                  {set("namespace", "panics"), 503, false},
		"a deletion":               {plain(func(r fields) { r["operation"], r["oldObject"] = "DELETE", r["object"]; delete(r, "object") }), 200, false},
		"a connection":             {plain(func(r fields) { r["operation"] = "CONNECT" }), 200, false},
		"an update of a Pod":       {plain(func(r fields) { r["operation"], r["oldObject"] = "UPDATE", r["object"] }), 200, true}, // its label
		"an update without before": {set("operation", "UPDATE"), 400, false},
		"no operation":             {set("operation", "SING"), 400, false},
		"no object":                {plain(func(r fields) { delete(r, "object") }), 400, false},
		"half a review":            {plain(nil)[:200], 400, false},
		"nothing":                  {nil, 400, false},
		"another version":          {[]byte(strings.Replace(string(plain(nil)), "admission.k8s.io/v1", "admission.k8s.io/v1beta1", 1)), 400, false},
		"8 MiB":                    {append(plain(nil), bytes.Repeat([]byte(" "), 8<<20)...), 413, false},
		"labels of another form":   {set("object", fields{"apiVersion": "v1", "kind": "Pod", "metadata": fields{"labels": []any{1}}, "spec": fields{"containers": "c"}}), 200, false},
	} {
		t.Run(name, func(t *testing.T) {
			out := fill(f, admission.FillPath+"?timeout=500ms", c.body)
			if out.Code != c.code {
				t.Fatalf("%d %s, want %d", out.Code, out.Body, c.code)
			}
			if out.Code != http.StatusOK {
				return
			}
			var a admissionv1.AdmissionReview
			if err := json.Unmarshal(out.Body.Bytes(), &a); err != nil || a.Response == nil || !a.Response.Allowed || a.Response.UID != "0001" {
				t.Fatalf("answer %s", out.Body)
			}
			if got := len(a.Response.Patch) > 0; got != c.patch || got != (a.Response.PatchType != nil) {
				t.Errorf("patch %s, want one: %v", a.Response.Patch, c.patch)
			}
		})
	}
}

// TestFillWarns: a subresource is asked about where that is said, and what is told reaches whoever asks, with a patch or without.
func TestFillWarns(t *testing.T) {
	f, err := admission.NewFiller(admission.FillConfig{Subresources: []string{"ephemeralcontainers"}, Metrics: admission.NewFillMetrics(), Log: slog.New(slog.DiscardHandler),
		Fill: func(context.Context, admission.Write) (admission.Filling, error) {
			return admission.Filling{Warnings: []string{"the tag stays"}}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	for subresource, want := range map[string]int{"": 1, "ephemeralcontainers": 1, "status": 0} {
		out := fill(f, admission.TagsPath, podReview(func(r fields) { r["subResource"] = subresource }))
		var a admissionv1.AdmissionReview
		if err := json.Unmarshal(out.Body.Bytes(), &a); err != nil || !a.Response.Allowed || len(a.Response.Warnings) != want || a.Response.PatchType != nil {
			t.Errorf("%q: %s", subresource, out.Body)
		}
	}
}

// TestFillOverload: more reviews than are answered at once are told so with an HTTP error, at once.
func TestFillOverload(t *testing.T) {
	entered := make(chan struct{})
	f, err := admission.NewFiller(admission.FillConfig{AtOnce: 1, Metrics: admission.NewFillMetrics(), Log: slog.New(slog.DiscardHandler),
		Fill: func(ctx context.Context, _ admission.Write) (f admission.Filling, err error) {
			close(entered)
			<-ctx.Done()
			return f, ctx.Err()
		}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan int, 1)
	go func() { done <- fill(f, admission.FillPath+"?timeout=500ms", podReview(nil)).Code }()
	<-entered
	if out := fill(f, admission.FillPath+"?timeout=500ms", podReview(nil)); out.Code != http.StatusTooManyRequests {
		t.Errorf("%d while another is answered, want 429", out.Code)
	}
	if code := <-done; code != http.StatusServiceUnavailable {
		t.Errorf("what was not decided in time: %d", code)
	}
}

// FuzzFill: whatever comes, nothing is refused, and a patch is one.
func FuzzFill(f *testing.F) {
	f.Add(podReview(nil))
	f.Add(podReview(func(r fields) { r["operation"], r["oldObject"] = "UPDATE", bad("a") }))
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"a","namespace":"b","operation":"CREATE","kind":{"version":"v1","kind":"Pod"},"resource":{"resource":"pods"},"object":{"apiVersion":"v1","kind":"Pod","spec":{"containers":[null,{"securityContext":1}]}}}}`))
	door := filler(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		out := fill(door, admission.FillPath+"?timeout=3s", body)
		if out.Code != http.StatusOK {
			return
		}
		var a admissionv1.AdmissionReview
		if err := json.Unmarshal(out.Body.Bytes(), &a); err != nil || a.Response == nil || !a.Response.Allowed {
			t.Fatalf("answer %s", out.Body)
		}
		var patch []mutate.Operation
		if len(a.Response.Patch) > 0 && json.Unmarshal(a.Response.Patch, &patch) != nil {
			t.Errorf("patch %s", a.Response.Patch)
		}
	})
}
