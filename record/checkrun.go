package record

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"ringfence.dev/ringfence/finding"
)

const (
	// CheckRunKind is the kind of the record of a check run.
	CheckRunKind = "check-run.v1"
	// MaxPushed is the most bytes of a check run that is sent in: an entry of the ledger has 64 KiB at most.
	MaxPushed = 56 << 10
	// maxListed bounds the bytes of its list of what did not pass; the rest of it is some KiB at most.
	maxListed = 44 << 10
	// maxOld and maxEarly bound how far the clock of a pipeline may be from ours, the time of its tries included.
	maxOld, maxEarly = 24 * time.Hour, 10 * time.Minute
)

// Pushed is one run of ringfence check as a pipeline sends it in: of the envelope what it can know, and the body.
type Pushed struct {
	Kind            string    `json:"kind"`
	Time            time.Time `json:"time"`
	CatalogueDigest string    `json:"catalogueDigest"`
	Body            CheckRun  `json:"body"`
}

// CheckRun is what a pipeline says of its run: the body of check-run.v1 without who sent it.
type CheckRun struct {
	// Repository and Revision are where the files come from and the commit; empty where that is not known.
	Repository string `json:"repository"`
	Revision   string `json:"revision"`
	// Pipeline is the run, as the CI names it.
	Pipeline string `json:"pipeline,omitempty"`
	ExitCode int    `json:"exitCode"`
	Objects  int    `json:"objects"`
	Refused  int    `json:"refused"`
	// Narrowed says why less than everything was judged or listed: words of the kind's schema.
	Narrowed []string `json:"narrowed,omitempty"`
	// NotPassed is what did not pass, and More how much of it found no room. List fills both.
	NotPassed []RunFailure `json:"notPassed"`
	More      int          `json:"more"`
}

// RunFailure is one finding of a run, without the file and its text.
type RunFailure struct {
	notPassed
	Subject *subject `json:"subject,omitempty"`
}

// List fills NotPassed with what did not pass, what denies first where there is no room for all, and counts the rest.
func (c *CheckRun) List(fs []*finding.Finding) {
	var all []RunFailure
	for _, f := range fs {
		if n, ok := failed(*f); ok {
			s := subject{fit(f.Subject.APIVersion), fit(f.Subject.Kind), fit(f.Subject.Namespace), fit(f.Subject.Name)}
			n.Control, n.Value, n.Path = fit(n.Control), fit(n.Value), fit(n.Path)
			all = append(all, RunFailure{n, &s})
		}
	}
	mild := func(f RunFailure) int {
		return slices.Index([]finding.Action{finding.Deny, finding.Warn, finding.Audit}, f.Action)
	}
	slices.SortStableFunc(all, func(a, b RunFailure) int { return cmp.Compare(mild(a), mild(b)) })
	c.NotPassed, c.More = []RunFailure{}, 0
	room := maxListed
	for i, f := range all {
		text, _ := json.Marshal(f) // texts alone: it cannot fail
		if room -= len(text) + 1; room < 0 {
			c.More = len(all) - i
			break
		}
		c.NotPassed = append(c.NotPassed, f)
	}
	c.sort()
}

func (c *CheckRun) sort() {
	slices.SortStableFunc(c.NotPassed, func(a, b RunFailure) int { return cmp.Compare(a.Control, b.Control) })
}

// fit makes a text fit for a body: no control characters, and at most maxText runes.
func fit(s string) string { return cut(finding.Clean(s)) }

// ParsePushed reads what a pipeline sent. The error names the field and what is wanted, and wraps ErrInvalid.
func ParsePushed(text []byte, now time.Time) (Pushed, error) {
	var p Pushed
	err := decodePushed(text, &p)
	if err == nil {
		err = p.check(now)
	}
	if err != nil {
		return Pushed{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	p.Body.sort()
	return p, nil
}

// unknownField is how encoding/json names what a type does not have.
var unknownField = regexp.MustCompile(`^json: unknown field (".*")$`)

// decodePushed reads one JSON object with every field that must be there, and none that is not known.
func decodePushed(text []byte, p *Pushed) error {
	in := json.NewDecoder(bytes.NewReader(text))
	in.DisallowUnknownFields()
	err := in.Decode(p)
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		return fmt.Errorf("%s: found %s; want a value of another type", cmp.Or(wrong.Field, "the whole"), finding.Value(wrong.Value))
	}
	if err != nil {
		if m := unknownField.FindStringSubmatch(err.Error()); m != nil {
			return fmt.Errorf("found the unknown field %s", finding.Value(m[1]))
		}
		return fmt.Errorf("want one JSON object: %s", finding.Clean(err.Error()))
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return errors.New("want one JSON object and nothing after it")
	}
	var top, body map[string]json.RawMessage
	_ = json.Unmarshal(text, &top) // it is an object, or Decode had failed: null is none
	_ = json.Unmarshal(top["body"], &body)
	for _, name := range []string{"kind", "time", "catalogueDigest", "body"} {
		if top[name] == nil {
			return fmt.Errorf("%s: is missing", name)
		}
	}
	for _, name := range []string{"repository", "revision", "exitCode", "objects", "refused", "notPassed", "more"} {
		if raw := body[name]; raw == nil || string(raw) == "null" {
			return fmt.Errorf("body.%s: is missing", name)
		}
	}
	return nil
}

// narrowings are the words of Narrowed, as the kind's schema has them.
func narrowings() []string {
	return []string{"baseline", "cluster", "no-platform", "only", "policy", "since"}
}

// check holds what was read to the kind's schema.
func (p Pushed) check(now time.Time) error {
	c := p.Body
	switch {
	case p.Kind != CheckRunKind:
		return fmt.Errorf("kind: found %q; want %s", finding.Value(p.Kind), CheckRunKind)
	case p.Time.Before(now.Add(-maxOld)) || p.Time.After(now.Add(maxEarly)):
		return fmt.Errorf("time: found %s; want an instant within the last %s: is the pipeline's clock right?", stamp(p.Time), maxOld)
	case !digest.MatchString(p.CatalogueDigest):
		return errors.New("catalogueDigest: want sha256: and 64 digits, or nothing")
	case c.ExitCode < finding.ExitAllowed || c.ExitCode > finding.ExitUndecided:
		return fmt.Errorf("body.exitCode: found %d; want 0, 1, 2 or 3", c.ExitCode)
	case c.Refused > 0 && c.ExitCode != finding.ExitRefused && c.ExitCode != finding.ExitUsage:
		return fmt.Errorf("body.exitCode: found %d with %d refused; want 1 or 2", c.ExitCode, c.Refused)
	}
	for _, n := range []struct {
		field string
		n     int
	}{{"objects", c.Objects}, {"refused", c.Refused}, {"more", c.More}} {
		if n.n < 0 {
			return fmt.Errorf("body.%s: found %d; want 0 or more", n.field, n.n)
		}
	}
	for i, word := range c.Narrowed {
		if !slices.Contains(narrowings(), word) || slices.Contains(c.Narrowed[:i], word) {
			return fmt.Errorf("body.narrowed: found %q; want each of %s at most once", finding.Value(word), strings.Join(narrowings(), ", "))
		}
	}
	texts := [][2]string{{"repository", c.Repository}, {"revision", c.Revision}, {"pipeline", c.Pipeline}}
	for i, f := range c.NotPassed {
		at := fmt.Sprintf("notPassed[%d].", i)
		if err := f.check("body." + at); err != nil {
			return err
		}
		texts = append(texts, [][2]string{{at + "control", f.Control}, {at + "value", f.Value}, {at + "path", f.Path}}...)
		if s := f.Subject; s != nil {
			texts = append(texts, [][2]string{{at + "subject.apiVersion", s.APIVersion}, {at + "subject.kind", s.Kind}, {at + "subject.namespace", s.Namespace}, {at + "subject.name", s.Name}}...)
		}
	}
	for _, t := range texts {
		if fit(t[1]) != t[1] {
			return fmt.Errorf("body.%s: want at most %d characters, none of which controls a terminal", t[0], maxText)
		}
	}
	return nil
}

// check holds one element of notPassed to what it may say.
func (f RunFailure) check(at string) error {
	switch {
	case f.Control == "":
		return fmt.Errorf("%scontrol: is missing", at)
	case f.Outcome != finding.Fail && f.Outcome != finding.Errored:
		return fmt.Errorf("%soutcome: found %q; want Fail or Errored", at, finding.Value(string(f.Outcome)))
	case f.Action != finding.Deny && f.Action != finding.Warn && f.Action != finding.Audit:
		return fmt.Errorf("%saction: found %q; want Deny, Warn or Audit", at, finding.Value(string(f.Action)))
	}
	return nil
}

// Record is the check-run.v1 record of what sender sent: the name of who proved to be it, which the run itself cannot say. The
// same run of the same sender always has the same id, and nobody else's has it.
func (p Pushed) Record(sender string) (Record, error) {
	body := struct {
		CheckRun
		Sender string `json:"sender"`
	}{p.Body, sender}
	r, err := build(CheckRunKind, "", p.Time, body)
	r.CatalogueDigest = p.CatalogueDigest
	r.ID = "check-run:" + fingerprint(sender, stamp(p.Time), p.CatalogueDigest, string(r.Body))
	return r, err
}
