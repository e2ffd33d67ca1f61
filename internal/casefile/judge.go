package casefile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/policy"
)

// Outcome is what an engine said of a case.
type Outcome struct {
	// Got are the "<value> at <pointer>" that the case's own control found, in any order.
	Got []string
	// Others are the ids of other controls that failed, each once, in any order.
	Others []string
	// Errored are the controls that could not be decided, each with the reason.
	Errored []string
}

// Input is the case as an engine judges it, in the namespace that it names, else payments-dev; at a time
// at which some of the Guard's images have ended.
func (c Case) Input(guard *policy.Guard) policy.Input {
	in := policy.Input{Now: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), Object: c.Object.Value, Guard: guard, Namespace: cmp.Or(c.Object.Subject().Namespace, "payments-dev"), Username: c.User, Groups: c.Groups}
	switch {
	case c.Update():
		in.Operation, in.OldObject = "UPDATE", c.Old.Value
	case c.Connect():
		in.Operation = "CONNECT"
	}
	return in
}

// Judge judges the case as a test of the control with an id.
func (c Case) Judge(id string, e *policy.Engine, guard *policy.Guard) (o Outcome) {
	for _, f := range e.Judge(c.Input(guard), c.Object.Subject()) {
		switch {
		case f.Outcome == finding.Errored:
			o.Errored = append(o.Errored, f.Control+": "+*f.Reason)
		case f.Outcome != finding.Fail:
		case f.Control == id:
			o.Got = append(o.Got, f.Found+" at "+f.Path)
		case !slices.Contains(o.Others, f.Control):
			o.Others = append(o.Others, f.Control)
		}
	}
	return o
}

// Faults says how an outcome differs from what the case wants, a line each; none is a case that passes. Order says
// nothing: what is found among the keys of a map has none.
func (c Case) Faults(o Outcome) (faults []string) {
	for _, e := range o.Errored {
		faults = append(faults, "could not be decided: "+e)
	}
	if !same(c.Want, o.Got) {
		faults = append(faults, "want: "+words(c.Want), "got:  "+words(o.Got))
	}
	if !c.AnyAlso && !same(c.Also, o.Others) {
		faults = append(faults, fmt.Sprintf("want also: %s", words(c.Also)), fmt.Sprintf("got also:  %s", words(o.Others)))
	}
	return faults
}

func same(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func words(list []string) string {
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, "; ")
}
