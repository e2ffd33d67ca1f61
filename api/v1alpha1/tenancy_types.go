package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Pipeline is a machine that deploys into environments of a tenant. It shows a token of its own provider that ends by itself; no
// token of it is kept in the cluster.
//
// +kubebuilder:validation:XValidation:rule="has(self.oidc) != has(self.serviceAccount)",message="give oidc or serviceAccount, one of them"
type Pipeline struct {
	// Name is the pipeline's.
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// Environments are those it deploys into, by name.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:MaxLength=20
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]+$`
	// +listType=set
	Environments []string `json:"environments"`
	// OIDC is a pipeline outside the cluster, by the token that its provider gives each run.
	// +optional
	OIDC *PipelineOIDC `json:"oidc,omitempty"`
	// ServiceAccount is a pipeline that runs in the cluster, by the token that its pods are given for an hour.
	// +optional
	ServiceAccount *PipelineAccount `json:"serviceAccount,omitempty"`
}

// PipelineOIDC is who a token speaks for. The API server has to know the issuer, and to name its users <issuer>#<subject>.
type PipelineOIDC struct {
	// Issuer is iss of the token: https, without query or fragment.
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^https://[^/?#@\s]+(/[^?#\s]*)?$`
	Issuer string `json:"issuer"`
	// Subject is sub of the token, whole, for instance repo:bank/payments:environment:prod.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[!-~]+$`
	// +kubebuilder:validation:XValidation:rule="!self.contains('*')",message="a subject is compared whole and * is no wildcard; write the subject of one pipeline"
	Subject string `json:"subject"`
}

// PipelineAccount is a ServiceAccount of the cluster.
type PipelineAccount struct {
	// Namespace is where the pipeline runs.
	Namespace NamespaceName `json:"namespace"`
	// Name is the account's.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	// +kubebuilder:validation:XValidation:rule="self != 'default'",message="the account default is that of every pod which names none; make one for the pipeline"
	Name string `json:"name"`
}

// Cordon stops what is new in all environments of a tenant: its people and pipelines look and change nothing, and nobody adds a
// workload. What runs stays.
type Cordon struct {
	// Reason is why.
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=500
	Reason string `json:"reason"`
	// Ticket is the bank's record of it.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=100
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9._/#:-]*$`
	Ticket string `json:"ticket"`
}

// Offboarding ends a tenant: its people and pipelines lose their rights once another person has approved it, and its namespaces go with
// all in them when Keep is over.
//
// +kubebuilder:validation:XValidation:rule="!has(self.approver) || self.approver != self.requester",message="another person than the requester approves"
type Offboarding struct {
	// Reason is why.
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=500
	Reason string `json:"reason"`
	// Ticket is the bank's record of it.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=100
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9._/#:-]*$`
	Ticket string `json:"ticket"`
	// Keep is how long the namespaces and what is in them are kept after people lost their rights, for instance 720h. An hour at least.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1h') && duration(self) <= duration('87600h')",message="data is kept for an hour at least and ten years at most, for instance 720h"
	Keep metav1.Duration `json:"keep"`
	// Evidence is the SHA-256 of the bundle of evidence that was exported before, in hex.
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	// +optional
	Evidence string `json:"evidence,omitempty"`
	// Requester is the user who asks, as the API server knows them; the API server holds it to that.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Requester string `json:"requester"`
	// RequesterObject is the oid of that person, where the identity provider has one.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	RequesterObject string `json:"requesterObject,omitempty"`
	// Approver is another person, who showed a second factor; the API server holds it to that. Empty: nothing happens yet.
	// +kubebuilder:validation:MaxLength=256
	// +optional
	Approver string `json:"approver,omitempty"`
}

// Move gives an environment to another tenant: its namespace, with all that is in it. Nothing happens until another person approves.
type Move struct {
	// Environment is the environment, by its name here.
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:Pattern=`^[a-z0-9]+$`
	Environment string `json:"environment"`
	// Namespace is its namespace, which keeps its name.
	Namespace NamespaceName `json:"namespace"`
	// To is the tenant that gets it.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=40
	To string `json:"to"`
	// As is what the environment is called there.
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:Pattern=`^[a-z0-9]+$`
	As string `json:"as"`
	// Reason is why.
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=500
	Reason string `json:"reason"`
	// Ticket is the bank's record of it.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=100
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9._/#:-]*$`
	Ticket string `json:"ticket"`
	// Requester is the user who asks, as the API server knows them; the API server holds it to that.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Requester string `json:"requester"`
	// RequesterObject is the oid of that person, where the identity provider has one.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	RequesterObject string `json:"requesterObject,omitempty"`
	// Approver is another person, who showed a second factor; the API server holds it to that. Empty: nothing happens yet.
	// +kubebuilder:validation:MaxLength=256
	// +optional
	Approver string `json:"approver,omitempty"`
}

// OffboardingStatus is how far it is.
type OffboardingStatus struct {
	// AccessRemoved is when nobody had rights any more.
	AccessRemoved metav1.Time `json:"accessRemoved"`
	// Deletes is when the namespaces go with all in them.
	Deletes metav1.Time `json:"deletes"`
}
