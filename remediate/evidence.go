package remediate

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"ringfence.dev/ringfence/finding"
)

// Kept is an object of a quarantined workload as it was, with its events.
type Kept struct {
	Object *unstructured.Unstructured
	Events []corev1.Event
}

// KeptEvent is an event as evidence has it.
type KeptEvent struct {
	Type    string    `json:"type,omitempty"`
	Reason  string    `json:"reason"`
	Message string    `json:"message,omitempty"`
	Count   int32     `json:"count,omitempty"`
	First   time.Time `json:"first,omitzero"`
	Last    time.Time `json:"last,omitzero"`
	Source  string    `json:"source,omitempty"`
}

// mostKeptEvents is how many events of one object are kept, the newest; mostMessage how long the message of each is, in runes.
const mostKeptEvents, mostMessage = 50, 256

// Redact is the object as evidence may have it, and its events. What may hold a secret is replaced by what hide makes of it, so that
// whoever holds the key can still prove what stood there: values of the environment and of headers, commands and their arguments,
// attributes of volumes, the words with which a container ended, and annotations; the specification of a server or a person's
// name is none. whole is hide of all that was there.
func Redact(k *Kept, hide func(string) string) (object map[string]any, events []KeptEvent, whole string) {
	object = k.Object.DeepCopy().Object
	unstructured.RemoveNestedField(object, "metadata", "managedFields")
	text, err := json.Marshal(object)
	if err == nil { // it came as JSON
		whole = hide(string(text))
	}
	redact(object, hide)
	return object, keptEvents(k.Events), whole
}

// redact walks what came as JSON and replaces in place. A field is known by its name and its parent's: pods lie at many depths.
func redact(v any, hide func(string) string) {
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			redact(one, hide)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			switch name {
			case "command", "args", "annotations", "volumeAttributes", "options":
				v[name] = hidden(v[name], hide)
			case "env", "httpHeaders":
				hideField(v[name], "value", hide)
			case "terminated":
				hideField([]any{v[name]}, "message", hide)
			default:
				redact(v[name], hide)
				continue
			}
			redact(v[name], hide)
		}
	}
}

// hideField hides one field of each map in a list.
func hideField(list any, field string, hide func(string) string) {
	all, _ := list.([]any)
	for _, one := range all {
		if m, ok := one.(map[string]any); ok && m[field] != nil {
			m[field] = hidden(m[field], hide)
		}
	}
}

// hidden is v with every text in it hidden, the names of fields excepted.
func hidden(v any, hide func(string) string) any {
	switch v := v.(type) {
	case string:
		return hide(v)
	case []any:
		for i := range v {
			v[i] = hidden(v[i], hide)
		}
	case map[string]any:
		for name := range v {
			v[name] = hidden(v[name], hide)
		}
	}
	return v
}

// keptEvents are the newest events. Messages that quote what a container said are left out.
func keptEvents(all []corev1.Event) []KeptEvent {
	kept := []KeptEvent{}
	for _, e := range all {
		k := KeptEvent{Type: e.Type, Reason: finding.Value(e.Reason), Message: finding.Clean(e.Message), Count: e.Count,
			First: e.FirstTimestamp.UTC(), Last: e.LastTimestamp.UTC(), Source: finding.Value(e.Source.Component)}
		if k.Last.IsZero() {
			k.First, k.Last = e.EventTime.UTC(), e.EventTime.UTC()
		}
		if slices.Contains([]string{"Unhealthy", "ProbeWarning", "FailedPostStartHook", "FailedPreStopHook"}, e.Reason) {
			k.Message = ""
		}
		if runes := []rune(k.Message); len(runes) > mostMessage {
			k.Message = string(runes[:mostMessage])
		}
		kept = append(kept, k)
	}
	slices.SortStableFunc(kept, func(a, b KeptEvent) int { return a.Last.Compare(b.Last) })
	return kept[max(0, len(kept)-mostKeptEvents):]
}
