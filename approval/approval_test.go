package approval

import (
	"testing"
	"time"
)

func TestTwo(t *testing.T) {
	for _, tc := range []struct {
		what string
		a, b Person
		want bool
	}{
		{"two names", Person{"a", ""}, Person{"b", ""}, true},
		{"one name", Person{"a", ""}, Person{"a", ""}, false},
		{"one name of two people", Person{"a", "1"}, Person{"a", "2"}, false},
		{"two people", Person{"a", "1"}, Person{"b", "2"}, true},
		{"two accounts of one", Person{"a", "1"}, Person{"b", "1"}, false},
		{"one of whom nothing is known", Person{"a", "1"}, Person{"b", ""}, false},
		{"the other of whom nothing is known", Person{"a", ""}, Person{"b", "1"}, false},
		{"nobody", Person{}, Person{"b", ""}, false},
	} {
		if got := Two(tc.a, tc.b); got != tc.want {
			t.Errorf("%s: Two = %v, want %v", tc.what, got, tc.want)
		}
	}
}

func TestState(t *testing.T) {
	at := func(minutes int) time.Time {
		return time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC).Add(time.Duration(minutes) * time.Minute)
	}
	asked := Course{Asked: at(0), AnswerBy: at(120)}
	approved := asked
	approved.Approved = true
	active := approved
	active.Began, active.Ends = at(10), at(40)
	ended := active
	ended.Ended, ended.ReviewBy = true, at(200)
	reviewed := ended
	reviewed.Reviewed = true
	for _, tc := range []struct {
		what string
		c    Course
		now  time.Time
		want State
		next time.Time
	}{
		{"asked", asked, at(119), Requested, at(120)},
		{"at the end of the answer", asked, at(120), Unanswered, time.Time{}},
		{"approved", approved, at(5), Approved, at(120)},
		{"approved and never taken up", approved, at(120), Unanswered, time.Time{}},
		{"active", active, at(39), Active, at(40)},
		{"at its end", active, at(40), Ended, time.Time{}},
		{"ended", ended, at(199), Ended, at(200)},
		{"not reviewed in time", ended, at(200), Overdue, time.Time{}},
		{"reviewed late", reviewed, at(300), Reviewed, time.Time{}},
	} {
		if got, next := tc.c.State(tc.now); got != tc.want || !next.Equal(tc.next) {
			t.Errorf("%s: State = %s until %v, want %s until %v", tc.what, got, next, tc.want, tc.next)
		}
	}
	if got := asked.Remind(); !got.Equal(at(60)) {
		t.Errorf("Remind = %v, want %v", got, at(60))
	}
}
