package auditlog

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
)

// Bounds of texts that others may have written, in bytes. A Kubernetes name has at most 253, a user name of a service
// account at most 338; finding.Line bounds a refusal line at 1,024.
const (
	maxName    = 512
	maxPath    = 512
	maxMessage = 1024
)

// clean replaces the characters that finding.Value replaces and cuts at max bytes, "…" included, between runes.
func clean(s string, max int) string {
	const more = "…"
	var b strings.Builder
	keep := 0 // where to cut if all does not fit
	for _, r := range s {
		if r < ' ' || r > '~' {
			r, _ = utf8.DecodeRuneInString(finding.Value(string(r)))
		}
		if b.Len()+utf8.RuneLen(r) > max {
			return b.String()[:keep] + more
		}
		b.WriteRune(r)
		if b.Len() <= max-len(more) {
			keep = b.Len()
		}
	}
	return b.String()
}

// line is a refusal line taken apart. Found and Path are empty where the line does not say them.
type line struct {
	id, title, found, path, wanted, fix, change string
	// waiver is which waiver let it in, nil where none did.
	waiver *finding.Waiver
}

var (
	changed = regexp.MustCompile(`; ((?:Deny|Warn|Audit) by [^;]{1,160} \(profile [a-z]{1,16}: (?:Deny|Warn|Audit)\))(?:; ask: [^;]{1,100})?(?:; more: |$)`)
	asked   = regexp.MustCompile(`; ask: [^;]{1,100}$`)                                           // what follows it is cut off
	waived  = regexp.MustCompile(`; waived by ([a-z0-9][-a-z0-9.]{0,62}) until ([0-9TZ:-]{20})$`) // the end of a line is never a user's text
	andMore = regexp.MustCompile(` and at [1-9][0-9]{0,8} more$`)
	pointer = regexp.MustCompile(`^(/[^/\pZ\pC]*)+$`)
)

// parseLine takes a refusal line (finding.Line, control.Message) apart: "ID title: found V at /P and at N more; want W;
// fix: F; more: ...". ok is false for text that does not begin with a control's id. Only the found value is a user's
// text, so everything is looked for outside of it: the title from the left, the rest from the right, and both by the
// catalogue's own words where it has the control.
func parseLine(text string, find func(string) (control.Control, bool)) (l line, ok bool) {
	id, rest, _ := strings.Cut(text, " ")
	if !control.ValidID(id) {
		return line{}, false
	}
	l.id = id
	if m := waived.FindStringSubmatch(rest); m != nil {
		l.waiver, rest = &finding.Waiver{Name: m[1], Expires: m[2]}, strings.TrimSuffix(rest, m[0])
	}
	c, known := control.Control{}, false
	if find != nil {
		c, known = find(id)
	}
	tail := -1
	title, _, found := strings.Cut(rest, ": ")
	if known && strings.HasPrefix(rest, c.Title+": ") {
		title, found = c.Title, true
	}
	if found {
		l.title, rest = clean(title, maxName), rest[len(title):]
	}
	if known {
		tail = strings.LastIndex(rest, "want "+c.Wanted+"; fix: "+c.Fix)
	}
	if tail < 0 {
		tail, l.wanted, l.fix = tailOf(rest)
	}
	if m := changed.FindStringSubmatch(rest[tail:]); m != nil {
		l.change = finding.Clean(m[1])
		l.fix = strings.TrimSuffix(l.fix, "; "+m[1])
	}
	if known {
		l.title, l.wanted, l.fix = c.Title, c.Wanted, c.Fix
	}
	middle := strings.TrimSuffix(strings.TrimPrefix(rest[:tail], ": "), "; ")
	if value, found := strings.CutPrefix(middle, "found "); found {
		l.found, l.path = place(value)
	}
	return l, true
}

// tailOf finds where "want W; fix: F; more: ..." begins in a line of a control that the catalogue does not have.
func tailOf(rest string) (at int, wanted, fix string) {
	fixAt := strings.LastIndex(rest, "; fix: ")
	if fixAt < 0 {
		return len(rest), "", ""
	}
	at = strings.LastIndex(rest[:fixAt], "want ")
	if at < 0 {
		return fixAt, "", ""
	}
	fix = rest[fixAt+len("; fix: "):]
	if i := max(strings.LastIndex(fix, "; more: "), strings.LastIndex(fix, "; waiver: ")); i >= 0 {
		fix = fix[:i]
	}
	fix = strings.TrimSuffix(fix, asked.FindString(fix))
	return at, clean(rest[at+len("want "):fixAt], maxName), clean(fix, maxName)
}

// place splits "V at /P and at N more" at its last " at /": V may hold one, P may not. A pointer that is none leaves the
// path empty.
func place(s string) (found, path string) {
	s = s[:len(s)-len(andMore.FindString(s))]
	at := strings.LastIndex(s, " at /")
	if at < 0 {
		return finding.Value(s), ""
	}
	if path = s[at+len(" at "):]; len(path) > maxPath || !pointer.MatchString(path) {
		path = ""
	}
	return finding.Value(s[:at]), path
}

// undecided is how the API server begins when it could not evaluate a validation; every validation of a bundle begins
// with the action of its control, see policy/bundle.
var undecided = regexp.MustCompile(`^expression 'params\.spec\.\?actions\[\?'(RF-[A-Z]{2}-[0-9]{2})'\]`)

// undecidedControl is the id of the control whose validation could not be evaluated.
func undecidedControl(text string) (id string, ok bool) {
	m := undecided.FindStringSubmatch(text)
	if m == nil {
		return "", false
	}
	return m[1], true
}

// refusal is who refused a request and with which words.
type refusal struct{ name, policy, text string }

// refused is the API server's answer where a ValidatingAdmissionPolicy refused. The object's name stands quoted as Go
// quotes, so that no name and no user name can pretend to be the rest.
var refused = regexp.MustCompile(`(?s)^[a-z0-9.-]+ ("(?:[^"\\]|\\.)*") is forbidden: ValidatingAdmissionPolicy '([^']*)'(?: with binding '[^']*')? denied request: (.*)$`)

// byWebhook is the API server's answer where Ringfence's own webhook refused; it names neither the object nor the user. At its end
// stands the id of the review, which is no part of the line.
var byWebhook = regexp.MustCompile(`(?s)^admission webhook "([a-z0-9-]+)\.admission\.ringfence\.dev" denied the request: (.*?)(?: \[id [^\]\n]{1,64}\])?$`)

// parseRefusal takes the message of a response apart. ok is false where neither a ValidatingAdmissionPolicy nor Ringfence's
// webhook refused.
func parseRefusal(message string) (r refusal, ok bool) {
	if m := byWebhook.FindStringSubmatch(message); m != nil {
		return refusal{policy: "ringfence-" + m[1] + "-deny", text: m[2]}, true
	}
	m := refused.FindStringSubmatch(message)
	if m == nil {
		return refusal{}, false
	}
	name, err := strconv.Unquote(m[1])
	return refusal{name, m[2], m[3]}, err == nil
}
