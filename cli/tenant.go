package cli

import (
	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/tenant/desk"
)

// newTenant is `ringfence tenant`.
func newTenant(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use: "tenant", Short: "Teams: list, show, namespaces, cordon, offboard, move, take over an existing estate",
		Long: `What there is to do with teams beside applying their Tenant objects. The commands speak to the cluster of the kubeconfig, as the
user it names, and show nobody what he may not read. docs/tenants.md tells the whole story.

As a plugin of kubectl: put the program into the PATH as kubectl-ringfence, and kubectl ringfence tenant namespaces is the same.
Exit codes: 0 done; 1 the API server said no, or there is no such tenant; 2 bad usage, or the cluster could not be asked.`,
		Args: cobra.ArbitraryArgs, RunE: group,
	}
	for _, command := range []func(Env) *cobra.Command{newTenantList, newTenantShow, newTenantNamespaces, newTenantCordon, newTenantUncordon, newTenantOffboard, newTenantMove, newTenantAdopt} {
		cmd.AddCommand(command(env))
	}
	return cmd
}

// tenantOptions are the flags that commands about tenants share.
type tenantOptions struct {
	kubeconfig, context, output string
	reason, ticket              string
}

func (o *tenantOptions) register(cmd *cobra.Command) {
	userFlags(cmd, &o.kubeconfig, &o.context)
}

// outputFlag adds -o; others are the formats beside text and json.
func (o *tenantOptions) outputFlag(cmd *cobra.Command, others string) {
	cmd.Flags().StringVarP(&o.output, "output", "o", "text", "text"+others+" or json")
}

// open opens the cluster.
func (o *tenantOptions) open(env Env) (*desk.Desk, error) {
	return openDesk(env, o.kubeconfig, o.context, "tenant")
}
