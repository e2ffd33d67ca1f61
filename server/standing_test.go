package server

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
)

// TestScannedOfNamespaces: of what stands in the cluster, whoever may ask of some namespaces is told of those alone, and of none for none.
func TestScannedOfNamespaces(t *testing.T) {
	s, socket := withSocket(t, makeAuthority(t), shortDir(t), nil)
	defer startEvidence(t, s)()
	opens(t, s, socket, "payments-dev", "cards-dev")
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

// TestScannedOfTenant: a tenant's findings are those of all of its namespaces, also of one that had its name before there was a Tenant.
func TestScannedOfTenant(t *testing.T) {
	s, socket := withSocket(t, makeAuthority(t), shortDir(t), nil)
	defer startEvidence(t, s)()
	adopted := v1alpha1.Tenant{Spec: v1alpha1.TenantSpec{Environments: []v1alpha1.Environment{{Name: "dev"}, {Name: "prod", Namespace: "legacy-ledger"}}}}
	adopted.Name = "payments"
	reader := client.Reader(cachedCluster{tenants: []v1alpha1.Tenant{adopted}})
	s.guards.Store(&reader)
	opens(t, s, socket, "payments-dev", "cards-dev", "legacy-ledger", "payments-gone")
	var got []string
	for _, f := range ask(t, socket, record.Query{Source: record.SourceScan, Filter: record.Filter{Tenant: "payments"}}).Findings {
		got = append(got, f.Subject.Namespace)
	}
	slices.Sort(got)
	if want := []string{"legacy-ledger", "payments-dev", "payments-gone"}; !slices.Equal(got, want) {
		t.Errorf("of the tenant: %q; want %q, those included that it had", got, want)
	}
}

// opens has one finding in each namespace, and waits until they can be asked for.
func opens(t *testing.T, s *Server, socket *http.Client, namespaces ...string) {
	t.Helper()
	var changes []record.ScanChange
	for _, ns := range namespaces {
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
	eventually(t, "the findings", func() bool {
		return len(ask(t, socket, record.Query{Source: record.SourceScan}).Findings) == len(namespaces)
	})
}
