package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Admitted is what a verdict needs to know of one digest. The zero value is refused: it was not scanned.
type Admitted struct {
	Digest       string    // sha256:<64 hex> or sha512:<128 hex>, in lower case
	Rule         string    // the name of the Rule by which; "" is the bank's own
	ScannedUntil time.Time // the last second at which its scan counts; zero: not scanned
	CleanUntil   time.Time // the last second at which no vulnerability refuses it; zero: one does now; Never: nothing known will
	Note         string    // what refuses it or will, in a few words; may be empty
	Warn         string    // what is warned of while nothing refuses it; "" for nothing
}

// Never is the time at which ends what nothing known ends.
func Never() time.Time { return time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) }

// Until is the last second at which the digest is admitted; zero where it is refused whatever the time.
func (a Admitted) Until() time.Time {
	if a.ScannedUntil.IsZero() || a.CleanUntil.IsZero() {
		return time.Time{}
	}
	if a.CleanUntil.Before(a.ScannedUntil) {
		return a.CleanUntil
	}
	return a.ScannedUntil
}

// KindAdmission is the kind of a file of ringfence.dev/v1alpha1 that says what Admitted says, of many digests.
const KindAdmission = "ImageAdmission"

// maxAdmission is how many digests one file may hold: what a bank of 1,000,000 has, in ten files. maxNote is what a Guard
// carries of a note, in bytes.
const (
	maxAdmission = 100_000
	maxNote      = 120
)

var (
	digestForm = regexp.MustCompile(`^sha(256:[0-9a-f]{64}|512:[0-9a-f]{128})$`)
	ruleForm   = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
)

// ParseAdmission reads an object of KindAdmission, as JSON. The error lists its first hundred faults, each with its field.
func ParseAdmission(text []byte) ([]Admitted, error) {
	var o struct {
		APIVersion string         `json:"apiVersion"`
		Kind       string         `json:"kind"`
		Metadata   map[string]any `json:"metadata"`
		Spec       struct {
			Images []struct {
				Digest       string     `json:"digest"`
				Rule         string     `json:"rule"`
				ScannedUntil *time.Time `json:"scannedUntil"`
				CleanUntil   *time.Time `json:"cleanUntil"`
				Note         string     `json:"note"`
				Warn         string     `json:"warn"`
			} `json:"images"`
		} `json:"spec"`
	}
	in := json.NewDecoder(bytes.NewReader(text))
	in.DisallowUnknownFields()
	if err := in.Decode(&o); err != nil {
		return nil, fmt.Errorf("read an %s: %w", KindAdmission, err)
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read an %s: want one object and nothing behind it", KindAdmission)
	}
	if o.APIVersion != "ringfence.dev/v1alpha1" || o.Kind != KindAdmission {
		return nil, fmt.Errorf("read an %s: found kind %.64q of %.64q; want that kind, of ringfence.dev/v1alpha1", KindAdmission, o.Kind, o.APIVersion)
	}
	if len(o.Spec.Images) > maxAdmission {
		return nil, fmt.Errorf("spec.images: found %d digests, want at most %d; put the others into another file", len(o.Spec.Images), maxAdmission)
	}
	var faults []error
	all := make([]Admitted, 0, len(o.Spec.Images))
	for i, one := range o.Spec.Images {
		if !digestForm.MatchString(one.Digest) && len(faults) < 100 {
			faults = append(faults, fmt.Errorf("spec.images[%d].digest: found %.80q, want sha256:<64 hex digits> or sha512:<128>, in lower case", i, one.Digest))
		}
		if one.Rule != "" && !ruleForm.MatchString(one.Rule) && len(faults) < 100 {
			faults = append(faults, fmt.Errorf("spec.images[%d].rule: found %.80q, want the name of a rule in spec.images.rules of the Platform", i, one.Rule))
		}
		a := Admitted{Digest: one.Digest, Rule: one.Rule, Note: Brief(one.Note), Warn: Brief(one.Warn)}
		for _, t := range []struct {
			from *time.Time
			to   *time.Time
		}{{one.ScannedUntil, &a.ScannedUntil}, {one.CleanUntil, &a.CleanUntil}} {
			if t.from != nil {
				*t.to = t.from.UTC()
			}
		}
		all = append(all, a)
	}
	return all, errors.Join(faults...)
}

// Brief is a text of others as a note: one line of at most 120 bytes, without what does not show.
func Brief(s string) string {
	s = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)), " ")
	if len(s) <= maxNote {
		return s
	}
	const more = "..."
	return strings.ToValidUTF8(s[:maxNote-len(more)], "") + more
}

// DigestOf is the digest at the end of an image reference, "" where it has none that a registry would take.
func DigestOf(reference string) string {
	at := strings.LastIndexByte(reference, '@')
	if at <= 0 || !digestForm.MatchString(reference[at+1:]) {
		return ""
	}
	return reference[at+1:]
}

// Admission writes an object of KindAdmission, as JSON: what ParseAdmission reads.
func Admission(all []Admitted) ([]byte, error) {
	if len(all) > maxAdmission {
		return nil, fmt.Errorf("write an %s: found %d digests, want at most %d; give the reports in several parts", KindAdmission, len(all), maxAdmission)
	}
	type one struct {
		Digest       string     `json:"digest"`
		Rule         string     `json:"rule,omitempty"`
		ScannedUntil *time.Time `json:"scannedUntil,omitempty"`
		CleanUntil   *time.Time `json:"cleanUntil,omitempty"`
		Note         string     `json:"note,omitempty"`
		Warn         string     `json:"warn,omitempty"`
	}
	images := make([]one, 0, len(all))
	for _, a := range all {
		o := one{Digest: a.Digest, Rule: a.Rule, Note: Brief(a.Note), Warn: Brief(a.Warn)}
		if !a.ScannedUntil.IsZero() {
			o.ScannedUntil = &a.ScannedUntil
		}
		if !a.CleanUntil.IsZero() {
			o.CleanUntil = &a.CleanUntil
		}
		images = append(images, o)
	}
	text, err := json.MarshalIndent(map[string]any{"apiVersion": "ringfence.dev/v1alpha1", "kind": KindAdmission,
		"metadata": map[string]any{"name": "images"}, "spec": map[string]any{"images": images}}, "", " ")
	return append(text, '\n'), err
}

// Admits is what follows of a verdict for one of the image's digests. Until is the first instant at which something no longer counts,
// and an Admitted names the last second that does.
func (v Verdict) Admits(digest string) Admitted {
	a := Admitted{Digest: digest, Rule: v.Rule, ScannedUntil: lasts(v.Scan), CleanUntil: lasts(v.Vulnerabilities)}
	var soonest Reason // of those that warn; one that the clock never ends comes after all that it does
	for _, r := range append(slices.Clone(v.Vulnerabilities), v.Scan...) {
		switch {
		case r.Outcome == Warn && (a.Warn == "" || !r.Until.IsZero() && (soonest.Until.IsZero() || r.Until.Before(soonest.Until))):
			soonest, a.Warn = r, r.warning()
		case a.Note == "" && (r.Outcome == Deny || r.Outcome == Undecided):
			a.Note = r.Text
		}
	}
	return a
}

// warning is a reason that warns with the date first: the API server shows the beginning of it, 63 characters.
func (r Reason) warning() string {
	if r.Until.IsZero() {
		return r.Text
	}
	what, _, _ := strings.Cut(r.Text, ": published ")
	return "refused from " + stamp(r.Until) + ": " + what
}

// lasts is the last second at which reasons refuse nothing: a reason that warns until a time refuses from then on.
func lasts(reasons []Reason) time.Time {
	if o := worst(reasons); o != Allow && o != Warn {
		return time.Time{}
	}
	last := Never()
	for _, r := range reasons {
		if end := r.Until.Add(-time.Second); !r.Until.IsZero() && end.Before(last) {
			last = end.UTC()
		}
	}
	return last
}
