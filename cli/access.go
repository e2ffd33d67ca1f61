package cli

import (
	"github.com/spf13/cobra"
)

// newAccess is `ringfence access`: who signs in, and with which rights.
func newAccess(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use: "access", Short: "Sign-in and rights: what a cluster must be told",
		Args: cobra.ArbitraryArgs, RunE: group,
	}
	cmd.AddCommand(newAccessAuthn(env), newAccessReview(env))
	return cmd
}
