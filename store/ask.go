package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
)

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
