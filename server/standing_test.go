package server

import (
	"slices"
	"testing"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
)

// TestScannedOfNamespaces: of what stands in the cluster, whoever may ask of some namespaces is told of those alone, and of none for none.
func TestScannedOfNamespaces(t *testing.T) {
	s, client := withSocket(t, makeAuthority(t), shortDir(t), nil)
	defer startEvidence(t, s)()
	var changes []record.ScanChange
	for _, ns := range []string{"payments-dev", "cards-dev"} {
		changes = append(changes, record.ScanChange{What: "opened", Control: "RF-WL-01", Outcome: finding.Fail,
			Subject: finding.Subject{APIVersion: "v1", Kind: "Pod", Namespace: ns, Name: "api"}})
	}
	r, _, err := record.ScanFindings(changes, s.catalogue.Digest, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if refused := s.evidence.queue.Add(scanProducer, r); refused > 0 {
		t.Fatal("the record is refused")
	}
	eventually(t, "both findings", func() bool { return len(ask(t, client, record.Query{Source: record.SourceScan}).Findings) == 2 })
	for _, asked := range [][]string{{"cards-dev"}, {}} {
		answer, err := s.asked()(t.Context(), time.Time{}, record.Query{Source: record.SourceScan, Filter: record.Filter{Namespaces: asked}})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range answer.Findings {
			got = append(got, f.Subject.Namespace)
		}
		if !slices.Equal(got, asked) && len(got)+len(asked) > 0 {
			t.Errorf("of %q: %q", asked, got)
		}
	}
}
