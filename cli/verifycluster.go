package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/cluster/probe"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/internal/kube"
)

// verifyClusterOptions is what the user asked of `ringfence verify-cluster`.
type verifyClusterOptions struct {
	kubeconfig, context, output string
	apply                       bool
	cfg                         probe.Config
}

// newVerifyCluster is `ringfence verify-cluster`.
func newVerifyCluster(env Env) *cobra.Command {
	var o verifyClusterOptions
	cmd := &cobra.Command{
		Use:   "verify-cluster [--apply --image REPOSITORY@sha256:... --namespace NS --other NS]",
		Short: "Show on this cluster what only its nodes and network can show: egress, other tenants, exec, images",
		Long: `Say what was proven on this cluster, and when: that a tenant's pods reach neither another tenant nor the outside nor the cloud's
metadata, that nobody enters a pod in production, that foreign images are refused. Until --apply has shown it, a row says "not proven here".
--apply runs two pods of Ringfence's own image for some seconds, one in each of two tenants' namespaces, where they are judged as all
others are, removes them, and keeps the report in ConfigMap ringfence-verification of ringfence-system. It asks as the user of the
kubeconfig, who must be allowed to make pods there and to impersonate their people.

Exit codes: 0 every row is proven; 1 at least one is broken; 2 bad usage or input; 3 at least one is not proven.`,
		Example: "  ringfence verify-cluster\n" +
			"  ringfence verify-cluster --apply --image registry.bank.example/ringfence@sha256:... --namespace payments-dev --other cards-prod --outside 203.0.113.7:443",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return verifyCluster(cmd.Context(), env, o) },
	}
	flags := cmd.Flags()
	userFlags(cmd, &o.kubeconfig, &o.context)
	flags.BoolVar(&o.apply, "apply", false, "try it")
	flags.StringVarP(&o.output, "output", "o", "text", "text or json")
	flags.StringVar(&o.cfg.Image, "image", "", "Ringfence's image, `REPOSITORY@sha256:...`, in the bank's registry")
	flags.StringVarP(&o.cfg.Namespace, "namespace", "n", "", "namespace of a tenant, from which is reached")
	flags.StringVar(&o.cfg.Other, "other", "", "production namespace of another tenant, which is to be reached")
	flags.StringArrayVar(&o.cfg.Outside, "outside", nil, "`IP:PORT` outside the cluster that answers this machine, and that no policy opens; repeatable")
	flags.StringVar(&o.cfg.Open, "open", "", "`HOST:PORT` that every pod reaches (default: the cluster's DNS)")
	flags.DurationVar(&o.cfg.Patience, "timeout", 2*time.Minute, "how long each pod may take")
	reach := &cobra.Command{Use: "reach HOST:PORT...", Short: "What a probe pod does", Hidden: true, Args: cobra.MinimumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		return probe.Reach(cmd.Context(), args, "/dev/termination-log")
	}}
	listen := &cobra.Command{Use: "listen", Short: "What a probe pod does", Hidden: true, Args: noArguments, RunE: func(cmd *cobra.Command, _ []string) error {
		return probe.Listen(cmd.Context(), fmt.Sprintf(":%d", probe.ListenPort))
	}}
	cmd.AddCommand(reach, listen)
	return cmd
}

func (o *verifyClusterOptions) validate() error {
	refuse := func(format string, args ...any) error {
		return usagef("ringfence verify-cluster", format, args...)
	}
	_, digest, pinned := strings.Cut(o.cfg.Image, "@sha256:")
	switch {
	case o.output != "text" && o.output != "json":
		return refuse("-o %s: want text or json", finding.Value(o.output))
	case !o.apply && (o.cfg.Image != "" || o.cfg.Namespace != "" || o.cfg.Other != "" || o.cfg.Open != "" || len(o.cfg.Outside) > 0):
		return refuse("want --apply too, or none of --image, --namespace, --other, --outside and --open")
	case o.apply && (!pinned || len(digest) != 64):
		return refuse("--image %s: want REPOSITORY@sha256:..., for a tag can be moved", finding.Value(o.cfg.Image))
	case o.apply && (o.cfg.Namespace == "" || o.cfg.Other == "" || o.cfg.Namespace == o.cfg.Other):
		return refuse("want --namespace and --other, of two tenants")
	case o.cfg.Patience <= 0:
		return refuse("--timeout %v: want more than 0", o.cfg.Patience)
	}
	for _, outside := range o.cfg.Outside {
		if _, err := netip.ParseAddrPort(outside); err != nil {
			return refuse("--outside %s: want IP:PORT: what cannot be reached by anybody would count as closed", finding.Value(outside))
		}
	}
	if _, port, err := net.SplitHostPort(o.cfg.Open); o.cfg.Open != "" && (err != nil || port == "") {
		return refuse("--open %s: want HOST:PORT", finding.Value(o.cfg.Open))
	}
	return nil
}

func verifyCluster(ctx context.Context, env Env, o verifyClusterOptions) (err error) {
	if err := o.validate(); err != nil {
		return err
	}
	if o.cfg.On, err = kube.User(o.kubeconfig, o.context); err != nil {
		return &exitError{finding.ExitUsage, err}
	}
	o.cfg.Now, o.cfg.Say = env.Now, env.note
	ask := probe.Last
	if o.apply {
		ask = probe.Verify
	}
	report, err := ask(ctx, o.cfg)
	if err != nil && report == nil {
		return err
	}
	if o.output == "json" {
		err = errors.Join(err, indented(env, report))
	} else {
		err = errors.Join(err, writeVerification(env, report))
	}
	if err != nil {
		return err
	}
	code := finding.ExitAllowed
	for _, row := range report.Rows {
		switch {
		case row.State == probe.Broken:
			code = finding.ExitRefused
		case row.State != probe.Proven && code == finding.ExitAllowed:
			code = finding.ExitUndecided
		}
	}
	return exit(code)
}

// writeVerification writes a report for people.
func writeVerification(env Env, r *probe.Report) error {
	w := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	for _, row := range r.Rows {
		fmt.Fprintf(w, "%s\t%s\t%s\n", row.State, row.What, row.Why)
	}
	when := "never tried"
	if !r.Verified.IsZero() {
		when = fmt.Sprintf("tried at %s, in %s and %s", r.Verified.Format(time.RFC3339), r.Namespace, r.Other)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(env.Stdout, "cluster %s, %s\n", r.Cluster, when)
	return err
}
