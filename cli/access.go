package cli

import "github.com/spf13/cobra"

// newAccess is `ringfence access`.
func newAccess(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use: "access", Short: "Who you are, and what that lets you do",
		Long: `What there is to know of people and their rights.`,
		Args: cobra.ArbitraryArgs, RunE: group,
	}
	cmd.AddCommand(newAccessWhoami(env))
	return cmd
}
