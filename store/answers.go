package store

import (
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
)

// Range is time: from From on, up to but without Until. The zero values are the beginning and the end of all.
type Range struct{ From, Until time.Time }

// Page is a part of an answer. Answers are in order of time, then of the ledger.
type Page struct {
	// After is the Next of the page before; "" is the first page.
	After string
	// Limit is how many at most; 0 is 100, and never more than 1,000.
	Limit int
	// Newest turns the order round. Gaps and daily counts have one order only.
	Newest bool
}

// Person is who did something: a reference, and whom it means where the store knows.
type Person struct {
	// Ref is a keyed reference, record.Reference; "" where a record names nobody.
	Ref string `json:"ref"`
	// Name is "" where it is not known.
	Name string `json:"name"`
	// Forgotten says that the name was removed on demand.
	Forgotten bool `json:"forgotten"`
}

// Kept is a record with its place in the ledger.
type Kept struct {
	Index uint64 `json:"index"`
	// Unread says that the body is not as its kind says: nothing else in the store tells of it.
	Unread bool `json:"unread"`
	record.Record
}

// RecordFilter selects records.
type RecordFilter struct {
	Range
	// Kind is one kind; "" is any.
	Kind string
	Page
}

// Which says which findings are meant.
type Which int

// All findings, those of requests that were refused, and those of requests that went on.
const (
	All Which = iota
	Refused
	Allowed
)

// FindingFilter selects findings. An empty list is any. Records name neither tenants nor severities: a tenant is its
// namespaces, a severity its controls, which the caller knows from the Tenant and the catalogue.
type FindingFilter struct {
	Range
	Which      Which
	Namespaces []string
	Controls   []string
	// Actors are references.
	Actors []string
	Page
}

// Decision is one request or run that was judged.
type Decision struct {
	Index     uint64          `json:"index"`
	RecordID  string          `json:"record"`
	Kind      string          `json:"kind"`
	Cluster   string          `json:"cluster"`
	Time      time.Time       `json:"time"`
	Operation string          `json:"operation"`
	Refused   bool            `json:"refused"`
	Subject   finding.Subject `json:"subject"`
	Actor     Person          `json:"actor"`
	// InTheNameOf is whom the actor impersonated; its zero value for nobody.
	InTheNameOf Person `json:"inTheNameOf"`
}

// Finding is what did not pass in a decision. A refusal of which the record lists nothing has one with Control "".
type Finding struct {
	Decision
	// N is its place in the record's list.
	N       int    `json:"n"`
	Control string `json:"control"`
	Outcome string `json:"outcome"`
	Action  string `json:"action"`
	Value   string `json:"value"`
	Path    string `json:"path"`
	// Waiver is the name of what let it in all the same; "" where nothing did.
	Waiver string `json:"waiver"`
}

// StandingFilter selects findings that stand open, or that were closed. An empty list is any.
type StandingFilter struct {
	// Closed asks for those that no longer stand.
	Closed     bool
	Namespaces []string
	Controls   []string
	// Range is of Since.
	Range
	Page
}

// Standing is what is known of one finding of one subject. Open means: it was seen, and nothing that was recorded since says
// that it is gone. A CREATE that does not list it, or a DELETE, closes it; an UPDATE is judged by what is new in it and
// closes nothing. A request that passed every native rule leaves no record, so open is "not seen to pass", not "fails now".
type Standing struct {
	Cluster string          `json:"cluster"`
	Subject finding.Subject `json:"subject"`
	Control string          `json:"control"`
	Outcome string          `json:"outcome"`
	Action  string          `json:"action"`
	Value   string          `json:"value"`
	Path    string          `json:"path"`
	Open    bool            `json:"open"`
	// Refused says that the latest request with it was refused: then the object is not there with it.
	Refused bool `json:"refused"`
	// Since is when it was first seen since it was last closed, Last when it was last seen, or closed.
	Since time.Time `json:"since"`
	Last  time.Time `json:"last"`
	Times uint64    `json:"times"`
	// First and Latest are the ids of the records; "" where retention removed them.
	First  string `json:"first"`
	Latest string `json:"latest"`

	place place
}

// StandingCount is how many findings stand open.
type StandingCount struct {
	Control   string `json:"control"`
	Namespace string `json:"namespace"`
	N         uint64 `json:"n"`
}

// DailyFilter selects daily counts.
type DailyFilter struct {
	// From and Until are instants of the first and last day, in UTC, both counted.
	From, Until time.Time
	// Namespace is one namespace; nil is all together.
	Namespace *string
	// Control is one control; "" is any.
	Control string
	Page
}

// DayCount is how many findings of a control there were on a day.
type DayCount struct {
	// Day is its begin in UTC.
	Day     time.Time `json:"day"`
	Control string    `json:"control"`
	Action  string    `json:"action"`
	Refused bool      `json:"refused"`
	N       uint64    `json:"n"`
}

// ChangeFilter selects changes. Kind is of the object, for instance Tenant; Name, with its Namespace, needs a Kind; with an
// Actor neither is allowed.
type ChangeFilter struct {
	Range
	Kind, Namespace, Name string
	Actor                 string
	Page
}

// Change is who changed what.
type Change struct {
	Index     uint64          `json:"index"`
	RecordID  string          `json:"record"`
	Cluster   string          `json:"cluster"`
	Time      time.Time       `json:"time"`
	Operation string          `json:"operation"`
	Subject   finding.Subject `json:"subject"`
	Actor     Person          `json:"actor"`
	// Before and After are digests of the object; "" for none.
	Before string `json:"before"`
	After  string `json:"after"`
	// Fields are RFC 6901 pointers.
	Fields []string `json:"fields"`
	// Catalogue is the digest of the controls that were in force.
	Catalogue string `json:"catalogueDigest"`
}

// Gap is time of which something is not known. An answer about that time is "unknown", never "clean".
type Gap struct {
	Index uint64 `json:"index"`
	// What is silence, overflow, policy-gap, or hole: numbers of a producer that never came.
	What     string `json:"what"`
	Cluster  string `json:"cluster"`
	Producer string `json:"producer"`
	Why      string `json:"why"`
	// Since and Until are both in it; a zero Until has not ended.
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
	// Lost is how many records; 0 where that is not known or none were.
	Lost   uint64 `json:"lost"`
	Detail string `json:"detail"`

	place place
}

// DayDigest is a catalogue that records of a day name.
type DayDigest struct {
	Day     time.Time `json:"day"`
	Cluster string    `json:"cluster"`
	Digest  string    `json:"digest"`
	N       uint64    `json:"n"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
}

// Producer is how far one was heard.
type Producer struct {
	Cluster  string `json:"cluster"`
	Producer string `json:"producer"`
	Seq      uint64 `json:"seq"`
	// Last is the time of its newest record, Index the place of its latest.
	Last  time.Time `json:"last"`
	Index uint64    `json:"index"`
	N     uint64    `json:"n"`
	// Missing is how many of its numbers never came.
	Missing uint64 `json:"missing"`
}

// Total is how many records of a kind there were, those that retention removed too.
type Total struct {
	Kind   string    `json:"kind"`
	N      uint64    `json:"n"`
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"`
	Unread uint64    `json:"unread"`
}

// Horizon says that records of a kind from before were removed; the ledger has them.
type Horizon struct {
	Kind   string    `json:"kind"`
	Before time.Time `json:"before"`
}

// State is how far the store is filled.
type State struct {
	// Origin is the ledger's name; "" before the first entry.
	Origin string `json:"origin"`
	// Next is the index of the first entry that it has not.
	Next uint64 `json:"next"`
	// LastID and LastDigest are the id and SHA-256 of the entry before.
	LastID     string `json:"lastID"`
	LastDigest string `json:"lastDigest"`
	// Duplicates is how many entries had an id that an earlier one has.
	Duplicates uint64 `json:"duplicates"`
}

// Force is what records say of a control on one day. They show it at work: that a control acted with an action is proof; that
// it did not is none, and the action it would have had stands in the Guard, of which records keep digests only.
type Force struct {
	// Seen are that day's findings by action; empty is no proof either way.
	Seen []DayCount `json:"seen"`
	// Catalogues are the digests that records of that day name: the control was in force if it is in all of them.
	Catalogues []DayDigest `json:"catalogues"`
	// Changes are those of that day, at most 100.
	Changes []Change `json:"changes"`
	// Gaps are what is not known of that day, at most 100.
	Gaps []Gap `json:"gaps"`
	// Unknown says that the answer is "unknown": there are gaps, no record names a catalogue, the store does not hold
	// the day yet, or retention removed some of it.
	Unknown bool `json:"unknown"`
	// More says that there are more changes or gaps than these.
	More bool `json:"more"`
}
