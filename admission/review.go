package admission

import (
	"errors"
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/manifest"
)

// request is what is read of a review's request. Fields that a later server adds are left alone.
type request struct {
	UID         types.UID                   `json:"uid"`
	Kind        metav1.GroupVersionKind     `json:"kind"`
	Resource    metav1.GroupVersionResource `json:"resource"`
	SubResource string                      `json:"subResource"`
	Name        string                      `json:"name"`
	Namespace   string                      `json:"namespace"`
	Operation   admissionv1.Operation       `json:"operation"`
	UserInfo    struct {
		Username string   `json:"username"`
		Groups   []string `json:"groups"`
	} `json:"userInfo"`
	Object    map[string]any `json:"object"`
	OldObject map[string]any `json:"oldObject"`
	DryRun    bool           `json:"dryRun"`
}

// maxName bounds names and uids, which the API server bounds at 253 and less.
const maxName = 512

// decode reads a review. After an error the request is what could be read of it: where it has a uid, the error can be answered
// as a review.
func decode(text []byte) (*request, error) {
	var review struct {
		APIVersion string   `json:"apiVersion"`
		Kind       string   `json:"kind"`
		Request    *request `json:"request"`
	}
	if err := utiljson.Unmarshal(text, &review); err != nil {
		return nil, fmt.Errorf("want one JSON document: %s", finding.Value(err.Error()))
	}
	if review.APIVersion != admissionv1.SchemeGroupVersion.String() || review.Kind != "AdmissionReview" {
		return nil, fmt.Errorf("found apiVersion %q, kind %q; want admission.k8s.io/v1, AdmissionReview", finding.Value(review.APIVersion), finding.Value(review.Kind))
	}
	q := review.Request
	switch {
	case q == nil:
		return nil, errors.New("request: found nothing; want the request to judge")
	case q.UID == "" || len(q.UID) > maxName:
		return nil, fmt.Errorf("request.uid: found %d characters; want 1 to %d", len(q.UID), maxName)
	case q.operation() == "":
		return q, fmt.Errorf("request.operation: found %q; want CREATE, UPDATE, DELETE or CONNECT", finding.Value(string(q.Operation)))
	case q.Kind.Kind == "" || q.Kind.Version == "" || q.Resource.Resource == "":
		return q, errors.New("request.kind, request.resource: want a version, a kind and a resource")
	case len(q.Namespace) > maxName || len(q.Name) > maxName:
		return q, fmt.Errorf("request.namespace, request.name: want at most %d characters", maxName)
	}
	return q, q.complete()
}

// complete refuses a request without the objects that its operation has, and one whose objects are of another kind than it says.
func (q *request) complete() error {
	needs := map[admissionv1.Operation][2]bool{ // the object and the old one
		admissionv1.Create: {true, false}, admissionv1.Update: {true, true}, admissionv1.Delete: {false, true}, admissionv1.Connect: {true, false},
	}[q.Operation]
	for i, o := range []map[string]any{q.Object, q.OldObject} {
		field := [...]string{"request.object", "request.oldObject"}[i]
		if o == nil && needs[i] {
			return fmt.Errorf("%s: found nothing; want the object of a %s", field, q.Operation)
		}
		if o == nil {
			continue
		}
		if s := manifest.NewObject(o).Subject(); s.APIVersion != q.apiVersion() || s.Kind != q.Kind.Kind {
			return fmt.Errorf("%s: found %q, %q; want %q, %q, as request.kind says", field, finding.Value(s.APIVersion), finding.Value(s.Kind), finding.Value(q.apiVersion()), finding.Value(q.Kind.Kind))
		}
	}
	return nil
}

// operation is the request's, "" where it is none that there is.
func (q *request) operation() string {
	if slices.Contains([]admissionv1.Operation{admissionv1.Create, admissionv1.Update, admissionv1.Delete, admissionv1.Connect}, q.Operation) {
		return string(q.Operation)
	}
	return ""
}

func (q *request) apiVersion() string {
	return metav1.GroupVersion{Group: q.Kind.Group, Version: q.Kind.Version}.String()
}

// subject names what the request is about. The name of what is created from a generateName is that.
func (q *request) subject() finding.Subject {
	s := finding.Subject{APIVersion: q.apiVersion(), Kind: q.Kind.Kind, Namespace: q.Namespace, Name: q.Name}
	if s.Name == "" && q.Object != nil {
		s.Name = manifest.NewObject(q.Object).Subject().Name
	}
	return s
}
