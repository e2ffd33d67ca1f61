package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/evidence"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/local"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/report"
)

// evidenceOptions is what the user asked of any `ringfence evidence` command.
type evidenceOptions struct {
	ledger, dir, key, output string
	since, until, request    string
	filter                   evidence.Filter
	checkpoints              []string
	file                     string
}

// newEvidence is `ringfence evidence`: what the ledger holds, for people who must prove it.
func newEvidence(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "evidence",
		Short: "Read the ledger: list, show, export a bundle that proves itself, verify, ask",
		Long: `Read the append-only ledger of what was refused, changed and unknown. It is that of the running ringfence up, or the one that
--ledger names: a folder, or the address under which one is served. docs/evidence.md says what it proves and what it does not.`,
		Example: "  ringfence evidence list --since 24h\n  ringfence evidence export --tenant payments -o bundle.zip\n  ringfence evidence verify bundle.zip --checkpoint published.txt",
		Args:    cobra.ArbitraryArgs, RunE: group,
	}
	for _, command := range []func(Env) *cobra.Command{newEvidenceList, newEvidenceShow, newEvidenceExport, newEvidenceVerify, newEvidenceAsk, newEvidenceRotate} {
		cmd.AddCommand(command(env))
	}
	return cmd
}

// source adds the flags that say which ledger.
func (o *evidenceOptions) sourceFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.ledger, "ledger", "", "the ledger: a folder, or http(s)://... (default: that of --dir)")
	flags.StringVar(&o.dir, "dir", defaultDir, "the directory of ringfence up")
	flags.StringVar(&o.key, "key", "", "file with the verifier key you trust (default: the ledger's own first key)")
}

// timeFlags adds --since and --until.
func (o *evidenceOptions) timeFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.since, "since", "", "from this time on: RFC 3339, a date, or a duration like 24h")
	cmd.Flags().StringVar(&o.until, "until", "", "before this time; a date is its whole day (UTC)")
}

// filterFlags adds what entries can be filtered by.
func (o *evidenceOptions) filterFlags(env Env, cmd *cobra.Command) {
	o.timeFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.filter.Tenant, "tenant", "", "only the namespaces <tenant>-<environment> of this tenant")
	flags.StringVarP(&o.filter.Namespace, "namespace", "n", "", "only this namespace")
	flags.StringVar(&o.filter.Control, "control", "", "only what did not pass this control, for instance RF-WL-01")
	flags.StringVar(&o.filter.Kind, "kind", "", "only this kind of record, for instance native-refusal")
	_ = cmd.RegisterFlagCompletionFunc("control", completeIDs(env))
}

// check reads times and refuses what cannot be meant.
func (o *evidenceOptions) check(env Env, command string) error {
	var err, err2 error
	if o.filter.Since, err = instant(o.since, env.Now(), false); err != nil {
		return usagef(command, "--since %w", err)
	}
	if o.filter.Until, err2 = instant(o.until, env.Now(), true); err2 != nil {
		return usagef(command, "--until %w", err2)
	}
	f := o.filter
	switch {
	case !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until):
		return usagef(command, "--since %s is not before --until %s", finding.Value(o.since), finding.Value(o.until))
	case f.Control != "" && !control.ValidID(f.Control):
		return usagef(command, "--control %s: want an id like RF-WL-01", finding.Value(f.Control))
	case f.Kind != "" && !knownKind(f.Kind):
		return usagef(command, "--kind %s: no record is of this kind; want one of %s", finding.Value(f.Kind), strings.Join(record.Kinds(), ", "))
	case o.output != "" && o.output != "text" && o.output != "json":
		return usagef(command, "-o %s: want text or json", finding.Value(o.output))
	}
	return nil
}

// knownKind reports whether records are of a kind, with its version or without; with one also of a later program.
func knownKind(name string) bool {
	alone, version, _ := strings.Cut(name, ".v")
	if n, err := strconv.Atoi(version); err == nil && n > 1 {
		return true
	}
	return slices.ContainsFunc(record.Kinds(), func(k string) bool { return k == name || k == alone+".v1" && alone == name })
}

// instant reads a time: RFC 3339, a date (its beginning, or its end), or a duration before now. Empty is none.
func instant(text string, now time.Time, end bool) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t.UTC(), nil
	}
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		if end {
			t = t.AddDate(0, 0, 1)
		}
		return t, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(-d).UTC(), nil
	}
	return time.Time{}, fmt.Errorf("%s: want a time like 2026-11-01T08:00:00Z, a date like 2026-11-01, or a duration like 24h", finding.Value(text))
}

// open finds the ledger and the key that is trusted.
func (o *evidenceOptions) open(ctx context.Context) (ledger.Source, ledger.Keyring, error) {
	from, err := o.source(ctx)
	if err != nil {
		return nil, nil, err
	}
	if o.key != "" {
		keys, err := readKeys(o.key)
		return from, keys, err
	}
	text, err := from(ctx, "keyring")
	if err != nil {
		return nil, nil, fmt.Errorf("read the ledger's keys: %w", err)
	}
	keys, err := ledger.ParseKeyring(text)
	if err != nil {
		return nil, nil, err
	}
	return from, keys[:1], nil
}

// readKeys reads the verifier key that a user trusts.
func readKeys(path string) (ledger.Keyring, error) {
	text, err := readSmall(path)
	if err != nil {
		return nil, fmt.Errorf("--key: %w", err)
	}
	keys, err := ledger.ParseKeyring(text)
	if err != nil {
		return nil, &exitError{finding.ExitUsage, fmt.Errorf("--key %s: %w", path, err)}
	}
	return keys, nil
}

// readSmall reads a file of at most 64 KiB.
func readSmall(path string) ([]byte, error) { return readUpTo(path, 64<<10) }

// readUpTo reads a file of at most so many bytes.
func readUpTo(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("%s has more than %d bytes", path, most)
	}
	return text, err
}

// source finds the ledger.
func (o *evidenceOptions) source(ctx context.Context) (ledger.Source, error) {
	if strings.HasPrefix(o.ledger, "http://") || strings.HasPrefix(o.ledger, "https://") {
		return ledger.HTTP(&http.Client{}, o.ledger), nil
	}
	if o.ledger != "" {
		for _, dir := range []string{o.ledger, filepath.Join(o.ledger, "ledger")} {
			if _, err := os.Stat(filepath.Join(dir, "keyring")); err == nil {
				return ledger.Folder(dir), nil
			}
		}
		return nil, fmt.Errorf("--ledger %s: found no ledger there: want a folder with the files keyring and checkpoint", o.ledger)
	}
	socket := local.SocketPath(o.dir)
	served := ledger.HTTP(&http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}, "http://ringfence/ledger")
	if _, err := served(ctx, "keyring"); err == nil {
		return served, nil
	}
	dir := filepath.Join(o.dir, "evidence", "ledger")
	if _, err := os.Stat(filepath.Join(dir, "keyring")); err != nil {
		return nil, fmt.Errorf("%w; there is no ledger either: --ledger names one", nobodyAt(o.dir))
	}
	return ledger.Folder(dir), nil
}

// evidenceFault gives an error of verification its exit code: 1 where evidence is not what was signed, 2 where it cannot be read.
func evidenceFault(err error) error {
	if said := (*exitError)(nil); errors.As(err, &said) {
		return err
	}
	for _, is := range []error{evidence.ErrTampered, ledger.ErrRewritten, ledger.ErrCheckpoint, ledger.ErrDamaged, ledger.ErrEntry, ledger.ErrKey, ledger.ErrWrongKey} {
		if errors.Is(err, is) && !errors.Is(err, fs.ErrPermission) {
			return &exitError{finding.ExitRefused, err}
		}
	}
	return err
}

// tellUnknown writes the times that are unknown, at most 20 of them.
func tellUnknown(env Env, gaps []evidence.Gap, more uint64) {
	for n, g := range gaps {
		if n == 20 {
			env.note("unknown: %d more times", uint64(len(gaps)-n)+more)
			return
		}
		env.note("unknown: %s", report.Inert(g.String()))
	}
}
