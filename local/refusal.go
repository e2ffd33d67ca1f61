package local

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// warnings collects the warnings of the API server. It implements rest.WarningHandlerWithContext.
type warnings struct {
	mu    sync.Mutex // guards lines
	lines []string
}

// HandleWarningHeaderWithContext keeps one warning.
func (w *warnings) HandleWarningHeaderWithContext(_ context.Context, code int, _ string, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if code == 299 {
		w.lines = append(w.lines, text)
	}
}

// take returns the warnings since the last call.
func (w *warnings) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := w.lines
	w.lines = nil
	return lines
}

// refusalLine finds a refusal line within what the API server wraps around it.
var refusalLine = regexp.MustCompile(`RF-[A-Z]{2}-[0-9]{2} .*$`)

// refusals are the refusal lines of an error and its warnings, one a control, in order of id.
func refusals(err error, warnings []string) []string {
	var lines []string
	for _, text := range append([]string{err.Error()}, warnings...) {
		if line := refusalLine.FindString(text); line != "" && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return lines
}

// unnamed are the ids that no line begins with.
func unnamed(lines, ids []string) []string {
	var missing []string
	for _, id := range ids {
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, id+" ") }) {
			missing = append(missing, id)
		}
	}
	return missing
}
