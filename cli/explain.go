package cli

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/finding"
)

func newExplain(env Env) *cobra.Command {
	return &cobra.Command{
		Use: "explain ID", Short: "Say what a control wants, why, and how to satisfy it",
		Example:           "  ringfence explain RF-WL-01",
		ValidArgsFunction: completeIDs,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := oneControl(cmd.CommandPath(), args)
			if err != nil {
				return err
			}
			return explain(env, c)
		},
	}
}

// oneControl is the control that the single argument names.
func oneControl(command string, args []string) (control.Control, error) {
	cat, err := catalogue()
	if err != nil {
		return control.Control{}, err
	}
	if len(args) != 1 {
		return control.Control{}, usagef(command, "found %d arguments; want one control id such as %s", len(args), cat.Controls[0].ID)
	}
	c, ok := cat.Find(args[0])
	if !ok {
		return control.Control{}, &exitError{finding.ExitUsage, fmt.Errorf("%s; list all: ringfence control list", unknownID(cat, args[0]))}
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

// explain prints a control for somebody who has just been refused by it.
func explain(env Env, c control.Control) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n", c.ID, c.Title)
	fmt.Fprintf(&b, "severity %s; %s; rule %s\n", c.Severity, c.Maturity, c.Dir)
	section := func(title, text string) { fmt.Fprintf(&b, "\n%s\n%s", title, wrap(text, "  ")) }
	section("What an attacker gains without it", c.Why)
	section("What is wanted", c.Wanted)
	section("How to fix it", c.Fix)
	section("What happens to an object that fails", profiles(c))
	refused, found, err := example(c, "fail-")
	if err != nil {
		return err
	}
	accepted, _, err := example(c, "pass-")
	if err != nil {
		return err
	}
	fmt.Fprintf(&b, "\nAn example that fails\n%s\n", indent(refused))
	for _, line := range found {
		fmt.Fprintf(&b, "  => found %s\n", line)
	}
	fmt.Fprintf(&b, "\nAn example that passes\n%s\n", indent(accepted))
	fmt.Fprintf(&b, "\nClauses of frameworks that it serves\n")
	for _, framework := range slices.Sorted(maps.Keys(c.Mapping)) {
		fmt.Fprintf(&b, "  %s: %s (not verified)\n", framework, strings.Join(c.Mapping[framework], ", "))
	}
	fmt.Fprintf(&b, "\nSources\n")
	for _, s := range c.Sources {
		fmt.Fprintf(&b, "  %s: %s (retrieved %s)\n", s.Document, s.Section, s.Retrieved)
		if s.URL != "" {
			fmt.Fprintf(&b, "    %s\n", s.URL)
		}
	}
	_, err = io.WriteString(env.Stdout, b.String())
	return err
}

// profiles says what each profile of the Platform does.
func profiles(c control.Control) string {
	does := map[finding.Action]string{finding.Deny: "refused", finding.Warn: "let through with a warning", finding.Audit: "let through and recorded"}
	var out []string
	for _, p := range profileNames {
		out = append(out, fmt.Sprintf("%s: %s", p, does[c.Action(p)]))
	}
	return strings.Join(out, "; ") + " (the bank's Platform names the profile and may differ for single controls)"
}

// example is the shortest manifest of the control's cases whose name begins so, without its leading comments, and what
// those comments say must be found in it.
func example(c control.Control, prefix string) (text string, found []string, err error) {
	names, err := fs.Glob(controls.FS, path.Join(c.Dir, "tests", prefix+"*.yaml"))
	if err != nil {
		return "", nil, err
	}
	for _, name := range names {
		raw, err := fs.ReadFile(controls.FS, name)
		if err != nil {
			return "", nil, err
		}
		if text == "" || len(raw) < len(text) {
			text = string(raw)
		}
	}
	for strings.HasPrefix(text, "#") {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		if what, ok := strings.CutPrefix(line, "# want: found "); ok {
			found = append(found, what)
		}
	}
	return strings.TrimSpace(text), found, nil
}

func indent(text string) string { return "  " + strings.ReplaceAll(text, "\n", "\n  ") }

// wrap breaks a text into lines of at most 80 columns.
func wrap(text, margin string) string {
	var b strings.Builder
	line := margin
	for _, word := range strings.Fields(text) {
		if len(line) > len(margin) && len(line)+1+len(word) > 80 {
			b.WriteString(line + "\n")
			line = margin
		}
		if len(line) > len(margin) {
			line += " "
		}
		line += word
	}
	return b.String() + line + "\n"
}
