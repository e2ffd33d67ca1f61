// Package finding holds what was seen: one control's outcome for one subject at one place, and the verdict made of many.
//
// It judges nothing, reads nothing and prints nothing. Every producer (policy, detect) emits its Finding and every
// consumer (report, record) reads it.
package finding

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Outcome is what one control says of one subject. The zero value is no outcome: it blocks like Errored.
type Outcome string

// The outcomes.
const (
	// Pass means: the subject satisfies the control.
	Pass Outcome = "Pass"
	// Fail means: it does not.
	Fail Outcome = "Fail"
	// Errored means: the control applies and could not be decided.
	Errored Outcome = "Errored"
	// NotApplicable means: the control does not speak of this subject; Reason says why where that is not plain.
	NotApplicable Outcome = "NotApplicable"
)

// Action is what a Fail leads to. The zero value denies.
type Action string

// The actions, strongest first.
const (
	// Deny refuses the subject.
	Deny Action = "Deny"
	// Warn lets it through and tells the user.
	Warn Action = "Warn"
	// Audit lets it through and records.
	Audit Action = "Audit"
)

// strength orders actions; what is not known is as strong as Deny.
func (a Action) strength() int {
	switch a {
	case Audit:
		return 1
	case Warn:
		return 2
	default:
		return 3
	}
}

// Stronger returns the stronger of two actions. An unknown or empty action counts as Deny.
func Stronger(a, b Action) Action {
	if b.strength() > a.strength() {
		return b
	}
	return a
}

// Severity is how much harm a Fail can do.
type Severity string

// The severities, worst first.
const (
	Critical Severity = "critical"
	High     Severity = "high"
	Medium   Severity = "medium"
	Low      Severity = "low"
)

// Subject names what was judged.
type Subject struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Namespace is empty for cluster-scoped subjects and for objects that name none.
	Namespace string `json:"namespace"`
	// Name is the object's name, or its generateName where it has no name yet.
	Name string `json:"name"`
}

// String is kind/name with the namespace before it, for messages.
func (s Subject) String() string {
	name := s.Kind + "/" + s.Name
	if s.Namespace != "" {
		return s.Namespace + "/" + name
	}
	return name
}

// Location is a place in a file. Line and column are 1-based, the column in Unicode code points; both are 0 where the
// subject did not come from a file.
type Location struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	// Rendered is empty where line and column count in File itself. Otherwise it says what rendered File, for instance
	// "helm with prod.yaml", and they count in what came out.
	Rendered string `json:"rendered"`
}

// String is file:line:column as editors open it, and what rendered the file where that is not what the line counts in.
func (l Location) String() string {
	at := fmt.Sprintf("%s:%d:%d", l.File, l.Line, l.Column)
	if l.Rendered != "" {
		at += " as rendered by " + l.Rendered
	}
	return at
}

// InFile reports whether line and column are of the file itself.
func (l Location) InFile() bool { return l.Line > 0 && l.Rendered == "" }

// Source is the file without a place in it, and what rendered it.
func (l Location) Source() string {
	if l.Rendered != "" {
		return l.File + " rendered by " + l.Rendered
	}
	return l.File
}

// Waiver is the accepted Fail that covers a finding.
type Waiver struct {
	Name string `json:"name"`
	// Expires is an RFC 3339 instant; "" of a recorded request, which keeps the name alone.
	Expires  string `json:"expires"`
	Ticket   string `json:"ticket"`
	Approver string `json:"approver"`
}

// Stands is how long a finding of an object that lies in a cluster has stood.
type Stands struct {
	// State is open, waived or closed.
	State string `json:"state"`
	// Since is when it was first seen so, Last when it was last told of.
	Since time.Time `json:"since"`
	Last  time.Time `json:"last"`
	// Until is when it was no more; null while it stands.
	Until *time.Time `json:"until"`
	// Why it closed: fixed, deleted, rules, owner, start, or waived and opened where it went on so; "" while it stands.
	Why string `json:"why"`
}

// Observed is the request in which a finding was seen, told by the door that saw it. Texts come from outside: whoever makes
// an Observed has replaced control characters and cut them.
type Observed struct {
	// Time is when the request reached the API server, by the server's clock.
	Time time.Time `json:"time"`
	// User is who asked, as authenticated.
	User string `json:"user"`
	// ImpersonatedUser is whose name User asked in; empty for nobody's.
	ImpersonatedUser string `json:"impersonatedUser"`
	// Operation is CREATE or UPDATE.
	Operation string `json:"operation"`
	// Refused is true where the request was not carried out, whoever refused it: a Warn can be seen in a request that a
	// quota refused.
	Refused bool `json:"refused"`
	// DryRun is true where nothing would have been stored anyway.
	DryRun bool `json:"dryRun"`
	// AuditID is the request's id in the audit log. The client may choose it: it finds the event, it proves nothing.
	AuditID string `json:"auditID"`
	// Door is what saw it: apiserver.
	Door string `json:"door"`
}

// SchemaVersion names the JSON form of findings. Fields are only added to it.
const SchemaVersion = "ringfence.dev/findings/v1"

// Finding is one control's outcome for one subject at one path. Its JSON is the contract ringfence.dev/findings/v1: every
// key is always present and fields are only added.
type Finding struct {
	// Control is the id, for instance RF-WL-01.
	Control string `json:"control"`
	// Rule is the control's folder name, or the policy's name for policies of others.
	Rule     string   `json:"rule"`
	Title    string   `json:"title"`
	Severity Severity `json:"severity"`
	Outcome  Outcome  `json:"outcome"`
	Action   Action   `json:"action"`
	// Message is the refusal line: one line, at most 1,024 bytes; see Line.
	Message string `json:"message"`
	// Found is what is there, Wanted what should be, Fix how to get from one to the other.
	Found  string `json:"found"`
	Wanted string `json:"wanted"`
	Fix    string `json:"fix"`

	Subject  Subject  `json:"subject"`
	Location Location `json:"location"`
	// Path is the RFC 6901 pointer of the offending field; "" is the whole object.
	Path string `json:"path"`
	// Source is catalogue, vap or kyverno.
	Source string `json:"source"`
	// Reason explains Errored and NotApplicable, and why check --fix left a Fail; null for the others.
	Reason *string `json:"reason"`
	// Change says who gave the control an action other than its profile's, and what the profile says; null for nobody.
	Change *string `json:"change"`
	// Waiver is null unless the Fail is accepted for now.
	Waiver *Waiver `json:"waiver"`
	// Observed is the request it was seen in; null for what was judged without one, as check does.
	Observed *Observed `json:"observed"`
	// Fingerprint identifies the finding across moved lines and renamed files; see Fingerprint.
	Fingerprint string `json:"fingerprint"`
	// Stands is of a finding that a background scan made: since when it stands. It is absent of all others.
	Stands *Stands `json:"stands,omitempty"`
}

// Blocks reports whether this finding refuses its subject: a Fail with action Deny that is not waived, or no outcome at all.
func (f *Finding) Blocks() bool {
	return f.Outcome == "" || f.Outcome == Fail && f.Action.strength() == 3 && f.Waiver == nil
}

// maxValueRunes and maxLineBytes bound what a user's own bytes can do to a line; design.md, "Refusal line".
const (
	maxValueRunes = 64
	maxLineBytes  = 1024
)

// Value makes a value fit for one line: control and formatting characters replaced, at most 64 runes.
func Value(s string) string {
	s = Clean(s)
	if len(s) <= maxValueRunes {
		return s
	}
	if runes := []rune(s); len(runes) > maxValueRunes {
		return string(runes[:maxValueRunes-1]) + "…"
	}
	return s
}

// Clean replaces control and formatting characters: what a user wrote must not move a cursor, start a line or hide text.
func Clean(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// Line is the refusal line of design.md for a Fail: one line, at most 1,024 bytes, that begins with the control's id.
// note says who gave the control an action other than its profile's and whom to ask, "" for nothing; more is the number of further places
// the same control fails at. A path that does not fit is cut, never what follows it.
func Line(id, title, found, path, wanted, fix, note string, more int) string {
	begin := [...]string{id, " ", title, ": found ", Value(found), ""}
	end := [...]string{"", "; want ", wanted, "; fix: ", fix, "", "", "; more: ringfence explain ", id}
	if more > 0 {
		end[0] = fmt.Sprintf(" and at %d more", more)
	}
	if note != "" {
		end[5], end[6] = "; ", note
	}
	if path != "" {
		begin[5] = cut(" at "+Clean(path), maxLineBytes-total(begin[:])-total(end[:]))
	}
	line := make([]byte, 0, maxLineBytes) // on the stack, where it suffices
	for _, parts := range [...][]string{begin[:], end[:]} {
		for _, part := range parts {
			line = append(line, part...)
		}
	}
	return cut(string(line), maxLineBytes)
}

// total is the length of all parts.
func total(parts []string) (n int) {
	for _, part := range parts {
		n += len(part)
	}
	return n
}

// cut shortens s to at most max bytes, at a rune, and shows that it did.
func cut(s string, max int) string {
	const mark = "…"
	if len(s) <= max {
		return s
	}
	end := 0
	for i := range s {
		if i+len(mark) <= max {
			end = i
		}
	}
	if max < len(mark) {
		return ""
	}
	return s[:end] + mark
}

// Fingerprint is a stable name for a finding: it survives moved lines and renamed files because it is made of the control,
// the subject and the path, never of the location.
func Fingerprint(control string, s Subject, path string) string {
	text := make([]byte, 0, 512) // on the stack, where it suffices
	for i, part := range [...]string{control, s.APIVersion, s.Kind, s.Namespace, s.Name, path} {
		if i > 0 {
			text = append(text, 0)
		}
		text = append(text, part...)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// Sort orders findings by file, what rendered it, line, column, subject, control and path.
func Sort(fs []*Finding) {
	slices.SortStableFunc(fs, func(a, b *Finding) int {
		return cmp.Or(
			cmp.Compare(a.Location.File, b.Location.File),
			cmp.Compare(a.Location.Rendered, b.Location.Rendered),
			cmp.Compare(a.Location.Line, b.Location.Line),
			cmp.Compare(a.Location.Column, b.Location.Column),
			cmp.Compare(a.Subject.Namespace, b.Subject.Namespace),
			cmp.Compare(a.Subject.Kind, b.Subject.Kind),
			cmp.Compare(a.Subject.APIVersion, b.Subject.APIVersion),
			cmp.Compare(a.Subject.Name, b.Subject.Name),
			cmp.Compare(a.Control, b.Control),
			cmp.Compare(a.Path, b.Path))
	})
}

// Summary counts what a run saw. Its JSON is part of ringfence.dev/findings/v1.
type Summary struct {
	// Objects and Files are what was read; Invalid is how many inputs could not be.
	Objects int `json:"objects"`
	Files   int `json:"files"`
	// Pass, Fail, Warned, Waived, Errored and Skipped count pairs of control and object. Fail are those that refuse.
	Pass    int `json:"pass"`
	Fail    int `json:"fail"`
	Warned  int `json:"warned"`
	Waived  int `json:"waived"`
	Errored int `json:"errored"`
	Skipped int `json:"skipped"`
	Invalid int `json:"invalid"`
	// Exit is the exit code of the run.
	Exit int `json:"exit"`
}

// Exit codes of design.md: precedence usage, refused, undecided, allowed.
const (
	ExitAllowed   = 0
	ExitRefused   = 1
	ExitUsage     = 2
	ExitUndecided = 3
)
