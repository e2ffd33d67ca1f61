package record

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"ringfence.dev/ringfence/finding"
)

// changeBody is the body of change.v1.
type changeBody struct {
	Operation string   `json:"operation"`
	Subject   subject  `json:"subject"`
	Actor     *actor   `json:"actor,omitempty"`
	InTheName *actor   `json:"inTheNameOf,omitempty"`
	AuditID   string   `json:"auditID,omitempty"`
	Fields    []string `json:"fields"`
	Before    string   `json:"before,omitempty"`
	After     string   `json:"after,omitempty"`
	Unknown   []string `json:"unknown,omitempty"`
	Changes   []Field  `json:"changes,omitempty"`
	More      int      `json:"more,omitempty"`
	FirstSeen bool     `json:"firstSeen,omitempty"`
	Unchanged bool     `json:"unchanged,omitempty"`
}

// Field is a part of a spec that is other than before.
type Field struct {
	// Path is an RFC 6901 pointer.
	Path string `json:"path"`
	// From and To are what it was and became: text as it is, all else in JSON. Nil is nothing there.
	From *string `json:"from,omitempty"`
	To   *string `json:"to,omitempty"`
	// Personal says that they may name a person: a record then holds references to them, also instead of From and To.
	Personal bool `json:"-"`
}

// Contents are what is known of a change beside who made it.
type Contents struct {
	// Before and After are the SHA-256 of the specs, in hex; empty where there was none or it is not known.
	Before, After string
	// Fields are what is other, at most 64; More is how many more there are.
	Fields []Field
	More   int
	// FirstSeen says that there was nothing to compare with.
	FirstSeen bool
}

// keep puts contents into a body.
func (b *changeBody) keep(c *Contents, actorKey []byte) {
	b.Unknown, b.FirstSeen, b.More = nil, c.FirstSeen, c.More
	if c.FirstSeen {
		b.Unknown = []string{"before", "fields"}
	}
	if c.Before != "" {
		b.Before = "sha256:" + c.Before
	}
	if c.After != "" {
		b.After = "sha256:" + c.After
	}
	b.Unchanged = c.Before != "" && c.Before == c.After
	for _, f := range c.Fields {
		if f.Personal {
			f.From, f.To = referred(actorKey, f.From), referred(actorKey, f.To)
		}
		if !slices.Contains(b.Fields, f.Path) {
			b.Fields = append(b.Fields, f.Path)
		}
		b.Changes = append(b.Changes, f)
	}
}

// referred is a reference in place of a name.
func referred(key []byte, name *string) *string {
	if name == nil {
		return nil
	}
	return new(Reference(key, *name))
}

// Change is the change.v1 record of a write that an audit event told of. Without contents, nil, such an event says neither what
// was changed nor whether anything was. The same event always gives the same id.
func Change(s finding.Subject, o finding.Observed, c *Contents, actorKey []byte) (Record, error) {
	body := changeBody{Operation: o.Operation, Subject: subject{s.APIVersion, s.Kind, s.Namespace, s.Name}, Actor: &actor{Reference(actorKey, o.User)},
		AuditID: o.AuditID, Fields: []string{}, Unknown: []string{"after", "before", "fields"}}
	if o.ImpersonatedUser != "" {
		body.InTheName = &actor{Reference(actorKey, o.ImpersonatedUser)}
	}
	if c != nil {
		body.keep(c, actorKey)
	}
	return build("change.v1", "change:"+fingerprint(o.AuditID, stamp(o.Time), o.User, o.ImpersonatedUser, o.Operation, s.APIVersion, s.Kind, s.Namespace, s.Name), o.Time, body)
}

// CatalogueChange is the change.v1 record of another catalogue: digests in hex of the one that was in force, empty for none,
// and of the one that is. Who installed it nobody here can know.
func CatalogueChange(before, after string, at time.Time) (Record, error) {
	body := changeBody{Operation: "UPDATE", Subject: subject{APIVersion: "ringfence.dev/v1alpha1", Kind: "Catalogue", Name: "catalogue"}, Fields: []string{},
		After: "sha256:" + after, Unknown: []string{"actor", "fields"}}
	if before == "" {
		body.Operation = "CREATE"
	} else {
		body.Before = "sha256:" + before
	}
	r, err := build("change.v1", "catalogue:"+fingerprint(before, after, stamp(at)), at, body)
	r.CatalogueDigest = "sha256:" + after
	return r, err
}

// gapBody is the body of policy-gap.v1.
type gapBody struct {
	Object subject   `json:"object"`
	What   string    `json:"what"`
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until"`
}

// PolicyGap is the policy-gap.v1 record of a time in which a native object was missing or changed. Who did that stands in the
// change.v1 record of the write, where the audit stream told of it.
func PolicyGap(s finding.Subject, what string, since, until time.Time) (Record, error) {
	body := gapBody{subject{s.APIVersion, s.Kind, s.Namespace, s.Name}, what, since.UTC(), until.UTC()}
	return build("policy-gap.v1", "policy-gap:"+fingerprint(s.APIVersion, s.Kind, s.Namespace, s.Name, what, stamp(since)), until, body)
}

// build makes a record of a body.
func build(kind, id string, at time.Time, body any) (Record, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return Record{}, fmt.Errorf("make a %s record: %w", kind, err)
	}
	return Record{ID: id, Time: at.UTC(), Kind: kind, Body: text}, nil
}

// fingerprint tells happenings apart by parts that others may have chosen.
func fingerprint(parts ...string) string {
	sum := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(sum, "%d %s\n", len(part), part)
	}
	return hex.EncodeToString(sum.Sum(nil))
}
