package server

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"

	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/store"
	"ringfence.dev/ringfence/tenant"
)

const (
	// maxActs is how many acts are held where no evidence is kept, of all elevations; the oldest go first.
	maxActs = 2000
	// maxToldActs is how many are told of one elevation, the newest.
	maxToldActs = 1000
)

// acts are the newest requests under elevations that this process has been told of.
type acts struct {
	mu  sync.Mutex // guards all
	all []record.Act
}

func (a *acts) add(act *record.Act) {
	if act == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all[max(0, len(a.all)-maxActs+1):], *act)
}

// of are those of an account.
func (a *acts) of(account string) []record.Act {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(a.all), func(act record.Act) bool { return act.Account != account })
}

// elevationActs answers GET /elevations/NAMESPACE/NAME/acts on the socket: what was done under an elevation.
func (s *Server) elevationActs(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
	defer cancel()
	account := tenant.UserOf(r.PathValue("namespace"), r.PathValue("name"))
	var answer record.Acts
	if last, ok := s.audit.LastEvent(); ok {
		answer.LastEvent = &last
	}
	if e := s.evidence; e != nil {
		if e.answers.store == nil {
			http.Error(w, "there is no store that could be asked; make it anew: ringfence store rebuild", http.StatusServiceUnavailable)
			return
		}
		var err error
		if answer.Acts, err = keptActs(ctx, e.answers.store, account); err != nil {
			s.log.Error("what was done under an elevation cannot be read", "err", err)
			http.Error(w, "the store cannot be read; Ringfence's log says why", http.StatusServiceUnavailable)
			return
		}
		answer.Kept = true
	} else {
		answer.Acts = s.acts.of(account)
	}
	slices.SortStableFunc(answer.Acts, func(a, b record.Act) int { return a.Time.Compare(b.Time) })
	answer.More = max(0, len(answer.Acts)-maxToldActs)
	answer.Acts = answer.Acts[answer.More:]
	if answer.Acts == nil {
		answer.Acts = []record.Act{}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // the caller has gone; there is nobody to tell
}

// keptActs are those of an account in the store.
func keptActs(ctx context.Context, from *store.Store, account string) (found []record.Act, err error) {
	f := store.RecordFilter{Kind: record.ElevatedKind}
	for {
		page, next, err := from.Records(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, kept := range page {
			var act record.Act
			if json.Unmarshal(kept.Body, &act) == nil && act.Account == account {
				found = append(found, act)
			}
		}
		if next == "" {
			return found, nil
		}
		f.After = next
	}
}
