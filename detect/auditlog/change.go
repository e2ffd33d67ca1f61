package auditlog

import (
	"strings"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
)

// Change is a write to something that says what is refused: an object of ringfence.dev, the definition of such a kind, or a native
// policy or binding of Ringfence.
type Change struct {
	// Subject is the object. Its name is empty where many were deleted at once.
	Subject finding.Subject
	// Observed is the request: who, when, and whether it was a CREATE, an UPDATE or a DELETE.
	Observed finding.Observed
	// Contents say what was changed; nil where the event carries no contents. ChangeOf leaves them to the Handler, which remembers
	// what was before.
	Contents *record.Contents
}

const (
	ownGroup       = "ringfence.dev"
	admissionGroup = "admissionregistration.k8s.io"
	kindsGroup     = "apiextensions.k8s.io"
	ownPrefix      = "ringfence-"
)

// ours reports whether an object of a group, by its name, is Ringfence's. Where many were deleted at once there is no name: then it may be.
func ours(group, name string) bool {
	switch group {
	case admissionGroup:
		return name == "" || strings.HasPrefix(name, ownPrefix)
	case kindsGroup:
		return name == "" || strings.HasSuffix(name, "."+ownGroup)
	}
	return true
}

// changeKinds are the kinds of the resources whose writes are changes, by group and resource.
func changeKinds(group, resource string) string {
	switch group + "/" + resource {
	case ownGroup + "/platforms":
		return "Platform"
	case ownGroup + "/tenants":
		return "Tenant"
	case ownGroup + "/guards":
		return "Guard"
	case ownGroup + "/waivers":
		return "Waiver"
	case ownGroup + "/quarantines":
		return "Quarantine"
	case ownGroup + "/elevations":
		return "Elevation"
	case ownGroup + "/imageimports":
		return "ImageImport"
	case admissionGroup + "/validatingadmissionpolicies":
		return "ValidatingAdmissionPolicy"
	case admissionGroup + "/validatingadmissionpolicybindings":
		return "ValidatingAdmissionPolicyBinding"
	case admissionGroup + "/mutatingadmissionpolicies":
		return "MutatingAdmissionPolicy"
	case admissionGroup + "/mutatingadmissionpolicybindings":
		return "MutatingAdmissionPolicyBinding"
	case kindsGroup + "/customresourcedefinitions":
		return "CustomResourceDefinition"
	}
	return ""
}

// ChangeOf is the change that an event tells of, and false where it tells of none: reads, what was refused or failed, dry
// runs, and what only reports a status. It is pure: an event alone does not tell whether anything is other than before.
func ChangeOf(e Event) (Change, bool) {
	ref := e.ObjectRef
	if ref == nil || ref.Subresource != "" || e.Stage != "ResponseComplete" || e.ResponseStatus == nil || e.ResponseStatus.Code < 200 || e.ResponseStatus.Code > 299 {
		return Change{}, false
	}
	kind := changeKinds(ref.APIGroup, ref.Resource)
	if kind == "" || !ours(ref.APIGroup, ref.Name) {
		return Change{}, false
	}
	c := Change{Observed: observed(e), Subject: finding.Subject{APIVersion: clean(ref.APIGroup+"/"+ref.APIVersion, maxName), Kind: kind,
		Namespace: clean(ref.Namespace, maxName), Name: clean(ref.Name, maxName)}}
	switch e.Verb {
	case "create", "update", "patch":
	case "delete", "deletecollection":
		c.Observed.Operation = "DELETE"
	default:
		return Change{}, false
	}
	return c, !c.Observed.DryRun
}
