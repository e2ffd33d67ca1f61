package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"time"
)

// PredicateVerdict is the type of an in-toto statement whose predicate is a Statement.
const PredicateVerdict = "https://ringfence.dev/image-verdict/v1"

// Statement is a verdict with everything that it follows from, so that whoever reads it can judge again. Fields are only added.
type Statement struct {
	At    time.Time   `json:"at"`
	Rule  statedRule  `json:"rule"`
	Facts statedFacts `json:"facts"`
	// Advisories are what was known of the vulnerabilities found, by each name that was looked up.
	Advisories map[string]Advisory `json:"advisories"`
	Outcome    Outcome             `json:"outcome"`
	// Until is the first instant at which the clock alone changes the verdict; zero is never.
	Until   time.Time `json:"until,omitzero"`
	Reasons []Reason  `json:"reasons"` // of the scan first
}

// The rule and the facts as a statement has them.
type (
	statedRule struct {
		Name            string   `json:"name,omitempty"`
		MaxScanAge      string   `json:"maxScanAge"`
		DenySeverity    int      `json:"denySeverity"`
		Grace           string   `json:"grace"`
		UndatedAsNew    bool     `json:"undatedAsNew"`
		DatedBy         []string `json:"datedBy,omitempty"`
		WarnUnfixable   bool     `json:"warnUnfixable"`
		Scanners        []string `json:"scanners"`
		RescheduleGrace string   `json:"rescheduleGrace"`
	}
	statedFacts struct {
		Digests      []string `json:"digests"`
		Repositories []string `json:"repositories"`
		Scans        []Scan   `json:"scans"`
	}
)

// State judges an image and says it with what the verdict follows from. Components decide nothing and are left out.
func State(f Facts, r Rule, known Advisories, now time.Time) Statement {
	now = now.UTC()
	s := Statement{At: now, Facts: statedFacts{f.Digests, f.Repositories, f.Scans}, Advisories: map[string]Advisory{},
		Rule: statedRule{r.Name, r.MaxScanAge.String(), r.DenySeverity, r.Grace.String(), r.UndatedAsNew, r.DatedBy, r.WarnUnfixable, r.Scanners, r.RescheduleGrace.String()}}
	s.conclude(Judge(f, r, func(name string) (Advisory, bool) {
		a, ok := lookup(known, name)
		if ok {
			s.Advisories[name] = a
		}
		return a, ok
	}, now))
	return s
}

func (s *Statement) conclude(v Verdict) {
	s.Outcome, s.Reasons = v.Outcome(), slices.Concat(v.Scan, v.Vulnerabilities)
	s.Until, _ = v.Until()
}

// ParseStatement reads the predicate of PredicateVerdict in an in-toto statement about the image with a digest, judges again, and refuses
// one that is of another image or that does not follow from what it says itself.
func ParseStatement(statement []byte, digest string) (Statement, error) {
	var outer struct {
		Predicate json.RawMessage `json:"predicate"`
	}
	var s Statement
	if err := json.Unmarshal(statement, &outer); err != nil {
		return s, fmt.Errorf("read a verdict: %w", err)
	}
	in := json.NewDecoder(bytes.NewReader(outer.Predicate))
	in.DisallowUnknownFields()
	if err := in.Decode(&s); err != nil {
		return s, fmt.Errorf("read a verdict: %w", err)
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return s, errors.New("read a verdict: want one object and nothing behind it")
	}
	if !slices.Contains(s.Facts.Digests, digest) {
		return s, fmt.Errorf("the verdict is of %.300q, and not of %s", s.Facts.Digests, digest)
	}
	r := Rule{DenySeverity: s.Rule.DenySeverity, UndatedAsNew: s.Rule.UndatedAsNew, DatedBy: s.Rule.DatedBy, WarnUnfixable: s.Rule.WarnUnfixable, Scanners: s.Rule.Scanners}
	for _, d := range []struct {
		text string
		to   *time.Duration
	}{{s.Rule.MaxScanAge, &r.MaxScanAge}, {s.Rule.Grace, &r.Grace}, {s.Rule.RescheduleGrace, &r.RescheduleGrace}} {
		var err error
		if *d.to, err = time.ParseDuration(d.text); err != nil {
			return s, fmt.Errorf("read a verdict: its rule: %w", err)
		}
	}
	again := Statement{}
	again.conclude(Judge(Facts{Digests: s.Facts.Digests, Repositories: s.Facts.Repositories, Scans: s.Facts.Scans}, r, func(name string) (Advisory, bool) {
		a, ok := s.Advisories[name]
		return a, ok
	}, s.At))
	if again.Outcome != s.Outcome || !again.Until.Equal(s.Until) || !slices.EqualFunc(again.Reasons, s.Reasons, sameReason) {
		return s, fmt.Errorf("the verdict says %.20q, and what it says of the image gives %q", s.Outcome, again.Outcome)
	}
	return s, nil
}

func sameReason(a, b Reason) bool {
	same := a.Since.Equal(b.Since) && a.Until.Equal(b.Until)
	a.Since, a.Until, b.Since, b.Until = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	a.Exploited, b.Exploited = false, false
	return same && reflect.DeepEqual(a, b)
}

// Admits tells whether the verdict lets the image run at an instant: the clock has not changed it since.
func (s Statement) Admits(now time.Time) bool {
	return (s.Outcome == Allow || s.Outcome == Warn) && !now.Before(s.At.Add(-skew)) && (s.Until.IsZero() || now.Before(s.Until))
}
