package record

import (
	"encoding/json"
	"fmt"
	"time"

	"ringfence.dev/ringfence/finding"
)

// maxText is how many runes of a value or path a body keeps, as the schemas say.
const maxText = 512

// refusalBody is the body of native-refusal.v1.
type refusalBody struct {
	AuditID   string      `json:"auditID"`
	Stage     string      `json:"stage"`
	Operation string      `json:"operation"`
	Subject   subject     `json:"subject"`
	Actor     actor       `json:"actor"`
	InTheName *actor      `json:"inTheNameOf,omitempty"`
	Refused   bool        `json:"refused"`
	DryRun    bool        `json:"dryRun,omitempty"`
	NotPassed []inRequest `json:"notPassed"`
	Seen      time.Time   `json:"seen"`
	Source    string      `json:"source"`
}

type subject struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
}

type actor struct {
	Ref string `json:"ref"`
}

type notPassed struct {
	Control string          `json:"control"`
	Outcome finding.Outcome `json:"outcome"`
	Action  finding.Action  `json:"action"`
	Value   string          `json:"value,omitempty"`
	Path    string          `json:"path,omitempty"`
}

// inRequest is what did not pass in a request, and the waiver that let it in all the same.
type inRequest struct {
	notPassed
	Waiver string `json:"waiver,omitempty"`
}

// Refusal is the native-refusal.v1 record of one request, from what was found in its audit event, which must have been
// observed. catalogue is the catalogue's digest in hex. The same event always gives the same id; the client, who may choose the
// event's auditID, cannot choose that.
func Refusal(fs []finding.Finding, catalogue string, actorKey []byte, source string, seen time.Time) (Record, error) {
	if len(fs) == 0 || fs[0].Observed == nil {
		return Record{}, fmt.Errorf("record a refusal: %w: want findings that were observed", ErrInvalid)
	}
	s, o := fs[0].Subject, fs[0].Observed
	body := refusalBody{AuditID: o.AuditID, Stage: "ResponseComplete", Operation: o.Operation, Refused: o.Refused, DryRun: o.DryRun, Source: source,
		Subject: subject{s.APIVersion, s.Kind, s.Namespace, s.Name}, Seen: seen.UTC(),
		Actor: actor{Reference(actorKey, o.User)}, NotPassed: list(fs)}
	if o.ImpersonatedUser != "" {
		body.InTheName = &actor{Reference(actorKey, o.ImpersonatedUser)}
	}
	text, err := json.Marshal(body)
	if err != nil {
		return Record{}, fmt.Errorf("record a refusal: %w", err)
	}
	id := fingerprint(o.AuditID, stamp(o.Time), o.User, o.ImpersonatedUser, o.Operation, s.APIVersion, s.Kind, s.Namespace, s.Name)
	return Record{ID: "native-refusal:" + id, Time: o.Time.UTC(), Kind: "native-refusal.v1",
		CatalogueDigest: "sha256:" + catalogue, Body: text}, nil
}

// failed is what a body says of a finding, and false for one that is no failure.
func failed(f finding.Finding) (notPassed, bool) {
	n := notPassed{Control: f.Control, Outcome: f.Outcome, Action: f.Action, Value: cut(f.Found), Path: cut(f.Path)}
	if n.Control == "" {
		n.Control = f.Rule // what could not be decided names its policy
	}
	if n.Action != finding.Warn && n.Action != finding.Audit {
		n.Action = finding.Deny
	}
	return n, f.Outcome == finding.Fail || f.Outcome == finding.Errored
}

// Shorten is a text as bodies keep it.
func Shorten(s string) string { return cut(s) }

// cut shortens a text.
func cut(s string) string {
	if runes := []rune(s); len(runes) > maxText {
		return string(runes[:maxText])
	}
	return s
}
