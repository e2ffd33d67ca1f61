package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/go-logr/logr"
)

// TestEnding: an error that says only that the process ends is not logged then; any other is, and that one before.
func TestEnding(t *testing.T) {
	over := false
	var out bytes.Buffer
	log := logr.FromSlogHandler(ending{slog.NewTextHandler(&out, nil), func() bool { return over }}).WithValues("controller", "bundles")
	log.Error(fmt.Errorf("list guards: %w", context.Canceled), "Reconciler error")
	over = true
	log.Error(fmt.Errorf("list guards: %w", context.Canceled), "Reconciler error, late")
	log.Error(errors.New("forbidden"), "Reconciler error, another")
	log.Info("stopped", "err", context.Canceled)
	if text := out.String(); strings.Count(text, "\n") != 3 || strings.Contains(text, "late") || !strings.Contains(text, "controller=bundles") {
		t.Errorf("logged:\n%s", text)
	}
}
