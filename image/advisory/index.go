package advisory

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"ringfence.dev/ringfence/image"
)

// header is the first line of an index file; a later form has another one.
const header = "ringfence.dev/advisories/v1"

// Index answers what is published of a vulnerability under any of its names. It is made by Read or Load and then never changes.
type Index struct {
	entries []image.Advisory // sorted by id, one for each vulnerability
	at      map[string]int   // by each name
}

// Find gives what is published of a vulnerability under one of its names. It is an image.Advisories.
func (x *Index) Find(name string) (image.Advisory, bool) {
	i, ok := x.at[name]
	if !ok {
		return image.Advisory{}, false
	}
	return x.entries[i], true
}

// Len is the number of vulnerabilities, each counted once, whatever its names.
func (x *Index) Len() int { return len(x.entries) }

// Newest is the latest publication of all; zero where none has a date. An index whose newest entry is old was not mirrored lately.
func (x *Index) Newest() time.Time {
	var newest time.Time
	for _, e := range x.entries {
		for _, d := range e.Published {
			if d.At.After(newest) {
				newest = d.At
			}
		}
	}
	return newest
}

// builder gathers records before those that are the same vulnerability become one.
type builder struct {
	counts  Counts
	entries []image.Advisory
}

func newBuilder() *builder { return &builder{} }

// index joins what goes under the same names.
func (b *builder) index() *Index {
	roots := map[string]string{}
	root := func(name string) string {
		root := name
		for roots[root] != "" {
			root = roots[root]
		}
		for name != root { // the next who asks has a short way
			name, roots[name] = roots[name], root
		}
		return root
	}
	for _, e := range b.entries {
		for _, alias := range e.Aliases {
			if from, to := root(alias), root(e.ID); from != to {
				if name(from, to) == from {
					from, to = to, from
				}
				roots[from] = to
			}
		}
	}
	joined := map[string]*image.Advisory{}
	for _, e := range b.entries {
		id := root(e.ID)
		j := joined[id]
		if j == nil {
			j = &image.Advisory{ID: id}
			joined[id] = j
		}
		j.Aliases = append(append(j.Aliases, e.ID), e.Aliases...)
		j.Published = append(j.Published, e.Published...)
		j.Exploited = j.Exploited || e.Exploited
	}
	x := &Index{}
	for _, j := range joined {
		slices.Sort(j.Aliases)
		j.Aliases = slices.DeleteFunc(slices.Compact(j.Aliases), func(name string) bool { return name == j.ID })
		slices.SortFunc(j.Published, func(a, b image.Dated) int {
			if c := a.At.Compare(b.At); c != 0 {
				return c
			}
			return strings.Compare(a.Source, b.Source)
		})
		j.Published = slices.Compact(j.Published)
		x.entries = append(x.entries, *j)
	}
	x.sort()
	return x
}

// name is which of two names is shown: that of the CVE list, else the first in order.
func name(a, b string) string {
	if cve := strings.HasPrefix(a, "CVE-"); cve != strings.HasPrefix(b, "CVE-") {
		if cve {
			return a
		}
		return b
	}
	return min(a, b)
}

func (x *Index) sort() {
	slices.SortFunc(x.entries, func(a, b image.Advisory) int { return strings.Compare(a.ID, b.ID) })
	x.at = make(map[string]int, 2*len(x.entries))
	for i, e := range x.entries {
		x.at[e.ID] = i
		for _, alias := range e.Aliases {
			x.at[alias] = i
		}
	}
}

// Bytes is the index as a file: gzip of a header and a line each, the same bytes for the same records.
func (x *Index) Bytes() []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	fmt.Fprintln(z, header)
	for _, e := range x.entries {
		var dates []string
		for _, d := range e.Published {
			dates = append(dates, d.Source+"="+d.At.UTC().Format(time.RFC3339))
		}
		exploited := ""
		if e.Exploited {
			exploited = "exploited"
		}
		fmt.Fprintf(z, "%s\t%s\t%s\t%s\n", e.ID, strings.Join(e.Aliases, " "), strings.Join(dates, " "), exploited)
	}
	_ = z.Close() // into memory
	return out.Bytes()
}

// Load reads what Bytes wrote. What is not whole is an error that names the line.
func Load(r io.Reader) (*Index, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("read the advisory index: %w; make it with: ringfence image advisories import", err)
	}
	lines := bufio.NewScanner(io.LimitReader(z, maxFile))
	lines.Buffer(nil, maxRecord)
	if !lines.Scan() || lines.Text() != header {
		return nil, errors.Join(fmt.Errorf("read the advisory index: found no %q in its first line; make it with: ringfence image advisories import", header), lines.Err())
	}
	x := &Index{}
	for n := 2; lines.Scan(); n++ {
		e, err := line(lines.Text())
		if err != nil {
			return nil, fmt.Errorf("read the advisory index: line %d: %w", n, err)
		}
		x.entries = append(x.entries, e)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the advisory index: %w", err)
	}
	x.sort()
	return x, nil
}

func line(text string) (image.Advisory, error) {
	f := strings.Split(text, "\t")
	if len(f) != 4 || !nameForm.MatchString(f[0]) {
		return image.Advisory{}, fmt.Errorf("found %.80q; want an id, aliases, dates and whether it is exploited", text)
	}
	e := image.Advisory{ID: f[0], Aliases: strings.Fields(f[1]), Exploited: f[3] == "exploited"}
	for _, dated := range strings.Fields(f[2]) {
		source, date, _ := strings.Cut(dated, "=")
		at, err := parse(date)
		if err != nil {
			return image.Advisory{}, err
		}
		e.Published = append(e.Published, image.Dated{At: at, Source: source})
	}
	return e, nil
}
