package vap

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/cel/environment"
	kjson "sigs.k8s.io/json"
)

// Fault is what is wrong with an object, and where: Path is an RFC 6901 pointer.
type Fault struct{ Path, Message string }

// readPolicy makes a policy of an object, with the API server's defaults. It lists every fault for which a server would refuse
// it, expressions that do not compile among them.
func readPolicy(object map[string]any) (*admissionv1.ValidatingAdmissionPolicy, []Fault) {
	var p admissionv1.ValidatingAdmissionPolicy
	c := checker{faults: decode(object, &p)}
	if len(c.faults) > 0 {
		return nil, c.faults
	}
	if p.Spec.FailurePolicy == nil {
		p.Spec.FailurePolicy = new(admissionv1.Fail)
	}
	c.need(p.Name != "", "/metadata/name", "want a name")
	c.oneOf(string(*p.Spec.FailurePolicy), "/spec/failurePolicy", "Fail", "Ignore")
	c.need(len(p.Spec.Validations)+len(p.Spec.AuditAnnotations) > 0, "/spec", "want validations or auditAnnotations")
	c.need(p.Spec.MatchConstraints != nil && len(p.Spec.MatchConstraints.ResourceRules) > 0, "/spec/matchConstraints", "want at least one of resourceRules")
	c.match(p.Spec.MatchConstraints, "/spec/matchConstraints")
	if k := p.Spec.ParamKind; k != nil {
		c.need(k.APIVersion != "" && k.Kind != "", "/spec/paramKind", "want apiVersion and kind")
	}
	for i, v := range p.Spec.Validations {
		path := fmt.Sprintf("/spec/validations/%d", i)
		c.need(strings.TrimSpace(v.Expression) != "", path, "want an expression")
		c.need(!strings.Contains(strings.TrimSpace(v.Message), "\n"), path+"/message", "want one line")
		if v.Reason != nil {
			c.oneOf(string(*v.Reason), path+"/reason", "Unauthorized", "Forbidden", "Invalid", "RequestEntityTooLarge")
		}
	}
	c.names("/spec/variables", len(p.Spec.Variables), func(i int) string { return p.Spec.Variables[i].Name })
	c.names("/spec/matchConditions", len(p.Spec.MatchConditions), func(i int) string { return p.Spec.MatchConditions[i].Name })
	c.names("/spec/auditAnnotations", len(p.Spec.AuditAnnotations), func(i int) string { return p.Spec.AuditAnnotations[i].Key })
	if len(c.faults) == 0 {
		_, err := Validator(&p, environment.DefaultCompatibilityVersion())
		c.faults = compileFaults(err)
	}
	return &p, c.faults
}

// readBinding makes a binding of an object, with the API server's defaults, and lists every fault.
func readBinding(object map[string]any) (*admissionv1.ValidatingAdmissionPolicyBinding, []Fault) {
	var b admissionv1.ValidatingAdmissionPolicyBinding
	c := checker{faults: decode(object, &b)}
	if len(c.faults) > 0 {
		return nil, c.faults
	}
	c.need(b.Name != "", "/metadata/name", "want a name")
	c.need(b.Spec.PolicyName != "", "/spec/policyName", "want the name of a policy")
	c.need(len(b.Spec.ValidationActions) > 0, "/spec/validationActions", "want Deny, Warn or Audit")
	for i, a := range b.Spec.ValidationActions {
		path := fmt.Sprintf("/spec/validationActions/%d", i)
		c.oneOf(string(a), path, "Deny", "Warn", "Audit")
		c.need(!slices.Contains(b.Spec.ValidationActions[:i], a), path, "want each action once")
	}
	both := slices.Contains(b.Spec.ValidationActions, admissionv1.Deny) && slices.Contains(b.Spec.ValidationActions, admissionv1.Warn)
	c.need(!both, "/spec/validationActions", "found Deny and Warn; want one of them")
	if r := b.Spec.ParamRef; r != nil {
		c.need((r.Name != "") != (r.Selector != nil), "/spec/paramRef", "want name or selector, and not both")
		action := ""
		if r.ParameterNotFoundAction != nil {
			action = string(*r.ParameterNotFoundAction)
		}
		c.oneOf(action, "/spec/paramRef/parameterNotFoundAction", "Allow", "Deny")
		c.selector(r.Selector, "/spec/paramRef/selector")
	}
	c.match(b.Spec.MatchResources, "/spec/matchResources")
	return &b, c.faults
}

var (
	unknownField = regexp.MustCompile(`unknown field "([^"]*)"`)
	wrongType    = regexp.MustCompile(`Go struct field [A-Za-z]+\.([A-Za-z0-9.]+) of type`)
	listIndex    = regexp.MustCompile(`\[([0-9]+)\]`)
)

// decode reads an object strictly.
func decode(object map[string]any, into any) (faults []Fault) {
	text, err := json.Marshal(object)
	if err != nil {
		return []Fault{{"", err.Error()}}
	}
	strict, err := kjson.UnmarshalStrict(text, into)
	if err != nil {
		path := ""
		if m := wrongType.FindStringSubmatch(err.Error()); m != nil {
			path = "/" + strings.ReplaceAll(m[1], ".", "/")
		}
		return []Fault{{path, "wrong type: " + strings.TrimPrefix(err.Error(), "json: ")}}
	}
	for _, err := range strict {
		if m := unknownField.FindStringSubmatch(err.Error()); m != nil {
			path := "/" + strings.ReplaceAll(listIndex.ReplaceAllString(m[1], ".$1"), ".", "/")
			faults = append(faults, Fault{path, "unknown field; remove it or correct its name"})
		} else {
			faults = append(faults, Fault{"", err.Error()})
		}
	}
	return faults
}

type checker struct{ faults []Fault }

func (c *checker) need(ok bool, path, want string) {
	if !ok {
		c.faults = append(c.faults, Fault{path, want})
	}
}

func (c *checker) oneOf(have, path string, all ...string) {
	c.need(slices.Contains(all, have), path, fmt.Sprintf("found %q; want %s", have, strings.Join(all, ", ")))
}

func (c *checker) names(path string, n int, name func(int) string) {
	var seen []string
	for i := range n {
		c.need(name(i) != "", fmt.Sprintf("%s/%d", path, i), "want a name")
		c.need(!slices.Contains(seen, name(i)), fmt.Sprintf("%s/%d", path, i), "want each name once")
		seen = append(seen, name(i))
	}
}

func (c *checker) selector(s *metav1.LabelSelector, path string) {
	_, err := metav1.LabelSelectorAsSelector(s)
	c.need(err == nil, path, fmt.Sprint("not a selector: ", err))
}

// match checks what is matched and fills in the server's defaults (k8s.io/kubernetes
// pkg/apis/admissionregistration/v1/defaults.go).
func (c *checker) match(m *admissionv1.MatchResources, path string) {
	if m == nil {
		return
	}
	if m.MatchPolicy == nil {
		m.MatchPolicy = new(admissionv1.Equivalent)
	}
	c.oneOf(string(*m.MatchPolicy), path+"/matchPolicy", "Exact", "Equivalent")
	for _, s := range []struct {
		of   **metav1.LabelSelector
		name string
	}{{&m.NamespaceSelector, "/namespaceSelector"}, {&m.ObjectSelector, "/objectSelector"}} {
		if *s.of == nil {
			*s.of = &metav1.LabelSelector{}
		}
		c.selector(*s.of, path+s.name)
	}
	for _, list := range []struct {
		rules []admissionv1.NamedRuleWithOperations
		name  string
	}{{m.ResourceRules, "resourceRules"}, {m.ExcludeResourceRules, "excludeResourceRules"}} {
		for i := range list.rules {
			r, at := &list.rules[i], fmt.Sprintf("%s/%s/%d", path, list.name, i)
			if r.Scope == nil {
				r.Scope = new(admissionv1.AllScopes)
			}
			c.oneOf(string(*r.Scope), at+"/scope", "*", "Cluster", "Namespaced")
			c.need(len(r.Operations) > 0, at+"/operations", "want at least one operation")
			for k, o := range r.Operations {
				c.oneOf(string(o), fmt.Sprintf("%s/operations/%d", at, k), "*", "CREATE", "UPDATE", "DELETE", "CONNECT")
			}
			c.need(len(r.APIGroups) > 0 && len(r.APIVersions) > 0 && len(r.Resources) > 0, at, "want apiGroups, apiVersions and resources")
		}
	}
}

// compileFaults are the expressions that do not compile.
func compileFaults(err error) (faults []Fault) {
	var joined interface{ Unwrap() []error }
	all := []error{err}
	if errors.As(err, &joined) {
		all = joined.Unwrap()
	}
	for _, err := range all {
		var e *ExpressionError
		switch {
		case errors.As(err, &e):
			faults = append(faults, Fault{e.Path, strings.Join(strings.Fields(e.Err.Error()), " ")})
		case err != nil:
			faults = append(faults, Fault{"", err.Error()})
		}
	}
	return faults
}

// expressions are all expressions of a policy, one after another.
func expressions(p *admissionv1.ValidatingAdmissionPolicy) string {
	var all []string
	for _, v := range p.Spec.Variables {
		all = append(all, v.Expression)
	}
	for _, m := range p.Spec.MatchConditions {
		all = append(all, m.Expression)
	}
	for _, v := range p.Spec.Validations {
		all = append(all, v.Expression, v.MessageExpression)
	}
	for _, a := range p.Spec.AuditAnnotations {
		all = append(all, a.ValueExpression)
	}
	return strings.Join(all, "\n")
}
