package cli

import "testing"

// TestElevationName: whatever a ticket is called, the name of its elevation begins as the API server wants it.
func TestElevationName(t *testing.T) {
	for ticket, want := range map[string]string{
		"INC-4711":   "inc-4711-",
		"#4711/b":    "4711-b-",
		"---":        "elevation-",
		"Störung 12": "st-rung-12-",
	} {
		if got := elevationName(ticket); got != want {
			t.Errorf("%q: %q, want %q", ticket, got, want)
		}
	}
}
