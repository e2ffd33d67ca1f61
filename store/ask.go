package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// Daily are counts of findings by day, control and action. They are kept when retention removes the findings. A page is as
// many days and controls as fit, each whole.
func (s *Store) Daily(ctx context.Context, f DailyFilter) ([]DayCount, string, error) {
	all, next, err := s.daily(ctx, f)
	return all, next, wrap("daily counts", err)
}

func (s *Store) daily(ctx context.Context, f DailyFilter) ([]DayCount, string, error) {
	from, until := int64(math.MinInt64), int64(math.MaxInt64)
	if !f.From.IsZero() {
		from = dayOf(micros(f.From))
	}
	if !f.Until.IsZero() {
		until = dayOf(micros(f.Until))
	}
	var namespace int64 // 0 is all together
	var err error
	if f.Namespace != nil {
		if namespace, err = s.wordOf(ctx, *f.Namespace); err != nil {
			return none[DayCount](err)
		}
	}
	at := place{at: from, idx: -1}
	if f.After != "" {
		if at, err = parsePlace(f.After); err != nil {
			return nil, "", err
		}
	}
	text, args := sqlDaily, []any{namespace, max(from, at.at), until, at.at, at.idx, f.limit() + 8}
	if f.Control != "" {
		control, err := s.wordOf(ctx, f.Control)
		if err != nil {
			return none[DayCount](err)
		}
		if f.After != "" {
			from = max(from, at.at+1)
		}
		text, args = sqlDailyOf, []any{namespace, control, from, until, f.limit() + 8}
	}
	days, err := query(ctx, s, scanDay, text, args...)
	if err != nil || len(days) <= f.limit() {
		return counts(days), "", err
	}
	return s.wholeDays(ctx, days, f.limit())
}

// none is the answer where a word is asked for that no record has.
func none[T any](err error) ([]T, string, error) {
	if errors.Is(err, sql.ErrNoRows) {
		return []T{}, "", nil
	}
	return nil, "", err
}

// dayRow is a DayCount with its place.
type dayRow struct {
	day int64
	DayCount
}

func scanDay(rows *sql.Rows) (d dayRow, err error) {
	err = rows.Scan(&d.day, &d.Control, &d.Action, &d.Refused, &d.N)
	d.Day = instant(d.day * day)
	return d, err
}

func counts(days []dayRow) []DayCount {
	out := make([]DayCount, len(days))
	for i, d := range days {
		out[i] = d.DayCount
	}
	return out
}

// wholeDays cuts a page where a day and control end: of one of them there are at most 8 rows, by action and refused.
func (s *Store) wholeDays(ctx context.Context, days []dayRow, limit int) ([]DayCount, string, error) {
	end := limit
	same := func(a, b dayRow) bool { return a.day == b.day && a.Control == b.Control }
	for end < len(days) && same(days[end-1], days[end]) {
		end++
	}
	if end == len(days) { // it may go on: leave the last one to the next page
		for end > 1 && same(days[end-1], days[len(days)-1]) {
			end--
		}
	}
	control, err := s.wordOf(ctx, days[end-1].Control)
	return counts(days[:end]), place{days[end-1].day, control, 0}.String(), err
}

func scanChange(rows *sql.Rows) (c Change, err error) {
	var at, ns int64
	var fields string
	err = rows.Scan(&c.Index, &at, &ns, &c.RecordID, &c.Cluster, &c.Operation, &c.Subject.APIVersion, &c.Subject.Kind, &c.Subject.Namespace,
		&c.Subject.Name, &c.Actor.Ref, &c.Actor.Name, &c.Actor.Forgotten, &c.Before, &c.After, &fields, &c.Catalogue)
	if err == nil {
		err = json.Unmarshal([]byte(fields), &c.Fields)
	}
	c.Time = nanos(at, ns)
	return c, err
}

// Changes are what was changed, and by whom.
func (s *Store) Changes(ctx context.Context, f ChangeFilter) ([]Change, string, error) {
	all, err := s.changes(ctx, f)
	out, next := cutPage(all, f.Page, func(c Change) place { return place{micros(c.Time), int64(c.Index), 0} })
	return out, next, wrap("changes", err)
}

func (s *Store) changes(ctx context.Context, f ChangeFilter) ([]Change, error) {
	lanes := []lane{{}}
	switch {
	case f.Actor != "" && (f.Kind != "" || f.Name != ""), f.Name != "" && f.Kind == "", f.Namespace != "" && f.Name == "":
		return nil, fmt.Errorf("%w: want a kind, with or without a name, or an actor, or nothing", ErrQuery)
	case f.Name != "":
		subjects, err := s.subjects(ctx, subjectOf(f))
		if err != nil {
			return nil, err
		}
		lanes = nil
		for _, id := range subjects {
			lanes = append(lanes, lane{[]string{"subject"}, []any{id}})
		}
	case f.Kind != "":
		lanes = []lane{{[]string{"kind"}, []any{f.Kind}}}
	case f.Actor != "":
		var err error
		if lanes, err = s.lanes(ctx, []string{"actor"}, []string{f.Actor}); err != nil {
			return nil, err
		}
	}
	span, err := f.span(f.Page, 2)
	all := []Change{}
	for _, l := range lanes {
		var some []Change
		if err == nil {
			some, err = query(ctx, s, scanChange, changesSQL(l.columns, f.Newest), append(append(l.args, span...), f.limit()+1)...)
		}
		all = append(all, some...)
	}
	return all, err
}

func changesSQL(columns []string, newest bool) string {
	return first(ranged(where(sqlChanges, "changes_"+only("at", columns...), columns...), newest, "at", "idx"))
}

func scanGap(rows *sql.Rows) (g Gap, err error) {
	var until int64
	err = rows.Scan(&g.Index, &g.place.n, &g.What, &g.Cluster, &g.Producer, &g.Why, &g.place.at, &until, &g.Lost, &g.Detail)
	g.place.idx = int64(g.Index)
	g.Since, g.Until = instant(g.place.at), instant(until)
	return g, err
}

// Gaps are what is not known of a time: every gap that has a moment in it. With From and Until the same it is what is not
// known of that moment.
func (s *Store) Gaps(ctx context.Context, r Range, p Page) ([]Gap, string, error) {
	from, until := r.bounds()
	if from == until {
		until++
	}
	p.Newest = false
	after := place{at: math.MinInt64, idx: -1}
	var err error
	if p.After != "" {
		after, err = parsePlace(p.After)
	}
	all := []Gap{}
	for _, wide := range []bool{true, false} {
		begin := int64(math.MinInt64)
		if !wide && from > math.MinInt64+day {
			begin = from - day // what is not wide and began earlier has ended
		}
		var some []Gap
		if err == nil {
			some, err = query(ctx, s, scanGap, sqlGaps, wide, begin, until, from, after.at, after.idx, after.n, p.limit()+1)
		}
		all = append(all, some...)
	}
	out, next := cutPage(all, p, func(g Gap) place { return g.place })
	return out, next, wrap("gaps", err)
}

// Catalogues are the catalogues that records of some days name, at most 1,000.
func (s *Store) Catalogues(ctx context.Context, r Range) ([]DayDigest, error) {
	from, until := r.bounds()
	all, err := query(ctx, s, func(rows *sql.Rows) (d DayDigest, err error) {
		var on, first, last int64
		err = rows.Scan(&on, &d.Cluster, &d.Digest, &d.N, &first, &last)
		d.Day, d.First, d.Last = instant(on*day), instant(first), instant(last)
		return d, err
	}, sqlDigests, dayOf(from), dayOf(until-1), maxLimit)
	return all, wrap("catalogues", err)
}

// Producers are those of whom there is a record, and when each was last heard.
func (s *Store) Producers(ctx context.Context) ([]Producer, error) {
	all, err := query(ctx, s, func(rows *sql.Rows) (p Producer, err error) {
		var seq, at int64
		err = rows.Scan(&p.Cluster, &p.Producer, &seq, &at, &p.Index, &p.N, &p.Missing)
		p.Seq, p.Last = uint64(seq), instant(at)
		return p, err
	}, sqlProducers)
	slices.SortFunc(all, func(a, b Producer) int {
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Producer, b.Producer))
	})
	return all, wrap("producers", err)
}

// Totals are how many records of each kind there were.
func (s *Store) Totals(ctx context.Context) ([]Total, error) {
	all, err := query(ctx, s, func(rows *sql.Rows) (t Total, err error) {
		var first, last int64
		err = rows.Scan(&t.Kind, &t.N, &first, &last, &t.Unread)
		t.First, t.Last = instant(first), instant(last)
		return t, err
	}, sqlTotals)
	slices.SortFunc(all, func(a, b Total) int { return cmp.Compare(a.Kind, b.Kind) })
	return all, wrap("totals", err)
}

// Horizons say what retention removed: an answer about a time before them is not whole.
func (s *Store) Horizons(ctx context.Context) ([]Horizon, error) {
	all, err := query(ctx, s, func(rows *sql.Rows) (h Horizon, err error) {
		var before int64
		err = rows.Scan(&h.Kind, &before)
		h.Before = instant(before)
		return h, err
	}, sqlHorizons)
	return all, wrap("horizons", err)
}

// State is how far the store is filled.
func (s *Store) State(ctx context.Context) (State, error) {
	state, err := stateOf(ctx, s.read)
	return state, wrap("its state", explain(err))
}

// stateOf reads the state, within a transaction or without.
func stateOf(ctx context.Context, from interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
}) (State, error) {
	rows, err := from.QueryContext(ctx, sqlMeta)
	if err != nil {
		return State{}, err
	}
	defer rows.Close()
	all := map[string]string{}
	for rows.Next() {
		var key, value string
		if err := rows.Scan(&key, &value); err != nil {
			return State{}, err
		}
		all[key] = value
	}
	state := State{Origin: all["origin"], LastID: all["last"], LastDigest: all["digest"]}
	if len(all) > 0 {
		var wrong [2]error
		state.Next, wrong[0] = strconv.ParseUint(all["next"], 10, 64)
		state.Duplicates, wrong[1] = strconv.ParseUint(all["duplicates"], 10, 64)
		if err := errors.Join(wrong[:]...); err != nil {
			return State{}, fmt.Errorf("%w: %w; %s", ErrDamaged, err, wayBack)
		}
	}
	return state, rows.Err()
}

// InForce is what records say of a control on the day of an instant, in UTC, in one namespace or, with nil, everywhere.
func (s *Store) InForce(ctx context.Context, control string, namespace *string, on time.Time) (Force, error) {
	begin := instant(dayOf(micros(on)) * day)
	r := Range{begin, begin.Add(24 * time.Hour)}
	var out Force
	var err [6]error
	var moreChanges, moreGaps string
	var horizons []Horizon
	var totals []Total
	if control == "" {
		return out, fmt.Errorf("%w: want a control", ErrQuery)
	}
	out.Seen, _, err[0] = s.Daily(ctx, DailyFilter{From: begin, Until: begin, Namespace: namespace, Control: control})
	out.Catalogues, err[1] = s.Catalogues(ctx, r)
	out.Changes, moreChanges, err[2] = s.Changes(ctx, ChangeFilter{Range: r})
	out.Gaps, moreGaps, err[3] = s.Gaps(ctx, r, Page{})
	horizons, err[4] = s.Horizons(ctx)
	totals, err[5] = s.Totals(ctx)
	out.More = moreChanges != "" || moreGaps != ""
	out.Unknown = len(out.Gaps) > 0 || len(out.Catalogues) == 0
	for _, h := range horizons {
		// Counts, catalogues and gaps are kept; changes are not.
		out.Unknown = out.Unknown || h.Before.After(begin) && h.Kind == "change.v1"
	}
	var newest time.Time
	for _, t := range totals {
		if t.Last.After(newest) {
			newest = t.Last
		}
	}
	out.Unknown = out.Unknown || newest.Before(r.Until) // the day may not be whole yet
	return out, errors.Join(err[:]...)
}
