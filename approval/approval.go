// Package approval is what all has in common that takes two people: who may approve what another asked for, how such a request
// stands, and when that changes by itself.
//
// It keeps nothing and asks nobody; that approvals are true is the API server's business, by the policies of package tenant, which say
// the same in CEL. Packages tenant and tenant/elevation call it, and the command line.
package approval

import "time"

// Person is a user as the API server knows them, and who is behind the account as the identity provider does: its oid claim, "" where
// it says none.
type Person struct {
	Name, Object string
}

// Two reports whether a and b are known to be two people: by their names, and by who is behind them where the provider says so of both.
// Where it says so of one alone, the other may be a second account of theirs.
func Two(a, b Person) bool {
	if a.Name == "" || b.Name == "" || a.Name == b.Name || (a.Object == "") != (b.Object == "") {
		return false
	}
	return a.Object == "" || a.Object != b.Object
}

// State is how a request stands.
type State string

// The states, in the order in which they follow each other.
const (
	// Requested waits for its approval.
	Requested State = "requested"
	// Unanswered was not approved in time, or was withdrawn before. It is over, and there is nothing to look at.
	Unanswered State = "unanswered"
	// Approved waits for what follows of it.
	Approved State = "approved"
	// Active holds.
	Active State = "active"
	// Ended is over; whoever is to look at it has not.
	Ended State = "ended"
	// Overdue is over, and should have been reviewed by now.
	Overdue State = "overdue"
	// Reviewed is over and was looked at.
	Reviewed State = "reviewed"
)

// Course is what is known of a request. Zero times: it has not happened, or never does.
type Course struct {
	// Asked is when it was asked for, AnswerBy until when it can be approved.
	Asked, AnswerBy time.Time
	// Approved says that it was.
	Approved bool
	// Began is when it began to hold, Ends when it ends by itself.
	Began, Ends time.Time
	// Ended says that it holds no more. ReviewBy is until when it is to be reviewed, where it ever held.
	Ended    bool
	ReviewBy time.Time
	// Reviewed says that it was.
	Reviewed bool
}

// State is how it stands at a time, and when that changes by itself: zero for never.
func (c Course) State(now time.Time) (s State, next time.Time) {
	over := func(at time.Time) bool { return !at.IsZero() && !now.Before(at) }
	switch {
	case c.Reviewed:
		return Reviewed, next
	case c.Ended && c.Began.IsZero():
		return Unanswered, next
	case c.Ended && over(c.ReviewBy):
		return Overdue, next
	case c.Ended:
		return Ended, c.ReviewBy
	case !c.Began.IsZero() && over(c.Ends):
		return Ended, next
	case !c.Began.IsZero():
		return Active, c.Ends
	case over(c.AnswerBy):
		return Unanswered, next
	case c.Approved:
		return Approved, c.AnswerBy
	}
	return Requested, c.AnswerBy
}

// Remind is when somebody is to be reminded that a request waits: halfway to its end, so that there is time left.
func (c Course) Remind() time.Time {
	if c.AnswerBy.IsZero() {
		return time.Time{}
	}
	return c.Asked.Add(c.AnswerBy.Sub(c.Asked) / 2)
}
