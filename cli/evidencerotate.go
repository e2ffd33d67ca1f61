package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/server"
)

// ledgerKeyUsage is the same wherever a ledger is opened to be written.
const ledgerKeyUsage = "what signs the ledger: a file, or pkcs11:token=T;id=%01?module-path=/FILE&pin-source=file:/FILE for a key in a token (default: ledger.key in the folder for evidence)"

// rotateOptions are those of `ringfence evidence rotate`.
type rotateOptions struct{ evidence, key, next string }

// newEvidenceRotate is `ringfence evidence rotate`.
func newEvidenceRotate(env Env) *cobra.Command {
	var o rotateOptions
	cmd := &cobra.Command{
		Use:   "rotate --evidence DIR --new KEY",
		Short: "Let another key sign the ledger from now on; Ringfence must be stopped",
		Long: `Let another key sign the ledger from now on. The old key signs that it does, in a record of the ledger, so that whoever
trusts the first key can follow to the last. Ringfence must be stopped; start it with --ledger-key KEY afterwards.
KEY is a file, which is made where it is missing, or the address of a key in a token (pkcs11:...). Destroy the old
private key once the new one has signed.`,
		Example: "  ringfence evidence rotate --evidence /var/lib/ringfence --new /etc/ringfence/ledger-2027.key\n" +
			"  ringfence evidence rotate --evidence /var/lib/ringfence --new 'pkcs11:token=ringfence;id=%01?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/ringfence/pin'",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return rotate(cmd.Context(), env, o) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.evidence, "evidence", "", "folder for evidence of ringfence serve; needed")
	flags.StringVar(&o.key, "ledger-key", "", ledgerKeyUsage)
	flags.StringVar(&o.next, "new", "", "key that is to sign: a file or pkcs11:...; needed")
	return cmd
}

func rotate(ctx context.Context, env Env, o rotateOptions) error {
	if o.evidence == "" || o.next == "" {
		return usagef("ringfence evidence rotate", "want --evidence DIR and --new KEY")
	}
	next, err := server.NextLedgerKey(ctx, o.evidence, o.next)
	if err != nil {
		return err
	}
	dir := filepath.Join(o.evidence, "ledger")
	log, err := ledger.Open(ledger.Config{Dir: dir, Key: next})
	if err == nil { // it was done before, or an earlier try ended just before it said so
		env.note("the ledger is signed by this key already")
		return errors.Join(tellKey(env, log), log.Close())
	}
	if !errors.Is(err, ledger.ErrWrongKey) {
		return err
	}
	key, err := server.OpenLedgerKey(ctx, o.evidence, o.key)
	if err != nil {
		return err
	}
	if log, err = ledger.Open(ledger.Config{Dir: dir, Key: key}); err != nil {
		return err
	}
	if err := log.Rotate(next, server.LocalCluster, time.Now()); err != nil {
		return errors.Join(err, log.Close())
	}
	env.note("rotated; start Ringfence with --ledger-key for the new key, and destroy the old private key")
	return errors.Join(tellKey(env, log), log.Close())
}

// tellKey writes the public part of the key that signs.
func tellKey(env Env, log *ledger.Log) error {
	ring := slices.Clone(log.Keyring())
	_, err := fmt.Fprintln(env.Stdout, ring[len(ring)-1])
	return err
}
