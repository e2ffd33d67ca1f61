package cli

import (
	"github.com/spf13/cobra"
)

// newTenant is `ringfence tenant`.
func newTenant(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use: "tenant", Short: "Teams: take over an existing estate",
		Long: `What there is to do with teams beside applying their Tenant objects.`,
		Args: cobra.ArbitraryArgs, RunE: group,
	}
	cmd.AddCommand(newTenantAdopt(env))
	return cmd
}
