package cli

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/finding"
)

// profileNames are the profiles of the Platform, in the order a bank grows through them.
var profileNames = []string{"mvp", "standard", "strict"}

func newControl(env Env) *cobra.Command {
	cmd := &cobra.Command{Use: "control", Short: "List and show the controls of the catalogue", Args: cobra.ArbitraryArgs, RunE: group}
	var output string
	list := &cobra.Command{
		Use: "list", Short: "List every control and what each profile does with it", Args: noArguments,
		RunE: func(*cobra.Command, []string) error { return controlList(env, output) },
	}
	list.Flags().StringVarP(&output, "output", "o", "text", "`text|json`")
	_ = list.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]cobra.Completion{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	show := &cobra.Command{
		Use: "show ID", Short: "Print a control's whole folder: text, policy, mapping and test cases", ValidArgsFunction: completeIDs,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := oneControl(cmd.CommandPath(), args)
			if err != nil {
				return err
			}
			return controlShow(env, c)
		},
	}
	cmd.AddCommand(list, show)
	return cmd
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
}

// controlList prints the catalogue.
func controlList(env Env, output string) error {
	cat, err := catalogue()
	if err != nil {
		return err
	}
	switch output {
	case "json":
		return listJSON(env, cat)
	case "text":
		return listText(env, cat)
	default:
		return usagef("ringfence control list", "--output %q: want text or json", output)
	}
}

func listText(env Env, cat *control.Catalogue) error {
	w := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tSEVERITY\tMVP\tSTANDARD\tSTRICT\tGROUPS\tTITLE")
	for _, c := range cat.Controls {
		fmt.Fprintf(w, "%s\t%s", c.ID, c.Severity)
		for _, p := range profileNames {
			fmt.Fprintf(w, "\t%s", c.Action(p))
		}
		fmt.Fprintf(w, "\t%s\t%s\n", strings.Join(c.Groups, ","), c.Title)
	}
	return w.Flush()
}

func listJSON(env Env, cat *control.Catalogue) error {
	all := make([]listed, 0, len(cat.Controls))
	for _, c := range cat.Controls {
		actions := map[string]finding.Action{}
		for _, p := range profileNames {
			actions[p] = c.Action(p)
		}
		all = append(all, listed{c.ID, c.Rule(), c.Title, c.Severity, c.Maturity, actions, c.Groups})
	}
	enc := json.NewEncoder(env.Stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(struct {
		SchemaVersion string   `json:"schemaVersion"`
		Catalogue     string   `json:"catalogue"` // digest
		Controls      []listed `json:"controls"`
	}{"ringfence.dev/controls/v1", cat.Digest, all})
}

// controlShow prints every file of a control's folder, its own three first.
func controlShow(env Env, c control.Control) error {
	names := []string{path.Join(c.Dir, "control.yaml"), path.Join(c.Dir, "policy.yaml"), path.Join(c.Dir, "mapping.yaml")}
	cases, err := fs.Glob(controls.FS, path.Join(c.Dir, "tests", "*.yaml"))
	if err != nil {
		return err
	}
	for i, name := range append(names, cases...) {
		text, err := fs.ReadFile(controls.FS, name)
		if err != nil {
			return err
		}
		gap := "\n"
		if i == 0 {
			gap = ""
		}
		if _, err := fmt.Fprintf(env.Stdout, "%s# ---- %s\n%s\n", gap, name, strings.TrimRight(string(text), "\n")); err != nil {
			return err
		}
	}
	return nil
}
