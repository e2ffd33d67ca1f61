package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/local"
	"ringfence.dev/ringfence/record"
)

// denialOptions are the flags of explain --last-denial.
type denialOptions struct {
	asked          bool
	dir, namespace string
	since          time.Duration
	platform       []string
}

func (o *denialOptions) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&o.asked, "last-denial", false, "explain the newest refusal in --namespace; a FILE that is named is judged again, and its repairs are shown")
	flags.StringVarP(&o.namespace, "namespace", "n", "", "with --last-denial: the namespace")
	flags.DurationVar(&o.since, "since", 24*time.Hour, "with --last-denial: how far back to look")
	flags.StringVar(&o.dir, "dir", defaultDir, "with --last-denial: the directory of the running ringfence up")
	flags.StringArrayVar(&o.platform, "platform", nil, "with --last-denial FILE: `FILE|DIR` with Platform and Tenant objects; may be repeated")
}

// lastDenial prints the newest refusal in a namespace, with every control that failed, and judges the files again that the
// refused object may be in: the API server keeps nothing of it. Its exit code is that of the files, or 1 where no refusal is
// known, or 3 where none could be.
func lastDenial(ctx context.Context, env Env, o denialOptions, files []string) error {
	if !namespaceName.MatchString(o.namespace) {
		return usagef("ringfence explain", "--last-denial: want --namespace with the namespace that refused; found %q", finding.Value(o.namespace))
	}
	q := record.Query{Since: o.since}
	q.Namespace = o.namespace
	answer, err := record.Fetch(ctx, onSocket(local.SocketPath(o.dir)), "http://ringfence", q)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED):
		return nobodyAt(o.dir)
	case err != nil:
		return err
	}
	denied := newest(answer.Findings)
	switch {
	case answer.Observed.LastEvent == nil && len(denied) == 0:
		return &exitError{finding.ExitUndecided, errors.New("refusals not observed: no audit event has arrived, so nobody can tell what was refused")}
	case len(denied) == 0:
		return &exitError{finding.ExitRefused, fmt.Errorf("nothing was refused in %s in the last %s; a refusal is known some seconds after it happened", o.namespace, o.since)}
	}
	fmt.Fprint(env.Stdout, denialText(denied))
	if len(files) == 0 {
		env.note("the API server keeps nothing of what it refused; to see the repairs: ringfence explain --last-denial -n %s FILE", o.namespace)
		return nil
	}
	fmt.Fprintf(env.Stdout, "Judged again, and what ringfence check --fix would change\n")
	return check(ctx, env, checkOptions{paths: files, platform: o.platform, namespace: o.namespace, failOn: "deny", diff: true})
}

// newest are the findings of the newest request that was refused, nil for none.
func newest(findings []finding.Finding) (denied []finding.Finding) {
	var last *finding.Observed
	for _, f := range findings {
		if f.Observed != nil && f.Observed.Refused && (last == nil || !f.Observed.Time.Before(last.Time)) {
			last = f.Observed
		}
	}
	for _, f := range findings {
		if last != nil && f.Observed != nil && f.Observed.AuditID == last.AuditID {
			denied = append(denied, f)
		}
	}
	slices.SortStableFunc(denied, func(a, b finding.Finding) int { // what refused comes first
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Control, b.Control))
	})
	return denied
}

// rank is 0 for what refuses.
func rank(f finding.Finding) int {
	if f.Action == finding.Deny {
		return 0
	}
	return 1
}

// denialText is a refusal for whoever met it.
func denialText(denied []finding.Finding) string {
	var b strings.Builder
	seen := denied[0].Observed
	dry := ""
	if seen.DryRun {
		dry = ", a dry run"
	}
	fmt.Fprintf(&b, "%s  %s of %s was refused%s; %s asked\n\n", seen.Time.Local().Format("2006-01-02 15:04:05"), seen.Operation, denied[0].Subject, dry, cmp.Or(seen.ImpersonatedUser, seen.User))
	for _, f := range denied {
		does := "refused"
		if f.Action != finding.Deny {
			does = "warned"
		}
		fmt.Fprintf(&b, "%s  %s  (%s)\n  found  %s at %s\n  want   %s\n  fix    %s\n  more   ringfence explain %s\n\n", f.Control, f.Title, does, f.Found, f.Path, f.Wanted, f.Fix, f.Control)
	}
	return b.String()
}
