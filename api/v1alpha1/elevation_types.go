package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Elevation is more rights in one namespace for a while, for one person: what is called break-glass. Another person approves it;
// Ringfence then makes a ServiceAccount of its own for it, never a binding to a person, gives the requester tokens of it, and takes
// all away at the end. What was done under it is reviewed by another person afterwards.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Ticket",type=string,JSONPath=`.spec.ticket`
// +kubebuilder:printcolumn:name="Requester",type=string,JSONPath=`.spec.requester`
// +kubebuilder:printcolumn:name="Approver",type=string,JSONPath=`.status.approval.approver`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.expires`
// +kubebuilder:printcolumn:name="Reviewer",type=string,JSONPath=`.status.review.reviewer`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 50 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="an elevation's name has at most 50 lower-case letters, digits and -, for its account is named after it; choose another one"
type Elevation struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is asked for. Beside ended, which is written once, it cannot be changed.
	Spec ElevationSpec `json:"spec"`
	// Status is how it stands. Approval and review are written by those whom they name, all else by Ringfence alone.
	// +optional
	Status ElevationStatus `json:"status,omitempty"`
}

// ElevationList is a list of Elevation objects.
//
// +kubebuilder:object:root=true
type ElevationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items are the objects.
	Items []Elevation `json:"items"`
}

// ElevationSpec is what is asked for.
//
// +kubebuilder:validation:XValidation:rule="self.requester == oldSelf.requester && has(self.requesterObject) == has(oldSelf.requesterObject) && (!has(self.requesterObject) || self.requesterObject == oldSelf.requesterObject) && self.reason == oldSelf.reason && self.ticket == oldSelf.ticket && self.lasts == oldSelf.lasts",message="an elevation cannot be changed, only ended; request another one"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.ended) || has(self.ended) && self.ended == oldSelf.ended",message="an elevation that was ended stays so; request another one"
type ElevationSpec struct {
	// Requester is the user who asks, as the API server knows them; it takes no other name. Only they get tokens.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Requester string `json:"requester"`
	// RequesterObject is the person behind the account, as the identity provider's oid claim says it; the API server takes the
	// caller's own alone. Empty where the provider says none.
	// +kubebuilder:validation:MaxLength=256
	// +optional
	RequesterObject string `json:"requesterObject,omitempty"`
	// Reason says why.
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=1000
	Reason string `json:"reason"`
	// Ticket is the bank's record of the incident.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=100
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9._/#:-]*$`
	Ticket string `json:"ticket"`
	// Lasts is how long it lasts from when Ringfence acts on its approval, such as 30m or 1h30m: at least 15 minutes, for a token has
	// 10 and ends before it; at most what the Platform allows.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:Pattern=`^([0-9]{1,3}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('15m')",message="an elevation lasts at least 15 minutes: a token has 10, and ends before it; ask for longer, and end it when the work is done"
	Lasts metav1.Duration `json:"lasts"`
	// Ended is who ended it before its time. Absent: nobody has.
	// +optional
	Ended *ElevationEnd `json:"ended,omitempty"`
}

// ElevationEnd is who ended an elevation, in whose own name alone the API server takes it.
type ElevationEnd struct {
	// By is the user, as the API server knows them.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	By string `json:"by"`
	// At is when, by the user's clock; the audit log has the server's.
	At metav1.Time `json:"at"`
	// Reason says why. Empty: not said.
	// +kubebuilder:validation:MaxLength=1000
	// +optional
	Reason string `json:"reason,omitempty"`
}

// ElevationStatus is how an elevation stands.
type ElevationStatus struct {
	// Approval is who approved it. Absent: nobody did.
	// +optional
	Approval *ElevationApproval `json:"approval,omitempty"`
	// Review is who looked at what was done. Absent: nobody did.
	// +optional
	Review *ElevationReview `json:"review,omitempty"`
	// Phase is Active while there are rights, Ended once they are taken away. Empty: it waits for approval, or for Ringfence.
	// +optional
	Phase ElevationPhase `json:"phase,omitempty"`
	// Outcome is how it ended: expired, ended (by somebody), withdrawn or unanswered (before there were rights).
	// +optional
	Outcome string `json:"outcome,omitempty"`
	// Account is the ServiceAccount whose rights it is.
	// +optional
	Account string `json:"account,omitempty"`
	// ActiveSince is when the rights were given, Expires when they end, EndedAt when they were taken away.
	// +optional
	ActiveSince *metav1.Time `json:"activeSince,omitempty"`
	// +optional
	Expires *metav1.Time `json:"expires,omitempty"`
	// +optional
	EndedAt *metav1.Time `json:"endedAt,omitempty"`
	// ReviewBy is until when it is to be reviewed.
	// +optional
	ReviewBy *metav1.Time `json:"reviewBy,omitempty"`
	// Recorded are the steps that the ledger holds.
	// +kubebuilder:validation:MaxItems=10
	// +listType=set
	// +optional
	Recorded []string `json:"recorded,omitempty"`
	// Conditions: Reviewed is False from the end on until somebody has reviewed it; its reason is Overdue once the time is over.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ElevationApproval is who approved. The API server sees to it that it is written by the approver and never changed.
type ElevationApproval struct {
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

// ElevationReview is who looked at what was done, another person than the requester.
type ElevationReview struct {
	// Reviewer is the user who reviewed, as the API server knows them.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Reviewer string `json:"reviewer"`
	// ReviewerObject is the person behind the account, as the oid claim says it; never the requester's. Empty where the provider
	// says none.
	// +kubebuilder:validation:MaxLength=256
	// +optional
	ReviewerObject string `json:"reviewerObject,omitempty"`
	// ReviewedAt is when, by the reviewer's clock; the audit log has the server's.
	ReviewedAt metav1.Time `json:"reviewedAt"`
	// Note says what was found.
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=1000
	Note string `json:"note"`
}

// ElevationPhase is how far an elevation is.
//
// +kubebuilder:validation:Enum=Active;Ended
type ElevationPhase string

// The phases after the first, which is empty.
const (
	// ElevationActive means that the requester can have tokens.
	ElevationActive ElevationPhase = "Active"
	// ElevationEnded means that nothing of its rights is left; the object is kept to be reviewed and read.
	ElevationEnded ElevationPhase = "Ended"
)

// ConditionReviewed on an Elevation that had rights says whether another person has looked at what was done.
const ConditionReviewed = "Reviewed"

// ElevationPrefix begins the name of each elevation's ServiceAccount, before the Elevation's own. Native policies see to it that nobody
// but Ringfence makes such accounts, their tokens, and bindings to them.
const ElevationPrefix = "elevation-"

// ElevationRules are the bank's rules about elevations.
type ElevationRules struct {
	// Longest is the longest that one may last, such as 8h. Default 8h.
	// +kubebuilder:default="8h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:Pattern=`^([0-9]{1,3}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$`
	// +optional
	Longest *metav1.Duration `json:"longest,omitempty"`
	// AnswerWithin is how long a request waits for its approval before it is over. Default 2h.
	// +kubebuilder:default="2h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:Pattern=`^([0-9]{1,3}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$`
	// +optional
	AnswerWithin *metav1.Duration `json:"answerWithin,omitempty"`
	// ReviewWithin is how long after its end it is to be reviewed. Default 72h.
	// +kubebuilder:default="72h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:Pattern=`^([0-9]{1,4}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$`
	// +optional
	ReviewWithin *metav1.Duration `json:"reviewWithin,omitempty"`
	// Rights are what it gives beside looking at the namespace. Default logs, exec and secrets.
	// +kubebuilder:default={"logs","exec","secrets"}
	// +kubebuilder:validation:MaxItems=10
	// +listType=set
	// +optional
	Rights []Right `json:"rights,omitempty"`
}

// Right is something that an elevation allows. Each is a ClusterRole of Ringfence's own, so that Ringfence can give nothing else.
//
// +kubebuilder:validation:Enum=logs;exec;portforward;secrets;debug;restart
type Right string

// The rights.
const (
	// RightLogs reads logs of pods.
	RightLogs Right = "logs"
	// RightExec enters running pods: exec and attach.
	RightExec Right = "exec"
	// RightPortForward reaches ports of pods.
	RightPortForward Right = "portforward"
	// RightSecrets reads Secrets by their names.
	RightSecrets Right = "secrets"
	// RightDebug puts debug containers into running pods.
	RightDebug Right = "debug"
	// RightRestart deletes pods, so that they are made anew, and scales workloads.
	RightRestart Right = "restart"
)
