package v1alpha1

// IdentityRules names the bank's identity provider, and how its tokens name people. Sign-in reads them; no secret is among them.
//
// +kubebuilder:validation:XValidation:rule="!has(self.issuer) || !self.issuer.contains('{') || has(self.directory)",message="the issuer has a place for the directory: name it in directory"
type IdentityRules struct {
	// Issuer is the OpenID Connect issuer URL: https, without query or fragment. {tenantid} in it stands for Directory.
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^https://[^/?#@\s]+(/[^?#\s]*)?$`
	// +optional
	Issuer string `json:"issuer,omitempty"`
	// ClientID is the client that people sign in with, public and without a secret: tokens for another audience are refused.
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[\x21-\x7e]+$`
	// +optional
	ClientID string `json:"clientID,omitempty"`
	// Directory is Entra ID's tenant id: tokens whose tid is another are refused. Default none: tid is not looked at.
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`
	// +optional
	Directory string `json:"directory,omitempty"`
	// UserClaim is the claim that names the user. It must be what the API server reads. Default sub; email counts only where
	// email_verified is true.
	// +kubebuilder:default=sub
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:MinLength=1
	// +optional
	UserClaim string `json:"userClaim,omitempty"`
	// UserPrefix is put before the user's name, and must be what the API server puts there. Default "oidc:".
	// +kubebuilder:default="oidc:"
	// +kubebuilder:validation:MaxLength=160
	// +kubebuilder:validation:XValidation:rule="self == '' || (!self.startsWith('system:') && !'system:'.startsWith(self))",message="a prefix of system: would let the identity provider name Kubernetes' own users; choose another"
	// +optional
	UserPrefix *string `json:"userPrefix,omitempty"`
	// GroupsClaim is the claim with the groups, or with app roles. It must be what the API server reads. Default groups.
	// +kubebuilder:default=groups
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:MinLength=1
	// +optional
	GroupsClaim string `json:"groupsClaim,omitempty"`
	// GraphHost is the host of Microsoft Graph that is asked for the groups that a token of Entra ID could not hold. Default
	// graph.microsoft.com; sovereign clouds have their own.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$`
	// +optional
	GraphHost string `json:"graphHost,omitempty"`
	// MFA is the acr, amr or acrs value that proves a second factor.
	// +kubebuilder:validation:MaxLength=128
	// +optional
	MFA string `json:"mfa,omitempty"`
	// GroupPrefix is put before each group of the provider in RBAC, and must be what the API server puts there. Default "oidc:".
	// +kubebuilder:default="oidc:"
	// +kubebuilder:validation:MaxLength=160
	// +kubebuilder:validation:XValidation:rule="self == '' || (!self.startsWith('system:') && !'system:'.startsWith(self))",message="a prefix of system: would let the identity provider name Kubernetes' own groups; choose another"
	// +optional
	GroupPrefix *string `json:"groupPrefix,omitempty"`
	// BreakGlassGroups are the groups, with their prefix, that may be bound to cluster-admin. Default none.
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:MaxLength=300
	// +listType=set
	// +optional
	BreakGlassGroups []string `json:"breakGlassGroups,omitempty"`
	// Auditors are the groups, as the provider names them (no prefix), whose members see every namespace in the signed-in API. They
	// change nothing. Default none.
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +listType=set
	// +optional
	Auditors []string `json:"auditors,omitempty"`
	// Administrators are the groups, without prefix too, whose members may end sessions and tokens of others in the signed-in API. Default none.
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +listType=set
	// +optional
	Administrators []string `json:"administrators,omitempty"`
}
