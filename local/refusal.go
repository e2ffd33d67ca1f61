package local

import (
	"context"
	"maps"
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

// refusals are the refusal lines of an error, which may be nil, and its warnings, one a control, in order of id. The API server cuts
// warnings where there are many, so the longest of a control is taken.
func refusals(err error, warnings []string) []string {
	longest := map[string]string{}
	if err != nil {
		warnings = append([]string{err.Error()}, warnings...)
	}
	for _, text := range warnings {
		line := refusalLine.FindString(text)
		id, _, _ := strings.Cut(line, " ")
		if len(line) > len(longest[id]) {
			longest[id] = line
		}
	}
	return slices.Sorted(maps.Values(longest))
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
