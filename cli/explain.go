package cli

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/manifest"
)

func newExplain(env Env) *cobra.Command {
	var denial denialOptions
	cmd := &cobra.Command{
		Use: "explain ID", Short: "Say what a control wants, why, and how to satisfy it",
		Long: `Say what a control wants, why, and how to satisfy it. ID is what a refusal begins with; control list lists them all.

With --last-denial -n NS it says why the newest refusal in a namespace happened, with every control that failed. The API
server keeps nothing of what it refused: name the FILE, and it is judged again, with its repairs as a diff.`,
		Example:           "  ringfence explain RF-WL-08\n  ringfence explain --last-denial -n payments-prod\n  ringfence explain --last-denial -n payments-prod deploy.yaml --platform platform.yaml",
		ValidArgsFunction: completeIDs(env),
		RunE: func(cmd *cobra.Command, args []string) error {
			if denial.asked {
				return lastDenial(cmd.Context(), env, denial, args)
			}
			c, err := oneControl(env, cmd.CommandPath(), args)
			if err != nil {
				return err
			}
			return explain(env, c)
		},
	}
	denial.register(cmd)
	return cmd
}

// explain prints a control for somebody who has just been refused by it and may know nothing of Kubernetes' security.
func explain(env Env, c control.Control) error {
	known, err := env.frameworks()
	if err != nil {
		return err
	}
	cat, err := env.catalogue()
	if err != nil {
		return err
	}
	refused, found, err := example(env.controls(), c, "fail-")
	if err != nil {
		return err
	}
	accepted, _, err := example(env.controls(), c, "pass-")
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n", c.ID, c.Title)
	fmt.Fprintf(&b, "severity %s: %s\n%s: %s\nrule %s\n", c.Severity, severities[c.Severity], c.Maturity, maturities[c.Maturity], c.Dir)
	section := func(title, text string) { fmt.Fprintf(&b, "\n%s\n%s", title, wrap(text, "  ")) }
	section("What is wanted", c.Wanted)
	section("How to fix it", c.Fix)
	section("What an attacker gains without it", c.Why)
	section("What it looks at", lookedAt(cat, c))
	section("What happens to an object that fails", profiles(c))
	fmt.Fprintf(&b, "\nAn example that fails, in the lines marked >\n%s\n", marked(refused, found))
	for _, line := range found {
		fmt.Fprintf(&b, "  => found %s\n", line)
	}
	b.WriteString("  (behind \"at\" stands the way to the place, from the top of the file; a number\n  counts the items of a list from 0)\n")
	fmt.Fprintf(&b, "\nAn example that passes\n%s\n", indent(accepted))
	fmt.Fprintf(&b, "\nTry your own before you send it\n  ringfence check FILE --only %s\n", c.ID)
	fmt.Fprintf(&b, "\nClauses of frameworks that it serves\n%s", clauses(known, c, "  "))
	b.WriteString("  (not verified: nobody has compared the number with the framework's own text)\n")
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

// severities and maturities are the words of control.yaml for somebody who meets them first.
var (
	severities = map[finding.Severity]string{
		finding.Critical: "one object that fails can give away a node or the cluster",
		finding.High:     "with one more flaw, an object that fails gives away far more than itself",
		finding.Medium:   "an object that fails lacks a line of defence",
		finding.Low:      "an object that fails makes trouble harder to prevent or to find",
	}
	maturities = map[string]string{
		"detective":        "it is found and reported",
		"preventive":       "it is stopped before it runs",
		"auto-remediating": "it is stopped before it runs, and a program can make the repair",
	}
)

// lookedAt names the kinds that a control judges, in the catalogue's order of groups.
func lookedAt(cat *control.Catalogue, c control.Control) string {
	var kinds []string
	for _, g := range cat.Groups() {
		only := g.Only(c)
		for _, k := range g.Kinds {
			name := k.Kind
			if strings.Contains(k.APIGroup, ".") && !strings.HasSuffix(k.APIGroup, ".k8s.io") {
				name += " (" + k.APIGroup + ")"
			}
			if g.Holds(c) && (len(only) == 0 || slices.Contains(only, k.Kind)) && !slices.Contains(kinds, name) {
				kinds = append(kinds, name)
			}
		}
	}
	return strings.Join(kinds, ", ")
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
func example(tree fs.FS, c control.Control, prefix string) (text string, found []string, err error) {
	names, err := fs.Glob(tree, path.Join(c.Dir, "tests", prefix+"*.yaml"))
	if err != nil {
		return "", nil, err
	}
	for _, name := range names {
		raw, err := fs.ReadFile(tree, name)
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

// marked is an example with a sign in the margin of each line that breaks the rule; for a field that is missing, that is
// the line where what should hold it begins.
func marked(text string, found []string) string {
	lines := strings.Split(text, "\n")
	bad := map[int]bool{}
	for o, err := range manifest.Read(strings.NewReader(text), "") {
		for _, f := range found {
			if at := strings.LastIndex(f, " at /"); at >= 0 && err == nil {
				bad[o.Locate(f[at+len(" at "):]).Line] = true
			}
		}
		break // an example is one object
	}
	for i, line := range lines {
		margin := "  "
		if bad[i+1] {
			margin = "> "
		}
		lines[i] = margin + line
	}
	return strings.Join(lines, "\n")
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
