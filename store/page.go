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
	"strings"
)

const (
	// defaultLimit and maxLimit bound a page.
	defaultLimit, maxLimit = 100, 1000
	// maxLanes bounds how many values of filters may be combined: each combination is a search of its own.
	maxLanes = 256
	// maxText bounds a text that is asked for; nothing in a record is longer.
	maxText = 1 << 16
)

// place is where something stands in an answer.
type place struct{ at, idx, n int64 }

func (p place) compare(o place) int {
	return cmp.Or(cmp.Compare(p.at, o.at), cmp.Compare(p.idx, o.idx), cmp.Compare(p.n, o.n))
}

func (p place) String() string { return fmt.Sprintf("%d.%d.%d", p.at, p.idx, p.n) }

// parsePlace reads a Page's After.
func parsePlace(text string) (p place, err error) {
	parts := strings.Split(text, ".")
	into := []*int64{&p.at, &p.idx, &p.n}
	for i := 0; i < len(into) && len(parts) == len(into) && err == nil; i++ {
		*into[i], err = strconv.ParseInt(parts[i], 10, 64)
	}
	if err != nil || len(parts) != len(into) {
		return place{}, fmt.Errorf("%w: after is %.60q; want the Next of another page", ErrQuery, text)
	}
	return p, nil
}

// limit is how many a page holds.
func (p Page) limit() int {
	if p.Limit <= 0 {
		return defaultLimit
	}
	return min(p.Limit, maxLimit)
}

// bounds are the instants of a Range.
func (r Range) bounds() (from, until int64) {
	from, until = math.MinInt64, never
	if !r.From.IsZero() {
		from = micros(r.From)
	}
	if !r.Until.IsZero() {
		until = micros(r.Until)
	}
	return from, until
}

// span is where a page begins and how far it may go, as arguments of a text that ranged made with n keys.
func (r Range) span(p Page, n int) ([]any, error) {
	from, until := r.bounds()
	begin, end := place{from, -1, -1}, until
	if p.Newest {
		begin, end = place{until, -1, -1}, from
	}
	if p.After != "" {
		after, err := parsePlace(p.After)
		if err != nil {
			return nil, err
		}
		if c := after.compare(begin); c > 0 && !p.Newest || c < 0 && p.Newest {
			begin = after
		}
	}
	return append([]any{begin.at, begin.idx, begin.n}[:n], end), nil
}

// query reads rows.
func query[T any](ctx context.Context, s *Store, scan func(*sql.Rows) (T, error), text string, args ...any) ([]T, error) {
	for _, a := range args {
		if t, ok := a.(string); ok && len(t) > maxText {
			return nil, fmt.Errorf("%w: a text has %d bytes; want at most %d", ErrQuery, len(t), maxText)
		}
	}
	rows, err := s.read.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, explain(err)
	}
	defer rows.Close()
	out := []T{}
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, explain(err)
		}
		out = append(out, one)
	}
	return out, explain(rows.Err())
}

// cutPage makes a page of more than enough.
func cutPage[T any](all []T, p Page, at func(T) place) ([]T, string) {
	slices.SortStableFunc(all, func(a, b T) int {
		if p.Newest {
			a, b = b, a
		}
		return at(a).compare(at(b))
	})
	if n := p.limit(); len(all) > n {
		return all[:n], at(all[n-1]).String()
	}
	return all, ""
}

// lane is one combination of a filter's values.
type lane struct {
	columns []string
	args    []any
}

// lanes combines the values of columns, all of them words. A word that no record has leads nowhere.
func (s *Store) lanes(ctx context.Context, columns []string, values ...[]string) ([]lane, error) {
	all := []lane{{}}
	for i, column := range columns {
		if len(values[i]) == 0 {
			continue
		}
		if len(values[i]) > maxLanes {
			return nil, tooMany(len(values[i]))
		}
		var next []lane
		for _, text := range slices.Compact(slices.Sorted(slices.Values(values[i]))) {
			id, err := s.wordOf(ctx, text)
			if errors.Is(err, sql.ErrNoRows) {
				continue
			}
			if err != nil {
				return nil, err
			}
			for _, l := range all {
				next = append(next, lane{append(slices.Clone(l.columns), column), append(slices.Clone(l.args), id)})
			}
		}
		if all = next; len(all) > maxLanes {
			return nil, tooMany(len(all))
		}
	}
	return all, nil
}

func tooMany(n int) error {
	return fmt.Errorf("%w: found %d combinations of namespaces and controls; want at most %d", ErrQuery, n, maxLanes)
}

// wordOf is the number of a text, sql.ErrNoRows where there is none.
func (s *Store) wordOf(ctx context.Context, text string) (id int64, err error) {
	if len(text) > maxText {
		return 0, sql.ErrNoRows
	}
	err = s.read.QueryRowContext(ctx, sqlWord, text).Scan(&id)
	return id, explain(err)
}

// wrap adds what was asked.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("ask the store for %s: %w", what, err)
}
