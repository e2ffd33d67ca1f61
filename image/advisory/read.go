// Package advisory knows when vulnerabilities were published, under which names they go, and which are being exploited.
//
// It is made of files that the bank mirrors: records of OSV, feeds of NVD (API 2.0) and the catalogue of CISA (KEV). It fetches
// nothing. Scanners seldom say when a vulnerability was published, and the bank's rule depends on it. package cli and server call it.
package advisory

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"
	"time"

	"ringfence.dev/ringfence/image"
)

// Bounds on what is read. One file of OSV is a record of a few KiB; a year of NVD is about 100 MiB.
const (
	maxFile   = 4 << 30  // bytes of one file, unpacked
	maxRecord = 16 << 20 // bytes of one record
	maxNames  = 200      // aliases of one record
	maxDepth  = 100      // of what is passed over
)

// nameForm is what a vulnerability may be called. Names go into a text file with tabs.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:@/+-]{1,127}$`)

// Counts is what an import took up.
type Counts struct {
	Files     int
	OSV       int // records of OSV
	NVD       int // records of NVD
	KEV       int // entries of CISA's catalogue
	Withdrawn int // records that their publisher took back, which count for nothing
}

// Read takes up every file of a folder: *.json, *.json.gz, and *.zip of such files; other files are passed over. An error names the
// file, and then nothing was taken up that can be used.
func Read(folder fs.FS) (*Index, Counts, error) {
	b := newBuilder()
	err := fs.WalkDir(folder, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if err := b.file(folder, name); err != nil {
			return fmt.Errorf("read advisories of %s: %w", name, err)
		}
		return nil
	})
	if err == nil && b.counts.Files == 0 {
		err = errors.New("read advisories: no file there; want *.json, *.json.gz or *.zip of OSV, NVD 2.0 or CISA KEV")
	}
	if err != nil {
		return nil, Counts{}, err
	}
	return b.index(), b.counts, nil
}

func (b *builder) file(folder fs.FS, name string) error {
	open := func() (io.ReadCloser, error) { return folder.Open(name) }
	switch {
	case strings.HasSuffix(name, ".json"):
		return b.text(open, plain)
	case strings.HasSuffix(name, ".json.gz"):
		return b.text(open, func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) })
	case strings.HasSuffix(name, ".zip"):
		return b.archive(folder, name)
	}
	return nil
}

func plain(r io.Reader) (io.Reader, error) { return r, nil }

// text takes up one file of JSON.
func (b *builder) text(open func() (io.ReadCloser, error), unpack func(io.Reader) (io.Reader, error)) error {
	f, err := open()
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := unpack(f)
	if err != nil {
		return err
	}
	b.counts.Files++
	bounded := &io.LimitedReader{R: r, N: maxFile + 1}
	err = b.document(json.NewDecoder(bounded))
	if bounded.N <= 0 {
		return fmt.Errorf("found more than %d GiB; want less", maxFile>>30)
	}
	return err
}

// archive takes up the JSON files of a zip, as OSV publishes a whole ecosystem.
func (b *builder) archive(folder fs.FS, name string) error {
	f, err := folder.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	at, ok := f.(io.ReaderAt)
	if !ok {
		text, err := io.ReadAll(io.LimitReader(f, maxFile))
		if err != nil {
			return err
		}
		at = bytes.NewReader(text)
	}
	z, err := zip.NewReader(at, info.Size())
	if err != nil {
		return err
	}
	for _, member := range z.File {
		if !strings.HasSuffix(member.Name, ".json") {
			continue
		}
		if err := b.text(member.Open, plain); err != nil {
			return fmt.Errorf("%.200q: %w", member.Name, err)
		}
	}
	return nil
}

// record holds the fields of all three forms; which are set tells the form.
type record struct {
	ID        string    `json:"id"`        // OSV
	Aliases   []string  `json:"aliases"`   // OSV
	Published string    `json:"published"` // OSV
	Withdrawn string    `json:"withdrawn"` // OSV
	CVEID     string    `json:"cveID"`     // KEV
	Added     string    `json:"dateAdded"` // KEV
	CVE       *struct { // NVD
		ID        string `json:"id"`
		Published string `json:"published"`
		Status    string `json:"vulnStatus"`
	} `json:"cve"`
}

// document reads one file: a record of OSV, or an object whose "vulnerabilities" are those of NVD or KEV.
func (b *builder) document(d *json.Decoder) error {
	if err := open(d, '{'); err != nil {
		return place(d, err)
	}
	fields := map[string]json.RawMessage{}
	listed := false
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return place(d, err)
		}
		switch key {
		case "vulnerabilities":
			listed = true
			err = b.list(d)
		case "id", "aliases", "published", "withdrawn":
			var value json.RawMessage
			if err = d.Decode(&value); err == nil && len(value) > maxRecord {
				err = fmt.Errorf("found %q of %d bytes; want at most %d", key, len(value), maxRecord)
			}
			fields[key.(string)] = value
		default:
			err = pass(d)
		}
		if err != nil {
			return place(d, err)
		}
	}
	if _, err := d.Token(); err != nil {
		return place(d, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return place(d, errors.New("found more behind the end; want one value in a file"))
	}
	if listed {
		return nil
	}
	text, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return err
	}
	return b.add(r)
}

// list reads the entries of NVD or KEV, one at a time.
func (b *builder) list(d *json.Decoder) error {
	if err := open(d, '['); err != nil {
		return err
	}
	for d.More() {
		var r record
		if err := d.Decode(&r); err != nil {
			return err
		}
		if err := b.add(r); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}

func open(d *json.Decoder, want json.Delim) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	if token != want {
		return fmt.Errorf("found %.40q; want %q: a record of OSV, a feed of NVD 2.0 or CISA's KEV", fmt.Sprint(token), want)
	}
	return nil
}

// pass reads over a value without holding it.
func pass(d *json.Decoder) error {
	for depth := 0; ; {
		token, err := d.Token()
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth > maxDepth {
			return fmt.Errorf("found more than %d levels", maxDepth)
		}
		if depth == 0 {
			return nil
		}
	}
}

func place(d *json.Decoder, err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("near byte %d: %w", d.InputOffset(), err)
}

// add takes up one record.
func (b *builder) add(r record) error {
	switch {
	case r.CVE != nil && r.CVE.Status == "Rejected", r.Withdrawn != "":
		b.counts.Withdrawn++
		return nil
	case r.CVE != nil:
		b.counts.NVD++
		return b.know(r.CVE.ID, nil, "nvd", r.CVE.Published, false)
	case r.CVEID != "":
		b.counts.KEV++
		return b.know(r.CVEID, nil, "kev", r.Added, true) // exploited by then, so known by then
	case r.ID != "":
		b.counts.OSV++
		return b.know(r.ID, r.Aliases, "osv", r.Published, false)
	}
	return errors.New("found a record without an id; want OSV, NVD 2.0 or CISA KEV")
}

// layouts are how the three write an instant; NVD names no zone and means UTC.
func parse(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05.999", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC().Truncate(time.Second), nil
		}
	}
	return time.Time{}, fmt.Errorf("found the date %.40q; want 2021-12-10T10:15:09Z or 2021-12-10", text)
}

func (b *builder) know(id string, aliases []string, source, date string, exploited bool) error {
	if len(aliases) > maxNames {
		return fmt.Errorf("%.128q: found %d aliases; want at most %d", id, len(aliases), maxNames)
	}
	for _, name := range append([]string{id}, aliases...) {
		if !nameForm.MatchString(name) {
			return fmt.Errorf("found the id %.128q; want letters, digits and ._:@/+-", name)
		}
	}
	entry := image.Advisory{ID: id, Aliases: aliases, Exploited: exploited}
	if date != "" {
		at, err := parse(date)
		if err != nil {
			return fmt.Errorf("%s: %w", id, err)
		}
		entry.Published = []image.Dated{{At: at, Source: source}}
	}
	b.entries = append(b.entries, entry)
	return nil
}
