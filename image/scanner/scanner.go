// Package scanner reads the reports of vulnerability scanners, SBOMs and VEX documents, and says what they tell of images.
//
// It decides nothing: which image may run is package image's business. A report is read as a stream within Limits, its format
// is told from its content and never from a name, and what a report does not say stays empty. Only cli and server call it.
package scanner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"ringfence.dev/ringfence/image"
)

// Limits bounds one report. What is above any of them is refused, and the error says which.
type Limits struct {
	Bytes           int64 // of the report, unpacked; default 1 GiB: the largest report asked for is 500 MB
	Vulnerabilities int   // in all images of the report; default 1,000,000
	Kept            int   // bytes of text that are kept of it: names, versions, identifiers; default 128 MiB
	Nodes           int   // values held at one time beside the vulnerabilities; default 1,000,000
	Packed          int64 // bytes of a zip file; default 64 MiB, and it is held in memory
}

// defaults are the limits of Read. The longest list of vulnerabilities takes 1.1 GiB of memory while it
// is read (BenchmarkLargest), and a report at all limits at once less than 2 GiB.
func defaults() Limits {
	return Limits{Bytes: 1 << 30, Vulnerabilities: 1_000_000, Kept: 128 << 20, Nodes: 1_000_000, Packed: 64 << 20}
}

// headBytes is how much of a report is looked at to tell its format: 256 KiB, many times what any known format needs.
const headBytes = 256 << 10

// ErrFormat says that no known format was recognised.
var ErrFormat = errors.New("not a report of a known format; want one of those that ringfence image report --help lists")

// Read reads one report and returns what it says of images: one Facts for each image, none where it speaks of none, as a report
// on configuration does. name stands in errors, which say line and place; a report is taken whole or not at all. Facts without
// Digests are of an image that the report does not name by digest, and it counts as not scanned.
// It returns ErrFormat, wrapped, for what is in no known format.
func Read(ctx context.Context, name string, r io.Reader) ([]image.Facts, error) {
	return read(ctx, name, r, defaults())
}

// ReadWithin is Read with other limits, all of which count.
func ReadWithin(ctx context.Context, name string, r io.Reader, limits Limits) ([]image.Facts, error) {
	return read(ctx, name, r, limits)
}

func read(ctx context.Context, name string, r io.Reader, limits Limits) ([]image.Facts, error) {
	p := &reading{ctx: ctx, name: name, limits: limits, text: map[string]string{}, left: limits.Bytes}
	if err := p.report(io.LimitReader(r, limits.Bytes+1)); err != nil {
		return nil, err
	}
	return merge(p.facts), nil
}

// reading is one report being read.
type reading struct {
	ctx    context.Context
	name   string
	limits Limits
	left   int64 // bytes that may still come, of all members of a zip file together

	facts []image.Facts
	count int // of vulnerabilities
	kept  int // bytes of text
	text  map[string]string
}

// report tells what kind of text it is, and reads it.
func (p *reading) report(r io.Reader) error {
	head := make([]byte, headBytes)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	head = bytes.TrimPrefix(head[:n], []byte("\ufeff"))
	whole := io.MultiReader(bytes.NewReader(head), r)
	switch text := bytes.TrimLeft(head, " \t\r\n"); {
	case len(text) == 0:
		return fmt.Errorf("%s: the report is empty", p.name)
	case bytes.HasPrefix(text, []byte("PK\x03\x04")) || bytes.HasPrefix(text, []byte("PK\x05\x06")):
		return p.zip(whole)
	case text[0] == '{' || text[0] == '[':
		return p.json(head, whole)
	case text[0] == '<':
		return p.xml(whole)
	}
	return p.csv(whole)
}

// json tells the format of a JSON report from its first keys.
func (p *reading) json(head []byte, r io.Reader) error {
	seen := look(head)
	for _, f := range formats() {
		if f.tell != nil && f.tell(seen) {
			return p.stream(r, f.read(p))
		}
	}
	// What is broken is better called that than unknown.
	if err := p.stream(r, shape{}); err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", p.name, ErrFormat)
}

// stream reads a JSON text into the shape of a format.
func (p *reading) stream(r io.Reader, s shape) error {
	b := &builder{lexer: lexer{p: p, r: r, line: 1, buf: make([]byte, 64<<10)}, skip: s.skip}
	root, err := b.document(s.trie())
	if err != nil || s.end == nil {
		return err
	}
	return p.where(s.end(&root), "")
}

// fault is an error about a place in the report.
type fault struct {
	line int
	path string
	err  error
}

// Error says place and cause.
func (f *fault) Error() string { return f.err.Error() }

// Unwrap is the cause.
func (f *fault) Unwrap() error { return f.err }

// where makes an error of a format's own one that names the file and, as far as it is known, line and place.
func (p *reading) where(err error, path string) error {
	if err == nil {
		return nil
	}
	place := p.name
	if f := (*fault)(nil); errors.As(err, &f) {
		if f.line > 0 {
			place = fmt.Sprintf("%s:%d", p.name, f.line)
		}
		path = strings.Trim(path+"."+f.path, ".")
	}
	if path != "" {
		place += ": " + path
	}
	return fmt.Errorf("%s: %w", place, err)
}

// keep is the text as one string for all its occurrences, so that a report that repeats itself stays small.
func (p *reading) keep(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	if old, ok := p.text[s]; ok {
		return old, nil
	}
	if len(s) > maxKept {
		s = strings.ToValidUTF8(s[:maxKept-3], "") + "…"
	}
	if p.kept += len(s); p.kept > p.limits.Kept {
		return "", fmt.Errorf("more than %d bytes of names, versions and identifiers; split the report by image", p.limits.Kept)
	}
	s = strings.Clone(s)
	p.text[s] = s
	return s, nil
}

// maxKept is 1 KiB: a package URL with qualifiers takes 300 bytes. Longer text is cut.
const maxKept = 1 << 10

// vulnerability adds one to a list, within the limits.
func (p *reading) vulnerability(to *[]image.Vulnerability, v image.Vulnerability) error {
	if p.count++; p.count > p.limits.Vulnerabilities {
		return fmt.Errorf("more than %d vulnerabilities; split the report by image", p.limits.Vulnerabilities)
	}
	texts := []*string{&v.ID, &v.Scale, &v.Package, &v.Version, &v.FixedIn, &v.PublishedBy, &v.NotAffected}
	for i := range v.Aliases {
		texts = append(texts, &v.Aliases[i])
	}
	for _, text := range texts {
		var err error
		if *text, err = p.keep(*text); err != nil {
			return err
		}
	}
	if len(v.Aliases) > maxAliases {
		return fmt.Errorf("%s has %d other names, want at most %d", v.ID, len(v.Aliases), maxAliases)
	}
	*to = append(*to, v)
	return nil
}

// maxAliases is 1,000: an advisory of a distribution may name hundreds of CVEs.
const maxAliases = 1000
