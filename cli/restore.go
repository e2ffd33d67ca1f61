package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/backup"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/ledger"
)

// restoreOptions is what the user asked of `ringfence restore`.
type restoreOptions struct {
	evidence, identity string
	checkpoints        []string
	unanchored         bool
	keep               map[string]string
}

// newRestore is `ringfence restore`.
func newRestore(env Env) *cobra.Command {
	var o restoreOptions
	cmd := &cobra.Command{
		Use:   "restore FILE --evidence DIR --identity FILE --checkpoint FILE",
		Short: "Put a backup back, verified, into a folder that is not there",
		Long: `Put a backup back: all of it, verified, or nothing. DIR must not be there, or be empty; nothing is ever replaced. The archive is held
to its seal, every entry of the ledger to its signed checkpoint, and the ledger to each --checkpoint: give the one that was
published last outside. Where it counts entries that the backup lacks, they are lost, and going on would make another history,
which every reader of that checkpoint would see: then nothing is restored. The index over the ledger is made anew.
Exit code 1: the backup is not of the history that was published. 2: it cannot be read.`,
		Example: "  ringfence restore ringfence-2026-11-22.age --evidence /var/lib/ringfence/evidence --identity /media/safe/backup.key --checkpoint published.txt",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("ringfence restore", "want one backup, or - for standard input")
			}
			return restore(cmd.Context(), env, args[0], o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.evidence, "evidence", "", "folder to make for ringfence serve --evidence; needed")
	flags.StringVar(&o.identity, "identity", "", "file with the private key that opens the backup; only its owner may read it; needed")
	flags.StringArrayVar(&o.checkpoints, "checkpoint", nil, "file with a checkpoint that was published outside, the latest above all; repeatable")
	flags.BoolVar(&o.unanchored, "unanchored", false, "restore without a checkpoint from outside: nobody can say then whether later entries are lost")
	flags.StringToStringVar(&o.keep, "store-keep", nil, storeKeepUsage)
	return cmd
}

func restore(ctx context.Context, env Env, file string, o restoreOptions) error {
	if o.evidence == "" || o.identity == "" || o.unanchored == (len(o.checkpoints) > 0) {
		return usagef("ringfence restore", "want --evidence DIR, --identity FILE, and --checkpoint FILE or else --unanchored")
	}
	if runtime.GOOS == "windows" {
		return errors.New("ringfence restore does not run on Windows; run it where ringfence serve runs")
	}
	keep, err := parseKeep("ringfence restore", "--store-keep", o.keep)
	if err != nil {
		return err
	}
	t := backup.Target{Dir: o.evidence, Keep: keep, Now: env.Now}
	if t.Identities, err = readIdentities(o.identity); err != nil {
		return err
	}
	for _, path := range o.checkpoints {
		text, err := readUpTo(path, ledger.MaxCheckpoint)
		if err != nil {
			return fmt.Errorf("--checkpoint: %w", err)
		}
		t.Checkpoints = append(t.Checkpoints, text)
	}
	from := env.Stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return fmt.Errorf("restore: %w", err)
		}
		defer f.Close()
		from = f
	}
	s, err := backup.Restore(ctx, bufio.NewReaderSize(from, 1<<20), t)
	if errors.Is(err, ledger.ErrRewritten) || errors.Is(err, ledger.ErrDamaged) {
		return &exitError{finding.ExitRefused, fmt.Errorf("%w; nothing was restored. Look for a later backup; where there is none, docs/backup.md says how to go on", err)}
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "restored %d entries of %s, of %s\n", s.Entries, s.Ledger, s.Made.Format("2006-01-02T15:04:05Z"))
	env.note("%d references to people; the store is made anew", s.People)
	if o.unanchored {
		env.note("not held against a checkpoint from outside: if the ledger had more entries, they are lost, and their readers will see another history")
	}
	if s.KeyInToken {
		env.note("the ledger's private key is in a token: start Ringfence with --ledger-key pkcs11:...")
	}
	return nil
}

// readIdentities reads the private keys that open a backup. The error holds nothing of the file.
func readIdentities(path string) ([]age.Identity, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("--identity: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("--identity: %w", err)
	}
	if mode := info.Mode(); mode.Perm()&0o077 != 0 {
		return nil, fmt.Errorf("--identity %s: found mode %v; want a file that only its owner may read: chmod 600 %s", path, mode, path)
	}
	all, err := age.ParseIdentities(io.LimitReader(f, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("--identity %s: %w; want a file that ringfence backup new-key or age-keygen made", path, err)
	}
	return all, nil
}
