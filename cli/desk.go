package cli

import (
	"cmp"
	"errors"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/tenant/desk"
)

// deskOptions are the flags of commands that ask a cluster for something in the user's own name, in one namespace: waivers, elevations,
// quarantines, imports of images.
type deskOptions struct {
	kubeconfig, context, namespace string
	reason, ticket                 string
	// of lists
	allNamespaces bool
	output        string
}

// userFlags say as whom a cluster is asked.
func userFlags(cmd *cobra.Command, kubeconfig, context *string) {
	flags := cmd.Flags()
	flags.StringVar(kubeconfig, "kubeconfig", "", "the kubeconfig `FILE` (default KUBECONFIG, else the user's own)")
	flags.StringVar(context, "context", "", "the `NAME` of the kubeconfig's context (default its current one)")
}

func (o *deskOptions) register(cmd *cobra.Command) {
	userFlags(cmd, &o.kubeconfig, &o.context)
	cmd.Flags().StringVarP(&o.namespace, "namespace", "n", "", "the `NS` that it is for")
}

// listFlags are those that all lists have.
func (o *deskOptions) listFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "those of every namespace")
	flags.StringVarP(&o.output, "output", "o", "text", "text or json")
}

// checkList finds what cannot be together, of what all lists have.
func (o *deskOptions) checkList(command string) error {
	if o.allNamespaces && o.namespace != "" {
		return usagef(command, "--all-namespaces and --namespace %s: give one of the two", finding.Value(o.namespace))
	}
	return textOrJSON(command, o.output)
}

// open opens the cluster once the usage is right. why says why a namespace is wanted.
func (o *deskOptions) open(env Env, command, agent, why string) (*desk.Desk, error) {
	switch {
	case o.namespace == "" && !o.allNamespaces:
		return nil, usagef(command, "no --namespace: %s; give -n NS", why)
	case o.namespace != "" && !namespaceName.MatchString(o.namespace):
		return nil, usagef(command, "--namespace %q: want a namespace: at most 63 lower-case letters, digits and -", o.namespace)
	}
	return openDesk(env, o.kubeconfig, o.context, agent)
}

// openDesk opens a cluster; agent tells the commands apart in the API server's audit log.
func openDesk(env Env, kubeconfig, context, agent string) (*desk.Desk, error) {
	return desk.Open(kubeconfig, context, "ringfence-"+agent+"/"+cmp.Or(moduleVersion(), "devel"), env.Now)
}

// answered gives an error of the API server its exit code: 1 where it said no.
func answered(err error) error {
	if errors.Is(err, desk.ErrRefused) || errors.Is(err, desk.ErrNotThere) {
		return &exitError{1, err}
	}
	return err
}
