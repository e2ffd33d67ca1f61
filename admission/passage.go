package admission

import (
	"time"

	"ringfence.dev/ringfence/control"
)

// Passage is one review on its way through the door: what came of it, and when it was where. It holds no object and, but in its
// Decision, no name of a person.
type Passage struct {
	// UID is the review's, empty where it could not be read; refusals end with it.
	UID string
	// Operation, Namespace and Group say of what: the API server's word, and the match group that holds the kind. Each is empty
	// where it was not reached.
	Operation, Namespace, Group string
	// Verdict is allowed, warned, refused, undecided, shed or invalid, as in the metrics.
	Verdict string
	// Begun and Answered are always set; Decoded, Guarded and Judged where it came so far: when the review was read, when its
	// Guard was found, and when the engine had judged.
	Begun, Decoded, Guarded, Judged, Answered time.Time
	// Decision is nil where it was simply let in, and where nothing was decided.
	Decision *Decision
}

// way is what is noted of a review while it is judged. It costs some readings of the clock.
type way struct {
	decoded, guarded, judged time.Time
	namespace                string
	kind                     *control.Kind
}

// passed tells of a review that was answered.
func (h *Handler) passed(a *answer, begun time.Time) Passage {
	p := Passage{Operation: a.operation, Verdict: string(a.verdict), Namespace: a.way.namespace, Begun: begun,
		Decoded: a.way.decoded, Guarded: a.way.guarded, Judged: a.way.judged, Answered: time.Now(), Decision: a.decision}
	if a.response != nil {
		p.UID = string(a.response.UID)
	}
	if a.way.kind != nil {
		p.Group = h.group(*a.way.kind)
	}
	return p
}
