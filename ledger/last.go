package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"ringfence.dev/ringfence/record"
)

const (
	// lastFile holds what is known of the producers up to some entry. It only saves time at the next start: entries tell the
	// same, and it is not evidence.
	lastFile = "last"
	// lastEvery is after how many entries it is written again.
	lastEvery = 4096
)

// lasts is the latest that a ledger holds of each producer, up to some entry.
type lasts struct {
	// Size is how many entries were read.
	Size int64 `json:"size"`
	// Last is by cluster, a slash and the producer.
	Last map[string]record.Last `json:"last"`
}

func (l *lasts) add(r record.Record) {
	key := r.Cluster + "/" + r.Producer
	if r.Seq > l.Last[key].Seq {
		l.Last[key] = record.Last{Seq: r.Seq, Time: r.Time}
	}
	l.Size++
}

// Last is the latest that the ledger holds of each producer of a cluster: a queue goes on from there.
func (l *Log) Last(cluster string) map[string]record.Last {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	out := map[string]record.Last{}
	for key, last := range l.last.Last {
		if producer, ok := strings.CutPrefix(key, cluster+"/"); ok {
			out[producer] = last
		}
	}
	return out
}

// loadLast reads what was kept of the producers, and the entries after it.
func (l *Log) loadLast() error {
	l.last = lasts{}
	text, err := l.dir.read(lastFile)
	if err != nil || json.Unmarshal(text, &l.last) != nil || l.last.Size < 0 || l.last.Size > l.edge.size || l.last.Last == nil {
		l.last = lasts{Last: map[string]record.Last{}}
	}
	l.lastSaved = l.last.Size
	for l.last.Size < l.edge.size {
		entries, err := Read(context.Background(), l.Source(), uint64(l.edge.size), uint64(l.last.Size), width)
		if err != nil {
			return err
		}
		for _, e := range entries {
			var s statement
			if err := json.Unmarshal(e.Statement, &s); err != nil {
				return fmt.Errorf("%w: entry %d: %w", ErrDamaged, e.Index, err)
			}
			l.last.add(s.Predicate)
		}
	}
	return nil
}

// saveLast writes what is known of the producers, now and then. That it cannot be written is no loss.
func (l *Log) saveLast(always bool) {
	if l.last.Size-l.lastSaved < lastEvery && (!always || l.last.Size == l.lastSaved) {
		return
	}
	l.lastSaved = l.last.Size
	text, err := json.Marshal(lasts{Size: l.last.Size, Last: maps.Clone(l.last.Last)})
	if err == nil {
		_ = l.dir.replace(lastFile, text)
	}
}
