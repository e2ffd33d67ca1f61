package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/install/setup"
	"ringfence.dev/ringfence/internal/kube"
)

// newUninstall is `ringfence uninstall`.
func newUninstall(env Env) *cobra.Command {
	var o installOptions
	cmd := &cobra.Command{
		Use: "uninstall", Short: "Show what removing Ringfence would remove and leave unguarded, or remove it",
		Long: `Say what would be unguarded without Ringfence, and every object that goes. --apply removes it all: what Ringfence made, its kinds
with their objects, and the installation. Namespaces of tenants and what runs in them stay. The ledger stays too, and the
namespace it lies in, unless --delete-evidence is given.

Exit codes: 0 done; 1 something could not be removed, or must be ended first; 2 bad usage or input.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return uninstallRingfence(cmd.Context(), env, o) },
	}
	o.register(cmd)
	cmd.Flags().BoolVar(&o.evidence, "delete-evidence", false, "delete the ledger too, for ever")
	return cmd
}

func uninstallRingfence(ctx context.Context, env Env, o installOptions) error {
	if o.timeout <= 0 {
		return usagef("ringfence uninstall", "--timeout %v: want more than 0", o.timeout)
	}
	if !o.apply {
		how, err := kube.User(o.kubeconfig, o.context)
		if err != nil {
			return &exitError{finding.ExitUsage, err}
		}
		i, err := setup.Open(how, env.Now, env.note)
		if err != nil {
			return &exitError{finding.ExitUsage, err}
		}
		r, err := i.Removal(ctx, o.evidence)
		if err != nil {
			return err
		}
		return writeRemoval(env.Stdout, r)
	}
	return o.run(ctx, env, func(ctx context.Context, i *setup.Installer) (string, error) {
		r, err := i.Removal(ctx, o.evidence)
		if err != nil {
			return "", err
		}
		if err := writeRemoval(env.Stdout, r); err != nil {
			return "", err
		}
		return "Ringfence is removed", i.Remove(ctx, r)
	})
}

// writeRemoval says what goes, for people: first what nobody guards then.
func writeRemoval(out io.Writer, r *setup.Removal) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(r.Guarded) == 0 {
		fmt.Fprintln(w, "No namespace is guarded now.")
	} else {
		fmt.Fprintf(w, "Without Ringfence nothing is refused in %s, people lose the rights that Ringfence gave them, and limits and network\nbaselines are gone:\n  %s\n",
			count(len(r.Guarded), "namespace"), strings.Join(r.Guarded, "\n  "))
	}
	for _, o := range r.Obstacles {
		fmt.Fprintf(w, "First: %s\n", o)
	}
	part := func(title string, all []setup.Planned) {
		if len(all) == 0 {
			return
		}
		fmt.Fprintf(w, "\n%s:\n", title)
		for _, o := range all {
			name := o.Name
			if o.Namespace != "" {
				name = o.Namespace + "/" + name
			}
			fmt.Fprintf(w, "  %s\t%s\t%s\n", o.Kind, name, o.Why)
		}
	}
	part("Removed", r.Objects)
	part("Stays", r.Kept)
	return w.Flush()
}
