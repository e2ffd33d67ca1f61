package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"ringfence.dev/ringfence/finding"
)

// maxBaseline bounds what ReadBaseline reads, in bytes: about 300,000 findings, far more than anybody looks through.
const maxBaseline = 256 << 20

// Baseline is what an earlier run found, by fingerprint. Where that run found two that are alike it knows two. It is for
// one run, and for one goroutine. What it lacks is never known: a nil or empty Baseline leaves out nothing.
type Baseline struct {
	left  map[mark]int
	known int
}

// mark is what must be alike for a finding to be known. What was undecided and now fails is new, and so is what was
// covered by a waiver that has ended.
type mark struct {
	fingerprint string
	outcome     finding.Outcome
	waived      bool
}

// Known is how many findings were left out.
func (b *Baseline) Known() int { return b.known }

// Gone is how many of the baseline were not found again.
func (b *Baseline) Gone() (n int) {
	for _, left := range b.left {
		n += left
	}
	return n
}

// knows takes one finding off the baseline, and reports whether it was there.
func (b *Baseline) knows(f *finding.Finding) bool {
	if f.Outcome == finding.Pass || f.Outcome == finding.NotApplicable {
		return false
	}
	marks := []mark{{f.Fingerprint, f.Outcome, f.Waiver != nil}}
	if f.Waiver != nil {
		marks = append(marks, mark{f.Fingerprint, f.Outcome, false}) // it was known before it was waived
	}
	for _, m := range marks {
		if b.left[m] > 0 {
			b.left[m]--
			b.known++
			return true
		}
	}
	return false
}

// without is the findings of an object that the baseline does not know, and how many it does.
func (b *Baseline) without(object []finding.Finding) (fresh []finding.Finding, left int) {
	if b == nil {
		return object, 0
	}
	for i := range object {
		if !b.knows(&object[i]) {
			fresh = append(fresh, object[i])
		}
	}
	return fresh, len(object) - len(fresh)
}

// ReadBaseline reads a report that JSON wrote. Its error says what is wrong with the report, not which file it is.
func ReadBaseline(r io.Reader) (*Baseline, error) {
	in := &io.LimitedReader{R: r, N: maxBaseline}
	dec := json.NewDecoder(in)
	b := &Baseline{left: map[mark]int{}}
	seen := map[string]bool{}
	err := b.document(dec, seen)
	switch {
	case in.N == 0:
		return nil, fmt.Errorf("larger than %d MiB; want a report of ringfence check -o json", maxBaseline>>20)
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errors.New("ends in the middle; want a whole report of ringfence check -o json, write it anew")
	case err != nil:
		return nil, err
	}
	for _, key := range []string{"schemaVersion", "findings"} {
		if !seen[key] {
			return nil, fmt.Errorf("has no %s; want a report of ringfence check -o json", key)
		}
	}
	return b, nil
}

// document reads the one object that a report is, up to its end and that of the file. A finding at a time is in memory.
func (b *Baseline) document(dec *json.Decoder, seen map[string]bool) error {
	if err := delim(dec, '{', "the report"); err != nil {
		return err
	}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return syntax(err)
		}
		key, _ := token.(string)
		if seen[key] {
			return fmt.Errorf("has the key %q twice; want a report as ringfence check -o json wrote it", finding.Value(key))
		}
		seen[key] = true
		if err := b.value(dec, key); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return syntax(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("goes on after its end; want one report")
	}
	return nil
}

func (b *Baseline) value(dec *json.Decoder, key string) error {
	switch key {
	case "findings":
		return b.findings(dec)
	case "schemaVersion":
		var version any
		if err := dec.Decode(&version); err != nil {
			return syntax(err)
		}
		if version != finding.SchemaVersion {
			return fmt.Errorf("schemaVersion: found %s; want %s", finding.Value(fmt.Sprint(version)), finding.SchemaVersion)
		}
		return nil
	case "baseline":
		return errors.New("was made with --baseline and holds only what was new then; make it anew without --baseline")
	default:
		var skipped json.RawMessage
		return syntax(dec.Decode(&skipped))
	}
}

func (b *Baseline) findings(dec *json.Decoder) error {
	if err := delim(dec, '[', "findings"); err != nil {
		return err
	}
	for i := 0; dec.More(); i++ {
		var f struct {
			Fingerprint string          `json:"fingerprint"`
			Outcome     finding.Outcome `json:"outcome"`
			Waiver      *struct{}       `json:"waiver"`
		}
		if err := dec.Decode(&f); err != nil {
			return fmt.Errorf("findings[%d]: %w", i, syntax(err))
		}
		switch f.Outcome {
		case finding.Pass, finding.NotApplicable:
			continue
		case finding.Fail, finding.Errored:
		default:
			return fmt.Errorf("findings[%d].outcome: found %q; want Pass, Fail, Errored or NotApplicable", i, finding.Value(string(f.Outcome)))
		}
		if f.Fingerprint == "" {
			return fmt.Errorf("findings[%d].fingerprint: missing; want a report of ringfence check -o json", i)
		}
		b.left[mark{f.Fingerprint, f.Outcome, f.Waiver != nil}]++
	}
	_, err := dec.Token()
	return syntax(err)
}

// delim reads one bracket.
func delim(dec *json.Decoder, want json.Delim, of string) error {
	token, err := dec.Token()
	if err != nil {
		return syntax(err)
	}
	if token != want {
		return fmt.Errorf("%s does not begin with %s; want a report of ringfence check -o json", of, want)
	}
	return nil
}

// syntax is an error of the decoder, with the place and in plain words.
func syntax(err error) error {
	var bad *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &bad):
		return fmt.Errorf("is not JSON at byte %d: %s; want a report of ringfence check -o json", bad.Offset, finding.Clean(bad.Error()))
	case errors.As(err, &kind):
		return fmt.Errorf("%s: found %s; want %s", kind.Field, finding.Value(kind.Value), kind.Type)
	default:
		return err
	}
}
