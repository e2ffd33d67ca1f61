package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"strings"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
)

// ScanState is whether what a scan found stands.
type ScanState int

// What stands open, what stands and is waived, and what closed.
const (
	ScanClosed ScanState = iota
	ScanOpen
	ScanWaived
)

// ScannedFilter selects what the background scan found. An empty list is any.
type ScannedFilter struct {
	State      ScanState
	Namespaces []string
	Controls   []string
	// Range is of Since for what stands, and of Until for what closed; so is the order.
	Range
	Page
}

// Scanned is one finding of an object that lies in the cluster, from when it was seen until it was no more. A finding that came back, or
// that a waiver begins or ends to cover, is another.
type Scanned struct {
	Cluster string          `json:"cluster"`
	Subject finding.Subject `json:"subject"`
	Control string          `json:"control"`
	Outcome string          `json:"outcome"`
	Action  string          `json:"action"`
	Value   string          `json:"value"`
	Path    string          `json:"path"`
	// State says whether it stands; Waived that it was waived all the time.
	State  ScanState `json:"state"`
	Waived bool      `json:"waived"`
	// Since is when it was first seen; Last when it was last told of; Until when it was no more, zero while it stands.
	Since time.Time `json:"since"`
	Last  time.Time `json:"last"`
	Until time.Time `json:"until"`
	// Why it closed: fixed, deleted, rules, owner or start as its record says, or waived, opened: it goes on as another.
	Why string `json:"why"`
	// Waiver and Expires are of what was waived.
	Waiver  string `json:"waiver"`
	Expires string `json:"expires"`
	// First and Latest are the ids of the records; "" where retention removed them.
	First  string `json:"first"`
	Latest string `json:"latest"`

	place place
}

// scanBody is scan-finding.v1.
type scanBody struct {
	Changes []struct {
		record.ScanChange
		Subject finding.Subject `json:"subject"`
	} `json:"changes"`
}

// readScan takes a scan-finding.v1 apart.
func readScan(r record.Record) (facts, bool) {
	var b scanBody
	if json.Unmarshal(r.Body, &b) != nil {
		return facts{}, false
	}
	changes := make([]record.ScanChange, len(b.Changes))
	for i, c := range b.Changes {
		changes[i] = c.ScanChange
		changes[i].Subject = c.Subject
	}
	return facts{scan: changes}, true
}

// scan adds what a record says became of findings.
func (f *filling) scan(v envelope, changes []record.ScanChange) error {
	for n, c := range changes {
		namespace, err := f.word(c.Subject.Namespace)
		if err != nil {
			return err
		}
		control, err := f.word(c.Control)
		if err != nil {
			return err
		}
		subject, err := f.subject(v, c.Subject, namespace)
		if err != nil {
			return err
		}
		if err := f.scanned(v, n, c, subject, namespace, control); err != nil {
			return err
		}
	}
	return nil
}

// scanned adds one change.
func (f *filling) scanned(v envelope, n int, c record.ScanChange, subject, namespace, control int64) error {
	state := map[string]ScanState{"opened": ScanOpen, "waived": ScanWaived}[c.What]
	if c.What == "stays" {
		return f.exec(sqlScanStays, v.at, v.idx, c.Outcome, c.Action, c.Value, c.Waiver, c.Expires, subject, control, c.Path)
	}
	why := c.Why
	if state != ScanClosed {
		why = c.What
	}
	if err := f.exec(sqlScanClose, v.at, v.at, v.idx, why, subject, control, c.Path); err != nil || state == ScanClosed {
		return err
	}
	return f.exec(sqlScanOpen, subject, control, c.Path, v.at, int(state), int(state), v.at, namespace, v.idx, n, v.at, v.idx,
		c.Outcome, c.Action, c.Value, c.Waiver, c.Expires)
}

func scanScanned(rows *sql.Rows) (s Scanned, err error) {
	var since, last int64
	var was ScanState
	err = rows.Scan(&s.place.at, &s.place.idx, &s.place.n, &since, &s.State, &was, &last, &s.Cluster, &s.Subject.APIVersion, &s.Subject.Kind,
		&s.Subject.Namespace, &s.Subject.Name, &s.Control, &s.Outcome, &s.Action, &s.Value, &s.Path, &s.Why, &s.Waiver, &s.Expires, &s.First, &s.Latest)
	s.Since, s.Last, s.Waived = instant(since), instant(last), was == ScanWaived
	if s.State == ScanClosed {
		s.Until = instant(s.place.at)
	}
	return s, err
}

// Scanned is what the background scan found, in order of since when it stands or, of what closed, until when it stood.
func (s *Store) Scanned(ctx context.Context, f ScannedFilter) ([]Scanned, string, error) {
	all, err := s.scanned(ctx, f)
	out, next := cutPage(all, f.Page, func(c Scanned) place { return c.place })
	return out, next, wrap("what a scan found", err)
}

func (s *Store) scanned(ctx context.Context, f ScannedFilter) ([]Scanned, error) {
	lanes, err := s.lanes(ctx, []string{"namespace", "control"}, f.Namespaces, f.Controls)
	if err != nil {
		return nil, err
	}
	span, err := f.span(f.Page, 3)
	all := []Scanned{}
	for _, l := range lanes {
		var some []Scanned
		if err == nil {
			args := append(append(append([]any{int(f.State)}, l.args...), span...), f.limit()+1)
			some, err = query(ctx, s, scanScanned, scannedSQL(l.columns, f.Newest), args...)
		}
		all = append(all, some...)
	}
	return all, err
}

func scannedSQL(columns []string, newest bool) string {
	from := ranged(where(sqlScannedRows, "scanned_"+initials("moment", columns...), columns...), newest, "moment", "first", "n")
	return strings.Replace(sqlScanned, "{from}", from, 1)
}
