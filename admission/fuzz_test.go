package admission_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"

	"ringfence.dev/ringfence/admission"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/internal/casefile"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/policy/cel"
)

// FuzzReview: whatever comes, the answer is an HTTP error or a review with the uid that was sent, and a yes was judged.
func FuzzReview(f *testing.F) {
	f.Add(podReview(nil))
	f.Add(podReview(func(r fields) { r["operation"], r["oldObject"] = "UPDATE", bad("a") }))
	f.Add(podReview(func(r fields) { r["operation"] = "DELETE" }))
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"a","operation":"CONNECT","kind":{"version":"v1","kind":"NodeProxyOptions"},"resource":{"resource":"nodes"}}}`))
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":1e999}}`))
	f.Add([]byte("\x00{"))
	one, err := control.Load(controls.FS)
	if err == nil {
		one, err = admission.Select(one, "RF-WL-01", true) // the whole catalogue takes a fuzzer's workers longer than they have
	}
	if err != nil {
		f.Fatal(err)
	}
	sets, err := cel.Compile(one)
	if err != nil {
		f.Fatal(err)
	}
	h, err := admission.New(admission.Config{Engine: policy.New(sets...), Groups: one.Groups(), Guards: guards{spec: casefile.Guard()},
		Metrics: admission.NewMetrics(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		in := httptest.NewRequest(http.MethodPost, admission.Path+"?timeout=3s", bytes.NewReader(body))
		in.Header.Set("Content-Type", "application/json")
		out := httptest.NewRecorder()
		h.ServeHTTP(out, in)
		if bytes.Contains(out.Body.Bytes(), []byte("longer than")) {
			t.Fatalf("not in time: %s", out.Body)
		}
		if out.Code != http.StatusOK {
			return
		}
		var answer, asked admissionv1.AdmissionReview
		if err := json.Unmarshal(out.Body.Bytes(), &answer); err != nil || answer.Response == nil || answer.Response.UID == "" {
			t.Fatalf("answer %s", out.Body)
		}
		if r := answer.Response; !r.Allowed && (r.Result == nil || r.Result.Message == "" || r.Result.Code < 400) {
			t.Errorf("refused without a word: %s", out.Body)
		}
		if err := json.Unmarshal(body, &asked); err == nil && asked.Request != nil && asked.Request.UID != answer.Response.UID {
			t.Errorf("asked as %q, answered as %q", asked.Request.UID, answer.Response.UID)
		}
	})
}
