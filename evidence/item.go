// Package evidence takes evidence out of a ledger for people outside: bundles that prove themselves without it, and answers
// to the standing questions. It writes no ledger and decides nothing about the cluster; the command line calls it.
package evidence

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/record"
)

// Item is an entry of a ledger and what its body says.
type Item struct {
	// Index is the entry's place, from 0.
	Index uint64
	record.Record
	// About is the body, as far as questions need it; zero where Unreadable.
	About About
	// Run is what a check run says; zero for other kinds.
	Run Run
	// Unreadable says that the body has another form than its kind should have. What it tells is unknown.
	Unreadable bool
}

// About is what bodies of all kinds say, read leniently: fields that a kind does not have stay zero.
type About struct {
	Subject     Subject   `json:"subject"`
	Object      Subject   `json:"object"`
	Actor       Actor     `json:"actor"`
	InTheNameOf Actor     `json:"inTheNameOf"`
	Operation   string    `json:"operation"`
	AuditID     string    `json:"auditID"`
	RequestUID  string    `json:"requestUID"`
	Refused     bool      `json:"refused"` // of an admission-decision, that it was not allowed
	Allowed     bool      `json:"allowed"`
	DryRun      bool      `json:"dryRun"`
	NotPassed   []Failure `json:"notPassed"`
	Fields      []string  `json:"fields"`
	Producer    string    `json:"producer"`
	Why         string    `json:"why"`
	What        string    `json:"what"`
	Lost        uint64    `json:"lost"`
	Since       time.Time `json:"since"`
	Until       time.Time `json:"until"`
	New         string    `json:"new"`
	After       string    `json:"after"`
	FirstSeen   bool      `json:"firstSeen"`
	Unchanged   bool      `json:"unchanged"`
	More        int       `json:"more"`
	// Changes are what fields were and became.
	Changes []record.Field `json:"changes"`
}

// Subject is the object of which a record tells.
type Subject struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// String is "Pod payments-dev/shell".
func (s Subject) String() string {
	if s.Namespace == "" {
		return s.Kind + " " + s.Name
	}
	return s.Kind + " " + s.Namespace + "/" + s.Name
}

// Actor is a keyed reference to whoever did it.
type Actor struct {
	Ref string `json:"ref"`
}

// Failure is one control that did not pass.
type Failure struct {
	Control string `json:"control"`
	Outcome string `json:"outcome"`
	Action  string `json:"action"`
	Value   string `json:"value"`
	Path    string `json:"path"`
	// Waiver let it in all the same; "" where none did, or where the record is from before this was told.
	Waiver string `json:"waiver"`
}

// ItemOf reads an entry that was verified. Its form is not verified again, so a damaged one is an error or Unreadable.
func ItemOf(e ledger.Entry) (Item, error) {
	var s struct {
		Predicate record.Record `json:"predicate"`
	}
	if err := json.Unmarshal(e.Statement, &s); err != nil {
		return Item{}, fmt.Errorf("read entry %d: %w", e.Index, err)
	}
	i := Item{Index: e.Index, Record: s.Predicate}
	var err error
	if i.Is("check-run") {
		i.Run, err = runOf(i.Body)
		i.About.NotPassed = i.Run.NotPassed
	} else {
		err = json.Unmarshal(i.Body, &i.About)
		i.About.Refused = i.About.Refused || i.Is("admission-decision") && !i.About.Allowed
	}
	if err != nil {
		i.About, i.Run, i.Unreadable = About{}, Run{}, true
	}
	return i, nil
}

// Run is what the body of a check run says beside what did not pass.
type Run struct {
	Repository string    `json:"repository"`
	Revision   string    `json:"revision"`
	Pipeline   string    `json:"pipeline"`
	Sender     string    `json:"sender"`
	ExitCode   int       `json:"exitCode"`
	Objects    int       `json:"objects"`
	NotPassed  []Failure `json:"notPassed"`
}

func runOf(body []byte) (r Run, err error) {
	err = json.Unmarshal(body, &r)
	return r, err
}

// String is "exit 1 of 12 objects in REPOSITORY at REVISION, run PIPELINE, sent by SENDER".
func (r Run) String() string {
	text := fmt.Sprintf("exit %d of %d objects", r.ExitCode, r.Objects)
	for _, part := range [][2]string{{" in ", r.Repository}, {" at ", r.Revision}, {", run ", r.Pipeline}, {", sent by ", r.Sender}} {
		if part[1] != "" {
			text += part[0] + part[1]
		}
	}
	return text
}

// Is reports whether the record is of a kind, whatever its version: "silence" is any "silence.v1".
func (i Item) Is(kind string) bool {
	name, _, _ := strings.Cut(i.Kind, ".")
	return name == kind || i.Kind == kind
}

// Request is the id of the request of which a record tells: of its audit event, or of the review that a webhook was asked. Empty
// where it tells of none.
func (i Item) Request() string { return cmp.Or(i.About.AuditID, i.About.RequestUID) }

// Where is the object of which the record tells.
func (i Item) Where() Subject {
	if i.About.Subject == (Subject{}) {
		return i.About.Object
	}
	return i.About.Subject
}

// Controls are the ids that did not pass, each once, in the record's order.
func (i Item) Controls() (ids []string) {
	for _, f := range i.About.NotPassed {
		if !slices.Contains(ids, f.Control) {
			ids = append(ids, f.Control)
		}
	}
	return ids
}

// Filter says which entries are wanted; the zero value is all of them.
type Filter struct {
	// Since and Until bound the record's time: since <= time < until. Zero is no bound.
	Since, Until time.Time
	// Tenant wants records of the tenant's namespaces, by the name <tenant>-<environment> that they have unless the Tenant
	// says another; those are asked for by Namespace.
	Tenant string
	// Namespace is the namespace of the record's object.
	Namespace string
	// Control wants records in which it did not pass, or that change it.
	Control string
	// Kind is a kind with or without its version.
	Kind string
	// Rests, of InForce alone, are what Control rests on beside the API server, and Good how long it counts that one was proven.
	Rests []Rest
	Good  time.Duration
}

// Wants reports whether the filter itself wants an entry.
func (f Filter) Wants(i Item) bool {
	where := i.Where()
	if !f.Since.IsZero() && i.Time.Before(f.Since) || !f.Until.IsZero() && !i.Time.Before(f.Until) {
		return false
	}
	if f.Kind != "" && !i.Is(f.Kind) || f.Namespace != "" && where.Namespace != f.Namespace {
		return false
	}
	if f.Tenant != "" && !(where.Kind == "Tenant" && where.Name == f.Tenant) && !record.InTenant(where.Namespace, f.Tenant) {
		return false
	}
	return f.Control == "" || where.Kind == "Control" && where.Name == f.Control || slices.Contains(i.Controls(), f.Control)
}

// inside reports whether a namespace is one that the filter asks about.
func (f Filter) inside(namespace string) bool {
	return (f.Namespace == "" || f.Namespace == namespace) && (f.Tenant == "" || record.InTenant(namespace, f.Tenant))
}

// Beside reports whether an entry belongs in a bundle whatever else is filtered: gaps that fall into the time, rotations of
// keys, without which the signature is not understood, and what cannot be read.
func (f Filter) Beside(i Item) bool {
	return i.Unreadable || i.Kind == ledger.RotationKind || f.touches(i)
}

// touches reports whether an entry tells of a gap within the time. The end of a silence is wanted where its beginning is.
func (f Filter) touches(i Item) bool {
	if !isGap(i) || !f.Until.IsZero() && !i.About.Since.Before(f.Until) {
		return false
	}
	return f.Since.IsZero() || i.Is("silence") || i.About.Until.IsZero() || i.About.Until.After(f.Since)
}
