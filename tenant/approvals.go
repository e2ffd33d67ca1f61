package tenant

import (
	_ "embed" // approvals.yaml
	"fmt"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/yaml"
)

//go:embed approvals.yaml
var approvalsYAML string

// approvalWords are what approvals.yaml calls the kind of a policy that needs two people, nil for every other policy.
func approvalWords(policy string) *strings.Replacer {
	switch policy {
	case "ringfence-waivers":
		return strings.NewReplacer("NOUN", "a waiver", "KINDS", "waivers", "COMMAND", "waiver request", "ROLE", RoleApprover)
	case "ringfence-elevations":
		return strings.NewReplacer("NOUN", "an elevation", "KINDS", "elevations", "COMMAND", "access elevate", "ROLE", RoleElevationApprover)
	case "ringfence-imageimports":
		return strings.NewReplacer("NOUN", "an import", "KINDS", "imageimports", "COMMAND", "image import", "ROLE", RoleImportApprover)
	}
	return nil
}

// addApprovals puts what approvals.yaml says before a policy's own variables and validations, where its kind needs two people.
func addApprovals(policy *admissionregistrationv1.ValidatingAdmissionPolicy) error {
	words := approvalWords(policy.Name)
	if words == nil {
		return nil
	}
	var shared admissionregistrationv1.ValidatingAdmissionPolicySpec
	if err := yaml.UnmarshalStrict([]byte(words.Replace(approvalsYAML)), &shared); err != nil {
		return fmt.Errorf("read approvals.yaml for %s: %w", policy.Name, err)
	}
	policy.Spec.Variables = append(shared.Variables, policy.Spec.Variables...)
	policy.Spec.Validations = append(shared.Validations, policy.Spec.Validations...)
	return nil
}
