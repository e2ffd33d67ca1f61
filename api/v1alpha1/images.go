package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ImageRules are the bank's rules about image scans and signatures. What follows of them for each digest is in the Guards.
//
// +kubebuilder:validation:XValidation:rule="!has(self.trust) || self.trust.all(t, !has(t.identities) || size(t.identities) == 0) || has(self.trustedRoot) && size(self.trustedRoot) > 0",message="an identity counts by its certificate; want trustedRoot, which says which authorities issue those"
// +kubebuilder:validation:XValidation:rule="!has(self.imports) || !has(self.imports.scanners) || !has(self.scanners) || size(self.scanners) == 0 || self.imports.scanners.all(s, s in self.scanners)",message="imports.scanners names one whose scans do not count; want scanners of images.scanners"
// +kubebuilder:validation:XValidation:rule="!has(self.imports) || !has(self.imports.quorum) || (has(self.imports.scanners) && size(self.imports.scanners) > 0 ? self.imports.quorum <= size(self.imports.scanners) : !has(self.scanners) || size(self.scanners) == 0 || self.imports.quorum <= self.scanners.filter(s, s != 'openvex').size())",message="imports.quorum is more than there are scanners: no image could ever come in"
type ImageRules struct {
	// MaxScanAge is how long a scan counts, in hours, minutes and seconds such as 720h or 36h30m. Default 720h (30 days).
	// +kubebuilder:default="720h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$`
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s')",message="nothing would ever count; want a time above 0s, in hours, minutes and seconds such as 720h"
	// +optional
	MaxScanAge metav1.Duration `json:"maxScanAge,omitzero"`
	// DenySeverity is the lowest severity, of 5, that refuses an image. Default 4 ("above 3").
	// +kubebuilder:default=4
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=5
	// +optional
	DenySeverity int32 `json:"denySeverity,omitempty"`
	// Grace is how long after publication such a vulnerability only warns, in the same form; 0h not at all. Default 720h (30 days).
	// +kubebuilder:default="720h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$`
	// +optional
	Grace *metav1.Duration `json:"grace,omitempty"`
	// UndatedAs says how a vulnerability without publication date counts: old (refused) or new (warned). Default old.
	// +kubebuilder:default=old
	// +kubebuilder:validation:Enum=old;new
	// +optional
	UndatedAs string `json:"undatedAs,omitempty"`
	// DatedBy are the sources whose dates of publication count: osv, nvd, or a scanner by its name; a vulnerability that none of them dates
	// has no date. Empty: everybody's. Of those that count the earliest date wins.
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9][a-z0-9.-]{0,62}$`
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=set
	// +optional
	DatedBy []string `json:"datedBy,omitempty"`
	// Scanners are those whose scans count, by their names in lower case, such as qualys or trivy. Empty: everybody's.
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9][a-z0-9.-]{0,62}$`
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=set
	// +optional
	Scanners []string `json:"scanners,omitempty"`
	// Imports says who must have scanned an image of outside before it may come in.
	// +optional
	Imports ImportRules `json:"imports,omitzero"`
	// UnfixableAs says how a vulnerability counts of which no fixed version is known: fixable (as any other) or warned. Empty means fixable.
	// +kubebuilder:validation:Enum=fixable;warned
	// +optional
	UnfixableAs string `json:"unfixableAs,omitempty"`
	// RescheduleGrace is how long after an image began to be refused Kubernetes' own controllers may still make new Pods of it
	// where it ran before, so that a node can be drained; 0h is never. Default 168h (a week).
	// +kubebuilder:default="168h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$`
	// +optional
	RescheduleGrace *metav1.Duration `json:"rescheduleGrace,omitempty"`
	// Tags says what becomes of an image reference without a digest when it is written: kept, or resolved, which is that the admission
	// webhook asks the registry what the tag means then and writes the digest behind it. Only the registries that the namespace is granted are
	// asked. What cannot be resolved is kept, and the rules say whether it may run. Empty means kept.
	// +kubebuilder:validation:Enum=kept;resolved
	// +optional
	Tags string `json:"tags,omitempty"`
	// Trust says whose signatures images must bear. Of the rules for a namespace the first that covers an image counts for it; an image
	// that none of them covers is refused. No rule for a namespace demands no signature there.
	// +kubebuilder:validation:MaxItems=20
	// +listType=map
	// +listMapKey=name
	// +optional
	Trust []TrustRule `json:"trust,omitempty"`
	// TrustedRoot is the text of a trusted_root.json as sigstore writes it, which the bank keeps and renews: the authorities, logs and
	// timestamping authorities that count. Has it logs, every signature must stand in one, a key's too. Nothing is fetched.
	// +kubebuilder:validation:MaxLength=65536
	// +optional
	TrustedRoot string `json:"trustedRoot,omitempty"`
	// MaxSignatureAge is how long what a registry showed of an image's signatures counts, in the form of maxScanAge. Empty: 720h.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$`
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s')",message="nothing would ever count; want a time above 0s, in hours, minutes and seconds such as 720h"
	// +optional
	MaxSignatureAge metav1.Duration `json:"maxSignatureAge,omitzero"`
	// Rules are other rules about scans and vulnerabilities for some tenants or environments. The first that is for a namespace counts there;
	// what it leaves out is as above.
	// +kubebuilder:validation:MaxItems=20
	// +listType=map
	// +listMapKey=name
	// +optional
	Rules []ImageRule `json:"rules,omitempty"`
}

// ImageRule is a rule about scans and vulnerabilities for some tenants or environments. What it leaves out is as the bank's own, ImageRules, says.
//
// +kubebuilder:validation:XValidation:rule="has(self.tenants) && size(self.tenants) > 0 || has(self.environments) && size(self.environments) > 0 || has(self.production) && self.production",message="nobody is named; want tenants, environments or production: true, and what is for all in spec.images itself"
type ImageRule struct {
	// Name is what the bank calls the rule.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// Tenants are the names of those whose namespaces it is for. Empty: every namespace, also those that are no tenant's.
	// +kubebuilder:validation:MaxItems=500
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=set
	// +optional
	Tenants []string `json:"tenants,omitempty"`
	// Environments are the names of the environments it is for, such as prod. Empty: all.
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=set
	// +optional
	Environments []string `json:"environments,omitempty"`
	// Production says that it is for production environments alone, whatever their names. Empty: for others too.
	// +optional
	Production bool `json:"production,omitempty"`
	// MaxScanAge is how long a scan counts.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$`
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s')",message="nothing would ever count; want a time above 0s, in hours, minutes and seconds such as 720h"
	// +optional
	MaxScanAge metav1.Duration `json:"maxScanAge,omitzero"`
	// DenySeverity is the lowest severity, of 5, that refuses an image.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=5
	// +optional
	DenySeverity int32 `json:"denySeverity,omitempty"`
	// Grace is how long after publication such a vulnerability only warns; 0h not at all.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$`
	// +optional
	Grace *metav1.Duration `json:"grace,omitempty"`
	// UndatedAs says how a vulnerability without publication date counts: old (refused) or new (warned).
	// +kubebuilder:validation:Enum=old;new
	// +optional
	UndatedAs string `json:"undatedAs,omitempty"`
	// DatedBy are the sources whose dates of publication count.
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9][a-z0-9.-]{0,62}$`
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=set
	// +optional
	DatedBy []string `json:"datedBy,omitempty"`
	// Scanners are those whose scans count.
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9][a-z0-9.-]{0,62}$`
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=set
	// +optional
	Scanners []string `json:"scanners,omitempty"`
	// UnfixableAs says how a vulnerability counts of which no fixed version is known: fixable (as any other) or warned.
	// +kubebuilder:validation:Enum=fixable;warned
	// +optional
	UnfixableAs string `json:"unfixableAs,omitempty"`
	// RescheduleGrace is how long after an image began to be refused Kubernetes' own controllers may still make new Pods of it where it ran
	// before; 0h is never.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$`
	// +optional
	RescheduleGrace *metav1.Duration `json:"rescheduleGrace,omitempty"`
}

// ImportRules are the bank's rules about images of outside.
//
// +kubebuilder:validation:XValidation:rule="!has(self.scanners) || !('openvex' in self.scanners)",message="openvex is a statement and no scan; name scanners alone"
type ImportRules struct {
	// Scanners are those of which Quorum many must have scanned it, by their names as in ImageRules.Scanners. Empty: those, and where they
	// are empty too, whichever.
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9][a-z0-9.-]{0,62}$`
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=set
	// +optional
	Scanners []string `json:"scanners,omitempty"`
	// Quorum is how many of them. Empty: each, and where no scanner is named, one.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=20
	// +optional
	Quorum int32 `json:"quorum,omitempty"`
}

// TagsResolved in ImageRules.Tags has digests written behind tags.
const TagsResolved = "resolved"

// TrustRule says whose signatures images of some repositories must bear.
//
// +kubebuilder:validation:XValidation:rule="has(self.keys) && size(self.keys) > 0 || has(self.identities) && size(self.identities) > 0",message="nobody's signature would count; want keys or identities"
// +kubebuilder:validation:XValidation:rule="!has(self.minimum) || self.minimum <= (has(self.keys) ? size(self.keys) : 0) + (has(self.identities) ? size(self.identities) : 0)",message="minimum is more than there are keys and identities: no image could ever meet it"
type TrustRule struct {
	// Name is what the bank calls the rule.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// Repositories are hosts, or hosts and paths, that it covers with all that lies below. Empty: all.
	// +kubebuilder:validation:MaxItems=10
	// +listType=set
	// +optional
	Repositories []Registry `json:"repositories,omitempty"`
	// Tenants are the names of those whose namespaces it is for. Empty: every namespace, also those that are no tenant's.
	// +kubebuilder:validation:MaxItems=500
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=set
	// +optional
	Tenants []string `json:"tenants,omitempty"`
	// Environments are the names of the environments it is for, such as prod. Empty: all.
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=set
	// +optional
	Environments []string `json:"environments,omitempty"`
	// Production says that it is for production environments alone, whatever their names. Empty: for others too.
	// +optional
	Production bool `json:"production,omitempty"`
	// Keys are public keys whose signatures count.
	// +kubebuilder:validation:MaxItems=10
	// +listType=map
	// +listMapKey=name
	// +optional
	Keys []TrustKey `json:"keys,omitempty"`
	// Identities are those whose certificates count, by the Platform's images.trustedRoot.
	// +kubebuilder:validation:MaxItems=10
	// +listType=atomic
	// +optional
	Identities []TrustIdentity `json:"identities,omitempty"`
	// Minimum is how many of them must have signed. Empty: one.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=20
	// +optional
	Minimum int32 `json:"minimum,omitempty"`
	// Attestations are predicate types, such as https://slsa.dev/provenance/v1, of each of which one who counts must have signed a
	// statement about the image.
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:MaxLength=200
	// +listType=set
	// +optional
	Attestations []string `json:"attestations,omitempty"`
	// UnknownAs says what happens to an image whose signatures are not known, or no longer: refused or admitted. One that is known to
	// lack them is always refused. Empty means refused.
	// +kubebuilder:validation:Enum=refused;admitted
	// +optional
	UnknownAs string `json:"unknownAs,omitempty"`
}

// TrustKey is a public key.
type TrustKey struct {
	// Name is what the bank calls it.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`
	Name string `json:"name"`
	// PEM is the key, such as the text of a cosign.pub.
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:Pattern=`^-----BEGIN PUBLIC KEY-----\s`
	PEM string `json:"pem"`
}

// TrustIdentity is whom a certificate names, both parts exactly.
type TrustIdentity struct {
	// Subject is an address of a person, or of a workflow.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=500
	Subject string `json:"subject"`
	// Issuer is the URL of who vouches for it.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=500
	Issuer string `json:"issuer"`
}
