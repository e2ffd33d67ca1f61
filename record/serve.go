package record

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"time"

	"ringfence.dev/ringfence/finding"
)

// Answer is what Handler answers and Fetch returns.
type Answer struct {
	// SchemaVersion is finding.SchemaVersion: the form of check's JSON, with fields added.
	SchemaVersion string `json:"schemaVersion"`
	// Findings are sorted, oldest request first. Never null.
	Findings []finding.Finding `json:"findings"`
	// Observed says how far the source has been seen.
	Observed Source `json:"observed"`
	// Dropped is how many findings were forgotten for lack of room since the start; none where the evidence is asked.
	Dropped uint64 `json:"dropped"`
	// From is what answered: "store" is the evidence, "memory" knows only what was seen since the control plane started.
	From string `json:"from"`
	// Behind is how many records the store does not know yet: those that wait for the ledger, and those it has not read there.
	Behind uint64 `json:"behind"`
	// Next is the After of the page with older findings; "" where there are none.
	Next string `json:"next"`
	// Unknown are times within the question of which something is not known, oldest first, and at most 100. Never null.
	Unknown []Gap `json:"unknown"`
	// Scan is how far the background scan is, where it is asked; absent where none runs: then nothing is known.
	Scan *Scanned `json:"scan,omitempty"`
}

// MaxScanNames is how many namespaces Scanned names at most.
const MaxScanNames = 100

// Scanned is how far the background scan is.
type Scanned struct {
	Started time.Time `json:"started"`
	// Whole is when everything was judged for the first time since; null before: what is not found then may still be there.
	Whole *time.Time `json:"whole"`
	// AsOf is the moment of which the findings are.
	AsOf time.Time `json:"asOf"`
	// Objects are there, Waiting are to be judged.
	Objects int `json:"objects"`
	Waiting int `json:"waiting"`
	// Unguarded are namespaces without Guard, at most MaxScanNames, and Unread resources that cannot be read: nothing is known of them. Never null.
	Unguarded []string `json:"unguarded"`
	Unread    []string `json:"unread"`
}

// The sources of findings: what the audit stream told of requests, what the admission door decided, and what the background scan found
// in the cluster.
const (
	SourceAudit     = "audit"
	SourceAdmission = "admission"
	SourceScan      = "scan"
)

// Gap is time of which something is not known: it is not clean.
type Gap struct {
	Since time.Time `json:"since"`
	// Until is null where it has not ended.
	Until *time.Time `json:"until"`
	What  string     `json:"what"`
}

// Source is the state of the audit stream.
type Source struct {
	// LastEvent is when the newest audit event happened; null before the first. Then "no findings" means "not observed".
	LastEvent *time.Time `json:"lastEvent"`
	// Since is from when on there is evidence of requests, as far as it was not removed; null where that is not known.
	Since *time.Time `json:"since"`
}

// Query is a question to a Handler. The zero value asks for all that is kept.
type Query struct {
	// Since is how far back to look; zero is as far as there is.
	Since time.Duration
	Filter
	// After is the Next of another page; "" is the newest one.
	After string
	// Source is SourceAudit, SourceAdmission or SourceScan; "" is the first two.
	Source string
	// State is open, waived or closed, of SourceScan alone; "" is open. Of what closed, Since counts to its end.
	State string
}

// Ask answers a question about findings from an instant on; the zero time is as far back as there is. Answers are of the newest
// findings first where they have pages, and sorted oldest first within each. Its error wraps ErrInvalid for what cannot be asked.
type Ask func(ctx context.Context, from time.Time, q Query) (Answer, error)

// values is the query as parameters of a URL.
func (q Query) values() url.Values {
	values := url.Values{}
	for key, value := range map[string]string{"namespace": q.Namespace, "control": q.Control, "tenant": q.Tenant, "request": q.Request, "after": q.After,
		"source": q.Source, "state": q.State} {
		if value != "" {
			values.Set(key, value)
		}
	}
	if q.Since != 0 {
		values.Set("since", q.Since.String())
	}
	return values
}

// namespacePattern is a DNS label, as Kubernetes wants of a namespace's name.
var namespacePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// requestPattern is what ids of requests are: API servers give UUIDs, and take others from their callers.
var requestPattern = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)

// parseQuery reads the parameters since, namespace, control, tenant, request, source, state and after, each at most once; an empty one
// is any. Its errors are meant for the user.
func parseQuery(raw string) (Query, error) {
	var q Query
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, fmt.Errorf("query: found %s; want key=value&key=value", finding.Value(raw))
	}
	for key, all := range values {
		if !slices.Contains([]string{"since", "namespace", "control", "tenant", "request", "after", "source", "state"}, key) {
			return q, fmt.Errorf("query: found %s; want since, namespace, control, tenant, request, source, state or after", finding.Value(key))
		}
		if len(all) > 1 {
			return q, fmt.Errorf("%s: found it %d times; want it once", key, len(all))
		}
	}
	if values.Has("since") {
		if q.Since, err = time.ParseDuration(values.Get("since")); err != nil || q.Since <= 0 {
			return q, fmt.Errorf("since: found %q; want a time above zero like 90s, 10m or 24h", finding.Value(values.Get("since")))
		}
	}
	if q.Namespace = values.Get("namespace"); q.Namespace != "" && !namespacePattern.MatchString(q.Namespace) {
		return q, fmt.Errorf("namespace: found %q; want the name of a namespace", finding.Value(q.Namespace))
	}
	if q.Control = values.Get("control"); q.Control != "" && !controlForm.MatchString(q.Control) {
		return q, fmt.Errorf("control: found %q; want an id like RF-WL-01", finding.Value(q.Control))
	}
	if q.Tenant = values.Get("tenant"); q.Tenant != "" && !namespacePattern.MatchString(q.Tenant) {
		return q, fmt.Errorf("tenant: found %q; want the name of a tenant", finding.Value(q.Tenant))
	}
	if q.Request = values.Get("request"); q.Request != "" && !requestPattern.MatchString(q.Request) {
		return q, fmt.Errorf("request: found %q; want the id of a request: at the end of a refusal, or an audit event's auditID", finding.Value(q.Request))
	}
	q.After, q.Source, q.State = values.Get("after"), values.Get("source"), values.Get("state")
	switch {
	case !slices.Contains([]string{"", SourceAudit, SourceAdmission, SourceScan}, q.Source):
		return q, fmt.Errorf("source: found %s; want audit, admission or scan", finding.Value(q.Source))
	case !slices.Contains([]string{"", "open", "waived", "closed"}, q.State) || q.State != "" && q.Source != SourceScan:
		return q, fmt.Errorf("state: found %s; want open, waived or closed, of source scan", finding.Value(q.State))
	}
	return q, nil
}

// Handler answers GET /findings?since=10m&namespace=&control=&tenant=&request=&source=&state=&after= as JSON. Errors are one line of JSON,
// {"error": ...}: 400 for a bad parameter, 404 and 405 for what is not served, 503 where there is no answer now. It does not
// authenticate: who serves it does.
func Handler(ask Ask, now func() time.Time) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/findings":
			fail(w, http.StatusNotFound, "found "+finding.Value(r.URL.Path)+"; want /findings")
			return
		case r.Method != http.MethodGet:
			w.Header().Set("Allow", http.MethodGet)
			fail(w, http.StatusMethodNotAllowed, "found method "+finding.Value(r.Method)+"; want GET")
			return
		}
		q, err := parseQuery(r.URL.RawQuery)
		if err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		var from time.Time
		if q.Since > 0 {
			from = now().Add(-q.Since)
		}
		answer, err := ask(r.Context(), from, q)
		switch {
		case errors.Is(err, ErrInvalid):
			fail(w, http.StatusBadRequest, err.Error())
			return
		case err != nil:
			fail(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		answer.SchemaVersion = finding.SchemaVersion
		answer.Findings = append([]finding.Finding{}, answer.Findings...)
		answer.Unknown = append([]Gap{}, answer.Unknown...)
		reply(w, http.StatusOK, answer)
	})
}

// problem is the JSON of an error.
type problem struct {
	Error string `json:"error"`
}

// fail answers an error.
func fail(w http.ResponseWriter, code int, text string) { reply(w, code, problem{text}) }

// reply writes one value as one line of JSON.
func reply(w http.ResponseWriter, code int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(value) // the caller has gone; there is nobody to tell
}
