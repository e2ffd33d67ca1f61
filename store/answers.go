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
	// Newest turns the order round. Gaps have one order only.
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
