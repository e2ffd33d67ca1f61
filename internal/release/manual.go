package release

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// manual is what archives have beside the program: a manual page for each command, and completions for four shells.
func (c *Config) manual(o Origin) ([]entry, error) {
	if c.Commands == nil {
		return nil, nil
	}
	var all []entry
	for name, write := range map[string]func(io.Writer) error{
		product + ".bash": func(w io.Writer) error { return c.Commands.GenBashCompletionV2(w, true) },
		"_" + product:     c.Commands.GenZshCompletion,
		product + ".fish": func(w io.Writer) error { return c.Commands.GenFishCompletion(w, true) },
		product + ".ps1":  c.Commands.GenPowerShellCompletionWithDesc,
	} {
		var text bytes.Buffer
		if err := write(&text); err != nil {
			return nil, fmt.Errorf("write the completion %s: %w", name, err)
		}
		all = append(all, entry{name: "completions/" + name, mode: 0o644, data: text.Bytes()})
	}
	pages, err := pages(c.Commands, o)
	if err != nil {
		return nil, fmt.Errorf("write manual pages: %w", err)
	}
	all = append(all, pages...)
	slices.SortFunc(all, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	return all, nil
}

// pages are manual pages. Cobra writes them as files only.
func pages(root *cobra.Command, o Origin) (all []entry, err error) {
	dir, err := os.MkdirTemp("", "manual-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	at := o.Time.UTC()
	header := &doc.GenManHeader{Section: "1", Date: &at, Source: product + " " + o.Version, Manual: "Ringfence"}
	if err := doc.GenManTree(root, header, dir); err != nil {
		return nil, err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return nil, err
		}
		all = append(all, entry{name: "man/man1/" + f.Name(), mode: 0o644, data: text})
	}
	return all, nil
}
