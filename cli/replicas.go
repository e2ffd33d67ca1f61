package cli

import (
	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/server"
)

// replicaFlags are the flags of several processes beside each other.
func replicaFlags(cmd *cobra.Command, cfg *server.ReplicasConfig) {
	flags := cmd.Flags()
	flags.BoolVar(&cfg.Elect, "leader-election", true, "several replicas may run: one of them, which holds the Lease ringfence in ringfence-system, writes; all answer reviews")
	flags.DurationVar(&cfg.Lease, "lease", server.DefaultLease, "how long a leader that has ended without a word is waited for")
	flags.BoolVar(&cfg.WebhookOnly, "webhook-only", false, "only answer admission reviews, and never lead; needs --webhook-listen")
}
