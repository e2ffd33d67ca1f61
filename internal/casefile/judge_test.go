package casefile_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/internal/casefile"
)

// TestFaults shows what makes a case fail: another value or place, another control, a rule that cannot be decided; and
// that order does not.
func TestFaults(t *testing.T) {
	one := casefile.Case{Want: []string{"a at /x", "b at /y"}, Also: []string{"RF-XX-01", "RF-XX-02"}}
	open := casefile.Case{AnyAlso: true}
	for _, c := range []struct {
		name string
		c    casefile.Case
		o    casefile.Outcome
		want []string
	}{
		{"the same in another order", one, casefile.Outcome{Got: []string{"b at /y", "a at /x"}, Others: []string{"RF-XX-02", "RF-XX-01"}}, nil},
		{"another place", one, casefile.Outcome{Got: []string{"a at /x", "b at /z"}, Others: one.Also}, []string{"want: a at /x; b at /y", "got:  a at /x; b at /z"}},
		{"found twice", one, casefile.Outcome{Got: []string{"a at /x", "b at /y", "b at /y"}, Others: one.Also}, []string{"want: a at /x; b at /y", "got:  a at /x; b at /y; b at /y"}},
		{"another control", one, casefile.Outcome{Got: one.Want}, []string{"want also: RF-XX-01; RF-XX-02", "got also:  nothing"}},
		{"any other control", open, casefile.Outcome{Others: []string{"RF-XX-01"}}, nil},
		{"undecided", open, casefile.Outcome{Errored: []string{"RF-XX-01: too dear"}}, []string{"could not be decided: RF-XX-01: too dear"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, c.c.Faults(c.o)); diff != "" {
				t.Errorf("Faults (-want +got):\n%s", diff)
			}
		})
	}
}
