// Package report gathers what a run found and writes it: as text for people, as JSON, the contract
// ringfence.dev/findings/v1, and in the formats of other tools. Formats lists them; each has a file of its own.
//
// It judges nothing and opens no files: producers hand it each object's findings. The command line calls it. Whatever
// comes of bytes from outside is made fit for each format where it is written; see inert.go.
package report

import (
	"time"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
)

// Report is what a run found. The zero value is an empty report; it is for one goroutine.
type Report struct {
	// All keeps Pass and NotApplicable too. Set it before the first Add.
	All bool
	// KeepPassed keeps the name of each object that passed, for formats that count what is right; it needs Objects with
	// their passes among Findings. Set it as All.
	KeepPassed bool
	// FailOnWarn says that a Warn fails the run as a Deny does.
	FailOnWarn bool
	// Baseline is what an earlier run knew already: Add leaves it out and counts it. Nil is no baseline. Set it as All.
	Baseline *Baseline
	// Time is when the run began. Version is the program's, empty where it has none.
	Time    time.Time
	Version string
	// Root is the absolute folder that file names in findings are relative to, for formats that need relative names.
	Root string
	// Cluster is the name of the cluster whose objects were judged; empty where files were. Findings then have no file.
	Cluster string
	// Controls are those of the catalogue that judged, for formats that tell of rules.
	Controls []control.Control
	// Unjudged are the ids of controls that compare with what was not given, each with the reason.
	Unjudged map[string]string
	// Faults are the inputs that could not be used, in order, and the interruption.
	Faults []Fault
	// Interrupted says that the run ended before everything was judged; see Interrupt.
	Interrupted bool
	// Findings are those to be shown; Finish sorts them.
	Findings []*finding.Finding
	// Summary is counted by Add as follows; the caller counts Files (opened and read, standard input among them) and
	// Invalid (files, documents and objects that could not be used), and sets Exit.
	//
	// Objects counts every object, judged or not; an item of a List counts as one and the List itself does not.
	// The others count pairs of control and object, however many places of the object the control names:
	// Pass; Fail (refused: action Deny, no waiver); Warned (action Warn or Audit, no waiver); Waived; Errored (applies,
	// could not be decided); Skipped (NotApplicable for a Reason: the control judges such objects and did not judge this
	// one). A control that does not speak of the object's kind is in none of them.
	Summary finding.Summary
	// Verdicts counts objects by what came of them.
	Verdicts Verdicts
	// Quotes are the lines that findings point at, for Text.
	Quotes map[finding.Location]Quote

	passed []passedObject
}

// Fault is why a file, document or object could not be used.
type Fault struct {
	// Location is empty, or without a line, where there is no place to point at.
	Location finding.Location
	// Message says what was found, what is wrong with it and what to do.
	Message string
}

// passedObject is an object that satisfies all of some controls.
type passedObject struct {
	file    string
	subject finding.Subject
	passes  int
}

// Verdicts counts objects, each once, under the first that holds.
type Verdicts struct {
	// Refused have a finding that blocks; Undecided one that could not be decided; Warned any other Fail.
	Refused, Undecided, Warned int
	// Known fail in nothing but what the baseline knows.
	Known int
	// Passed satisfy at least one control and fail none; Unjudged are those of which no control speaks.
	Passed, Unjudged int
}

// Object is what was said of one object.
type Object struct {
	// Findings are those of one control next to each other. They are the Report's from Add on.
	Findings []finding.Finding
	// Passes is how many controls passed and are not among Findings.
	Passes int
}

// Add counts what was said of one object and keeps what is to be shown.
func (r *Report) Add(o Object) {
	r.Summary.Objects++
	r.Summary.Pass += o.Passes
	object, left := r.Baseline.without(o.Findings)
	for i := range object {
		f := &object[i]
		if i == 0 || object[i-1].Control != f.Control {
			count(&r.Summary, f)
		}
		if r.All || f.Outcome != finding.Pass && f.Outcome != finding.NotApplicable {
			r.Findings = append(r.Findings, f)
		}
	}
	switch v := verdict(object); {
	case v == refused:
		r.Verdicts.Refused++
	case v == undecided:
		r.Verdicts.Undecided++
	case v == warned:
		r.Verdicts.Warned++
	case left > 0:
		r.Verdicts.Known++
	case v == passed, o.Passes > 0:
		r.Verdicts.Passed++
		r.keep(object)
	default:
		r.Verdicts.Unjudged++
	}
}

// keep remembers an object that passed, where somebody wants to know.
func (r *Report) keep(object []finding.Finding) {
	if !r.KeepPassed || r.All || len(object) == 0 {
		return
	}
	passes := 0
	for i := range object {
		if f := &object[i]; f.Outcome == finding.Pass && (i == 0 || object[i-1].Control != f.Control) {
			passes++
		}
	}
	r.passed = append(r.passed, passedObject{object[0].Location.File, object[0].Subject, passes})
}

// Interrupt says in every format that the rest of the inputs was not judged.
func (r *Report) Interrupt() {
	r.Interrupted = true
	r.Faults = append(r.Faults, Fault{Message: "interrupted: what follows was not judged; run it again"})
}

// Finish sorts the findings.
func (r *Report) Finish() { finding.Sort(r.Findings) }

// count counts one pair of control and object by one of its findings; they share outcome and action.
func count(s *finding.Summary, f *finding.Finding) {
	switch f.Outcome {
	case finding.Pass:
		s.Pass++
	case finding.NotApplicable:
		if f.Reason != nil {
			s.Skipped++
		}
	case finding.Fail:
		switch {
		case f.Waiver != nil:
			s.Waived++
		case f.Blocks():
			s.Fail++
		default:
			s.Warned++
		}
	default:
		s.Errored++
	}
}

// The verdicts on one object, as Text names them.
const (
	refused   = "refused"
	undecided = "undecided"
	warned    = "let through with warnings"
	known     = "with known findings only"
	passed    = "passed"
	unjudged  = "not judged"
)

func verdict(object []finding.Finding) string {
	var errored, failed, right bool
	for i := range object {
		f := &object[i]
		if f.Blocks() {
			return refused
		}
		errored = errored || f.Outcome == finding.Errored
		failed = failed || f.Outcome == finding.Fail
		right = right || f.Outcome == finding.Pass
	}
	switch {
	case errored:
		return undecided
	case failed:
		return warned
	case right:
		return passed
	default:
		return unjudged
	}
}

// maxQuote is how much of a line is quoted, in code points: what fits beside a margin in a window of 120 columns.
const maxQuote = 110

// Quote is a part of a line, fit to be printed, and the column in it that a finding points at.
type Quote struct {
	Text   string
	Column int
}

// NewQuote makes a Quote of a line and a 1-based column in it. A long line is cut to what is around the column.
func NewQuote(line string, column int) Quote {
	runes := []rune(line)
	at := min(max(column-1, 0), len(runes))
	from := 0
	if len(runes) > maxQuote {
		from = min(max(at-maxQuote/3, 0), len(runes)-maxQuote)
		runes = runes[from : from+maxQuote]
	}
	for i, r := range runes {
		if r == '\t' {
			runes[i] = ' ' // the caret must stand below what it points at
		}
	}
	return Quote{finding.Clean(string(runes)), at - from + 1}
}
