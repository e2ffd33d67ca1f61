package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
)

// migrationFiles are the steps from an empty file to this version: 0001.sql and so on. A step is never changed once it was
// released; the next one is added. There is no way down: a store is made anew from the ledger instead.
//
//go:embed migrations/*.sql
var migrationFiles embed.FS

// appID is "RfSt" in the file's header: it tells a store from any other SQLite file.
const appID = 0x52665374

// Version is the version of stores that this program makes.
func Version() int {
	entries, _ := migrationFiles.ReadDir("migrations") // it is in the binary
	return len(entries)
}

// versions reads what is in the file's header.
func versions(ctx context.Context, from interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}) (app, version int, err error) {
	if err = from.QueryRowContext(ctx, sqlAppID).Scan(&app); err == nil {
		err = from.QueryRowContext(ctx, sqlVersion).Scan(&version)
	}
	return app, version, err
}

// migrate brings the file to this version, each step in a transaction with its number.
func (s *Store) migrate(ctx context.Context) error {
	app, version, err := versions(ctx, s.write)
	if err != nil {
		return err
	}
	var tables int
	if err := s.write.QueryRowContext(ctx, sqlTables).Scan(&tables); err != nil {
		return err
	}
	if app != appID && (app != 0 || version != 0 || tables != 0) {
		return fmt.Errorf("%w: this is a SQLite file of another program; name another file", ErrDamaged)
	}
	if version > Version() {
		return newer(version)
	}
	if _, err := s.write.ExecContext(ctx, "PRAGMA journal_mode=WAL"); err != nil {
		return err
	}
	for version < Version() {
		err := s.change(ctx, func(tx *sql.Tx) error {
			var err error
			if _, version, err = versions(ctx, tx); err != nil || version >= Version() {
				return err // another process did it in the meantime
			}
			version++
			return step(ctx, tx, version)
		})
		if err != nil {
			return fmt.Errorf("bring it to version %d: %w", version, err)
		}
	}
	return nil
}

// step runs one migration.
func step(ctx context.Context, tx *sql.Tx, version int) error {
	text, err := migrationFiles.ReadFile(fmt.Sprintf("migrations/%04d.sql", version))
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, fmt.Sprintf("%s\nPRAGMA application_id=%d;\nPRAGMA user_version=%d;", text, appID, version))
	return err
}

// current refuses a file of another version or program, which only who opens for reading can meet.
func (s *Store) current(ctx context.Context) error {
	app, version, err := versions(ctx, s.read)
	switch {
	case err != nil:
		return err
	case app != appID:
		return fmt.Errorf("%w: this is a SQLite file of another program; name another file", ErrDamaged)
	case version > Version():
		return newer(version)
	case version < Version():
		return fmt.Errorf("it has version %d, want %d; fix: start the control plane of this version once, which brings it there", version, Version())
	}
	return nil
}

func newer(version int) error {
	return fmt.Errorf("%w: it has version %d, want at most %d; fix: use that version, or make the store anew with ringfence store rebuild", ErrNewer, version, Version())
}
