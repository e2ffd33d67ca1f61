package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
)

// YAML is the policy and its binding for kubectl apply, after a comment that says what it does and what it needs. The same
// bundle gives the same bytes.
func (b Bundle) YAML() ([]byte, error) {
	var out bytes.Buffer
	comment(&out, b.head())
	for _, object := range []any{b.Policy, b.Binding} {
		out.WriteString("---\n")
		if err := write(&out, object); err != nil {
			return nil, fmt.Errorf("write bundle %s: %w", b.Policy.Name, err)
		}
	}
	return out.Bytes(), nil
}

// SingleYAML is one control as a policy of its own, after a comment that says what it wants.
func SingleYAML(c control.Control) ([]byte, error) {
	var out bytes.Buffer
	comment(&out, []string{
		c.ID + " " + c.Title,
		"wanted: " + c.Wanted,
		"fix:    " + c.Fix,
		"",
		"A policy without a binding does nothing. What Ringfence installs are bundles, which cost the API server far less than",
		"a policy for each control: ringfence control export --format bundles",
	})
	if err := write(&out, Single(c)); err != nil {
		return nil, fmt.Errorf("write policy of %s: %w", c.ID, err)
	}
	return out.Bytes(), nil
}

// head explains a bundle to somebody who is about to apply it.
func (b Bundle) head() []string {
	does := "refuses what its controls deny"
	if b.Binding.Spec.ValidationActions[0] == admissionv1.Warn {
		does = "warns of what its controls deny or warn of, and notes it in the audit log"
	}
	var resources []string
	for _, r := range b.Policy.Spec.MatchConstraints.ResourceRules {
		for _, name := range r.Resources {
			if r.APIGroups[0] != "" {
				name += "." + r.APIGroups[0]
			}
			resources = append(resources, name)
		}
	}
	lines := []string{
		b.Policy.Name + ": " + does + ".",
		fmt.Sprintf("Built from catalogue %s with %d controls; the next catalogue replaces it.", b.Policy.Annotations[AnnotationCatalogue], len(b.Policy.Spec.Validations)),
		"",
		"It needs a Guard (kind Guard of " + v1alpha1.GroupVersion.String() + "), which says what each control does. The control plane",
		"writes it; where that does not run, write it before you apply this: without it every request named below is refused.",
	}
	if in := b.Binding.Spec.ParamRef.Namespace; in != "" {
		lines = append(lines, fmt.Sprintf("These lie in no namespace: the Guard named %s in %s is read for", v1alpha1.GuardName, in))
	} else {
		exempt := b.Binding.Spec.MatchResources.NamespaceSelector.MatchExpressions[0].Values
		lines = append(lines,
			fmt.Sprintf("The Guard named %s in the object's own namespace is read, in every namespace but %s, for", v1alpha1.GuardName, strings.Join(exempt, ", ")))
	}
	for _, name := range resources {
		lines = append(lines, "  "+name)
	}
	return lines
}

func comment(out *bytes.Buffer, lines []string) {
	for _, line := range lines {
		out.WriteString(strings.TrimRight("# "+finding.Clean(line), " ") + "\n")
	}
}

// write writes an object without what only a server fills in.
func write(out *bytes.Buffer, object any) error {
	text, err := json.Marshal(object)
	if err != nil {
		return err
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		return err
	}
	delete(fields, "status")
	if metadata, ok := fields["metadata"].(map[string]any); ok {
		delete(metadata, "creationTimestamp")
	}
	if text, err = yaml.Marshal(fields); err != nil {
		return err
	}
	out.Write(text)
	return nil
}
