package store

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"
)

// nanos is an instant with what the store keeps below a microsecond.
func nanos(at, ns int64) time.Time { return instant(at).Add(time.Duration(ns)) }

func scanRecord(rows *sql.Rows) (k Kept, err error) {
	var at, ns, seq int64
	var body []byte
	err = rows.Scan(&k.Index, &k.ID, &k.Cluster, &k.Producer, &seq, &at, &ns, &k.Kind, &k.CatalogueDigest, &k.Unread, &body)
	k.Seq, k.Time, k.Body = uint64(seq), nanos(at, ns), body
	return k, err
}

// RecordAt is the record of a place in the ledger; nil where there is none, or where its id was there before.
func (s *Store) RecordAt(ctx context.Context, index uint64) (*Kept, error) {
	all, err := query(ctx, s, scanRecord, recordAtSQL(), whole(index))
	if err != nil || len(all) == 0 {
		return nil, wrap("a record", err)
	}
	return &all[0], nil
}

func recordAtSQL() string { return strings.Replace(sqlRecord, "{from}", sqlRecordByIndex, 1) }

// Records are records of a kind, or of all, in a time.
func (s *Store) Records(ctx context.Context, f RecordFilter) ([]Kept, string, error) {
	var kinds []string
	if f.Kind != "" {
		kinds = []string{f.Kind}
	}
	lanes, err := s.lanes(ctx, []string{"kind"}, kinds)
	all := []Kept{}
	if err == nil && len(lanes) > 0 {
		var span []any
		if span, err = f.span(f.Page, 2); err == nil {
			args := append(append(lanes[0].args, span...), f.limit()+1)
			all, err = query(ctx, s, scanRecord, recordsSQL(lanes[0].columns, f.Newest), args...)
		}
	}
	out, next := cutPage(all, f.Page, func(k Kept) place { return place{micros(k.Time), int64(k.Index), 0} })
	return out, next, wrap("records", err)
}

func recordsSQL(columns []string, newest bool) string {
	return first(ranged(where(strings.Replace(sqlRecord, "{from}", sqlRecords, 1), "records_"+only("at", columns...), columns...), newest, "at", "idx"))
}

func scanFinding(rows *sql.Rows) (f Finding, err error) {
	var at, ns int64
	err = rows.Scan(&f.Index, &f.N, &at, &ns, &f.RecordID, &f.Kind, &f.Cluster, &f.Operation, &f.Refused, &f.Subject.APIVersion,
		&f.Subject.Kind, &f.Subject.Namespace, &f.Subject.Name, &f.Actor.Ref, &f.Actor.Name, &f.Actor.Forgotten,
		&f.InTheNameOf.Ref, &f.InTheNameOf.Name, &f.InTheNameOf.Forgotten, &f.Control, &f.Outcome, &f.Action, &f.Value, &f.Path, &f.Waiver)
	f.Time = nanos(at, ns)
	return f, err
}

// Findings are what did not pass, of requests that were refused, that went on, or both.
func (s *Store) Findings(ctx context.Context, f FindingFilter) ([]Finding, string, error) {
	places, err := s.places(ctx, f)
	out, next := cutPage(places, f.Page, func(p place) place { return p })
	var all []Finding
	if err == nil {
		all, err = s.findingsAt(ctx, out)
	}
	all, _ = cutPage(all, f.Page, func(g Finding) place { return place{micros(g.Time), int64(g.Index), int64(g.N)} })
	return all, next, wrap("findings", err)
}

// places are where the findings of a page, and more, are. They stand in an index, so that many lanes cost little.
func (s *Store) places(ctx context.Context, f FindingFilter) ([]place, error) {
	lanes, err := s.lanes(ctx, []string{"namespace", "control"}, f.Namespaces, f.Controls)
	if err != nil {
		return nil, err
	}
	span, err := f.span(f.Page, 3)
	if err != nil || len(lanes) == 0 {
		return nil, err
	}
	stmt, err := s.read.PrepareContext(ctx, findingsSQL(lanes[0].columns, f.Newest))
	if err != nil {
		return nil, explain(err)
	}
	defer stmt.Close()
	var all []place
	for _, refused := range []bool{true, false} {
		if f.Which == Refused && !refused || f.Which == Allowed && refused {
			continue
		}
		for _, l := range lanes {
			rows, err := stmt.QueryContext(ctx, append(append(append([]any{refused}, l.args...), span...), f.limit()+1)...)
			if err != nil {
				return nil, explain(err)
			}
			for rows.Next() && err == nil {
				var p place
				err = rows.Scan(&p.at, &p.idx, &p.n)
				all = append(all, p)
			}
			if err = errors.Join(err, rows.Err(), rows.Close()); err != nil {
				return nil, explain(err)
			}
		}
	}
	return all, nil
}

// findingsAt are the findings of places, in no order.
func (s *Store) findingsAt(ctx context.Context, at []place) ([]Finding, error) {
	if len(at) == 0 {
		return []Finding{}, nil
	}
	args := make([]any, 0, 2*len(at))
	for _, p := range at {
		args = append(args, p.idx, p.n)
	}
	return query(ctx, s, scanFinding, findingsAtSQL(len(at)), args...)
}

func findingsAtSQL(n int) string {
	values := strings.TrimSuffix(strings.Repeat("(?, ?), ", n), ", ")
	return strings.Replace(sqlFindingsAt, "{values}", values, 1)
}

func findingsSQL(columns []string, newest bool) string {
	return ranged(where(sqlFindings, "findings_"+initials("at", columns...), columns...), newest, "at", "idx", "n")
}
