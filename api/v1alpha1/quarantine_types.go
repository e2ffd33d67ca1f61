package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Quarantine cuts one workload off the network and freezes it: nothing of it is made, changed or deleted, so that what runs can be
// looked at. The API server itself holds the freeze from the moment this object is stored. It ends when it is lifted, or at its
// end unless somebody confirmed it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced
// +kubebuilder:printcolumn:name="Kind",type=string,JSONPath=`.spec.subject.kind`
// +kubebuilder:printcolumn:name="Workload",type=string,JSONPath=`.spec.subject.name`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Ticket",type=string,JSONPath=`.spec.ticket`
// +kubebuilder:printcolumn:name="Requester",type=string,JSONPath=`.spec.requester`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.spec.expires`
// +kubebuilder:printcolumn:name="Confirmed",type=string,JSONPath=`.spec.confirmed.by`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="a quarantine's name has at most 63 characters, for it stands in a label; shorten it"
type Quarantine struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is asked for. Beside confirmed and lifted, each written once, it cannot be changed.
	Spec QuarantineSpec `json:"spec"`
	// Status is how it stands. Ringfence alone writes it.
	// +optional
	Status QuarantineStatus `json:"status,omitempty"`
}

// QuarantineList is a list of Quarantine objects.
//
// +kubebuilder:object:root=true
type QuarantineList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items are the objects.
	Items []Quarantine `json:"items"`
}

// QuarantineSpec is what is asked for.
//
// +kubebuilder:validation:XValidation:rule="self.subject == oldSelf.subject && self.reason == oldSelf.reason && self.ticket == oldSelf.ticket && self.requester == oldSelf.requester && self.expires == oldSelf.expires",message="a quarantine cannot be changed, only confirmed or lifted"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.confirmed) || has(self.confirmed) && self.confirmed == oldSelf.confirmed",message="a confirmation is never changed; lift the quarantine instead"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.lifted) || has(self.lifted) && self.lifted == oldSelf.lifted",message="a quarantine that was lifted stays so; open another one"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.lifted) || has(oldSelf.confirmed) || !has(self.confirmed)",message="a quarantine that was lifted cannot be confirmed; open another one"
type QuarantineSpec struct {
	// Subject is the workload.
	Subject QuarantineSubject `json:"subject"`
	// Reason says why.
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=1000
	Reason string `json:"reason"`
	// Ticket is the bank's record of the incident.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=100
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9._/#:-]*$`
	Ticket string `json:"ticket"`
	// Requester is the user who asks, as the API server knows them; it takes no other name.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Requester string `json:"requester"`
	// Expires is the RFC 3339 instant of whole seconds, or the date, which means 00:00:00Z of the following day, at which it ends
	// unless it was confirmed; at most 720 h after creation.
	// +kubebuilder:validation:MaxLength=25
	// +kubebuilder:validation:Pattern=`^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])(T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9]))?$`
	// +kubebuilder:validation:XValidation:rule="timestamp(size(self) == 10 ? self + 'T00:00:00Z' : self) > timestamp('0001-01-01T00:00:00Z')",message="no such day in the calendar; want a date such as 2027-01-31 or an instant such as 2027-01-31T18:00:00Z"
	Expires string `json:"expires"`
	// Confirmed is who decided that it lasts until it is lifted. Absent: it ends at expires.
	// +optional
	Confirmed *QuarantineDecision `json:"confirmed,omitempty"`
	// Lifted is who ended it. Absent: nobody has.
	// +optional
	Lifted *QuarantineDecision `json:"lifted,omitempty"`
}

// QuarantineSubject names one workload of the quarantine's own namespace.
type QuarantineSubject struct {
	// Kind is the workload's kind. What Kubernetes makes of it, ReplicaSets, Jobs and pods, is quarantined with it.
	// +kubebuilder:validation:Enum=Deployment;StatefulSet;DaemonSet;ReplicaSet;Job;CronJob;Pod
	Kind string `json:"kind"`
	// Name is its name: exactly this one.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	Name string `json:"name"`
}

// QuarantineDecision is who decided, in whose own name alone the API server takes it.
type QuarantineDecision struct {
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

// QuarantineStatus is how a quarantine stands.
type QuarantineStatus struct {
	// Phase is Active once the network is closed, Ended once all was given back. Empty: Ringfence has not come to it; the freeze
	// holds all the same, and the network is open.
	// +optional
	Phase QuarantinePhase `json:"phase,omitempty"`
	// Outcome is how it ended: lifted, expired or deleted.
	// +optional
	Outcome string `json:"outcome,omitempty"`
	// Network is the kind of policy that closes the network.
	// +optional
	Network NetworkModel `json:"network,omitempty"`
	// Pods are the names of the pods that are cut off.
	// +kubebuilder:validation:MaxItems=5000
	// +listType=atomic
	// +optional
	Pods []string `json:"pods,omitempty"`
	// Recorded are the steps that the ledger holds.
	// +kubebuilder:validation:MaxItems=10
	// +listType=set
	// +optional
	Recorded []string `json:"recorded,omitempty"`
	// ActiveSince is when the network was closed, EndedAt when all was given back.
	// +optional
	ActiveSince *metav1.Time `json:"activeSince,omitempty"`
	// +optional
	EndedAt *metav1.Time `json:"endedAt,omitempty"`
	// Message says what is not as it should be, and what to do. Empty: nothing.
	// +optional
	Message string `json:"message,omitempty"`
}

// QuarantinePhase is how far a quarantine is.
//
// +kubebuilder:validation:Enum=Active;Ended
type QuarantinePhase string

// The phases after the first, which is empty.
const (
	// QuarantineActive means that the pods are cut off.
	QuarantineActive QuarantinePhase = "Active"
	// QuarantineEnded means that nothing of it is left; the object is kept to be read.
	QuarantineEnded QuarantinePhase = "Ended"
)

// QuarantineLabel and a quarantine's name are the key of the label by which its network policy selects pods. Each has a key of its
// own, so that two quarantines of one pod, of a Deployment and of its ReplicaSet, do not undo each other.
const QuarantineLabel = "quarantine.ringfence.dev/"
