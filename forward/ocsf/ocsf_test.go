package ocsf_test

import (
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/forward/ocsf"
	"ringfence.dev/ringfence/internal/sinktest"
)

var update = flag.Bool("update", false, "write the goldens anew")

// find knows one control.
func find(id string) (control.Control, bool) {
	return control.Control{ID: "RF-WL-01", Title: "Privileged containers", Severity: finding.Critical, Wanted: "not set or false", Fix: "set privileged: false"}, id == "RF-WL-01"
}

const (
	one    = `{"control":"RF-WL-01","outcome":"Fail","action":"Deny","value":"true","path":"/spec/containers/0/securityContext/privileged"}`
	who    = `"operation":"CREATE","subject":{"apiVersion":"apps/v1","kind":"Deployment","namespace":"pay-prod","name":"web"},"actor":{"ref":"hmac-sha256:3f3f"}`
	window = `"since":"2026-11-21T10:00:00Z","until":"2026-11-21T10:00:09Z"`
)

// bodies are a record of each kind, and what class it becomes.
var bodies = []struct {
	name, kind, body string
	class, events    int
}{
	{"refusal", "native-refusal.v1", `{"auditID":"6c1c","stage":"ResponseComplete",` + who + `,"refused":true,"notPassed":[` + one + `,{"control":"RF-WL-02","outcome":"Errored","action":"Deny"}],"source":"webhook"}`, 2004, 2},
	{"refusal-in-findings", "native-refusal.v1", `{"findings":[{"control":"RF-WL-09","title":"T","severity":"low","outcome":"Fail","message":"m","found":"1","fix":"f","fingerprint":"f00d","subject":{"kind":"Pod","name":"web"}}]}`, 2004, 1},
	{"refusal-without-findings", "native-refusal.v1", `{"actor":{"ref":"u-1f"}}`, 2004, 1},
	{"decision-denied", "admission-decision.v1", `{"allowed":false,"dryRun":false,"requestUID":"705a",` + who + `,"notPassed":[` + one + `]}`, 2004, 1},
	{"decision-allowed", "admission-decision.v1", `{"allowed":true,"dryRun":false,"requestUID":"705a",` + who + `,"notPassed":[]}`, 6003, 1},
	{"check-run", "check-run.v1", `{"repository":"git.bank.example/pay","revision":"9b1f","exitCode":1,"objects":12,"refused":1,"more":0,"notPassed":[` + one +
		`,{"control":"RF-WL-03","outcome":"Fail","action":"Deny","waiver":{"expires":"2026-12-01T00:00:00Z"}},{"control":"RF-WL-04","outcome":"Errored","action":"Deny"}]}`, 2003, 3},
	{"check-run-clean", "check-run.v1", `{"repository":"git.bank.example/pay","revision":"9b1f","exitCode":0,"notPassed":[]}`, 2003, 1},
	{"check-run-undecided", "check-run.v1", `{"exitCode":3,"notPassed":[]}`, 2003, 1},
	{"change", "change.v1", `{"operation":"DELETE","subject":{"apiVersion":"ringfence.dev/v1alpha1","kind":"Tenant","name":"payments"},"actor":{"ref":"hmac-sha256:3f3f"},"fields":["/spec"]}`, 6003, 1},
	{"change-by-nobody", "change.v1", `{}`, 6003, 1},
	{"key-rotation", "key-rotation.v1", `{"origin":"ringfence.dev/ledger/prod","old":"a","new":"b"}`, 6003, 1},
	{"policy-gap", "policy-gap.v1", `{"object":{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingAdmissionPolicy","name":"ringfence-workloads-deny"},"what":"missing",` + window + `}`, 2004, 1},
	{"silence", "silence.v1", `{"producer":"audit","promisedSeconds":30,` + window + `,"why":"quiet"}`, 2004, 1},
	{"overflow", "overflow.v2", `{"producer":"audit","lost":311,"why":"queue-full",` + window + `}`, 2004, 1},
	{"unknown", "tomorrow.v1", `{"a":[1]}`, 0, 1},
	{"wrong-types", "native-refusal.v1", `{"actor":5,"operation":[],"notPassed":[7,{"control":9}],"subject":null}`, 2004, 2},
	{"posture", "posture.v1", `{"why":"alive","generation":1,"bundles":[],"pinned":[],"exempt":[],"unguarded":[],"guarded":0,"actions":{},"tables":[],"more":0}`, 0, 1},
	{"canary", "canary.v1", `{"why":"hourly","namespaces":["pay-dev"],"held":70,"letIn":0,"refusedGood":0,"notAsked":0,"proven":40,"faults":[]}`, 0, 1},
	{"canary-let-in", "canary.v1", `{"why":"change","namespaces":["pay-dev","pay-prod"],"held":68,"letIn":1,"refusedGood":1,"notAsked":0,"proven":39,"faults":[
		{"namespace":"pay-prod","control":"RF-WL-01","kind":"Deployment","outcome":"let-in","detail":"the API server would have stored it"},
		{"namespace":"pay-dev","kind":"Deployment","outcome":"refused-good","detail":"denied request"}]}`, 2004, 2},
}

// required are the attributes that schema 1.8.0 requires of a class, and those of which it wants one; "a.b" is b in a.
var required = map[int][]string{
	0:    {},
	2004: {"finding_info.uid", "evidences.0.actor|evidences.0.api|no-evidences"},
	2003: {"finding_info.uid", "compliance.standards"},
	6003: {"actor.user|actor.app_name", "api.operation", "src_endpoint.name|src_endpoint.svc_name"},
}

// TestClasses: each kind becomes events of its class with all that the schema requires, the same at each time.
func TestClasses(t *testing.T) {
	for i, test := range bodies {
		t.Run(test.name, func(t *testing.T) {
			ms, err := ocsf.Format(find)(sinktest.Record(i, test.kind, test.body))
			if err != nil || len(ms) != test.events {
				t.Fatalf("Format = %d events, %v, want %d", len(ms), err, test.events)
			}
			ids := map[string]bool{}
			var golden strings.Builder
			for _, m := range ms {
				var e map[string]any
				if err := json.Unmarshal(m.Data, &e); err != nil {
					t.Fatal(err)
				}
				common := []string{"activity_id", "category_uid", "class_uid", "type_uid", "severity_id", "time", "metadata.version", "metadata.product.name", "metadata.product.vendor_name"}
				for _, path := range append(common, required[test.class]...) {
					if !has(e, path) {
						t.Errorf("%s is missing in %s", path, m.Data)
					}
				}
				class, activity := e["class_uid"].(float64), e["activity_id"].(float64)
				if int(class) != test.class || e["type_uid"] != class*100+activity || e["category_uid"] != float64(int(class)/1000) || e["metadata"].(map[string]any)["uid"] != m.ID {
					t.Errorf("classified as %v %v %v %v, id %s", e["class_uid"], e["type_uid"], e["category_uid"], activity, m.ID)
				}
				if ids[m.ID] {
					t.Errorf("the id %s comes twice", m.ID)
				}
				ids[m.ID] = true
				text, _ := json.MarshalIndent(e, "", "  ")
				golden.Write(append(text, '\n'))
			}
			compare(t, "testdata/"+test.name+".json", golden.String())
		})
	}
}

// has reports whether one of the paths is there and not empty.
func has(e map[string]any, paths string) bool {
	for path := range strings.SplitSeq(paths, "|") {
		if path == "no-evidences" && e["evidences"] == nil {
			return true
		}
		var at any = e
		for key := range strings.SplitSeq(path, ".") {
			switch o := at.(type) {
			case map[string]any:
				at = o[key]
			case []any:
				at = o[0]
			default:
				at = nil
			}
		}
		if at != nil && at != "" {
			return true
		}
	}
	return false
}

func compare(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || string(want) != got {
		t.Errorf("%s differs from what is made, %v; got:\n%s", file, err, got)
	}
}

// FuzzFormat: whatever a body holds, there is no panic and every message is JSON.
func FuzzFormat(f *testing.F) {
	for _, b := range bodies {
		f.Add(b.kind, b.body)
	}
	f.Fuzz(func(t *testing.T, kind, body string) {
		ms, err := ocsf.Format(find)(sinktest.Record(0, kind, body))
		if (err == nil) != (len(ms) > 0) {
			t.Fatalf("Format = %d messages, %v", len(ms), err)
		}
		for _, m := range ms {
			if !json.Valid(m.Data) {
				t.Errorf("Format = %q", m.Data)
			}
		}
	})
}
