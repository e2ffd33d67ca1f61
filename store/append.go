package store

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
)

// maxWords is how many words the writer remembers the numbers of, about 5 MB.
const maxWords = 50_000

// Append adds entries of the ledger of that origin, in order, in one transaction with the place up to which the store is
// filled. Entries that it has already are passed over. Of records with the same id the first is kept. The error wraps
// ErrForeign where the store was filled from another ledger or where entries between are missing; then nothing is added.
func (s *Store) Append(ctx context.Context, origin string, entries []Entry) error {
	if len(entries) == 0 {
		return nil
	}
	err := s.change(ctx, func(tx *sql.Tx) error {
		at, err := stateOf(ctx, tx)
		if err != nil {
			return err
		}
		if at.Origin != "" && at.Origin != origin {
			return fmt.Errorf("%w: found the origin %q; want %q; %s", ErrForeign, origin, at.Origin, wayBack)
		}
		f := &filling{ctx: ctx, tx: tx, s: s, stmts: map[string]*sql.Stmt{}}
		if len(s.words) > maxWords {
			clear(s.words)
		}
		for _, e := range entries {
			switch {
			case e.Index < at.Next:
				continue
			case e.Index > at.Next:
				return fmt.Errorf("%w: found entry %d; want entry %d", ErrForeign, e.Index, at.Next)
			}
			if err := f.add(e); err != nil {
				return fmt.Errorf("entry %d: %w", e.Index, err)
			}
			at.Next, at.LastID, at.LastDigest = e.Index+1, e.ID, hex.EncodeToString(e.Digest[:])
		}
		at.Duplicates += f.duplicates
		for key, value := range map[string]string{"origin": origin, "next": strconv.FormatUint(at.Next, 10), "last": at.LastID,
			"digest": at.LastDigest, "duplicates": strconv.FormatUint(at.Duplicates, 10)} {
			if err := f.exec(sqlSetMeta, key, value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("fill the store %s: %w", s.path, err)
	}
	return nil
}

// filling is one transaction that adds entries.
type filling struct {
	ctx        context.Context // that of Append; it lives no longer
	tx         *sql.Tx
	s          *Store
	stmts      map[string]*sql.Stmt
	duplicates uint64
}

// stmt prepares a text once a transaction.
func (f *filling) stmt(text string) (*sql.Stmt, error) {
	if s := f.stmts[text]; s != nil {
		return s, nil
	}
	s, err := f.tx.PrepareContext(f.ctx, text)
	if err == nil {
		f.stmts[text] = s
	}
	return s, err
}

func (f *filling) exec(text string, args ...any) error {
	_, err := f.changed(text, args...)
	return err
}

// changed is exec, and how many rows it was.
func (f *filling) changed(text string, args ...any) (int64, error) {
	s, err := f.stmt(text)
	if err != nil {
		return 0, err
	}
	result, err := s.ExecContext(f.ctx, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// row reads one row; false is none.
func (f *filling) row(text string, args, into []any) (bool, error) {
	s, err := f.stmt(text)
	if err != nil {
		return false, err
	}
	err = s.QueryRowContext(f.ctx, args...).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// word is the number of a text.
func (f *filling) word(text string) (id int64, err error) {
	if id, ok := f.s.words[text]; ok {
		return id, nil
	}
	found, err := f.row(sqlWord, []any{text}, []any{&id})
	if err == nil && !found {
		_, err = f.row(sqlAddWord, []any{text}, []any{&id})
	}
	if err == nil {
		f.s.words[text] = id
	}
	return id, err
}

// envelope are the numbers of a record's words.
type envelope struct {
	idx, at, cluster, producer, kind, digest int64
}

// add adds one entry.
func (f *filling) add(e Entry) error {
	v := envelope{idx: int64(e.Index), at: micros(e.Time)}
	for _, w := range []struct {
		text string
		into *int64
	}{{e.Cluster, &v.cluster}, {e.Producer, &v.producer}, {e.Kind, &v.kind}, {e.CatalogueDigest, &v.digest}} {
		var err error
		if *w.into, err = f.word(w.text); err != nil {
			return err
		}
	}
	fs, ok := read(e.Record)
	unread := 0
	if !ok {
		unread = 1
	}
	ns := e.Time.Nanosecond() % 1000
	n, err := f.changed(sqlAddRecord, v.idx, e.ID, v.cluster, v.producer, int64(e.Seq), v.at, ns, v.kind, v.digest, unread, []byte(e.Body))
	if err != nil {
		return err
	}
	if n == 0 {
		f.duplicates++
		return nil
	}
	if err := f.count(v, e.Record, unread); err != nil {
		return err
	}
	switch {
	case fs.decision != nil:
		return f.decide(v, fs.decision)
	case fs.gap != nil:
		return f.gap(v, 0, fs.gap)
	case fs.scan != nil:
		return f.scan(v, fs.scan)
	}
	return nil
}

// count adds to the totals, and tells of holes in a producer's numbers: records that were made and are not here.
func (f *filling) count(v envelope, r record.Record, unread int) error {
	if err := f.exec(sqlAddTotal, v.kind, v.at, v.at, unread); err != nil {
		return err
	}
	var seq, heard int64
	if _, err := f.row(sqlProducer, []any{v.cluster, v.producer}, []any{&seq, &heard}); err != nil {
		return err
	}
	last, missing := uint64(seq), uint64(0)
	if r.Seq > last+1 {
		missing = r.Seq - last - 1
		since, until := r.Time, r.Time
		if last > 0 {
			since = instant(heard)
		}
		if until.Before(since) {
			since, until = until, since
		}
		g := &gap{what: "hole", producer: r.Producer, why: "missing", since: since, until: &until, lost: missing}
		if err := f.gap(v, 1, g); err != nil {
			return err
		}
	}
	return f.exec(sqlSetProducer, v.cluster, v.producer, int64(max(r.Seq, last)), v.at, v.idx, whole(missing))
}

// subject is the number of an object.
func (f *filling) subject(v envelope, of finding.Subject, namespace int64) (id int64, err error) {
	args := []any{namespace, of.Kind, of.Name, v.cluster, of.APIVersion}
	found, err := f.row(sqlSubject, args, []any{&id})
	if err == nil && !found {
		_, err = f.row(sqlAddSubject, args, []any{&id})
	}
	return id, err
}

// decide adds a decision with its findings; of one without any there is nothing to ask.
func (f *filling) decide(v envelope, d *decision) error {
	found := d.notPassed
	if len(found) == 0 && d.refused {
		found = []notPassed{{Outcome: "Errored", Action: "Deny"}} // by what, the record does not say
	}
	if len(found) == 0 {
		return nil
	}
	var ids [3]int64 // of the namespace, of who asked, and in whose name
	for i, text := range []string{d.subject.Namespace, d.actor, d.behalf} {
		var err error
		if ids[i], err = f.word(text); err != nil {
			return err
		}
	}
	subject, err := f.subject(v, d.subject, ids[0])
	if err != nil {
		return err
	}
	if err := f.exec(sqlAddDecision, v.idx, v.kind, d.refused, d.operation, subject, ids[1], ids[2]); err != nil {
		return err
	}
	for i, n := range found {
		control, err := f.word(n.Control)
		if err != nil {
			return err
		}
		if err := f.exec(sqlAddFinding, v.idx, i, v.at, d.refused, ids[0], control, n.Outcome, n.Action, n.Value, n.Path, n.Waiver); err != nil {
			return err
		}
	}
	return nil
}

// gap adds a gap, or the end of one that is there.
func (f *filling) gap(v envelope, n int, g *gap) error {
	since, until := micros(g.since), int64(never)
	if g.until != nil {
		until = max(since, micros(*g.until))
	}
	wide := until-since > day || until == never
	if g.what == "silence" && g.until != nil {
		ended, err := f.changed(sqlEndGap, until, wide, v.cluster, g.producer, g.what, g.why, since)
		if err != nil || ended > 0 {
			return err
		}
	}
	return f.exec(sqlAddGap, v.idx, n, g.what, v.cluster, g.producer, g.why, since, until, wide, whole(g.lost), g.detail)
}
