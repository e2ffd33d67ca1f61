package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Platform is the bank's settings: what every tenant lives under. There is one, named "platform".
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster
// +kubebuilder:printcolumn:name="Profile",type=string,JSONPath=`.spec.profile`
// +kubebuilder:printcolumn:name="Network",type=string,JSONPath=`.spec.network.model`
// +kubebuilder:printcolumn:name="Enforced",type=string,JSONPath=`.status.conditions[?(@.type=="Enforced")].status`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Enforced")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name == 'platform'",message="a cluster has one Platform and its name is platform; rename this object"
type Platform struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what the bank wants.
	Spec PlatformSpec `json:"spec"`
	// Status is what Ringfence found and did; it is written by Ringfence alone.
	// +optional
	Status PlatformStatus `json:"status,omitempty"`
}

// PlatformList is a list of Platform objects.
//
// +kubebuilder:object:root=true
type PlatformList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items are the objects.
	Items []Platform `json:"items"`
}

// Profile says how much of the catalogue is denied at once.
//
// +kubebuilder:validation:Enum=mvp;standard;strict
type Profile string

// The profiles, in the order a bank grows through them.
const (
	// ProfileMVP denies the first guardrails of a minimum viable platform and warns on the rest. It is the default.
	ProfileMVP Profile = "mvp"
	// ProfileStandard denies Pod Security restricted and every high severity.
	ProfileStandard Profile = "standard"
	// ProfileStrict denies everything.
	ProfileStrict Profile = "strict"
)

// PlatformSpec is the bank's settings.
type PlatformSpec struct {
	// Profile says how much of the catalogue is denied. Default mvp.
	// +kubebuilder:default=mvp
	// +optional
	Profile Profile `json:"profile,omitempty"`

	// Contact is whom people ask who were refused: a mail address, a channel, or the address of a page. Each refusal ends with it.
	// Empty: nobody is named.
	// +kubebuilder:validation:MaxLength=100
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9#@+_./:?=&%~-]+( [A-Za-z0-9#@+_./:?=&%~-]+)*$`
	// +optional
	Contact string `json:"contact,omitempty"`

	// Registries are the registries (host, or host/path) from which images may come. Empty means none: every image is refused.
	// +kubebuilder:validation:MaxItems=100
	// +listType=set
	// +optional
	Registries []Registry `json:"registries,omitempty"`

	// Images are the bank's rules about scans and vulnerabilities.
	// +kubebuilder:default={}
	// +optional
	Images ImageRules `json:"images,omitempty"`

	// Resources are the bank's rules about requests and limits.
	// +kubebuilder:default={}
	// +optional
	Resources ResourceRules `json:"resources,omitempty"`

	// Storage says where data may be kept.
	// +optional
	Storage StorageRules `json:"storage,omitempty"`

	// Separation says what belongs to production alone and what must never be there.
	// +optional
	Separation Separation `json:"separation,omitempty"`

	// Metadata names the labels and annotations that identify a resource in the bank's configuration database.
	// +optional
	Metadata MetadataRules `json:"metadata,omitempty"`

	// Defaults are the fields that the platform fills in where a workload states none.
	// +kubebuilder:default={}
	// +optional
	Defaults DefaultRules `json:"defaults,omitempty"`

	// Network chooses the policy engine and what is reachable by default.
	// +kubebuilder:default={}
	// +optional
	Network NetworkRules `json:"network,omitempty"`

	// NodePoolLabel is the label of nodes that names their pool, for instance bank.example/pool. Empty: pools are not judged.
	// +kubebuilder:validation:MaxLength=316
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`
	// +optional
	NodePoolLabel string `json:"nodePoolLabel,omitempty"`

	// Identity names the bank's identity provider.
	// +kubebuilder:default={}
	// +optional
	Identity IdentityRules `json:"identity,omitempty"`

	// Elevation says how long people may have more rights, which, and when that is reviewed.
	// +kubebuilder:default={}
	// +optional
	Elevation ElevationRules `json:"elevation,omitempty"`

	// ExemptNamespaces are not guarded, beside kube-system and ringfence-system which never are. Each is a hole: keep it to add-ons of the platform.
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:XValidation:rule="self.all(n, n != 'default')",message="the default namespace cannot be exempt: refusing its use is a control (RF-WL-18); remove it from the list"
	// +listType=set
	// +optional
	ExemptNamespaces []NamespaceName `json:"exemptNamespaces,omitempty"`

	// Controls changes the action of single controls, by id.
	// +kubebuilder:validation:MaxProperties=200
	// +kubebuilder:validation:XValidation:rule="self.all(id, id.matches('^RF-[A-Z]{2}-[0-9]{2}$'))",message="a control id looks like RF-WL-01; list them with: ringfence control list"
	// +optional
	Controls map[string]ControlRollout `json:"controls,omitempty"`

	// Promotion lets controls become Deny for rings by themselves. Absent: a person promotes each.
	// +optional
	Promotion *PromotionRules `json:"promotion,omitempty"`

	// Reports has policy reports kept in the cluster, for those who read them. Absent: none are.
	// +optional
	Reports *ReportRules `json:"reports,omitempty"`

	// Suspensions let controls warn instead of deny for a while: the emergency exit of the person on call. Each ends by itself.
	// +kubebuilder:validation:MaxItems=20
	// +listType=atomic
	// +optional
	Suspensions []Suspension `json:"suspensions,omitempty"`
}

// Suspension lets controls that deny warn until an end.
type Suspension struct {
	// Controls are the ids. Empty: every control.
	// +kubebuilder:validation:MaxItems=200
	// +kubebuilder:validation:items:Pattern=`^RF-[A-Z]{2}-[0-9]{2}$`
	// +listType=set
	// +optional
	Controls []string `json:"controls,omitempty"`
	// Tenants are the names of those for whom it counts. Empty: everybody, and what lies in no tenant's namespace.
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=set
	// +optional
	Tenants []string `json:"tenants,omitempty"`
	// Expires is the RFC 3339 instant, or the date, which means 00:00:00Z of the following day, at which it ends.
	// +kubebuilder:validation:MinLength=10
	// +kubebuilder:validation:MaxLength=35
	// +kubebuilder:validation:Pattern=`^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])(T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9]))?$`
	Expires string `json:"expires"`
	// Ticket is the bank's record of the incident.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=100
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9._/#:-]*$`
	Ticket string `json:"ticket"`
	// Reason says why.
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=500
	Reason string `json:"reason"`
}

// Registry is a registry host with an optional path, without scheme, tag or trailing slash.
//
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9._-]+)*$`
type Registry string

// NamespaceName is a legal Kubernetes namespace name.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
type NamespaceName string

// Requirement says whether something must be there.
//
// +kubebuilder:validation:Enum=Required;Optional
type Requirement string

// The requirements.
const (
	// Required means: refused when absent. It is the meaning of the zero value too.
	Required Requirement = "Required"
	// Optional means: may be absent.
	Optional Requirement = "Optional"
)

// ResourceRules are the bank's rules about requests and limits.
type ResourceRules struct {
	// CPULimit says whether each container must limit CPU. Default Required; Optional for platforms that avoid throttling.
	// +kubebuilder:default=Required
	// +optional
	CPULimit Requirement `json:"cpuLimit,omitempty"`
}

// StorageRules says where data may be kept.
type StorageRules struct {
	// EncryptedClasses are the storage classes whose volumes are encrypted. Default none: then no claim may be made.
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=set
	// +optional
	EncryptedClasses []string `json:"encryptedClasses,omitempty"`
}

// Separation keeps production and everything else apart.
type Separation struct {
	// DataClassLabel is the label that names the class of data which a workload or Secret holds. Default none: classes are
	// not compared.
	// +kubebuilder:validation:MaxLength=316
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`
	// +optional
	DataClassLabel string `json:"dataClassLabel,omitempty"`
	// Production is what may be in production environments alone.
	// +optional
	Production Belongings `json:"production,omitempty"`
	// NonProduction is what may be in no production environment.
	// +optional
	NonProduction Belongings `json:"nonProduction,omitempty"`
}

// Belongings are what belongs to one side of the line between production and the rest.
type Belongings struct {
	// DataClasses are values of the data class label.
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=set
	// +optional
	DataClasses []string `json:"dataClasses,omitempty"`
	// SecretPaths are beginnings of the names of Secrets, and of the paths that annotations of a secret injector name.
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=set
	// +optional
	SecretPaths []string `json:"secretPaths,omitempty"`
	// ImageChannels are registries, or paths in them, from which one side takes its images.
	// +kubebuilder:validation:MaxItems=20
	// +listType=set
	// +optional
	ImageChannels []Registry `json:"imageChannels,omitempty"`
}

// MetadataRules names the labels and annotations that identify resources.
type MetadataRules struct {
	// RequiredLabels must be on every namespaced object. Where the namespace has one with a value, it is copied to objects
	// that lack it, and another value is refused.
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=316
	// +kubebuilder:validation:items:Pattern=`^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`
	// +listType=set
	// +optional
	RequiredLabels []string `json:"requiredLabels,omitempty"`
	// CopyAnnotations are copied from the namespace to objects that lack them; another value is refused.
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=316
	// +kubebuilder:validation:items:Pattern=`^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`
	// +listType=set
	// +optional
	CopyAnnotations []string `json:"copyAnnotations,omitempty"`
}

// Switch turns something on or off. Its words are none that YAML takes for a boolean.
//
// +kubebuilder:validation:Enum=Enabled;Disabled
type Switch string

// The switches.
const (
	// Enabled is the meaning of the zero value too.
	Enabled Switch = "Enabled"
	// Disabled turns it off.
	Disabled Switch = "Disabled"
)

// DefaultRules say which fields of pods and pod templates are filled in where they are not stated. A value that is stated
// is never changed, and what runs already is not touched until its template is changed.
type DefaultRules struct {
	// SeccompProfile fills in the pod's seccompProfile RuntimeDefault, where neither it nor every container states one. Default Enabled.
	// +kubebuilder:default=Enabled
	// +optional
	SeccompProfile Switch `json:"seccompProfile,omitempty"`
	// DropCapabilities drops ALL capabilities of containers that state none to drop. Default Enabled.
	// +kubebuilder:default=Enabled
	// +optional
	DropCapabilities Switch `json:"dropCapabilities,omitempty"`
	// PrivilegeEscalation sets allowPrivilegeEscalation of containers to false. Default Enabled.
	// +kubebuilder:default=Enabled
	// +optional
	PrivilegeEscalation Switch `json:"privilegeEscalation,omitempty"`
	// ServiceAccountToken sets automountServiceAccountToken of pods to false. Default Enabled.
	// +kubebuilder:default=Enabled
	// +optional
	ServiceAccountToken Switch `json:"serviceAccountToken,omitempty"`
}

// NetworkModel is the kind of network policy the platform uses.
//
// +kubebuilder:validation:Enum=cilium;kubernetes
type NetworkModel string

// The network models.
const (
	// NetworkCilium writes CiliumNetworkPolicy objects.
	NetworkCilium NetworkModel = "cilium"
	// NetworkKubernetes writes NetworkPolicy objects. It is the default: every conforming cluster has the kind.
	NetworkKubernetes NetworkModel = "kubernetes"
)

// NetworkRules chooses the policy engine and what is reachable by default.
type NetworkRules struct {
	// Model is the kind of policy written. Default kubernetes.
	// +kubebuilder:default=kubernetes
	// +optional
	Model NetworkModel `json:"model,omitempty"`
	// Proxy is the way to the Internet, open to every pod. Absent means there is none.
	// +optional
	Proxy *Proxy `json:"proxy,omitempty"`
	// ClusterCIDRs are the pod and service networks; egress to them is open. Needed by model kubernetes only where the
	// network plug-in does not resolve services to pods before policy; usually empty.
	// +kubebuilder:validation:MaxItems=20
	// +listType=set
	// +optional
	ClusterCIDRs []CIDR `json:"clusterCIDRs,omitempty"`
	// LoadBalancerClasses are the values of loadBalancerClass whose load balancers are internal. Default none: then only
	// the annotations of cloud providers show that a load balancer is.
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=set
	// +optional
	LoadBalancerClasses []string `json:"loadBalancerClasses,omitempty"`
}

// CIDR is an IPv4 or IPv6 network without host bits, for instance 10.20.0.0/16.
//
// +kubebuilder:validation:MaxLength=43
// +kubebuilder:validation:XValidation:rule="isCIDR(self) && cidr(self).masked() == cidr(self)",message="want a network such as 10.20.0.0/16, without host bits"
type CIDR string

// Port is a TCP or UDP port number.
//
// +kubebuilder:validation:Minimum=1
// +kubebuilder:validation:Maximum=65535
type Port int32

// Proxy is the way out to the Internet.
type Proxy struct {
	// CIDR is the address range of the proxy.
	CIDR CIDR `json:"cidr"`
	// Ports are its TCP ports. At least one.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=10
	// +listType=set
	Ports []Port `json:"ports"`
}

// Action says what happens to a subject that fails a control.
//
// +kubebuilder:validation:Enum=Deny;Warn;Audit
type Action string

// The actions, strongest first.
const (
	// Deny refuses. It is the meaning of the zero value too.
	Deny Action = "Deny"
	// Warn lets through and tells the user.
	Warn Action = "Warn"
	// Audit lets through and records.
	Audit Action = "Audit"
)

// PlatformStatus is what Ringfence found and did.
type PlatformStatus struct {
	// ObservedGeneration is the generation of spec that the conditions speak of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// CatalogueDigest identifies the catalogue whose policies are installed (sha256 in hex).
	// +optional
	CatalogueDigest string `json:"catalogueDigest,omitempty"`
	// Conditions: Enforced is True when every native policy and binding is in place as built.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
