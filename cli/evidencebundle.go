package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/evidence"
	"ringfence.dev/ringfence/ledger"
)

// newEvidenceExport is `ringfence evidence export`.
func newEvidenceExport(env Env) *cobra.Command {
	var o evidenceOptions
	cmd := &cobra.Command{
		Use:   "export -o bundle.zip",
		Short: "Write entries with proofs, checkpoint, keys and a readable page into a bundle",
		Long: `Verify the ledger, and write the entries that are wanted into a zip file that proves itself: whoever has it and the ledger's key
needs neither the ledger nor Ringfence. Gaps that fall into the time and rotations of keys are always in it. With
--checkpoint the ledger is held to a checkpoint that was published outside, and the bundle can be held to it too.`,
		Example: "  ringfence evidence export --since 2026-10-01 --until 2026-10-31 --tenant payments -o october.zip",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.file == "" {
				return usagef("ringfence evidence export", "-o: want the name of a file, for instance -o bundle.zip")
			}
			if err := o.check(env, "ringfence evidence export"); err != nil {
				return err
			}
			return exportEvidence(cmd.Context(), env, o)
		},
	}
	o.sourceFlags(cmd)
	o.filterFlags(env, cmd)
	cmd.Flags().StringVarP(&o.file, "output", "o", "", "the file to write, whole or not at all")
	cmd.Flags().StringArrayVar(&o.checkpoints, "checkpoint", nil, "a checkpoint that was published outside; may be repeated")
	return cmd
}

func exportEvidence(ctx context.Context, env Env, o evidenceOptions) (err error) {
	from, keys, err := o.open(ctx)
	if err != nil {
		return evidenceFault(err)
	}
	options := evidence.Options{From: from, Trusted: keys, Filter: o.filter, Dir: filepath.Dir(o.file)}
	for _, name := range o.checkpoints {
		text, err := readSmall(name)
		if err != nil {
			return fmt.Errorf("--checkpoint: %w", err)
		}
		options.Outside = append(options.Outside, text)
	}
	file, err := os.CreateTemp(filepath.Dir(o.file), ".ringfence-bundle-*")
	if err != nil {
		return outputFault(o.file, err)
	}
	defer func() {
		_ = file.Close()
		_ = os.Remove(file.Name()) // it has its name by now, unless something went wrong
	}()
	m, err := evidence.Export(ctx, file, options)
	if err != nil {
		return evidenceFault(err)
	}
	if err := errors.Join(file.Sync(), file.Close(), os.Rename(file.Name(), o.file)); err != nil {
		return outputFault(o.file, err)
	}
	env.note("%s: %d entries of %d, %d of them asked for, %d gaps; check it: ringfence evidence verify %s", o.file, m.Entries, m.Size, m.Matching, uint64(len(m.Gaps))+m.MoreGaps, o.file)
	tellUnknown(env, m.Gaps, m.MoreGaps)
	return nil
}

// newEvidenceVerify is `ringfence evidence verify`.
func newEvidenceVerify(env Env) *cobra.Command {
	var o evidenceOptions
	cmd := &cobra.Command{
		Use:   "verify [bundle.zip]",
		Short: "Verify a bundle offline, or a whole ledger; exit 0 verified, 1 not, 2 unreadable",
		Long: `Verify a bundle, without a cluster or a network, or with --ledger a whole ledger. Exit code 0: every entry is the one that was
signed at its place. 1: not; the first bad entry is named. 2: it cannot be read. --checkpoint names a checkpoint that was
published outside, without which the holder of the key could have written all of it anew; --key the verifier key you know.`,
		Example: "  ringfence evidence verify bundle.zip --checkpoint published.txt --key ledger.pub\n  ringfence evidence verify --ledger .ringfence/evidence",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && o.ledger != "" {
				return usagef("ringfence evidence verify", "want a bundle or --ledger, not both")
			}
			return verifyEvidence(cmd.Context(), env, o, args)
		},
	}
	o.sourceFlags(cmd)
	cmd.Flags().StringArrayVar(&o.checkpoints, "checkpoint", nil, "a checkpoint that was published outside")
	return cmd
}

func verifyEvidence(ctx context.Context, env Env, o evidenceOptions, args []string) (err error) {
	if len(o.checkpoints) > 1 {
		return usagef("ringfence evidence verify", "--checkpoint: want one")
	}
	var outside []byte
	for _, name := range o.checkpoints {
		if outside, err = readSmall(name); err != nil {
			return fmt.Errorf("--checkpoint: %w", err)
		}
		if len(outside) == 0 {
			return fmt.Errorf("--checkpoint %s: the file is empty", name)
		}
	}
	check := o.verifyBundle
	if len(args) == 0 {
		check = o.verifyLedger
		args = []string{o.ledger}
	}
	what, keys, err := check(ctx, env, args[0], outside)
	if err != nil {
		return evidenceFault(err)
	}
	fmt.Fprintf(env.Stdout, "verified: %s\n", what)
	if o.key == "" {
		fmt.Fprintf(env.Stdout, "key: its own (%s); name the one you know with --key\n", keys[0])
	} else {
		fmt.Fprintf(env.Stdout, "key: yours (%s)\n", keys[0])
	}
	if outside == nil {
		fmt.Fprintln(env.Stdout, "not independently anchored: the holder of the key could have written all of it anew; name a checkpoint from outside with --checkpoint")
		return nil
	}
	_, tree, err := ledger.ParseCheckpoint(string(outside))
	if err != nil {
		return evidenceFault(err)
	}
	fmt.Fprintf(env.Stdout, "anchored: its first %d entries are those of the checkpoint in %s\n", tree.N, o.checkpoints[0])
	return nil
}

// verifyBundle verifies a bundle and says what was verified.
func (o *evidenceOptions) verifyBundle(ctx context.Context, env Env, name string, outside []byte) (string, ledger.Keyring, error) {
	options := evidence.VerifyOptions{Outside: outside}
	if o.key != "" {
		keys, err := readKeys(o.key)
		if err != nil {
			return "", nil, err
		}
		options.Trusted = keys
	}
	file, err := os.Open(name)
	if err != nil {
		return "", nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", nil, err
	}
	v, err := evidence.VerifyBundle(ctx, file, info.Size(), options)
	if err != nil {
		return "", nil, fmt.Errorf("verify %s: %w", name, err)
	}
	m := v.Manifest
	tellUnknown(env, m.Gaps, m.MoreGaps)
	return fmt.Sprintf("%d entries, each at its place among the %d of %s; %d are left out", m.Entries, m.Size, m.Origin, m.Size-m.Entries), v.Keys, nil
}

// verifyLedger verifies a whole ledger and says what was verified.
func (o *evidenceOptions) verifyLedger(ctx context.Context, env Env, _ string, outside []byte) (string, ledger.Keyring, error) {
	from, keys, err := o.open(ctx)
	if err != nil {
		return "", nil, err
	}
	var gaps evidence.Gaps
	v, err := ledger.Verify(ctx, from, keys, func(e ledger.Entry) error {
		i, err := evidence.ItemOf(e)
		if err == nil {
			gaps.Add(i)
		}
		return err
	})
	if err != nil {
		return "", nil, named(ctx, from, v, err)
	}
	if outside != nil {
		if err := v.Anchor(ctx, from, outside); err != nil {
			return "", nil, err
		}
	}
	tellUnknown(env, gaps.List(), gaps.More)
	return fmt.Sprintf("all %d entries of %s", v.Tree.N, v.Keys.Origin()), v.Keys, nil
}

// named adds the id of the first bad entry where it can be read.
func named(ctx context.Context, from ledger.Source, v ledger.Verified, err error) error {
	var fault *ledger.Fault
	if !errors.As(err, &fault) {
		return err
	}
	entries, unreadable := ledger.Read(ctx, from, uint64(v.Tree.N), fault.First, 1)
	if unreadable != nil || len(entries) == 0 {
		return err
	}
	i, _ := evidence.ItemOf(entries[0])
	return fmt.Errorf("%w (entry %d has id %.128q)", err, fault.First, i.ID)
}
