package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"ringfence.dev/ringfence/finding"
)

func isYAML(name string) bool { return filepath.Ext(name) == ".yaml" }

// writeFolder writes files into a folder, all or none: they are written beside it first, and then take its place. What the
// folder held before must be nothing, or an earlier export that force allows to replace.
func writeFolder(dir string, files []file, force bool) error {
	if err := replaceable(dir, force); err != nil {
		return &exitError{finding.ExitUsage, err}
	}
	full, err := filepath.Abs(dir) // of "." the name too
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return fmt.Errorf("make the folder of %s: %w", dir, err)
	}
	beside, err := os.MkdirTemp(filepath.Dir(full), ".ringfence-export-")
	if err != nil {
		return fmt.Errorf("make a folder beside %s: %w", dir, err)
	}
	defer os.RemoveAll(beside) // also what was replaced; what is left here is worth nothing
	fresh, old := filepath.Join(beside, "new"), filepath.Join(beside, "old")
	if err := os.Mkdir(fresh, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(fresh, f.name), f.text, 0o644); err != nil {
			return fmt.Errorf("write %s: %w", f.name, err)
		}
	}
	if err := os.Rename(full, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("replace %s: %w", dir, err)
	}
	if err := os.Rename(fresh, full); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", dir, err), undo(old, full))
	}
	return nil
}

// undo puts the old folder back, where there was one.
func undo(old, dir string) error {
	if err := os.Rename(old, dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// replaceable says why a folder cannot be written.
func replaceable(dir string, force bool) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return pathFault(dir, err)
	case len(entries) > 0 && !force:
		return fmt.Errorf("%s is not empty; name another folder, or replace an earlier export with --force", dir)
	}
	for _, e := range entries {
		if !exported(filepath.Join(dir, e.Name()), e) {
			return fmt.Errorf("%s holds %s, which is not from an export; name another folder", dir, finding.Value(e.Name()))
		}
	}
	return nil
}

// exported reports whether a file comes of an export: its first line says so.
func exported(name string, e fs.DirEntry) bool {
	if !e.Type().IsRegular() {
		return false
	}
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	line, _, err := bufio.NewReaderSize(f, 1024).ReadLine()
	return err == nil && (strings.HasPrefix(string(line), "# "+mark) || strings.HasPrefix(string(line), "<!-- "+mark))
}
