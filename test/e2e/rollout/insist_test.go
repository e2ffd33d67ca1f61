package rollout

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/ringfencetest"
)

// twoPeople promotes for the ring early although something would break: asked for by one person and approved by another, who have all
// other ways tried before.
func twoPeople(t *testing.T, admin client.Client) {
	t.Helper()
	writes := func(p ringfencetest.Person, patch string) error {
		return ringfencetest.AsPerson(t, cluster.Config, p).Patch(t.Context(), &v1alpha1.Platform{ObjectMeta: platform(t, admin).ObjectMeta}, client.RawPatch(types.MergePatchType, []byte(patch)))
	}
	now := time.Now().UTC().Format(time.RFC3339)
	insisted := func(requester, object, more string) string {
		return `{"reason":"the vendor moves on Friday","ticket":"CHG-4711","breaks":1,"unknown":1,"requester":"` + requester + `","requesterObject":"` + object + `"` + more + `}`
	}
	step := func(place, insisted string) string {
		return `{"spec":{"controls":{"` + promoted + `":{"asked":null,"rings":{"early":"Deny"},"steps":[{"place":"` + place + `","to":"Deny","at":"` + now + `","insisted":` + insisted + `}]}}}}`
	}
	asked := func(insisted string) string {
		return `{"spec":{"controls":{"` + promoted + `":{"asked":{"place":"ring/early","to":"Deny","at":"` + now + `","grace":"168h","insisted":` + insisted + `}}}}}`
	}
	byJoan := `,"approver":"` + joan.Name + `","approverObject":"2"`
	refused := func(what string, err error, words string) {
		t.Helper()
		if err := ringfencetest.Refused(err, words); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("to ask in another's name", writes(jane, asked(insisted(joan.Name, "2", ""))), "in one's own name")
	refused("to ask as another person", writes(jane, asked(insisted(jane.Name, "2", ""))), "in one's own name")
	refused("to ask for what is approved already", writes(jane, asked(insisted(jane.Name, "1", byJoan))), "in one's own name")
	refused("a step that nobody asked for", writes(joan, step("ring/early", insisted(jane.Name, "1", byJoan))), "is asked for first")

	args := []string{"promote", promoted, "--to", "Deny", "--ring", "early", "--insist", "--reason", "the vendor moves on Friday", "--ticket", "CHG-4711"}
	if got := controlAs(t, jane, args...); got.code != 0 || !strings.Contains(got.stdout, "until another person approves") {
		t.Fatalf("to insist: %+v", got)
	}
	if c := platform(t, admin).Spec.Controls[promoted]; c.Rings["early"] != "" || len(c.Steps) != 0 || c.Asked == nil || c.Asked.Insisted.Breaks != 1 || c.Asked.Insisted.Unknown != 1 || c.Asked.Insisted.Requester != jane.Name {
		t.Fatalf("what is asked for: %+v", c)
	}
	for _, who := range []ringfencetest.Person{jane, june} { // herself, and her other account
		if got := controlAs(t, who, "promote", promoted, "--approve"); got.code != 1 || !strings.Contains(got.stderr, "another person") {
			t.Errorf("%s approves: %+v", who.Name, got)
		}
		mine := `,"approver":"` + who.Name + `","approverObject":"1"`
		refused(who.Name+" approves past the command", writes(who, step("ring/early", insisted(jane.Name, "1", mine))), "another person")
	}
	refused("to approve in another's name", writes(jane, step("ring/early", insisted(jane.Name, "1", byJoan))), "approved in one's own name")
	refused("to approve another place", writes(joan, step("production", insisted(jane.Name, "1", byJoan))), "as it was asked for")
	refused("to approve for another reason", writes(joan, step("ring/early", strings.Replace(insisted(jane.Name, "1", byJoan), "Friday", "Monday", 1))), "as it was asked for")

	if err := admin.Patch(t.Context(), platform(t, admin), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"identity":{"issuer":"https://login.bank.example","clientID":"a","mfa":"mfa"}}}`))); err != nil {
		t.Fatal(err)
	}
	if got := controlAs(t, joan, "promote", promoted, "--approve"); got.code != 1 || !strings.Contains(got.stderr, "second factor") {
		t.Errorf("without a second factor: %+v", got)
	}
	refused("to take the demand away on the way", writes(joan, strings.Replace(step("ring/early", insisted(jane.Name, "1", byJoan)), `"spec":{`, `"spec":{"identity":{"mfa":null},`, 1)), "second factor")
	safe := joan
	safe.MFA = true
	create(t, admin, deployment("beta-dev", "late", true, 0)) // after Jane was shown what would break
	if got := controlAs(t, safe, "promote", promoted, "--approve"); got.code != 1 || !strings.Contains(got.stderr, "2 would break") {
		t.Errorf("more would break: %+v", got)
	}
	if err := admin.Delete(t.Context(), deployment("beta-dev", "late", true, 0)); err != nil {
		t.Fatal(err)
	}
	if got := controlAs(t, safe, "promote", promoted, "--approve"); got.code != 0 || !strings.Contains(got.stderr, "in force in") {
		t.Fatalf("to approve: %+v", got)
	}
	if err := admin.Patch(t.Context(), platform(t, admin), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"identity":{"mfa":null}}}`))); err != nil {
		t.Fatal(err)
	}
	if got := controlAs(t, joan, "promote", promoted, "--approve"); got.code != 1 || !strings.Contains(got.stderr, "nobody asks") {
		t.Errorf("a second time: %+v", got)
	}
}
