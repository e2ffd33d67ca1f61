package store

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"
)

// removeAtOnce is how many records one transaction of Retain removes, so that filling never waits long for it.
const removeAtOnce = 500

var kindForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

// Retention is how long records of a kind are kept in the store, by kind. A kind that it does not name is kept for ever, as
// the ledger keeps all of them.
type Retention map[string]time.Duration

// Retain removes records that happened before their kind's time, with their findings, and what was closed before every
// time given. Totals, what stands open, gaps and people stay. It says how many records it removed, also
// with an error.
func (s *Store) Retain(ctx context.Context, keep Retention, now time.Time) (removed int, err error) {
	var oldest time.Time
	for _, kind := range slices.Sorted(maps.Keys(keep)) {
		if keep[kind] <= 0 || !kindForm.MatchString(kind) {
			return removed, fmt.Errorf("retain: %w: found %v for %.80q; want a kind and a time above zero", ErrQuery, keep[kind], kind)
		}
		before := now.Add(-keep[kind])
		if oldest.IsZero() || before.Before(oldest) {
			oldest = before
		}
		for n := removeAtOnce; n == removeAtOnce; removed += n {
			if n, err = s.removeSome(ctx, kind, micros(before)); err != nil {
				return removed, fmt.Errorf("remove records of kind %s: %w", kind, err)
			}
		}
	}
	return removed, s.removeClosed(ctx, oldest, len(keep) > 0)
}

// removeClosed removes what closed before an instant, some at a time.
func (s *Store) removeClosed(ctx context.Context, before time.Time, wanted bool) error {
	for n := int64(removeAtOnce); n == removeAtOnce && wanted; {
		err := s.change(ctx, func(tx *sql.Tx) error {
			result, err := tx.ExecContext(ctx, sqlOldScanned, micros(before), removeAtOnce)
			if err == nil {
				n, err = result.RowsAffected()
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("remove closed findings: %w", err)
		}
	}
	return nil
}

// removeSome removes some records of a kind, and notes from when on all are there.
func (s *Store) removeSome(ctx context.Context, kind string, before int64) (n int, err error) {
	err = s.change(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, sqlSetHorizon, kind, before); err != nil {
			return err
		}
		f := &filling{ctx: ctx, tx: tx, s: s, stmts: map[string]*sql.Stmt{}}
		word, err := f.word(kind)
		if err != nil {
			return err
		}
		old, err := f.old(word, before)
		if err != nil {
			return err
		}
		for _, idx := range old {
			for _, text := range sqlRemove() {
				if err := f.exec(text, idx); err != nil {
					return err
				}
			}
		}
		n = len(old)
		return nil
	})
	return n, err
}

// old are some records of a kind from before an instant.
func (f *filling) old(kind, before int64) ([]int64, error) {
	rows, err := f.tx.QueryContext(f.ctx, sqlOld, kind, before, removeAtOnce)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []int64
	for rows.Next() {
		var idx int64
		if err := rows.Scan(&idx); err != nil {
			return nil, err
		}
		out = append(out, idx)
	}
	return out, rows.Err()
}
