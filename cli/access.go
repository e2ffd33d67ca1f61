package cli

import "github.com/spf13/cobra"

// newAccess is `ringfence access`: who signs in, and with which rights.
func newAccess(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use: "access", Short: "Who you are, who signs in, and with which rights",
		Args: cobra.ArbitraryArgs, RunE: group,
	}
	cmd.AddCommand(newAccessWhoami(env), newAccessAuthn(env), newAccessReview(env))
	return cmd
}
