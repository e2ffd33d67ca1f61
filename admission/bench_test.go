package admission_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"ringfence.dev/ringfence/admission"
	"ringfence.dev/ringfence/internal/casefile"
	"ringfence.dev/ringfence/policy"
)

// ready is one Guard, made ready once, as Cached has it.
type ready struct{ guard *policy.Guard }

func (r ready) Guard(context.Context, string) (*policy.Guard, error) { return r.guard, nil }

// BenchmarkReview is one good Pod judged with the whole catalogue, and beside it what any webhook does: reading the review.
func BenchmarkReview(b *testing.B) {
	_, engine := everything()
	guard, err := policy.NewGuard(casefile.Guard())
	if err != nil {
		b.Fatal(err)
	}
	cases, err := casefile.Read(os.DirFS("../controls"), "pod/no-privileged")
	if err != nil {
		b.Fatal(err)
	}
	var body []byte
	for _, c := range cases {
		if len(c.Want) == 0 && !c.Update() && c.Object.Kind() == "Pod" {
			body = caseReview(engine, c)
		}
	}
	if body == nil {
		b.Fatal("there is no pass case of a Pod")
	}
	h := handler(b, ready{guard}, 0, nil)
	b.Run("judged", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			in := httptest.NewRequest(http.MethodPost, admission.Path+"?timeout=5s", bytes.NewReader(body))
			in.Header.Set("Content-Type", "application/json")
			out := httptest.NewRecorder()
			h.ServeHTTP(out, in)
			if !bytes.Contains(out.Body.Bytes(), []byte(`"allowed":true`)) {
				b.Fatal(out.Body)
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var review admissionv1.AdmissionReview
			var object map[string]any
			if err := utiljson.Unmarshal(body, &review); err != nil {
				b.Fatal(err)
			}
			if err := utiljson.Unmarshal(review.Request.Object.Raw, &object); err != nil {
				b.Fatal(err)
			}
		}
	})
}
