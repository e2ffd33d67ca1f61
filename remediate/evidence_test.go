package remediate

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// TestRedact: nothing that may be secret is left, at whatever depth it stands, and all else is.
func TestRedact(t *testing.T) {
	const text = `
apiVersion: batch/v1
kind: CronJob
metadata:
  name: nightly
  labels: {app: nightly}
  annotations: {kubectl.kubernetes.io/last-applied-configuration: '{"value":"sesame"}'}
  managedFields: [{manager: sesame}]
spec:
  jobTemplate:
    spec:
      template:
        metadata: {annotations: {token: sesame}}
        spec:
          tolerations: [{key: dedicated, value: payments}]
          volumes: [{name: v, csi: {driver: d, volumeAttributes: {password: sesame}}}, {name: f, flexVolume: {driver: d, options: {password: sesame}}}]
          initContainers: [{name: i, image: r/i, env: [{name: TOKEN, value: sesame}, {name: REF, valueFrom: {secretKeyRef: {name: s, key: k}}}]}]
          containers:
            - {name: c, image: r/c, command: [sh, -c, sesame], args: [--token=sesame], lifecycle: {preStop: {exec: {command: [sesame]}}},
               livenessProbe: {httpGet: {path: /, httpHeaders: [{name: Authorization, value: sesame}]}}}
status:
  containerStatuses: [{name: c, state: {terminated: {exitCode: 1, message: sesame}}, imageID: r/c@sha256:0}]
`
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	hidden := 0
	object, events, whole := Redact(&Kept{u, []corev1.Event{{Reason: "Unhealthy", Message: "sesame"}, {Reason: "Started", Message: "Started\ncontainer"}}}, func(s string) string {
		hidden++
		return fmt.Sprintf("hidden%d", hidden)
	})
	out, err := json.Marshal([]any{object, events, whole})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), "sesame") {
		t.Errorf("a secret is left: %s", out)
	}
	for _, want := range []string{`"app":"nightly"`, `"image":"r/c"`, `"value":"payments"`, `"secretKeyRef":{"key":"k","name":"s"}`, `"imageID":"r/c@sha256:0"`, `"name":"TOKEN"`,
		"Started\ufffdcontainer", `"Unhealthy"`, `"hidden1"`} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%s is gone: %s", want, out)
		}
	}
	if u.GetManagedFields() == nil || !strings.Contains(fmt.Sprint(u.Object), "sesame") {
		t.Error("the object itself was changed")
	}
}
