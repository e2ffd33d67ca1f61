package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/finding"
)

// commands are the commands, in the order of the help.
var commands = []func(Env) *cobra.Command{newUp, newCheck, newExplain, newExplainMutations, newObserve, newControl, newFindings, newOutcomes, newImage, newEvidence, newSinks, newStore, newBackup, newRestore, newWaiver, newQuarantine, newTenant, newLogin, newLogout, newAccess, newInstall, newVerifyCluster, newUninstall, newServe, newVersion}

const rootHelp = `Ringfence holds a bank's rules wherever a mistake could enter: the editor, the pipeline, the API server, the cluster.

Begin with:
  ringfence check deploy.yaml       judge manifests; exit 0 allowed, 1 refused, 2 bad input, 3 undecided
  ringfence explain RF-WL-01        what a rule wants, why, and how to satisfy it
  ringfence control list            every rule there is`

func newRoot(env Env) *cobra.Command {
	root := &cobra.Command{
		Use: "ringfence", Short: "One catalogue of rules at every door", Long: rootHelp,
		SilenceErrors: true, SilenceUsage: true,
		Args: cobra.ArbitraryArgs, RunE: group,
	}
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if args := cmd.Flags().Args(); cmd.HasSubCommands() && len(args) > 0 {
			return group(cmd, args) // the flag is unknown because the command is
		}
		return usagef(cmd.CommandPath(), "%w", err)
	})
	for _, command := range commands {
		root.AddCommand(command(env))
	}
	if env.Plugin {
		asPlugin(root)
	}
	return root
}

// group is the body of a command that only has commands below it: help, or what was probably meant.
func group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	// Cobra leaves this at 0, at which only prefixes are suggested.
	cmd.SuggestionsMinimumDistance = 2
	message := "no command %q"
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		message += "; did you mean: " + cmd.CommandPath() + " " + strings.Join(near, " or ")
	}
	return usagef(cmd.CommandPath(), message, finding.Value(args[0]))
}
