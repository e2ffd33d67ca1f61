package ocsf_test

import (
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	"ringfence.dev/ringfence/forward/ocsf"
	"ringfence.dev/ringfence/internal/sinktest"
)

var update = flag.Bool("update", false, "write the goldens anew")

const one = `{"control":"RF-WL-01","rule":"no-privileged","title":"Privileged containers","severity":"high","outcome":"Fail","action":"Deny",` +
	`"message":"RF-WL-01 Privileged containers: found true","found":"true","wanted":"false","fix":"set privileged: false","path":"/spec/containers/0",` +
	`"subject":{"apiVersion":"v1","kind":"Pod","namespace":"pay-prod","name":"web"},"fingerprint":"f00d"}`

// bodies are a record of each kind, and what class it becomes.
var bodies = []struct {
	name, kind, body string
	class, events    int
}{
	{"refusal", "native-refusal.v1", `{"user":"u-1f","verb":"create","resource":"pods","namespace":"pay-prod","findings":[` + one + `,{"control":"RF-WL-02","outcome":"Errored"}]}`, 2004, 2},
	{"refusal-without-findings", "native-refusal.v1", `{"user":"u-1f"}`, 2004, 1},
	{"decision-denied", "admission-decision.v1", `{"decision":"Deny","findings":[` + one + `]}`, 2004, 1},
	{"decision-allowed", "admission-decision.v1", `{"decision":"Allow","verb":"update","kind":"Pod","namespace":"pay-prod","name":"web"}`, 6003, 1},
	{"check-run", "check-run.v1", `{"findings":[` + one + `,{"control":"RF-WL-03","outcome":"Fail","waiver":{"expires":"2026-12-01T00:00:00Z"}},{"control":"RF-WL-04","outcome":"Errored"}]}`, 2003, 3},
	{"check-run-clean", "check-run.v1", `{"findings":[]}`, 2003, 1},
	{"change", "change.v1", `{"who":"u-2a","verb":"delete","kind":"Tenant","name":"payments"}`, 6003, 1},
	{"change-by-nobody", "change.v1", `{}`, 6003, 1},
	{"policy-gap", "policy-gap.v1", `{"message":"the bundle was gone for 3 s"}`, 2004, 1},
	{"silence", "silence.v1", `{}`, 2004, 1},
	{"overflow", "overflow.v2", `{"lost":7}`, 2004, 1},
	{"unknown", "tomorrow.v1", `{"a":[1]}`, 0, 1},
	{"wrong-types", "native-refusal.v1", `{"user":5,"verb":[],"findings":[7,{"control":9}],"namespace":null}`, 2004, 2},
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
			ms, err := ocsf.Format(sinktest.Record(i, test.kind, test.body))
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
		ms, err := ocsf.Format(sinktest.Record(0, kind, body))
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
