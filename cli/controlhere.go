package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"ringfence.dev/ringfence/cluster/probe"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/internal/kube"
)

// onCluster is which cluster is asked what verify-cluster showed there, if any.
type onCluster struct {
	ask                 bool
	kubeconfig, context string
}

// tell adds to controls what the rows on which they rest came to.
func (on onCluster) tell(ctx context.Context, env Env, all []listed) error {
	if !on.ask {
		if on.kubeconfig != "" || on.context != "" {
			return usagef("ringfence control list", "--kubeconfig and --context: want --cluster too")
		}
		return nil
	}
	how, err := kube.User(on.kubeconfig, on.context)
	if err != nil {
		return &exitError{finding.ExitUsage, err}
	}
	report, err := probe.Last(ctx, probe.Config{On: how, Now: env.Now})
	if err != nil {
		return fmt.Errorf("ask what this cluster has shown: %w", err)
	}
	proven := 0
	for _, row := range report.Rows {
		if row.State == probe.Proven {
			proven++
		}
	}
	for i, c := range all {
		for _, row := range report.Rows {
			if slices.Contains(c.Rests, row.Probe) {
				all[i].Here = append(all[i].Here, row)
			}
		}
	}
	if proven < len(report.Rows) {
		env.note("%d of %d things that only nodes and network can show are proven here; what and why: ringfence verify-cluster", proven, len(report.Rows))
	}
	return nil
}

// here says in a cell what rows came to: the worst, with the rows that came to it. The API server alone keeps a control without rows.
func here(rows []probe.Row) string {
	if len(rows) == 0 {
		return "-"
	}
	for _, state := range []probe.State{probe.Broken, probe.NotProven} {
		var names []string
		for _, row := range rows {
			if row.State == state {
				names = append(names, row.Probe)
			}
		}
		if len(names) > 0 {
			return string(state) + ": " + strings.Join(names, " ")
		}
	}
	return string(probe.Proven)
}
