package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/internal/otlp"
	"ringfence.dev/ringfence/local"
	"ringfence.dev/ringfence/server"
	"ringfence.dev/ringfence/store"
)

// defaultDir is where `ringfence up` keeps its state and where `ringfence findings` looks for it.
const defaultDir = ".ringfence"

// newUp is `ringfence up`: the whole platform on this machine.
func newUp(env Env) *cobra.Command {
	o := local.Options{Out: env.Stdout, Prove: proveRefusal, Image: env.image}
	var more upOptions
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the whole platform on this machine: a real API server, Ringfence and a sample bank",
		Long: `Run the whole platform on this machine: a real API server and etcd, Ringfence, a sample bank with one tenant,
a workload that satisfies every rule and nine that do not, and what a scanner says of their images. It stays in the foreground; Ctrl-C stops everything.
The state is kept in --dir, so the next run goes on where this one ended.

With --once the story is played in a temporary directory (or in --dir) and the exit code says whether every expected
refusal was refused and every expected success succeeded: 0 yes, 1 no.`,
		Example: "  ringfence up\n  ringfence up --once\n  ringfence up --kubeconfig ~/.kube/kind",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !o.Once && !cmd.Flags().Changed("dir") {
				o.Dir = defaultDir
			}
			return up(cmd.Context(), o, more)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Dir, "dir", "", "keep the state in this directory (default "+defaultDir+"; with --once a temporary one)")
	flags.StringVar(&o.Kubeconfig, "kubeconfig", "", "use the cluster of this file instead of starting one")
	flags.IntVar(&o.Port, "port", 0, "port of the API server (default: the one of the last run, or a free one)")
	flags.BoolVar(&o.Once, "once", false, "play the story and end")
	flags.BoolVar(&o.Yes, "yes", false, "guard the cluster of --kubeconfig although workloads of others run on it")
	flags.StringVar(&o.Devcluster, "devcluster", "", "the control plane's program (default: beside ringfence, then in PATH)")
	flags.StringVar(&more.ledgerKey, "ledger-key", "", ledgerKeyUsage)
	flags.StringToStringVar(&more.storeKeep, "store-keep", nil, storeKeepUsage)
	flags.StringVar(&more.sinks, "sinks", "", "file of the sinks to which records are sent on (default: none)")
	flags.StringArrayVar(&more.witnesses, "witness", nil, "one more place outside to which checkpoints are published, as for serve; repeatable")
	tracesFlags(cmd, &more.traces)
	return cmd
}

// upOptions are those of the control plane.
type upOptions struct {
	sinks     string
	ledgerKey string
	storeKeep map[string]string
	witnesses []string
	traces    otlp.Config
}

// newServer is the control plane of `ringfence up`: the API server on this machine sends it audit events. Checkpoints are
// published beside the ledger, which shows how it goes, and which whoever may write the ledger may write too.
func (o upOptions) newServer(opened []forward.Opened, keep store.Retention) func(socket string, log *slog.Logger) (local.Server, error) {
	return func(socket string, log *slog.Logger) (local.Server, error) {
		evidence := filepath.Join(filepath.Dir(socket), "evidence")
		s, err := server.New(server.Config{
			AuditAddress: "127.0.0.1:0", Socket: socket, ImageFacts: local.ImageFactsPath(filepath.Dir(socket)), Evidence: evidence, LedgerKey: o.ledgerKey, StoreKeep: keep, Sinks: opened,
			WitnessEvery: time.Second, Traces: o.traces,
			Witnesses: append([]string{"folder:" + filepath.Join(evidence, "checkpoints")}, o.witnesses...),
		}, log)
		if err != nil {
			return nil, err
		}
		return s, nil
	}
}

// image runs `ringfence image` with arguments, as the user of this process, and returns what it prints. An answer of no is none of its
// errors.
func (e Env) image(ctx context.Context, args ...string) (string, error) {
	var out, prose bytes.Buffer
	e.Stdin, e.Stdout, e.Stderr, e.IsTerminal, e.Watched = &bytes.Buffer{}, &out, &prose, false, false
	cmd := newImage(e)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetOut(&out)
	cmd.SetErr(&prose)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	if no := (*exitError)(nil); errors.As(err, &no) && no.err == nil && no.code == finding.ExitRefused {
		err = nil
	}
	if err != nil {
		return "", fmt.Errorf("ringfence image %s: %w", strings.Join(args, " "), errors.Join(err, errors.New(strings.TrimSpace(prose.String()))))
	}
	return out.String(), nil
}

func up(ctx context.Context, o local.Options, more upOptions) error {
	keep, err := parseKeep("ringfence up", "--store-keep", more.storeKeep)
	if err != nil {
		return err
	}
	opened, err := loadSinkFile(more.sinks)
	if err != nil {
		return err
	}
	o.NewServer = more.newServer(opened, keep)
	err = local.Up(ctx, o)
	if errors.Is(err, local.ErrStory) {
		return &exitError{finding.ExitRefused, err}
	}
	return err
}
