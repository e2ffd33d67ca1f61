package cli

import (
	"cmp"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/compliance"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/frameworks"
)

// controls is the tree of the catalogue.
func (e Env) controls() fs.FS {
	if e.Controls != nil {
		return e.Controls
	}
	return controls.FS
}

// catalogue is the catalogue that this build embeds.
func (e Env) catalogue() (*control.Catalogue, error) {
	cat, err := control.Load(e.controls())
	if err != nil {
		return nil, fmt.Errorf("load the embedded catalogue: %w", err)
	}
	return cat, nil
}

// frameworks are the frameworks that this build embeds.
func (e Env) frameworks() (compliance.Frameworks, error) {
	tree := e.Frameworks
	if tree == nil {
		tree = frameworks.FS
	}
	all, err := compliance.Load(tree)
	if err != nil {
		return nil, fmt.Errorf("load the embedded frameworks: %w", err)
	}
	return all, nil
}

// completeIDs offers the catalogue's ids and titles to the shell.
func completeIDs(env Env) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		cat, err := env.catalogue()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var out []cobra.Completion
		for _, c := range cat.Controls {
			out = append(out, cobra.CompletionWithDesc(c.ID, c.Title))
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFrameworks offers the ids and names of the frameworks to the shell.
func completeFrameworks(env Env) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		all, err := env.frameworks()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var out []cobra.Completion
		for _, f := range all {
			out = append(out, cobra.CompletionWithDesc(f.ID, f.Name()))
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// oneControl is the control that the single argument names.
func oneControl(env Env, command string, args []string) (control.Control, error) {
	cat, err := env.catalogue()
	if err != nil {
		return control.Control{}, err
	}
	if len(args) != 1 {
		return control.Control{}, usagef(command, "found %d arguments; want one control id such as %s", len(args), cat.Controls[0].ID)
	}
	return findControl(cat, args[0])
}

// findControl is the control with an id. The error is bad usage and says which are near.
func findControl(cat *control.Catalogue, id string) (control.Control, error) {
	c, ok := cat.Find(id)
	if !ok {
		return control.Control{}, &exitError{finding.ExitUsage, fmt.Errorf("%s; list all: ringfence control list", unknownID(cat, id))}
	}
	return c, nil
}

// unknownID says that there is no such control, and which are named nearly so.
func unknownID(cat *control.Catalogue, id string) string {
	type near struct {
		id       string
		distance int
	}
	var nearest []near
	for _, c := range cat.Controls {
		nearest = append(nearest, near{c.ID, min(distance(strings.ToUpper(id), c.ID), distance(strings.ToLower(id), c.Rule()))})
	}
	slices.SortStableFunc(nearest, func(a, b near) int { return cmp.Compare(a.distance, b.distance) })
	var names []string
	for _, n := range nearest[:min(3, len(nearest))] {
		names = append(names, n.id)
	}
	return fmt.Sprintf("no control %q; nearest: %s", finding.Value(id), strings.Join(names, ", "))
}

// distance is the number of bytes to insert, remove or replace that make b of a (Levenshtein), of at most 64 bytes each.
func distance(a, b string) int {
	a, b = a[:min(len(a), 64)], b[:min(len(b), 64)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
