package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"

	"ringfence.dev/ringfence/finding"
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

// Record is the record of an id; nil where there is none.
func (s *Store) Record(ctx context.Context, id string) (*Kept, error) {
	return s.record(ctx, sqlRecordByID, id)
}

// RecordAt is the record of a place in the ledger; nil where there is none, or where its id was there before.
func (s *Store) RecordAt(ctx context.Context, index uint64) (*Kept, error) {
	return s.record(ctx, sqlRecordByIndex, whole(index))
}

func (s *Store) record(ctx context.Context, from string, arg any) (*Kept, error) {
	all, err := query(ctx, s, scanRecord, strings.Replace(sqlRecord, "{from}", from, 1), arg)
	if err != nil || len(all) == 0 {
		return nil, wrap("a record", err)
	}
	return &all[0], nil
}

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

func scanDecision(rows *sql.Rows) (Decision, error) {
	f, err := scanFinding(rows)
	return f.Decision, err
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
	lanes, err := s.lanes(ctx, []string{"namespace", "control", "actor"}, f.Namespaces, f.Controls, f.Actors)
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
	return strings.Replace(seen(sqlFindingsAt, sqlFindingColumns, sqlFindingJoin), "{values}", values, 1)
}

func findingsSQL(columns []string, newest bool) string {
	return ranged(where(sqlFindings, "findings_"+initials("at", columns...), columns...), newest, "at", "idx", "n")
}

// seen makes the text for decisions and findings.
func seen(from, columns, join string) string {
	return strings.NewReplacer("{from}", from, "{columns}", columns, "{join}", join).Replace(sqlSeen)
}

// FindingsOf are the findings of one record, in its order.
func (s *Store) FindingsOf(ctx context.Context, id string) ([]Finding, error) {
	all, err := query(ctx, s, scanFinding, seen(sqlFindingsOf, sqlFindingColumns, sqlFindingJoin)+" ORDER BY f.n", id)
	return all, wrap("the findings of a record", err)
}

// History is what was decided about one object, in every API version and cluster: what became of a refusal stands here.
// A request that passed every native rule leaves no record.
func (s *Store) History(ctx context.Context, of finding.Subject, r Range, p Page) ([]Decision, string, error) {
	all, err := s.history(ctx, of, r, p)
	out, next := cutPage(all, p, func(d Decision) place { return place{micros(d.Time), int64(d.Index), 0} })
	return out, next, wrap("the history of an object", err)
}

func (s *Store) history(ctx context.Context, of finding.Subject, r Range, p Page) ([]Decision, error) {
	subjects, err := s.subjects(ctx, of)
	if err != nil {
		return nil, err
	}
	span, err := r.span(p, 2)
	all := []Decision{}
	for _, id := range subjects {
		var some []Decision
		if err == nil {
			some, err = query(ctx, s, scanDecision, historySQL(p.Newest), append(append([]any{id}, span...), p.limit()+1)...)
		}
		all = append(all, some...)
	}
	return all, err
}

func historySQL(newest bool) string {
	return ranged(seen(sqlHistory, sqlDecisionColumns, ""), newest, "at", "idx")
}

// subjects are the numbers of an object, one for each of its API versions and clusters.
func (s *Store) subjects(ctx context.Context, of finding.Subject) ([]int64, error) {
	namespace, err := s.wordOf(ctx, of.Namespace)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return query(ctx, s, func(rows *sql.Rows) (id int64, err error) { return id, rows.Scan(&id) }, sqlSubjects, namespace, of.Kind, of.Name)
}

func scanStanding(rows *sql.Rows) (t Standing, err error) {
	var last int64
	err = rows.Scan(&t.place.idx, &t.place.n, &t.place.at, &last, &t.Times, &t.Open, &t.Refused, &t.Cluster, &t.Subject.APIVersion, &t.Subject.Kind,
		&t.Subject.Namespace, &t.Subject.Name, &t.Control, &t.Outcome, &t.Action, &t.Value, &t.Path, &t.First, &t.Latest)
	t.Since, t.Last = instant(t.place.at), instant(last)
	return t, err
}

// standingKey is the key of what stands, with its place.
type standingKey struct {
	place
	key [3]any
}

// Standing are findings that stand open, or were closed, in order of since when.
func (s *Store) Standing(ctx context.Context, f StandingFilter) ([]Standing, string, error) {
	keys, err := s.standingKeys(ctx, f)
	some, next := cutPage(keys, f.Page, func(k standingKey) place { return k.place })
	all := []Standing{}
	if err == nil && len(some) > 0 {
		var args []any
		for _, k := range some {
			args = append(args, k.key[:]...)
		}
		all, err = query(ctx, s, scanStanding, standingAtSQL(len(some)), args...)
	}
	out, _ := cutPage(all, f.Page, func(t Standing) place { return t.place })
	return out, next, wrap("what stands open", err)
}

func (s *Store) standingKeys(ctx context.Context, f StandingFilter) ([]standingKey, error) {
	lanes, err := s.lanes(ctx, []string{"namespace", "control"}, f.Namespaces, f.Controls)
	if err != nil {
		return nil, err
	}
	span, err := f.span(f.Page, 3)
	var all []standingKey
	for _, l := range lanes {
		var some []standingKey
		if err == nil {
			args := append(append(append([]any{!f.Closed}, l.args...), span...), f.limit()+1)
			some, err = query(ctx, s, func(rows *sql.Rows) (k standingKey, err error) {
				return k, rows.Scan(&k.at, &k.idx, &k.n, &k.key[0], &k.key[1], &k.key[2])
			}, standingSQL(l.columns, f.Newest), args...)
		}
		all = append(all, some...)
	}
	return all, err
}

func standingAtSQL(n int) string {
	return strings.Replace(sqlStanding, "{values}", strings.TrimSuffix(strings.Repeat("(?, ?, ?), ", n), ", "), 1)
}

func standingSQL(columns []string, newest bool) string {
	return ranged(where(sqlStandingPlaces, "standing_"+initials("since", columns...), columns...), newest, "since", "first", "n")
}

// StandingCounts are how many findings stand open, by control and namespace.
func (s *Store) StandingCounts(ctx context.Context) ([]StandingCount, error) {
	all, err := query(ctx, s, func(rows *sql.Rows) (c StandingCount, err error) {
		return c, rows.Scan(&c.Control, &c.Namespace, &c.N)
	}, sqlStandingCounts)
	slices.SortFunc(all, func(a, b StandingCount) int {
		return cmp.Or(cmp.Compare(a.Control, b.Control), cmp.Compare(a.Namespace, b.Namespace))
	})
	return all, wrap("counts of what stands open", err)
}
