package store

import (
	"cmp"
	"encoding/json"
	"math"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
)

// facts are what a store keeps of a record beside the record itself. They are made of the record alone.
type facts struct {
	decision *decision
	gap      *gap
	scan     []record.ScanChange
}

// decision is what a record says was judged.
type decision struct {
	subject       finding.Subject
	operation     string
	refused       bool
	actor, behalf string
	notPassed     []notPassed
}

type notPassed struct {
	Control string `json:"control"`
	Outcome string `json:"outcome"`
	Action  string `json:"action"`
	Value   string `json:"value"`
	Path    string `json:"path"`
	Waiver  string `json:"waiver"` // native-refusal.v1 and admission-decision.v1 alone have it
}

// gap is time of which something is not known.
type gap struct {
	what, producer, why string
	since               time.Time
	until               *time.Time
	lost                uint64
	detail              string
}

type person struct {
	Ref string `json:"ref"`
}

// requestBody is what native-refusal.v1 and admission-decision.v1 have.
type requestBody struct {
	Subject   finding.Subject `json:"subject"`
	Operation string          `json:"operation"`
	Refused   bool            `json:"refused"`
	Allowed   *bool           `json:"allowed"`
	Actor     person          `json:"actor"`
	InTheName person          `json:"inTheNameOf"`
	NotPassed []notPassed     `json:"notPassed"`
}

// runBody is check-run.v1.
type runBody struct {
	Repository string      `json:"repository"`
	ExitCode   int         `json:"exitCode"`
	Actor      person      `json:"actor"`
	NotPassed  []notPassed `json:"notPassed"`
}

// gapBody is what silence.v1, overflow.v1 and policy-gap.v1 have.
type gapBody struct {
	Producer string           `json:"producer"`
	Why      string           `json:"why"`
	What     string           `json:"what"`
	Lost     uint64           `json:"lost"`
	Error    string           `json:"error"`
	Since    time.Time        `json:"since"`
	Until    *time.Time       `json:"until"`
	Object   *finding.Subject `json:"object"`
}

// read takes a body apart. A kind that it does not know has no facts; false is a body that is not as its kind says.
func read(r record.Record) (facts, bool) {
	switch r.Kind {
	case "native-refusal.v1", "admission-decision.v1":
		var b requestBody
		if json.Unmarshal(r.Body, &b) != nil {
			return facts{}, false
		}
		refused := b.Refused || b.Allowed != nil && !*b.Allowed
		return facts{decision: &decision{b.Subject, b.Operation, refused, b.Actor.Ref, b.InTheName.Ref, b.NotPassed}}, true
	case "check-run.v1":
		var b runBody
		if json.Unmarshal(r.Body, &b) != nil {
			return facts{}, false
		}
		s := finding.Subject{Kind: "Repository", Name: b.Repository}
		return facts{decision: &decision{s, "CHECK", b.ExitCode == finding.ExitRefused, b.Actor.Ref, "", b.NotPassed}}, true
	case "scan-finding.v1":
		return readScan(r)
	case "silence.v1", "overflow.v1", "policy-gap.v1":
		var b gapBody
		if json.Unmarshal(r.Body, &b) != nil || b.Since.IsZero() {
			return facts{}, false
		}
		g := &gap{what: r.Kind[:len(r.Kind)-3], producer: cmp.Or(b.Producer, r.Producer), why: cmp.Or(b.Why, b.What),
			since: b.Since, until: b.Until, lost: b.Lost, detail: b.Error}
		if b.Object != nil {
			g.detail = b.Object.String()
		}
		return facts{gap: g}, true
	}
	return facts{}, true
}

const (
	day = 24 * int64(time.Hour/time.Microsecond)
	// never is the end of what has not ended.
	never = math.MaxInt64
)

// micros is an instant as the store keeps it. Years 0 to 9999, which JSON can hold, fit.
func micros(t time.Time) int64 { return t.UnixMicro() }

// instant is the reverse of micros; never is the zero time.
func instant(at int64) time.Time {
	if at == never {
		return time.Time{}
	}
	return time.UnixMicro(at).UTC()
}

// whole is a count that SQLite can hold.
func whole(n uint64) int64 { return int64(min(n, math.MaxInt64)) }
