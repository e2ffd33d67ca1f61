package admission

import (
	"testing"
	"time"
)

// TestQuarrel: a registration that is edited comes back at once; one that another Ringfence writes differently, without end, is not fought
// over as fast as the API server answers.
func TestQuarrel(t *testing.T) {
	r, at := &Reconciler{}, time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for i := range 1000 { // twenty a second, for 50 s
		if at = at.Add(50 * time.Millisecond); r.quarrels(at) != (i%200 >= mostChanges) {
			t.Fatalf("change %d: want the first %d in %v put right at once, and no more", i+1, mostChanges, changesWithin)
		}
	}
	if r.quarrels(at.Add(changesWithin)) {
		t.Error("when the others are quiet it is not put right at once")
	}
}
