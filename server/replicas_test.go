package server

import (
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestReplicasConfig: what cannot be in the settings of replicas is said before anything is opened.
func TestReplicasConfig(t *testing.T) {
	door := WebhookConfig{Listen: "127.0.0.1:0", URL: "https://127.0.0.1:1"}
	for _, tc := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"a lease that nobody can keep", Config{Replicas: ReplicasConfig{Elect: true, Lease: 10 * time.Millisecond}}, "want a second at least"},
		{"no door to answer at", Config{Replicas: ReplicasConfig{WebhookOnly: true}}, "want an address of the admission door too"},
		{"a ledger of one that only answers", Config{Webhook: door, Evidence: t.TempDir(), Replicas: ReplicasConfig{WebhookOnly: true}}, "leave them out"},
		{"audit events for one that only answers", Config{Webhook: door, AuditAddress: "127.0.0.1:0", Replicas: ReplicasConfig{WebhookOnly: true}}, "leave them out"},
	} {
		if s, err := New(tc.cfg, slog.New(slog.NewTextHandler(io.Discard, nil))); err == nil {
			s.Close()
			t.Errorf("%s: it is made", tc.name)
		} else if !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v; want %q", tc.name, err, tc.want)
		}
	}
}
