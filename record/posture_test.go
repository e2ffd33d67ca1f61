package record_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/record"
)

// state is that of n tenants of three namespaces; production denies all of 120 controls, the others warn of every third.
func state(n, long int) record.PostureState {
	s := record.PostureState{Generation: 3, Catalogue: strings.Repeat("0", 64), Pinned: []string{"kube-system"}, Exempt: []string{"cni"}, Actions: map[string][]finding.Action{}}
	strict, mild := []finding.Action{}, []finding.Action{}
	for i := range 120 {
		s.Controls = append(s.Controls, fmt.Sprintf("RF-%c%c-%02d", 'A'+i%7, 'A', i%100))
		strict = append(strict, finding.Deny)
		mild = append(mild, []finding.Action{finding.Warn, finding.Deny, finding.Deny}[i%3])
	}
	for i := range 8 {
		s.Bundles = append(s.Bundles, record.PostureBundle{Name: fmt.Sprintf("ringfence-group%d-deny", i), Controls: s.Controls[i*15 : i*15+15]})
	}
	for i := range n {
		tenant := fmt.Sprintf("%s-%04d", strings.Repeat("x", long-5), i)
		s.Actions[tenant+"-dev"], s.Actions[tenant+"-test"], s.Actions[tenant+"-prod"] = mild, mild, strict
	}
	return s
}

// TestPosture: 3,000 namespaces fit into an entry, each named once with its actions; what does not fit is counted; the digest
// changes with the state and with nothing else.
func TestPosture(t *testing.T) {
	at := time.Unix(1_800_000_000, 0).UTC()
	for _, test := range []struct{ tenants, long, more int }{{0, 16, 0}, {1, 16, 0}, {1000, 16, 0}, {1000, 21, 0}, {1000, 50, 1}, {4000, 16, 1}} {
		s := state(test.tenants, test.long)
		r, digest, err := record.Posture(s, "start", at)
		if err != nil {
			t.Fatal(err)
		}
		r.Cluster, r.Producer, r.Seq = "local", "posture", 1
		if entry, err := ledger.Encode(r); err != nil || len(entry) > ledger.MaxEntry {
			t.Errorf("%d tenants: %d bytes, %v", test.tenants, len(entry), err)
		}
		var body record.PostureBody
		if err := json.Unmarshal(r.Body, &body); err != nil {
			t.Fatal(err)
		}
		named := 0
		for _, table := range body.Tables {
			names, err := record.Unfold(table.Namespaces)
			if err != nil {
				t.Fatal(err)
			}
			named += len(names)
			for _, name := range names {
				for i, control := range s.Controls {
					if got := body.ActionIn(table, control); got != s.Actions[name][i] {
						t.Fatalf("%s in %q: %s, want %s", control, name, got, s.Actions[name][i])
					}
				}
				break
			}
			for _, name := range names {
				if s.Actions[name] == nil {
					t.Fatalf("%q is no namespace, or is named twice", name)
				}
				delete(s.Actions, name)
			}
		}
		if named+body.More != body.Guarded || (body.More > 0) != (test.more > 0) {
			t.Errorf("%d tenants of %d letters: %d named and %d more of %d in %d bytes", test.tenants, test.long, named, body.More, body.Guarded, len(r.Body))
		}
		s = state(test.tenants, test.long)
		if _, same, _ := record.Posture(s, "alive", at.Add(time.Hour)); same != digest {
			t.Error("the same state has two digests")
		}
		s.Bundles[2].What = "missing"
		if _, other, _ := record.Posture(s, "alive", at); other == digest {
			t.Error("another state has the same digest")
		}
	}
}

func TestFold(t *testing.T) {
	for _, test := range []struct{ names, want []string }{
		{[]string{"a-dev", "a-prod", "b"}, []string{"a-{dev,prod}", "b"}},
		{[]string{"cards-prod", "default", "payments-prod"}, []string{"{cards,payments}-prod", "default"}},
		{[]string{"-a", "a-", "b"}, []string{"-a", "a-", "b"}},
		{nil, []string{}},
	} {
		got := record.Fold(test.names)
		if !slices.Equal(got, test.want) {
			t.Errorf("Fold(%q) = %q, want %q", test.names, got, test.want)
		}
		if back, err := record.Unfold(got); err != nil || !slices.Equal(slices.Sorted(slices.Values(back)), slices.Sorted(slices.Values(test.names))) {
			t.Errorf("Unfold(%q) = %q, %v", got, back, err)
		}
	}
	for _, bad := range []string{"", "a{", "a}", "a{b", "{}", "a{b}{c}", "a{b{c}}", "a,b", strings.Repeat("a", 64), strings.Repeat("a", 60) + "{bbbb,c}"} {
		if _, err := record.Unfold([]string{bad}); err == nil {
			t.Errorf("Unfold(%q) is no error", bad)
		}
	}
}

// FuzzUnfold: whatever a ledger holds, names come out that are no longer than names are, and few.
func FuzzUnfold(f *testing.F) {
	f.Add("payments-{dev,prod}")
	f.Add("{a,b}-c{")
	f.Fuzz(func(t *testing.T, text string) {
		names, err := record.Unfold([]string{text})
		if err != nil {
			return
		}
		if len(names) > len(text)+1 {
			t.Errorf("%d names of %d bytes", len(names), len(text))
		}
		for _, name := range names {
			if name == "" || len(name) > 63 {
				t.Errorf("found the name %q", name)
			}
		}
	})
}
