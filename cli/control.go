package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/cluster/probe"
	"ringfence.dev/ringfence/compliance"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
)

// profileNames are the profiles of the Platform, in the order a bank grows through them.
var profileNames = []string{"mvp", "standard", "strict"}

func newControl(env Env) *cobra.Command {
	cmd := &cobra.Command{Use: "control", Short: "List, show, test, export and roll out the controls of the catalogue", Args: cobra.ArbitraryArgs, RunE: group}
	show := &cobra.Command{
		Use: "show ID", Short: "Print a control's whole folder: text, policy, mapping and test cases", ValidArgsFunction: completeIDs(env),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := oneControl(env, cmd.CommandPath(), args)
			if err != nil {
				return err
			}
			return controlShow(env, c)
		},
	}
	cmd.AddCommand(newControlList(env), show, newControlTest(env), newControlExport(env), newControlPreflight(env), newControlPromote(env), newControlRollback(env))
	return cmd
}

func newControlList(env Env) *cobra.Command {
	var output, framework string
	var on onCluster
	list := &cobra.Command{
		Use: "list", Short: "List every control and what each profile does with it", Args: noArguments,
		Long: `List every control and what each profile does with it. Some rest on what only nodes and network can show, as that packets are dropped:
with --cluster the column HERE says of these whether ringfence verify-cluster has shown it on the cluster of the kubeconfig, in the last
90 days; else "not proven here".`,
		Example: "  ringfence control list --framework pci-dss-4.0.1\n  ringfence control list --cluster",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return controlList(cmd.Context(), env, output, framework, on)
		},
	}
	list.Flags().BoolVar(&on.ask, "cluster", false, "say of each control that rests on nodes and network whether that is proven on this cluster")
	list.Flags().StringVar(&on.kubeconfig, "kubeconfig", "", "with --cluster: the kubeconfig `FILE` (default KUBECONFIG, else the user's own)")
	list.Flags().StringVar(&on.context, "context", "", "with --cluster: the `NAME` of the kubeconfig's context (default its current one)")
	list.Flags().StringVarP(&output, "output", "o", "text", "`text|json`")
	list.Flags().StringVar(&framework, "framework", "", "only controls that serve the framework with this `ID`, and which clauses of it")
	_ = list.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]cobra.Completion{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	_ = list.RegisterFlagCompletionFunc("framework", completeFrameworks(env))
	return list
}

// listed is one control in the JSON of control list.
type listed struct {
	ID       string                    `json:"id"`
	Rule     string                    `json:"rule"`
	Title    string                    `json:"title"`
	Severity finding.Severity          `json:"severity"`
	Maturity string                    `json:"maturity"`
	Actions  map[string]finding.Action `json:"actions"` // by profile
	Groups   []string                  `json:"groups"`
	Clauses  []listedClause            `json:"clauses"`
	Rests    []string                  `json:"rests,omitempty"` // rows of verify-cluster
	Here     []probe.Row               `json:"here,omitempty"`  // what they came to, where a cluster was asked
}

// listedClause is a clause that a control serves.
type listedClause struct {
	Framework string `json:"framework"`
	Name      string `json:"name"` // the framework's
	Clause    string `json:"clause"`
	Title     string `json:"title"`
	Verified  bool   `json:"verified"`
}

// summary counts what a list shows; a clause that several controls serve counts once.
type summary struct {
	Controls int `json:"controls"`
	Clauses  int `json:"clauses"`
	Verified int `json:"verified"`
}

// controlList prints the catalogue, or the part of it that serves a framework.
func controlList(ctx context.Context, env Env, output, framework string, on onCluster) error {
	cat, err := env.catalogue()
	if err != nil {
		return err
	}
	known, err := env.frameworks()
	if err != nil {
		return err
	}
	if framework != "" {
		f, ok := known.Find(framework)
		if !ok {
			return usagef("ringfence control list", "--framework %q: want one of %s", finding.Value(framework), strings.Join(frameworkIDs(known), ", "))
		}
		framework = f.ID
	}
	all, sum := listing(cat, known, framework)
	if err := on.tell(ctx, env, all); err != nil {
		return err
	}
	switch output {
	case "json":
		return listJSON(env, cat, all, sum)
	case "text":
		return listText(env, all, sum, framework != "", on.ask)
	default:
		return usagef("ringfence control list", "--output %q: want text or json", output)
	}
}

func frameworkIDs(all compliance.Frameworks) (ids []string) {
	for _, f := range all {
		ids = append(ids, f.ID)
	}
	return ids
}

// listing is what a list shows: the controls, those alone that serve the framework unless it is "", and their count.
func listing(cat *control.Catalogue, known compliance.Frameworks, framework string) (all []listed, sum summary) {
	all = []listed{}
	seen := map[string]bool{}
	for _, c := range cat.Controls {
		actions := map[string]finding.Action{}
		for _, p := range profileNames {
			actions[p] = c.Action(p)
		}
		one := listed{c.ID, c.Rule(), c.Title, c.Severity, c.Maturity, actions, c.Groups, []listedClause{}, c.Rests, nil}
		served, _ := known.Of(c.Mapping) // what is unknown is listed as not verified
		for _, s := range served {
			for _, clause := range s.Clauses {
				if framework != "" && s.Framework.ID != framework {
					continue
				}
				one.Clauses = append(one.Clauses, listedClause{s.Framework.ID, s.Framework.Name(), clause.ID, clause.Title, clause.Verified})
				if key := s.Framework.ID + " " + clause.ID; !seen[key] {
					seen[key] = true
					sum.Clauses++
					if clause.Verified {
						sum.Verified++
					}
				}
			}
		}
		if framework == "" || len(one.Clauses) > 0 {
			all = append(all, one)
		}
	}
	sum.Controls = len(all)
	return all, sum
}

// listText writes the table; the title, which may be long, comes last and is never broken.
func listText(env Env, all []listed, sum summary, clauses, cluster bool) error {
	w := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	header := "ID\tSEVERITY\tMATURITY\tMVP\tSTANDARD\tSTRICT\tGROUPS\t"
	if clauses {
		header += "CLAUSES\t"
	}
	if cluster {
		header += "HERE\t"
	}
	fmt.Fprintln(w, header+"TITLE")
	for _, c := range all {
		fmt.Fprintf(w, "%s\t%s\t%s", c.ID, c.Severity, c.Maturity)
		for _, p := range profileNames {
			fmt.Fprintf(w, "\t%s", c.Actions[p])
		}
		fmt.Fprintf(w, "\t%s", strings.Join(c.Groups, ","))
		if clauses {
			fmt.Fprintf(w, "\t%s", numbers(c.Clauses))
		}
		if cluster {
			fmt.Fprintf(w, "\t%s", here(c.Here))
		}
		fmt.Fprintf(w, "\t%s\n", c.Title)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(env.Stdout, "\n%s\n", sum)
	return err
}

// numbers are the clauses of a line, those that are not verified marked.
func numbers(clauses []listedClause) string {
	var out []string
	for _, c := range clauses {
		number := c.Clause
		if !c.Verified {
			number += " (not verified)"
		}
		out = append(out, number)
	}
	return strings.Join(out, ", ")
}

// String is the summary in a sentence.
func (s summary) String() string {
	return fmt.Sprintf("%s; %s of frameworks served, of which %d verified in the framework's own text and %d not",
		count(s.Controls, "control"), count(s.Clauses, "clause"), s.Verified, s.Clauses-s.Verified)
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func listJSON(env Env, cat *control.Catalogue, all []listed, sum summary) error {
	enc := json.NewEncoder(env.Stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(struct {
		SchemaVersion string   `json:"schemaVersion"`
		Catalogue     string   `json:"catalogue"` // digest
		Controls      []listed `json:"controls"`
		Summary       summary  `json:"summary"`
	}{"ringfence.dev/controls/v1", cat.Digest, all, sum})
}

// controlShow prints every file of a control's folder, its own first, and what the clauses are that it names.
func controlShow(env Env, c control.Control) error {
	known, err := env.frameworks()
	if err != nil {
		return err
	}
	names := []string{path.Join(c.Dir, "control.yaml"), path.Join(c.Dir, "policy.yaml"), path.Join(c.Dir, "mapping.yaml")}
	more, err := fs.Glob(env.controls(), path.Join(c.Dir, "tests", "*.yaml"))
	if err != nil {
		return err
	}
	if len(c.Fixes) > 0 {
		names = append(names, path.Join(c.Dir, "fix.yaml"))
	}
	var b strings.Builder
	for i, name := range slices.Concat(names, more) {
		text, err := fs.ReadFile(env.controls(), name)
		if err != nil {
			return err
		}
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "# ---- %s\n%s\n", name, strings.TrimRight(string(text), "\n"))
		if path.Base(name) == "mapping.yaml" {
			b.WriteString("# The clauses it names, from frameworks/:\n" + clauses(known, c, "#   "))
		}
	}
	_, err = fmt.Fprint(env.Stdout, b.String())
	return err
}

// clauses are the clauses that a control serves, a line each.
func clauses(known compliance.Frameworks, c control.Control, margin string) string {
	var b strings.Builder
	served, _ := known.Of(c.Mapping) // what is unknown is shown as such
	for _, s := range served {
		for _, clause := range s.Clauses {
			fmt.Fprintf(&b, "%s%s: %s\n", margin, s.Framework.Name(), clause)
		}
	}
	return b.String()
}
