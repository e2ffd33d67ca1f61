package store

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"regexp"
	"time"
)

var refForm = regexp.MustCompile(`^hmac-sha256:[0-9a-f]{64}$`)

// maxName bounds a name: Kubernetes bounds none, a certificate's common name has 64 characters, a cloud's identity some hundred.
const maxName = 1024

// Remember keeps whom a reference means. Somebody who was forgotten stays so. It comes from no ledger: who makes references
// tells.
func (s *Store) Remember(ctx context.Context, ref, name string, now time.Time) error {
	if !refForm.MatchString(ref) || name == "" || len(name) > maxName {
		return fmt.Errorf("remember a person: %w: want hmac-sha256: with 64 digits, and a name of at most %d bytes", ErrQuery, maxName)
	}
	err := s.change(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, sqlRemember, ref, name, micros(now))
		return err
	})
	if err != nil {
		return fmt.Errorf("remember a person: %w", err)
	}
	return nil
}

// Forget removes the name of a reference for good, from the file and from the log beside it, and keeps that it did: the name
// is not taken again. The ledger is not touched. Who holds the key of references can still find out whether a name that
// they guess is meant.
func (s *Store) Forget(ctx context.Context, ref string, now time.Time) error {
	if !refForm.MatchString(ref) {
		return fmt.Errorf("forget a person: %w: found %.80q; want hmac-sha256: and 64 digits", ErrQuery, ref)
	}
	err := s.change(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, sqlForget, ref, micros(now))
		return err
	})
	if err == nil {
		err = s.shorten(ctx)
	}
	if err != nil {
		return fmt.Errorf("forget a person: %w", err)
	}
	return nil
}

// shorten empties SQLite's log into the file. Where a reader is in its way it waits for as long as a writer would.
func (s *Store) shorten(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var blocked, pages, moved int
	if err := s.write.QueryRowContext(ctx, sqlShorten).Scan(&blocked, &pages, &moved); err != nil {
		return explain(err)
	}
	if blocked != 0 {
		return fmt.Errorf("the name is removed, and may stand in %s-wal until its readers end; fix: run it again then", s.path)
	}
	if now, err := os.Stat(s.path); err != nil || !os.SameFile(now, s.file) {
		return fmt.Errorf("the store %s was made anew in the meantime, with the name; fix: run it again", s.path)
	}
	return nil
}

// Person is whom a reference means.
func (s *Store) Person(ctx context.Context, ref string) (Person, error) {
	all, err := query(ctx, s, func(rows *sql.Rows) (p Person, err error) {
		return p, rows.Scan(&p.Ref, &p.Name, &p.Forgotten)
	}, sqlPerson, ref)
	if err != nil || len(all) == 0 {
		return Person{Ref: ref}, wrap("a person", err)
	}
	return all[0], nil
}

// Acquaintance is a line of what a store knows of people, as another store takes it over: Ref, Name, which is nil where the
// person was forgotten, and Changed in microseconds since 1970.
type Acquaintance struct {
	Ref     string  `json:"ref"`
	Name    *string `json:"name"`
	Changed int64   `json:"changed"`
}

// Everybody are all people, also those who were forgotten: the only thing in the store that the ledger does not hold.
func (s *Store) Everybody(ctx context.Context) ([]Acquaintance, error) {
	all, err := query(ctx, s, func(rows *sql.Rows) (a Acquaintance, err error) { return a, rows.Scan(&a.Ref, &a.Name, &a.Changed) }, sqlPeople)
	return all, wrap("people", err)
}

// Admit takes over people of another store into one that knows nobody.
func (s *Store) Admit(ctx context.Context, people []Acquaintance) error {
	for _, a := range people {
		if !refForm.MatchString(a.Ref) || a.Name != nil && (*a.Name == "" || len(*a.Name) > maxName) {
			return fmt.Errorf("take over people: %w: want hmac-sha256: with 64 digits, and a name of at most %d bytes", ErrQuery, maxName)
		}
	}
	err := s.change(ctx, func(tx *sql.Tx) error {
		for _, a := range people {
			if _, err := tx.ExecContext(ctx, sqlCarry, a.Ref, a.Name, a.Changed); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("take over people: %w", err)
	}
	return nil
}
