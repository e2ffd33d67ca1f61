package cli

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/store"
)

// newStore is `ringfence store`: what an operator does with the index over the ledger.
func newStore(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Make the index over the evidence anew, check it, forget a person",
		Long: `The store answers questions about the evidence. It is made from the ledger and can be made anew from it at any time; only the
names of people are nowhere else.`,
		Args: cobra.ArbitraryArgs, RunE: group,
	}
	people := &cobra.Command{Use: "people", Short: "Names of people, the only personal data", Args: cobra.ArbitraryArgs, RunE: group}
	people.AddCommand(newForget(env))
	cmd.AddCommand(newRebuild(env), newStoreCheck(env), people)
	return cmd
}

// rebuildOptions is what the user asked of `ringfence store rebuild`.
type rebuildOptions struct {
	ledger, store string
	keep          map[string]string
}

func newRebuild(env Env) *cobra.Command {
	var o rebuildOptions
	cmd := &cobra.Command{
		Use:   "rebuild --ledger DIR --store FILE",
		Short: "Make the store anew from the ledger",
		Long: `Make the store anew from the ledger, beside the one that is there, and put it in its place when it is whole. It answers the
same. Names of people are taken over from the store that is there, also from a newer version's; where it is damaged they are gone:
the ledger has none.
Stop what fills the store first. The ledger is read and not verified: see ringfence evidence verify.`,
		Example: "  ringfence store rebuild --ledger evidence/ledger --store evidence/store.db",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return rebuild(cmd.Context(), env, o) },
	}
	cmd.Flags().StringVar(&o.ledger, "ledger", "", "the ledger's folder")
	cmd.Flags().StringVar(&o.store, "store", "", "the store's file")
	cmd.Flags().StringToStringVar(&o.keep, "keep", nil, "how long records of a kind are kept in the store, for instance native-refusal.v1=8760h; others for ever")
	return cmd
}

func rebuild(ctx context.Context, env Env, o rebuildOptions) error {
	if o.ledger == "" || o.store == "" {
		return usagef("ringfence store rebuild", "want --ledger with a folder and --store with a file")
	}
	keep, err := parseKeep("ringfence store rebuild", "--keep", o.keep)
	if err != nil {
		return err
	}
	from, err := store.FromFolder(ctx, o.ledger)
	if err != nil {
		return err
	}
	r, err := store.Rebuild(ctx, o.store, from, keep, env.Now())
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "%d entries of %s\n", r.Entries, from.Origin)
	if r.Unnamed != nil {
		env.note("the names of people could not be taken over and are gone, because of the store before: %v", r.Unnamed)
	} else {
		env.note("%d references to people were taken over from the store before", r.People)
	}
	return nil
}

// parseKeep reads how long records of each kind are kept in the store; flag is where that was said.
func parseKeep(command, flag string, given map[string]string) (store.Retention, error) {
	keep := store.Retention{}
	for _, kind := range slices.Sorted(maps.Keys(given)) {
		d, err := time.ParseDuration(given[kind])
		if _, known := record.KindSchema(kind); err != nil || d <= 0 || !known {
			return nil, usagef(command, "%s %s=%s: want a kind of record and a time above zero like 8760h", flag, finding.Value(kind), finding.Value(given[kind]))
		}
		keep[kind] = d
	}
	return keep, nil
}

// storeKeepUsage is that of --store-keep.
const storeKeepUsage = "how long records of a kind are kept in the store beside the ledger, for instance change.v1=8760h; repeatable; others for ever, as all in the ledger"

func newStoreCheck(env Env) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "check --store FILE",
		Short: "Read the whole store and say whether it is sound",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if path == "" {
				return usagef("ringfence store check", "want --store with a file")
			}
			s, err := store.Open(cmd.Context(), store.Config{Path: path, ReadOnly: true})
			if err != nil {
				return err
			}
			defer s.Close()
			if err := s.Check(cmd.Context()); err != nil {
				return err
			}
			state, err := s.State(cmd.Context())
			if err == nil {
				fmt.Fprintf(env.Stdout, "sound, %d entries of %s\n", state.Next, state.Origin)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&path, "store", "", "the store's file")
	return cmd
}

func newForget(env Env) *cobra.Command {
	var path, key string
	cmd := &cobra.Command{
		Use:   "forget REF --store FILE",
		Short: "Remove whom a reference means, for good",
		Long: `Remove whom a reference means from the store, for good; the name is not taken again. The ledger is not touched and verifies as
before. With --key the argument is a name, and its reference is made with that key. Who holds the key can still find out
whether a name that they guess is meant.`,
		Example: "  ringfence store people forget hmac-sha256:1f... --store evidence/store.db\n  ringfence store people forget eve@bank.example --key evidence/actor.key --store evidence/store.db",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || path == "" {
				return usagef("ringfence store people forget", "want one reference, and --store with a file")
			}
			return forget(cmd.Context(), env, args[0], path, key)
		},
	}
	cmd.Flags().StringVar(&path, "store", "", "the store's file")
	cmd.Flags().StringVar(&key, "key", "", "the key of references, where a name is given")
	return cmd
}

func forget(ctx context.Context, env Env, who, path, keyFile string) error {
	if keyFile != "" {
		text, err := os.ReadFile(keyFile)
		if err != nil {
			return err
		}
		key, err := hex.DecodeString(strings.TrimSpace(string(text)))
		if err != nil || len(key) != 32 {
			return fmt.Errorf("read %s: want 64 hexadecimal digits", keyFile)
		}
		who = record.Reference(key, who)
	}
	if _, err := os.Stat(path); err != nil {
		return err
	}
	s, err := store.Open(ctx, store.Config{Path: path})
	if err != nil {
		return err
	}
	defer s.Close()
	before, err := s.Person(ctx, who)
	if err == nil {
		err = s.Forget(ctx, who, env.Now())
	}
	if err != nil {
		return err
	}
	if before.Name == "" {
		env.note("the store had no name for it; it will take none from now on")
	}
	fmt.Fprintf(env.Stdout, "forgotten: %s\n", who)
	return nil
}
