package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ControlRollout is the action of one control, from general to specific (action, production, rings), and whether it can be
// waived.
type ControlRollout struct {
	// Action replaces the profile's action everywhere.
	// +optional
	Action Action `json:"action,omitempty"`
	// Production replaces it in production environments.
	// +optional
	Production Action `json:"production,omitempty"`
	// Rings replaces both for tenants in the ring named by the key. Most specific: it wins.
	// +kubebuilder:validation:XValidation:rule="self.all(r, size(r) <= 63 && r.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))",message="a ring is named as tenants name it in spec.ring: lower-case letters, digits and -, at most 63 characters"
	// +kubebuilder:validation:MaxProperties=20
	// +optional
	Rings map[string]Action `json:"rings,omitempty"`
	// Unwaivable says that nobody can have a Waiver for the control; those approved before count no more.
	// +optional
	Unwaivable bool `json:"unwaivable,omitempty"`
	// Steps are the last changes that ringfence control promote made here, oldest first. ringfence control rollback undoes the last one.
	// +kubebuilder:validation:MaxItems=10
	// +listType=atomic
	// +optional
	Steps []RolloutStep `json:"steps,omitempty"`
	// Undone is when ringfence control rollback last undid a promotion: within the days of spec.promotion none is made by itself.
	// +optional
	Undone Instant `json:"undone,omitempty"`
	// Asked is a promotion that somebody insists on although the preflight is not empty. It changes nothing until another person approves it,
	// with ringfence control promote --approve.
	// +optional
	Asked *RolloutRequest `json:"asked,omitempty"`
}

// RolloutRequest is a change of one action of a control that waits for another person's word.
type RolloutRequest struct {
	// Place is which action would be changed, as in steps.
	// +kubebuilder:validation:MaxLength=68
	// +kubebuilder:validation:Pattern=`^(action|production|ring/[a-z0-9]([-a-z0-9]*[a-z0-9])?)$`
	Place string `json:"place"`
	// To is the action that would be put there.
	To Action `json:"to"`
	// At is when it was asked for.
	At Instant `json:"at"`
	// Grace is how long controllers may make pods of workloads that were there before, from the approval on; 0s is not at all.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:Pattern=`^([0-9]{1,4}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$`
	Grace metav1.Duration `json:"grace"`
	// Insisted says who insists, why, and on what.
	Insisted Insistence `json:"insisted"`
}

// RolloutStep is one change of one action of a control.
type RolloutStep struct {
	// Place is which action was changed: action, production, or ring/ and the ring's name.
	// +kubebuilder:validation:MaxLength=68
	// +kubebuilder:validation:Pattern=`^(action|production|ring/[a-z0-9]([-a-z0-9]*[a-z0-9])?)$`
	Place string `json:"place"`
	// From is the action that stood there before; empty where there was none.
	// +optional
	From Action `json:"from,omitempty"`
	// To is the action that was put there.
	To Action `json:"to"`
	// At is when.
	At Instant `json:"at"`
	// GraceUntil is the RFC 3339 instant until which a denial that follows from this step does not refuse what Kubernetes' own
	// controllers make of workloads: what ran before is a debt with a date. Empty: there is no grace.
	// +optional
	GraceUntil Instant `json:"graceUntil,omitempty"`
	// Insisted says why a person went on although the preflight was not empty. Absent: it was.
	// +optional
	Insisted *Insistence `json:"insisted,omitempty"`
	// CleanDays says that spec.promotion made the step, and for how many days nothing had failed the control. Absent: a person made it.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=365
	// +optional
	CleanDays int32 `json:"cleanDays,omitempty"`
}

// Insistence is why somebody changed an action although something would be refused by it.
type Insistence struct {
	// Reason says why.
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=500
	Reason string `json:"reason"`
	// Ticket is the bank's record of the decision.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=100
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9._/#:-]*$`
	Ticket string `json:"ticket"`
	// Breaks is how many objects and groups of requests the preflight named.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Breaks int32 `json:"breaks,omitempty"`
	// Unknown is how much the preflight could not read or decide; that requests were not observed is one of it.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Unknown int32 `json:"unknown,omitempty"`
	// Requester is who insists, as the API server knows them; it takes no other name.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Requester string `json:"requester,omitempty"`
	// RequesterObject is the person behind the account, as the identity provider's oid claim says it. Empty where the provider says none.
	// +kubebuilder:validation:MaxLength=256
	// +optional
	RequesterObject string `json:"requesterObject,omitempty"`
	// Approver is the other person who approved it, as the API server knows them. Empty in what is only asked for.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Approver string `json:"approver,omitempty"`
	// ApproverObject is the person behind that account.
	// +kubebuilder:validation:MaxLength=256
	// +optional
	ApproverObject string `json:"approverObject,omitempty"`
}

// PromotionRules let controls become Deny for rings of tenants by themselves, once nothing would have been refused for long enough.
type PromotionRules struct {
	// CleanDays is for how many days nothing that is there, and no recorded request, may have failed a control where it only warned. Days
	// of which something is not known do not count.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=365
	CleanDays int32 `json:"cleanDays"`
	// Rings are for whom. Where one of their tenants has a production environment nothing is promoted, and it is only told what could be.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +listType=set
	Rings []string `json:"rings"`
	// Controls are which. Empty: every control that warns there.
	// +kubebuilder:validation:MaxItems=200
	// +kubebuilder:validation:items:Pattern=`^RF-[A-Z]{2}-[0-9]{2}$`
	// +listType=set
	// +optional
	Controls []string `json:"controls,omitempty"`
}
