package cli

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/tlog"

	"ringfence.dev/ringfence/evidence"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/report"
)

// evidenceSchema is the version of the JSON of `ringfence evidence`.
const evidenceSchema = "ringfence.dev/evidence/v1"

// newEvidenceList is `ringfence evidence list`.
func newEvidenceList(env Env) *cobra.Command {
	var o evidenceOptions
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List entries of the ledger, oldest first, and the times that are unknown",
		Long: `List entries of the ledger in their order, and on standard error the times of which something is unknown.
Listing does not verify; show, export, verify and ask do.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(env, "ringfence evidence list"); err != nil {
				return err
			}
			return listEvidence(cmd.Context(), env, o)
		},
	}
	o.sourceFlags(cmd)
	o.filterFlags(env, cmd)
	cmd.Flags().StringVar(&o.request, "request", "", "only the request with this id: the one at the end of a webhook's refusal, or an audit event's auditID")
	cmd.Flags().StringVarP(&o.output, "output", "o", "text", "text or json")
	return cmd
}

func listEvidence(ctx context.Context, env Env, o evidenceOptions) error {
	from, err := o.source(ctx)
	if err != nil {
		return err
	}
	_, tree, err := latest(ctx, from)
	if err != nil {
		return evidenceFault(err)
	}
	gaps, listed := evidence.Gaps{Filter: o.filter}, 0
	write := func(i evidence.Item) error {
		_, err := fmt.Fprintln(env.Stdout, itemLine(i))
		return err
	}
	if o.output == "json" {
		if _, err := fmt.Fprintf(env.Stdout, "{\"schemaVersion\":%q,\"entries\":[", evidenceSchema); err != nil {
			return err
		}
		write = func(i evidence.Item) error { return writeItem(env, i, listed > 0) }
	}
	for at := uint64(0); at < uint64(tree.N); {
		entries, err := ledger.Read(ctx, from, uint64(tree.N), at, 256)
		if err != nil {
			return evidenceFault(err)
		}
		for _, e := range entries {
			i, err := evidence.ItemOf(e)
			if err != nil {
				return evidenceFault(fmt.Errorf("%w: %w", ledger.ErrDamaged, err))
			}
			gaps.Add(i)
			if !o.filter.Wants(i) || o.request != "" && i.Request() != o.request {
				continue
			}
			if err := write(i); err != nil {
				return err
			}
			listed++
		}
		at += uint64(len(entries))
	}
	if o.output == "json" {
		return listEnd(env, &gaps)
	}
	tellUnknown(env, gaps.List(), gaps.More)
	env.note("%d of %d entries", listed, tree.N)
	return nil
}

// writeItem writes one entry of the JSON of list.
func writeItem(env Env, i evidence.Item, more bool) error {
	text, err := json.Marshal(struct {
		Index  uint64        `json:"index"`
		Record record.Record `json:"record"`
	}{i.Index, i.Record})
	if err != nil {
		return err
	}
	comma := "\n"
	if more {
		comma = ",\n"
	}
	_, err = fmt.Fprintf(env.Stdout, "%s%s", comma, text)
	return err
}

// listEnd ends the JSON of list.
func listEnd(env Env, gaps *evidence.Gaps) error {
	list := gaps.List()
	if list == nil {
		list = []evidence.Gap{}
	}
	text, err := json.Marshal(list)
	if err == nil {
		_, err = fmt.Fprintf(env.Stdout, "\n],\"unknown\":%s,\"moreUnknown\":%d}\n", text, gaps.More)
	}
	return err
}

// itemLine is one entry on one line.
func itemLine(i evidence.Item) string {
	line := fmt.Sprintf("%6d  %s  %s  %s", i.Index, i.Time.UTC().Format(time.RFC3339), i.Kind, i.Summary())
	if i.Is("canary") {
		line += canaryWords(i)
	}
	if ids := i.Controls(); len(ids) > 0 {
		line += ": " + strings.Join(ids, " ")
	}
	if i.About.Actor.Ref != "" {
		line += "  by " + shortRef(i.About.Actor.Ref)
	}
	return report.Inert(line + "  id " + i.ID)
}

// canaryWords is what came of a try of the rules, with the first that did not come out as it must.
func canaryWords(i evidence.Item) string {
	var c struct {
		Held, LetIn, RefusedGood, NotAsked int
		Faults                             []record.CanaryFault
	}
	if i.Unreadable || json.Unmarshal(i.Body, &c) != nil {
		return ""
	}
	line := fmt.Sprintf("%d held, %d let in, %d refused good, %d not asked", c.Held, c.LetIn, c.RefusedGood, c.NotAsked)
	if len(c.Faults) > 0 {
		f := c.Faults[0]
		line += fmt.Sprintf("; first %s: %s %s in %s", f.Outcome, f.Control, f.Kind, f.Namespace)
	}
	return line
}

// shortRef is enough of a reference to tell people apart.
func shortRef(ref string) string {
	return ref[:min(len(ref), len("hmac-sha256:")+12)]
}

// latest reads the ledger's checkpoint and verifies it with the ledger's own keys.
func latest(ctx context.Context, from ledger.Source) ([]byte, tlog.Tree, error) {
	signed, err := from(ctx, "checkpoint")
	if err != nil {
		return nil, tlog.Tree{}, fmt.Errorf("read the ledger's checkpoint: %w", err)
	}
	text, err := from(ctx, "keyring")
	if err != nil {
		return nil, tlog.Tree{}, fmt.Errorf("read the ledger's keys: %w", err)
	}
	keys, err := ledger.ParseKeyring(text)
	if err != nil {
		return nil, tlog.Tree{}, err
	}
	tree, err := ledger.OpenCheckpoint(signed, keys)
	return signed, tree, err
}

// newEvidenceShow is `ringfence evidence show`.
func newEvidenceShow(env Env) *cobra.Command {
	var o evidenceOptions
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one entry, by its id or index, and prove that the checkpoint counts it",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(env, "ringfence evidence show"); err != nil {
				return err
			}
			return showEvidence(cmd.Context(), env, o, args[0])
		},
	}
	o.sourceFlags(cmd)
	cmd.Flags().StringVarP(&o.output, "output", "o", "text", "text or json")
	return cmd
}

func showEvidence(ctx context.Context, env Env, o evidenceOptions, id string) error {
	from, err := o.source(ctx)
	if err != nil {
		return err
	}
	signed, tree, err := latest(ctx, from)
	if err != nil {
		return evidenceFault(err)
	}
	index, err := indexOf(ctx, from, tree, id)
	if err != nil {
		return evidenceFault(err)
	}
	e, proof, err := ledger.Inclusion(ctx, from, tree, index)
	if err != nil {
		return evidenceFault(err)
	}
	i, err := evidence.ItemOf(e)
	if err != nil {
		return evidenceFault(err)
	}
	if o.output == "json" {
		var hashes []string
		for _, h := range proof {
			hashes = append(hashes, base64.StdEncoding.EncodeToString(h[:]))
		}
		return indented(env, map[string]any{"schemaVersion": evidenceSchema, "index": index, "statement": json.RawMessage(e.Statement), "inclusion": hashes, "checkpoint": string(signed)})
	}
	text, err := json.MarshalIndent(i.Record, "", "  ")
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "%s\n\nentry %d of %d, proved by %d hashes below the checkpoint:\n%s", text, index, tree.N, len(proof), signed)
	return nil
}

func indented(env Env, value any) error {
	out := json.NewEncoder(env.Stdout)
	out.SetIndent("", "  ")
	return out.Encode(value)
}

// indexOf finds an entry by its index or, the first of its name, by its id.
func indexOf(ctx context.Context, from ledger.Source, tree tlog.Tree, id string) (uint64, error) {
	if n, err := strconv.ParseUint(id, 10, 63); err == nil {
		if n >= uint64(tree.N) {
			return 0, fmt.Errorf("find entry %d: the ledger has %d, counted from 0", n, tree.N)
		}
		return n, nil
	}
	for at := uint64(0); at < uint64(tree.N); {
		entries, err := ledger.Read(ctx, from, uint64(tree.N), at, 256)
		if err != nil {
			return 0, err
		}
		for _, e := range entries {
			if i, err := evidence.ItemOf(e); err == nil && i.ID == id {
				return e.Index, nil
			}
		}
		at += uint64(len(entries))
	}
	return 0, fmt.Errorf("find entry %s: none of %d has this id; see: ringfence evidence list", finding.Value(id), tree.N)
}
