package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Waiver is one Fail accepted for a while: one control, subjects by name, until an end. It counts once somebody else than
// its owner and its requester has approved it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced
// +kubebuilder:printcolumn:name="Control",type=string,JSONPath=`.spec.control`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.spec.expires`
// +kubebuilder:printcolumn:name="Ticket",type=string,JSONPath=`.spec.ticket`
// +kubebuilder:printcolumn:name="Requester",type=string,JSONPath=`.spec.requester`
// +kubebuilder:printcolumn:name="Approver",type=string,JSONPath=`.status.approval.approver`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="a waiver's name has at most 63 characters, for it stands in messages; shorten it"
type Waiver struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is asked for. It cannot be changed afterwards, except that it may end earlier.
	Spec WaiverSpec `json:"spec"`
	// Status holds the approval. The API server takes it from nobody but the approver.
	// +optional
	Status WaiverStatus `json:"status,omitempty"`
}

// WaiverList is a list of Waiver objects.
//
// +kubebuilder:object:root=true
type WaiverList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items are the objects.
	Items []Waiver `json:"items"`
}

// WaiverSpec is what is asked for.
//
// +kubebuilder:validation:XValidation:rule="self.control == oldSelf.control && self.subjects == oldSelf.subjects && self.reason == oldSelf.reason && self.ticket == oldSelf.ticket && self.owner == oldSelf.owner && self.requester == oldSelf.requester && has(self.requesterObject) == has(oldSelf.requesterObject) && (!has(self.requesterObject) || self.requesterObject == oldSelf.requesterObject)",message="a waiver cannot be changed, only end earlier; request another one"
// +kubebuilder:validation:XValidation:rule="(size(self.expires) == 10 ? timestamp(self.expires + 'T00:00:00Z') + duration('24h') : timestamp(self.expires)) <= (size(oldSelf.expires) == 10 ? timestamp(oldSelf.expires + 'T00:00:00Z') + duration('24h') : timestamp(oldSelf.expires))",message="a waiver cannot end later than it was approved for; request another one"
type WaiverSpec struct {
	// Control is the id of the one control that is waived.
	// +kubebuilder:validation:Pattern=`^RF-[A-Z]{2}-[0-9]{2}$`
	Control string `json:"control"`
	// Subjects are the objects, each by its name. A selector would let a tenant label its way in. At least one.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=50
	// +listType=atomic
	Subjects []WaiverSubject `json:"subjects"`
	// Reason says why the rule cannot be kept for now.
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=1000
	Reason string `json:"reason"`
	// Ticket is the bank's record of the decision.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=100
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9._/#:-]*$`
	Ticket string `json:"ticket"`
	// Owner is the person who answers for the risk, by mail address or user name. The owner cannot approve.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=254
	// +kubebuilder:validation:Pattern=`^[^\s]+$`
	Owner string `json:"owner"`
	// Requester is the user who asks, as the API server knows them; it takes no other name. The requester cannot approve.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Requester string `json:"requester"`
	// RequesterObject is the person behind the account, as the identity provider's oid claim says it; the API server takes the
	// caller's own alone. Empty where the provider says none.
	// +kubebuilder:validation:MaxLength=256
	// +optional
	RequesterObject string `json:"requesterObject,omitempty"`
	// Expires is an RFC 3339 instant of whole seconds such as 2027-01-31T18:00:00Z, or a date such as 2027-01-31, which means 00:00:00Z of
	// the following day; at most 2,160 h after creation.
	// +kubebuilder:validation:MaxLength=25
	// +kubebuilder:validation:Pattern=`^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])(T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9]))?$`
	// +kubebuilder:validation:XValidation:rule="timestamp(size(self) == 10 ? self + 'T00:00:00Z' : self) > timestamp('0001-01-01T00:00:00Z')",message="no such day in the calendar; want a date such as 2027-01-31 or an instant such as 2027-01-31T18:00:00Z"
	Expires string `json:"expires"`
}

// WaiverSubject names one object of the waiver's own namespace.
type WaiverSubject struct {
	// APIGroup is the group of the kind. Empty: the group that Kubernetes has the kind in, or the core.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	// +optional
	APIGroup string `json:"apiGroup,omitempty"`
	// Kind is the object's kind, for instance Deployment. The waiver of a workload covers the pods that Kubernetes makes of it.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Z][A-Za-z0-9]*$`
	Kind string `json:"kind"`
	// Name is its name: exactly this one.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9]([-A-Za-z0-9_.:]*[A-Za-z0-9])?$`
	Name string `json:"name"`
}

// WaiverStatus is what became of the wish.
type WaiverStatus struct {
	// Approval is who accepted the risk. Absent: nobody did, and the waiver counts for nothing.
	// +optional
	Approval *WaiverApproval `json:"approval,omitempty"`
}

// WaiverApproval is who accepted the risk. The API server sees to it that it is written by the approver and never changed.
type WaiverApproval struct {
	// Approver is the user who approved, as the API server knows them.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Approver string `json:"approver"`
	// ApproverObject is the person behind the account, as the oid claim says it; never the requester's. Empty where the provider
	// says none.
	// +kubebuilder:validation:MaxLength=256
	// +optional
	ApproverObject string `json:"approverObject,omitempty"`
	// ApprovedAt is when, by the approver's clock; the audit log has the server's.
	ApprovedAt metav1.Time `json:"approvedAt"`
}

// WaiverKey names an object as GuardSpec.Waivers does: Kind/name where the group is the core's, else Kind.group/name.
func WaiverKey(group, kind, name string) string {
	if group != "" {
		kind += "." + group
	}
	return kind + "/" + name
}
