package wire

import (
	"fmt"
	"time"
)

// Fault is why a batch was not taken. Its text holds no secret and no more of an answer than its code.
type Fault struct {
	// Refused is true where the sink will never take this batch, because of what is in it. The batch is split until the
	// message that is at fault is found. False is tried again, however long it takes: the sink is down, busy, or it or we
	// are set up wrongly.
	Refused bool
	// At is the position of the message that is at fault, where the sink tells; otherwise below 0.
	At int
	// After is how long the sink wants to be left alone; 0 where it does not say.
	After time.Duration
	// Err is what happened.
	Err error
}

// Error implements error.
func (f *Fault) Error() string { return f.Err.Error() }

// Unwrap returns Err.
func (f *Fault) Unwrap() error { return f.Err }

// Retry is a Fault that is tried again after a time, 0 for whenever.
func Retry(after time.Duration, format string, args ...any) *Fault {
	return &Fault{At: -1, After: after, Err: fmt.Errorf(format, args...)}
}

// Refuse is a Fault of what is in the batch; at is the message's position or below 0.
func Refuse(at int, format string, args ...any) *Fault {
	return &Fault{Refused: true, At: at, Err: fmt.Errorf(format, args...)}
}
