package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/backup"
	"ringfence.dev/ringfence/internal/durable"
	"ringfence.dev/ringfence/ledger/token"
	"ringfence.dev/ringfence/server"
)

// backupOptions is what the user asked of `ringfence backup`.
type backupOptions struct {
	evidence, key, output string
	recipients            []string
}

// newBackup is `ringfence backup`.
func newBackup(env Env) *cobra.Command {
	var o backupOptions
	cmd := &cobra.Command{
		Use:   "backup --evidence DIR --recipient KEY -o FILE",
		Short: "Copy ledger, keys and names of people into one encrypted file, while Ringfence runs",
		Long: `Copy what the folder of serve --evidence holds into one file: the ledger as its latest checkpoint counts it, the keys, whom
references mean, and how far sinks have come. Ringfence may run meanwhile. The file is encrypted with age for each --recipient and
sealed by the ledger's key; there is no form in the clear. What is read is held to the checkpoint: a damaged ledger gives no backup.
A private key in a token stays there. Sessions and tokens of people are left out: those that were revoked would be good again.
docs/backup.md says how to put it back and what to try beforehand.`,
		Example: "  ringfence backup new-key /media/safe/backup.key\n" +
			"  ringfence backup --evidence /var/lib/ringfence/evidence --recipient age1... -o ringfence-2026-11-22.age",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return backUp(cmd.Context(), env, o) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.evidence, "evidence", "", "folder for evidence of ringfence serve; needed")
	flags.StringVar(&o.key, "ledger-key", "", ledgerKeyUsage)
	flags.StringArrayVar(&o.recipients, "recipient", nil, "who can open it: a public key age1..., or a file with one a line; repeatable; needed")
	flags.StringVarP(&o.output, "output", "o", "", "file to make, or - for standard output; needed")
	cmd.AddCommand(newBackupKey(env))
	return cmd
}

func backUp(ctx context.Context, env Env, o backupOptions) error {
	if o.evidence == "" || o.output == "" || len(o.recipients) == 0 {
		return usagef("ringfence backup", "want --evidence DIR, -o FILE, and --recipient: a backup holds private keys and is never written in the clear")
	}
	recipients, err := readRecipients(o.recipients)
	if err != nil {
		return usagef("ringfence backup", "%w", err)
	}
	if _, err := os.Stat(filepath.Join(o.evidence, "ledger", "keyring")); err != nil {
		return fmt.Errorf("back up %s: %w; want the folder of ringfence serve --evidence", o.evidence, err)
	}
	cfg := backup.Config{Dir: o.evidence, Recipients: recipients, Version: moduleVersion(), Now: env.Now}
	if cfg.Key, err = server.OpenLedgerKey(ctx, o.evidence, o.key); err != nil {
		return err
	}
	if cfg.KeyPath = o.key; o.key == "" {
		cfg.KeyPath = filepath.Join(o.evidence, "ledger.key")
	} else if strings.HasPrefix(o.key, token.Prefix) {
		cfg.KeyPath = ""
	}
	var s backup.Summary
	write := func(to io.Writer) (err error) {
		s, err = backup.Write(ctx, to, cfg)
		return err
	}
	if o.output == "-" {
		err = write(env.Stdout)
	} else {
		err = writeNew(o.output, write)
	}
	if err != nil {
		return err
	}
	for _, name := range s.Left {
		env.note("not in the backup: %s, which is no file of Ringfence", name)
	}
	where := "its private key"
	if s.KeyInToken {
		where = "not its private key, which is in a token"
	}
	env.note("backed up %d entries of %s, %s, and %d references to people, in %d files", s.Entries, s.Ledger, where, s.People, s.Files)
	return nil
}

// writeNew makes a file that only its owner may read; it has its name once it is whole and on the disk.
func writeNew(path string, write func(io.Writer) error) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("%s is there: want a name that nothing has", path))
	}
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = write(f)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(path+".new"))
	}
	return durable.SyncFolder(filepath.Dir(path))
}

// readRecipients reads public keys and files of them.
func readRecipients(given []string) (all []age.Recipient, err error) {
	for _, g := range given {
		text := g
		if !strings.HasPrefix(g, "age1") {
			data, err := readSmall(g)
			if err != nil {
				return nil, fmt.Errorf("--recipient: %w; want a public key age1..., or a file of them", err)
			}
			text = string(data)
		}
		if strings.Contains(text, "AGE-SECRET-KEY") {
			return nil, fmt.Errorf("--recipient %.80q holds a private key; want the public one, which begins with age1", g)
		}
		some, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("--recipient %.80q: %w", g, err)
		}
		all = append(all, some...)
	}
	return all, nil
}

// newBackupKey is `ringfence backup new-key`.
func newBackupKey(env Env) *cobra.Command {
	return &cobra.Command{
		Use:   "new-key FILE",
		Short: "Make the private key that opens backups, and print the public one",
		Long: `Make the private key that opens backups, an age identity, in a new file that only its owner may read, and print the public key for
--recipient. Make it where backups are restored, not on the hub: whoever has it has every key in every backup.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("ringfence backup new-key", "want one file to make")
			}
			key, err := age.GenerateX25519Identity()
			if err != nil {
				return fmt.Errorf("make a key: %w", err)
			}
			if err := writeNew(args[0], func(to io.Writer) error {
				_, err := fmt.Fprintf(to, "# public key: %s\n%s\n", key.Recipient(), key)
				return err
			}); err != nil {
				return fmt.Errorf("make a key: %w", err)
			}
			_, err = fmt.Fprintln(env.Stdout, key.Recipient())
			return err
		},
	}
}
