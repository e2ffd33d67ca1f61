package controls_test

import (
	"bytes"
	"fmt"
	"strings"
	"text/template"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"ringfence.dev/ringfence/control"
)

// policyFile lays a policy.yaml out for reading: the control's own rule stands out from the fixed parts around it.
var policyFile = template.Must(template.New("").Funcs(template.FuncMap{"literal": literal, "list": list[string], "operations": list[admissionv1.OperationType]}).Parse(`# The rule of this control is the part marked "own". Everything else is written by: go test ./controls -update
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{.Policy.Name}}
spec:
  failurePolicy: Fail
  paramKind: {apiVersion: {{.Policy.Spec.ParamKind.APIVersion}}, kind: {{.Policy.Spec.ParamKind.Kind}}}
  matchConstraints:
    matchPolicy: Equivalent
    namespaceSelector: {}
    objectSelector: {}
    resourceRules:
{{- range .Policy.Spec.MatchConstraints.ResourceRules}}
      - apiGroups: {{list .APIGroups}}
        apiVersions: {{list .APIVersions}}
        operations: {{operations .Operations}}
        resources: {{list .Resources}}
        scope: {{.Scope}}
{{- end}}
  variables:
{{- range .Policy.Spec.Variables}}
    - name: {{.Name}}{{if index $.Own .Name}} # own{{end}}
      expression: {{literal .Expression}}
{{- end}}
  validations:
{{- range .Policy.Spec.Validations}}
    - expression: {{.Expression}}
      reason: {{.Reason}}
      message: {{literal .Message}}
      messageExpression: {{literal .MessageExpression}}
{{- end}}
`))

func writePolicy(c control.Control, p *admissionv1.ValidatingAdmissionPolicy) ([]byte, error) {
	own := map[string]bool{}
	for _, v := range c.Variables {
		own[v.Name] = true
	}
	var out bytes.Buffer
	err := policyFile.Execute(&out, map[string]any{"Policy": p, "Own": own})
	return out.Bytes(), err
}

// literal writes a string as a YAML literal, its lines as they are.
func literal(s string) string {
	return "|-\n        " + strings.ReplaceAll(s, "\n", "\n        ")
}

func list[S ~string](items []S) string {
	quoted := make([]string, len(items))
	for i, s := range items {
		quoted[i] = string(s)
		if s == "" || s == "*" {
			quoted[i] = `"` + string(s) + `"`
		}
	}
	return fmt.Sprintf("[%s]", strings.Join(quoted, ", "))
}
