package record

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"ringfence.dev/ringfence/finding"
)

// ElevatedKind is the kind of records of what was done under elevations.
const ElevatedKind = "elevated-request.v1"

// Act is a request under an elevation, as an audit event told of it. Its texts come from outside, cut and without control characters.
type Act struct {
	// Account is the user name of the elevation's account, and Time when the request came, by the API server's clock.
	Account string    `json:"account"`
	Time    time.Time `json:"time"`
	// Verb is the audit event's: get, list, create and so on.
	Verb string `json:"verb"`
	// APIGroup, Resource and Subresource are what was asked for; Namespace and Name where. All empty: Path is asked for.
	APIGroup    string `json:"apiGroup,omitempty"`
	Resource    string `json:"resource,omitempty"`
	Subresource string `json:"subresource,omitempty"`
	Namespace   string `json:"namespace,omitempty"`
	Name        string `json:"name,omitempty"`
	// Path is that of the request, without its query.
	Path string `json:"path,omitempty"`
	// Program is what an exec ran, without its arguments, which may be secret.
	Program string `json:"program,omitempty"`
	// Code is the HTTP status of the answer, 0 where the event has none.
	Code int `json:"code,omitempty"`
	// AuditID is the request's id in the audit log.
	AuditID string `json:"auditID,omitempty"`
}

// String is an act on one line.
func (a Act) String() string {
	what := strings.TrimSpace(a.Resource + " " + a.Name)
	if a.Subresource != "" {
		what = strings.TrimSpace(a.Resource + "/" + a.Subresource + " " + a.Name)
	}
	if a.Resource == "" {
		what = a.Path
	}
	outcome := "let through"
	if a.Code >= 400 {
		outcome = fmt.Sprintf("refused (%d)", a.Code)
	}
	line := fmt.Sprintf("%s  %s  %s %s", a.Time.UTC().Format(time.RFC3339), outcome, a.Verb, what)
	if a.Namespace != "" {
		line += " in " + a.Namespace
	}
	if a.Program != "" {
		line += ": " + a.Program
	}
	return line
}

// ElevatedRequest is the elevated-request.v1 record of an act. The same event always gives the same id.
func ElevatedRequest(a Act) (Record, error) {
	return build(ElevatedKind, "elevated-request:"+fingerprint(a.AuditID, stamp(a.Time), a.Account, a.Verb, a.APIGroup, a.Resource, a.Subresource, a.Namespace, a.Name, a.Path), a.Time, a)
}

// Acts answers what was done under an elevation.
type Acts struct {
	// Acts are the newest, newest last; More is how many more there are.
	Acts []Act `json:"acts"`
	More int   `json:"more"`
	// LastEvent is when the newest audit event happened, nil before the first: then nothing is observed.
	LastEvent *time.Time `json:"lastEvent"`
	// Kept says that they are evidence; else they are what this process has seen.
	Kept bool `json:"kept"`
}

// FetchActs asks the control plane at base, for instance http://ringfence with a client that dials its socket, what was done under an
// elevation. Without a deadline in ctx it gives up after 10 s.
func FetchActs(ctx context.Context, client *http.Client, base, namespace, name string) (acts Acts, err error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, fetchTimeout)
		defer cancel()
	}
	at := strings.TrimSuffix(base, "/") + "/elevations/" + url.PathEscape(namespace) + "/" + url.PathEscape(name) + "/acts"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return acts, fmt.Errorf("fetch acts: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return acts, fmt.Errorf("fetch acts: %w", err)
	}
	defer response.Body.Close()
	body := io.LimitReader(response.Body, maxAnswer)
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(body, 1024)) // what it says is better than nothing
		return acts, fmt.Errorf("fetch acts: %w: %s", ErrRefused, finding.Clean(strings.TrimSpace(string(text))))
	}
	if err := json.NewDecoder(body).Decode(&acts); err != nil {
		return acts, fmt.Errorf("fetch acts: %w", err)
	}
	return acts, nil
}
