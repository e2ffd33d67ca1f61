package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ImageImport is one image of outside that is to come into the bank's registry: which digest, from where, to where, what was checked and
// what was found. Another person approves exactly that; only then is it pushed, once.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced
// +kubebuilder:printcolumn:name="Destination",type=string,JSONPath=`.spec.destination`
// +kubebuilder:printcolumn:name="Ticket",type=string,JSONPath=`.spec.ticket`
// +kubebuilder:printcolumn:name="Requester",type=string,JSONPath=`.spec.requester`
// +kubebuilder:printcolumn:name="Approver",type=string,JSONPath=`.status.approval.approver`
// +kubebuilder:printcolumn:name="Imported",type=date,JSONPath=`.status.imported.at`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.spec.expires`
type ImageImport struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is asked for. It cannot be changed.
	Spec ImageImportSpec `json:"spec"`
	// Status is how it stands. Each part is written by the user whom it names.
	// +optional
	Status ImageImportStatus `json:"status,omitempty"`
}

// ImageImportList is a list of ImageImport objects.
//
// +kubebuilder:object:root=true
type ImageImportList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items are the objects.
	Items []ImageImport `json:"items"`
}

// ImageImportSpec is what is asked for.
//
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="an import cannot be changed; request another one"
type ImageImportSpec struct {
	// Requester is the user who asks, as the API server knows them; it takes no other name.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Requester string `json:"requester"`
	// RequesterObject is the person behind the account, as the identity provider's oid claim says it; the API server takes the
	// caller's own alone. Empty where the provider says none.
	// +kubebuilder:validation:MaxLength=256
	// +optional
	RequesterObject string `json:"requesterObject,omitempty"`
	// Source is where the image was fetched from, with its registry.
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=512
	Source string `json:"source"`
	// Digest is what Source meant when it was looked up. It is what is checked and pushed.
	// +kubebuilder:validation:Pattern=`^sha256:[0-9a-f]{64}$`
	Digest string `json:"digest"`
	// Destination is where it goes in the bank's registry, with its tag.
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=512
	Destination string `json:"destination"`
	// Checked is what was looked at, one line each: scans, signatures, bill of materials, layers.
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=400
	// +listType=atomic
	// +optional
	Checked []string `json:"checked,omitempty"`
	// Findings are what the approver accepts, one line each. Whatever is found when it is pushed and does not stand here stops the import.
	// +kubebuilder:validation:MaxItems=200
	// +kubebuilder:validation:items:MaxLength=400
	// +listType=atomic
	// +optional
	Findings []string `json:"findings,omitempty"`
	// Reason says why.
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=1000
	Reason string `json:"reason"`
	// Ticket is the bank's record of the decision.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=100
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9._/#:-]*$`
	Ticket string `json:"ticket"`
	// Expires is until when it can be approved and pushed, at most 168 h (7 days) after its creation.
	Expires metav1.Time `json:"expires"`
}

// ImageImportStatus is how an import stands.
type ImageImportStatus struct {
	// Approval is who approved it. Absent: nobody did.
	// +optional
	Approval *ImageImportApproval `json:"approval,omitempty"`
	// Imported is who pushed it. Absent: nobody did. An import is pushed once.
	// +optional
	Imported *ImageImported `json:"imported,omitempty"`
}

// ImageImportApproval is who approved. The API server sees to it that it is written by the approver and never changed.
type ImageImportApproval struct {
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

// ImageImported is that the image lies in the bank's registry.
type ImageImported struct {
	// By is the user who pushed it, as the API server knows them.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	By string `json:"by"`
	// At is when, by that user's clock.
	At metav1.Time `json:"at"`
	// Signature is the digest of the manifest in the bank's registry that carries the bank's signature.
	// +kubebuilder:validation:Pattern=`^sha256:[0-9a-f]{64}$`
	Signature string `json:"signature"`
}
