package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/forward/jsonfile"
	"ringfence.dev/ringfence/forward/ocsf"
	"ringfence.dev/ringfence/forward/sentinel"
	"ringfence.dev/ringfence/forward/splunk"
	"ringfence.dev/ringfence/forward/syslog"
	"ringfence.dev/ringfence/forward/webhook"
	"ringfence.dev/ringfence/ledger/witness"
	"ringfence.dev/ringfence/local"
	"ringfence.dev/ringfence/server"
)

// SinkTypes are the sinks and formats that a configuration of forward may name; forward.Load takes them.
// find is the catalogue.
func SinkTypes(find forward.Find) forward.Types {
	return forward.Types{
		Sinks: map[string]forward.Type{
			"sentinel": {Format: "ocsf", Open: sentinel.Open},
			"splunk":   {Format: "ocsf", Open: splunk.Open},
			"syslog":   {Format: "cef", Open: syslog.Open},
			"webhook":  {Format: "ocsf", Open: webhook.Open},
			"file":     {Format: "ocsf", Open: jsonfile.Open},
		},
		Formats: map[string]forward.Format{"ocsf": ocsf.Format(find), "cef": syslog.CEF(find), "record": forward.Whole},
	}
}

// loadSinkFile opens the sinks that a file names; no file names none.
func loadSinkFile(file string) ([]forward.Opened, error) {
	if file == "" {
		return nil, nil
	}
	cat, err := control.Load(controls.FS)
	if err != nil {
		return nil, fmt.Errorf("load the catalogue: %w", err)
	}
	return forward.Load(file, SinkTypes(cat.Find))
}

// newSinks is `ringfence sinks`: the places to which records are sent on.
func newSinks(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use: "sinks", Short: "Check and watch the places to which records are sent on: a SIEM, syslog, a webhook, a file",
		Args: cobra.ArbitraryArgs, RunE: group,
	}
	check := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a configuration of sinks; sends nothing",
		Long: `Check a configuration of sinks: every fault is told with file, line and field, and the exit code is 2. Nothing is sent, no
network is reached and no secret is read. Secrets are read when records are sent.`,
		Example: "  ringfence sinks check sinks.yaml",
		Args:    cobra.ExactArgs(1),
		RunE:    func(_ *cobra.Command, args []string) error { return checkSinks(env, args[0]) },
	}
	var o statusOptions
	status := &cobra.Command{
		Use:   "status",
		Short: "Show what each sink lacks, what was put aside, and what the kinds filter saved",
		Long: `Ask the running control plane how far each sink is, and each place to which checkpoints are published. Counts are since it
started. The exit code is 1 where a sink or a place is behind and its last try failed, or a record was put aside.`,
		Example: "  ringfence sinks status\n  ringfence sinks status --socket /run/ringfence.sock -o json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return sinksStatus(cmd.Context(), env, o) },
	}
	flags := status.Flags()
	flags.StringVar(&o.dir, "dir", defaultDir, "the directory of the running ringfence up")
	flags.StringVar(&o.socket, "socket", "", "the socket of the running ringfence serve, in place of --dir")
	flags.StringVarP(&o.output, "output", "o", "text", "text or json")
	cmd.AddCommand(check, status, newSinksResend(env))
	return cmd
}

// checkSinks is `ringfence sinks check`.
func checkSinks(env Env, file string) error {
	all, err := loadSinkFile(file)
	if err != nil {
		return err
	}
	for _, o := range all {
		kinds := "all kinds: what no rule reads is paid for too"
		if len(o.Kinds) > 0 {
			kinds = fmt.Sprintf("%d kinds", len(o.Kinds))
		}
		fmt.Fprintf(env.Stdout, "%s  %s as %s  %s\n", o.Name, o.Type, o.Format, kinds)
		if err := o.Sink.Close(); err != nil {
			return err
		}
	}
	env.note("sinks: %d; nothing was sent", len(all))
	return nil
}

// statusOptions is what the user asked of `ringfence sinks status`.
type statusOptions struct{ dir, socket, output string }

// sinksStatus is `ringfence sinks status`.
func sinksStatus(ctx context.Context, env Env, o statusOptions) error {
	if o.output != "text" && o.output != "json" {
		return usagef("ringfence sinks status", "-o %q: want text or json", finding.Value(o.output))
	}
	if o.socket == "" {
		o.socket = local.SocketPath(o.dir)
	}
	s, err := server.FetchStatus(ctx, onSocket(o.socket), "http://ringfence")
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no control plane answers on %s; start ringfence up or serve --socket, or name its --dir or --socket", o.socket)
	case err != nil:
		return err
	}
	if o.output == "json" {
		out := json.NewEncoder(env.Stdout)
		out.SetIndent("", "  ")
		if err := out.Encode(s); err != nil {
			return err
		}
		return exit(unwell(s))
	}
	for _, sink := range s.Sinks {
		fmt.Fprintln(env.Stdout, sinkLine(sink))
	}
	for _, w := range s.Witnesses {
		fmt.Fprintln(env.Stdout, witnessLine(w, s.Size))
	}
	env.note("records in the ledger: %d; sinks: %d; places for checkpoints: %d", s.Size, len(s.Sinks), len(s.Witnesses))
	return exit(unwell(s))
}

// unwell is the exit code of a status.
func unwell(s server.Status) int {
	for _, sink := range s.Sinks {
		if sink.Aside > 0 || sink.LagRecords > 0 && sink.LastError != "" {
			return finding.ExitRefused
		}
	}
	for _, w := range s.Witnesses {
		if w.Failures > 0 {
			return finding.ExitRefused
		}
	}
	return finding.ExitAllowed
}

// sinkLine is one sink on one line, with what its kinds filter saved.
func sinkLine(s forward.Stats) string {
	line := fmt.Sprintf("sink %s: %d behind (%s), %d messages sent (%s), %d put aside, saved by kinds: %d records (%s)",
		s.Sink, s.LagRecords, time.Duration(s.LagSeconds*float64(time.Second)).Round(time.Second), s.Sent, size(s.SentBytes), s.Aside, s.Skipped, size(s.SkippedBytes))
	if s.LastError != "" {
		line += "; last error: " + s.LastError
	}
	return line
}

// witnessLine is one place on one line.
func witnessLine(w witness.Status, size uint64) string {
	line := fmt.Sprintf("checkpoints at %s: %d of %d records", w.Name, w.Size, size)
	switch {
	case w.Conflict:
		line += "; CONFLICT, it holds another history: " + w.Err
	case w.Failures > 0:
		line += fmt.Sprintf(", behind for %s after %d tries: %s", w.Behind.Round(time.Second), w.Failures, w.Err)
	}
	return line
}

// size is a number of bytes as people read it.
func size(n uint64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}

// onSocket is a client that reaches the control plane by its socket, whatever the host of an address.
func onSocket(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
}
