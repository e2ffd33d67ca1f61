package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/client-go/tools/leaderelection/resourcelock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/policy/bundle"
)

// DefaultLease is how long a leader that has ended without a word is waited for: long enough for an API server that is being
// replaced, and short beside what waits for a leader, because the native policies need none.
const DefaultLease = 15 * time.Second

// leaseName is that of the Lease, in v1alpha1.SystemNamespace.
const leaseName = "ringfence"

// ReplicasConfig says whether several processes run beside each other on one cluster. Zero is a single one, as under `up`.
type ReplicasConfig struct {
	// Elect has only the process that holds the Lease write to the cluster. All answer admission reviews, each with a certificate of
	// its own, and each keeps that trusted. Two processes without it would write over each other.
	Elect bool
	// Lease is how long a leader that has ended without a word is waited for; zero is DefaultLease, less than a second an error.
	Lease time.Duration
	// WebhookOnly only answers admission reviews: this process never leads, and has no ledger.
	WebhookOnly bool
}

// checkReplicas finds what cannot be in the settings of replicas.
func checkReplicas(cfg Config) error {
	var faults []error
	if l := cfg.Replicas.Lease; l != 0 && l < time.Second {
		faults = append(faults, fmt.Errorf("elect a leader: found a lease of %v; want a second at least", l))
	}
	if cfg.Replicas.WebhookOnly && cfg.Webhook.Listen == "" {
		faults = append(faults, errors.New("only answer admission reviews: want an address of the admission door too"))
	}
	if cfg.Replicas.WebhookOnly && (cfg.Evidence != "" || cfg.AuditAddress != "" || cfg.AuditFile != "" || cfg.Listen != "") {
		faults = append(faults, errors.New("only answer admission reviews: evidence and doors for audit events are for the process that does more; leave them out"))
	}
	return errors.Join(faults...)
}

// elect adds to options that one of several processes writes. A leader that ends gives the lease back, so that the next one
// need not wait; one that loses it ends, for it cannot know what the next one writes.
func (c ReplicasConfig) elect(options ctrl.Options) ctrl.Options {
	if !c.Elect || c.WebhookOnly {
		return options
	}
	lease := c.Lease
	if lease == 0 {
		lease = DefaultLease
	}
	renew, retry := lease*2/3, lease*2/15 // as client-go has it: 15, 10 and 2 seconds
	options.LeaderElection, options.LeaderElectionID, options.LeaderElectionNamespace = true, leaseName, v1alpha1.SystemNamespace
	options.LeaderElectionResourceLock, options.LeaderElectionReleaseOnCancel = resourcelock.LeasesResourceLock, true
	options.LeaseDuration, options.RenewDeadline, options.RetryPeriod = &lease, &renew, &retry
	return options
}

// standBy has a replica that does not lead prepare for it: what takes seconds is done before they count.
func (s *Server) standBy(mgr ctrl.Manager, bundles *bundle.Reconciler) error {
	if !s.cfg.Replicas.Elect {
		return nil
	}
	return mgr.Add(runnable(func(ctx context.Context) error {
		if err := bundles.Prepare(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("this replica is not prepared to lead; it will take longer", "err", err)
		}
		return nil
	}))
}

// addLeads runs what the configuration has the leader do.
func (s *Server) addLeads(mgr ctrl.Manager) error {
	if s.cfg.Leads == nil {
		return nil
	}
	return mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		s.cfg.Leads(ctx)
		return nil
	}))
}
