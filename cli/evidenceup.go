package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ringfence.dev/ringfence/evidence"
	"ringfence.dev/ringfence/ledger"
)

// proveRefusal waits until the ledger of the `ringfence up` in dir holds a refusal that happened since, and verifies that its
// checkpoint counts it.
func proveRefusal(ctx context.Context, dir string, since time.Time) (string, error) {
	o := evidenceOptions{dir: dir}
	var from uint64 // entries before it have been looked at
	for {
		source, err := o.source(ctx)
		if err != nil {
			return "", err
		}
		_, tree, err := latest(ctx, source)
		if err != nil {
			return "", err
		}
		for from < uint64(tree.N) {
			entries, err := ledger.Read(ctx, source, uint64(tree.N), from, 256)
			if err != nil {
				return "", err
			}
			for _, e := range entries {
				i, err := evidence.ItemOf(e)
				if err == nil && i.Is("native-refusal") && i.About.Refused && !i.About.DryRun && !i.Time.Before(since) {
					_, proof, err := ledger.Inclusion(ctx, source, tree, e.Index)
					return fmt.Sprintf("entry %d of the ledger, verified by %d hashes below the signed checkpoint of %d entries: %.32s...", e.Index, len(proof), tree.N, i.ID), err
				}
			}
			from += uint64(len(entries))
		}
		select {
		case <-ctx.Done():
			return "", errors.New("no refusal came into the ledger; is the audit stream broken? see ringfence.log")
		case <-time.After(100 * time.Millisecond):
		}
	}
}
