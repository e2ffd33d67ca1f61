package scanner

import (
	"archive/zip"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"ringfence.dev/ringfence/image"
)

// The bounds of a CSV file beside those of Limits.
const (
	maxRow   = 4 << 20 // bytes of one row
	headRows = 20      // rows in which the head is looked for: Qualys writes some about the report before it
)

// rows is how a format wants a CSV file.
type rows struct {
	row func(row) error
	end func() error
}

// row is one row, by the names of its head.
type row struct {
	at    map[string]int
	cells []string
}

// get is the cell of a column, "" where there is none.
func (r row) get(column string) string {
	i, ok := r.at[strings.ToLower(column)]
	if !ok || i >= len(r.cells) {
		return ""
	}
	return strings.TrimSpace(r.cells[i])
}

// columns tells a head that has all of these.
func columns(want ...string) func([]string) bool {
	return func(head []string) bool {
		for _, column := range want {
			if !slices.ContainsFunc(head, func(h string) bool { return strings.EqualFold(strings.TrimSpace(h), column) }) {
				return false
			}
		}
		return true
	}
}

// guard bounds how much is read for one row.
type guard struct {
	p    *reading
	r    io.Reader
	used int
}

// Read reads on within the bounds.
func (g *guard) Read(b []byte) (int, error) {
	if err := g.p.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := g.r.Read(b)
	g.used += n
	if g.p.left -= int64(n); g.p.left < 0 {
		return 0, fmt.Errorf("more than %d bytes; split the report by image", g.p.limits.Bytes)
	}
	if g.used > maxRow {
		return 0, fmt.Errorf("a row or an element of more than %d bytes", maxRow)
	}
	return n, err
}

// csv finds the head of a CSV file, and reads what comes after.
func (p *reading) csv(r io.Reader) error {
	g := &guard{p: p, r: r}
	in := csv.NewReader(g)
	in.FieldsPerRecord, in.LazyQuotes, in.ReuseRecord = -1, true, true
	for range headRows {
		g.used = 0
		head, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		for _, f := range formats() {
			if f.head != nil && f.head(head) {
				return p.body(in, g, slices.Clone(head), f.rows(p))
			}
		}
	}
	return fmt.Errorf("%s: %w", p.name, ErrFormat)
}

// body reads the rows below a head.
func (p *reading) body(in *csv.Reader, g *guard, head []string, to rows) error {
	at := map[string]int{}
	for i, column := range head {
		name := strings.ToLower(strings.TrimSpace(column))
		if _, twice := at[name]; !twice { // Prisma has two columns called Type, and neither is read
			at[name] = i
		}
	}
	for {
		g.used = 0
		cells, err := in.Read()
		if errors.Is(err, io.EOF) {
			return p.where(to.end(), "")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		line, _ := in.FieldPos(0)
		if err := p.cells(cells, len(head)); err != nil {
			return p.where(&fault{line: line, err: err}, "")
		}
		if err := to.row(row{at, cells}); err != nil {
			return p.where(&fault{line: line, err: err}, "")
		}
	}
}

// cells refuses a row that cannot be of this file.
func (p *reading) cells(cells []string, columns int) error {
	for len(cells) > columns && cells[len(cells)-1] == "" { // a comma at the end of the row
		cells = cells[:len(cells)-1]
	}
	if len(cells) > columns {
		return fmt.Errorf("%d cells, but %d columns; is a text with a comma not quoted?", len(cells), columns)
	}
	for _, cell := range cells {
		if !utf8.ValidString(cell) {
			return errors.New("a text that is not UTF-8")
		}
	}
	return nil
}

// grouped gathers rows by image.
type grouped struct {
	p       *reading
	scanner string
	order   []string
	by      map[string]*groupedImage
}

type groupedImage struct {
	subject
	scan image.Scan
}

func (g *grouped) image(key string, fill func(*subject) error) (*groupedImage, error) {
	if img, ok := g.by[key]; ok {
		return img, nil
	}
	if g.by == nil {
		g.by = map[string]*groupedImage{}
	}
	if len(g.by) == maxImages {
		return nil, fmt.Errorf("more than %d images in one report", maxImages)
	}
	img := &groupedImage{scan: image.Scan{Scanner: g.scanner}}
	if err := fill(&img.subject); err != nil {
		return nil, err
	}
	key = strings.Clone(key)
	g.by[key], g.order = img, append(g.order, key)
	return img, nil
}

func (g *grouped) end() error {
	for _, key := range g.order {
		if err := g.p.take(&g.by[key].subject, g.by[key].scan); err != nil {
			return err
		}
	}
	return nil
}

// The bounds of a zip file beside those of Limits.
const maxMembers = 1000

// zip reads the report of Black Duck: CSV files of several kinds in a zip file, of which one has the vulnerabilities.
func (p *reading) zip(r io.Reader) error {
	packed, err := io.ReadAll(io.LimitReader(r, p.limits.Packed+1))
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", p.name, err)
	case int64(len(packed)) > p.limits.Packed:
		return fmt.Errorf("%s: a zip file of more than %d bytes; unpack it", p.name, p.limits.Packed)
	}
	archive, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	if len(archive.File) > maxMembers {
		return fmt.Errorf("%s: %d members in a zip file, want at most %d", p.name, len(archive.File), maxMembers)
	}
	read := 0
	for _, member := range archive.File {
		if !strings.HasSuffix(strings.ToLower(member.Name), ".csv") {
			continue
		}
		err := p.member(member)
		if errors.Is(err, ErrFormat) {
			continue // of components, sources, versions
		}
		if err != nil {
			return err
		}
		read++
	}
	if read == 0 {
		return fmt.Errorf("%s: no CSV file of vulnerabilities in the zip file: %w", p.name, ErrFormat)
	}
	return nil
}

// member reads one file of a zip file. That it unpacks to more than Limits.Bytes is found while it is read.
func (p *reading) member(f *zip.File) error {
	name := p.name
	defer func() { p.name = name }()
	p.name += "/" + cut(f.Name)
	r, err := f.Open()
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	defer r.Close()
	return p.csv(r)
}
