package portal

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// problemBase begins the type of every problem; docs/api.md says what each name means.
const problemBase = "https://ringfence.dev/problems/"

// problem is an error as RFC 9457 has it: its name is its type, its detail says how to fix it.
func problem(status int, name, detail string) *huma.ErrorModel {
	return &huma.ErrorModel{Type: problemBase + name, Title: http.StatusText(status), Status: status, Detail: detail}
}

// answer writes a problem where no route does.
func answer(w http.ResponseWriter, p *huma.ErrorModel) {
	w.Header().Set("Content-Type", "application/problem+json")
	switch p.Status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="ringfence"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "5")
	}
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the caller has gone; there is nobody to tell
}

// named are the types of problems that huma makes, by status.
var named = map[int]string{
	http.StatusBadRequest: "bad-request", http.StatusRequestTimeout: "too-slow", http.StatusRequestEntityTooLarge: "too-large",
	http.StatusUnsupportedMediaType: "bad-request", http.StatusUnprocessableEntity: "bad-request", http.StatusNotAcceptable: "bad-request",
}

// polish gives every problem a type and a way to fix it, and takes values out of it: one may be a secret that stood in the wrong place.
func (p *Portal) polish(_ huma.Context, _ string, v any) (any, error) {
	e, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	if e.Type == "" && e.Status >= http.StatusInternalServerError {
		var all []error
		for _, d := range e.Errors {
			all = append(all, d)
		}
		p.cfg.Log.Error("a request was not answered", "err", errors.Join(all...))
		return problem(http.StatusInternalServerError, "fault", "this is a fault of Ringfence; its log says more"), nil
	}
	if e.Type == "" {
		e.Type = problemBase + named[e.Status]
		if named[e.Status] == "" {
			e.Type = "about:blank"
		}
	}
	var wrong []string
	for _, d := range e.Errors {
		if d != nil {
			d.Value = nil
			wrong = append(wrong, strings.TrimPrefix(d.Location+": ", ": ")+d.Message)
		}
	}
	if len(wrong) > 0 && e.Detail == "validation failed" {
		e.Detail = strings.Join(wrong[:min(len(wrong), 5)], "; ") + "; see " + prefix + "/openapi.json"
	}
	return e, nil
}
