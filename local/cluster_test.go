package local

import (
	"context"
	"testing"
)

// TestWait: whoever is told to end has nothing to say, so that what the story came to is what `up --once` exits with.
func TestWait(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended, running := make(chan struct{}), make(chan struct{})
	close(ended)
	if err := (&cluster{done: ended}).wait(ctx); err == nil {
		t.Error("a control plane that ended by itself is no error")
	}
	cancel()
	for _, c := range []*cluster{{done: ended}, {done: running}} {
		if err := c.wait(ctx); err != nil {
			t.Errorf("told to end, it says %v", err)
		}
	}
}
