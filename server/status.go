package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/ledger/witness"
)

const (
	// statusSchema is the version of Status.
	statusSchema = "ringfence.dev/evidence-status/v1"
	// maxStatus bounds what FetchStatus reads.
	maxStatus = 4 << 20
)

// Status is how evidence goes on from the ledger: what each sink lacks, and how far each place outside is. Its JSON is stable:
// fields are only added.
type Status struct {
	SchemaVersion string `json:"schemaVersion"`
	// Size is how many records the ledger holds.
	Size uint64 `json:"size"`
	// Sinks are those of the configuration, in its order; Witnesses the places to which checkpoints are published.
	Sinks     []forward.Stats  `json:"sinks"`
	Witnesses []witness.Status `json:"witnesses"`
	// Store is how far the store is filled from the ledger.
	Store StoreStatus `json:"store"`
}

// status answers GET /evidence/status.
func (e *evidence) status(w http.ResponseWriter, r *http.Request) {
	s := Status{SchemaVersion: statusSchema, Size: e.ledger.Size(), Sinks: []forward.Stats{}, Witnesses: e.publisher.Status(), Store: e.storeStatus(r.Context())}
	for _, f := range e.sinks.followers {
		s.Sinks = append(s.Sinks, f.Stats(r.Context()))
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s) // the caller has gone; there is nobody to tell
}

// ErrNoEvidence is returned by FetchStatus where the control plane keeps no evidence.
var ErrNoEvidence = errors.New("the control plane keeps no evidence: it was started without a folder for it")

// FetchStatus asks a running control plane, for instance at http://ringfence with a client that dials its socket.
func FetchStatus(ctx context.Context, client *http.Client, base string) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var s Status
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/evidence/status", nil)
	if err != nil {
		return s, fmt.Errorf("ask for the status of evidence: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return s, fmt.Errorf("ask for the status of evidence: %w", err)
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return s, ErrNoEvidence
	default:
		return s, fmt.Errorf("ask for the status of evidence: found status %d; want 200", response.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxStatus)).Decode(&s); err != nil {
		return s, fmt.Errorf("read the status of evidence: %w", err)
	}
	if s.SchemaVersion != statusSchema {
		return s, fmt.Errorf("read the status of evidence: found schemaVersion %q; want %s: is ringfence the same version on both sides?",
			finding.Value(s.SchemaVersion), statusSchema)
	}
	return s, nil
}
