package server

import (
	"context"
	"errors"
	"log/slog"
)

// ending is a handler of log records for what others run here. An error that says no more than that this process ends is none: over
// reports whether it does.
type ending struct {
	slog.Handler
	over func() bool
}

// Handle passes a record on, unless it is such an error.
func (e ending) Handle(ctx context.Context, r slog.Record) error {
	stopped := false
	r.Attrs(func(a slog.Attr) bool {
		err, ok := a.Value.Any().(error)
		stopped = ok && errors.Is(err, context.Canceled)
		return !stopped
	})
	if stopped && r.Level >= slog.LevelError && e.over() {
		return nil
	}
	return e.Handler.Handle(ctx, r)
}

// WithAttrs is the same with more attributes.
func (e ending) WithAttrs(attrs []slog.Attr) slog.Handler {
	return ending{e.Handler.WithAttrs(attrs), e.over}
}

// WithGroup is the same with a group.
func (e ending) WithGroup(name string) slog.Handler { return ending{e.Handler.WithGroup(name), e.over} }
