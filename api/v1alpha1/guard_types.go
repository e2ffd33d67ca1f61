package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Guard is everything a verdict needs to know in one namespace. Ringfence compiles it from Platform and Tenant and is its
// only writer; native policies, the webhook and the command line read it and nothing else of the two.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced
// +kubebuilder:printcolumn:name="Tenant",type=string,JSONPath=`.spec.tenant`
// +kubebuilder:printcolumn:name="Environment",type=string,JSONPath=`.spec.environment`
// +kubebuilder:printcolumn:name="Production",type=boolean,JSONPath=`.spec.production`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name == 'guard'",message="a namespace has one Guard and its name is guard"
type Guard struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is the compiled knowledge. It has one writer, which replaces it as a whole: the API server keeps no account of who wrote which
	// of its hundreds of fields.
	// +structType=atomic
	Spec GuardSpec `json:"spec"`
}

// GuardList is a list of Guard objects.
//
// +kubebuilder:object:root=true
type GuardList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items are the objects.
	Items []Guard `json:"items"`
}

// GuardSpec is the compiled knowledge about one namespace. Its zero value is the strictest: every control denies, no
// registry is allowed.
type GuardSpec struct {
	// Tenant is the owner of the namespace. Empty: no tenant's; the platform's settings alone hold.
	// +optional
	Tenant string `json:"tenant,omitempty"`
	// Environment is the tenant's environment. Empty with Tenant.
	// +optional
	Environment string `json:"environment,omitempty"`
	// Production marks real money and real data.
	// +optional
	Production bool `json:"production,omitempty"`
	// Actions is the action of each control, by id. A control that is missing here denies.
	// +kubebuilder:validation:MaxProperties=1000
	// +optional
	Actions map[string]Action `json:"actions,omitempty"`
	// Changes says, for each control whose action is not its profile's, who changed it and what the profile says.
	// +kubebuilder:validation:MaxProperties=1000
	// +optional
	Changes map[string]string `json:"changes,omitempty"`
	// Suspended are the controls whose action is Warn for a while, by id; at the end of each it denies again. Empty: none.
	// +kubebuilder:validation:MaxProperties=1000
	// +optional
	Suspended map[string]GuardSuspension `json:"suspended,omitempty"`
	// Contact is whom people ask who were refused. Empty: nobody is named.
	// +kubebuilder:validation:MaxLength=100
	// +optional
	Contact string `json:"contact,omitempty"`
	// Registries are the allowed registries, host or host/path. Empty: none.
	// +kubebuilder:validation:MaxItems=100
	// +listType=atomic
	// +optional
	Registries []Registry `json:"registries,omitempty"`
	// CPULimit says whether each container must limit CPU. Empty means Required.
	// +optional
	CPULimit Requirement `json:"cpuLimit,omitempty"`
	// Groups are the groups, with their prefix, that RoleBindings may name: the tenant's Admin and RO. Empty: none.
	// +kubebuilder:validation:MaxItems=10
	// +listType=atomic
	// +optional
	Groups []string `json:"groups,omitempty"`
	// Pipelines are the users, as the API server names them, that RoleBindings may name beside Groups: the tenant's pipelines
	// of this environment. Empty: none.
	// +kubebuilder:validation:MaxItems=20
	// +listType=atomic
	// +optional
	Pipelines []string `json:"pipelines,omitempty"`
	// TenantGroups are the groups, with their prefix, of all tenants but the auditors', each with its tenant; TenantNamespaces are
	// the namespaces that tenants ask for, each with its tenant. Only the Guard for what lies in no namespace says them.
	// +optional
	TenantGroups map[string]string `json:"tenantGroups,omitempty"`
	// +optional
	TenantNamespaces map[string]string `json:"tenantNamespaces,omitempty"`
	// Entry says whether people may enter running pods. Empty means Closed: only BreakGlassGroups may.
	// +optional
	Entry Entry `json:"entry,omitempty"`
	// BreakGlassGroups are the groups that may be bound to cluster-admin, and may enter running pods. Empty: none.
	// +kubebuilder:validation:MaxItems=10
	// +listType=atomic
	// +optional
	BreakGlassGroups []string `json:"breakGlassGroups,omitempty"`
	// SecondFactor says whether approvals, and requests for elevations, need the mark of a second factor (ringfence.dev/mfa in
	// the user's extra). Empty means Required.
	// +optional
	SecondFactor Requirement `json:"secondFactor,omitempty"`
	// LongestElevation is the longest that an elevation may last, such as 8h0m0s. Empty: none may be asked for.
	// +kubebuilder:validation:MaxLength=20
	// +optional
	LongestElevation string `json:"longestElevation,omitempty"`
	// Elevations maps the user name of the account of each elevation that lives, system:serviceaccount:NAMESPACE:elevation-NAME, to the
	// RFC 3339 instant at which it ends. They may enter running pods.
	// +kubebuilder:validation:MaxProperties=200
	// +optional
	Elevations map[string]string `json:"elevations,omitempty"`
	// NodePoolLabel is the label of nodes that names their pool; grants.nodePools are those that pods may choose. Empty: pools are not
	// judged.
	// +kubebuilder:validation:MaxLength=316
	// +optional
	NodePoolLabel string `json:"nodePoolLabel,omitempty"`
	// Grants are what the platform team granted the tenant.
	// +optional
	Grants Grants `json:"grants,omitempty"`
	// RequiredLabels must be on every object. Empty: none.
	// +kubebuilder:validation:MaxItems=50
	// +listType=atomic
	// +optional
	RequiredLabels []string `json:"requiredLabels,omitempty"`
	// CopyAnnotations are copied from the namespace to objects that lack them. Empty: none.
	// +kubebuilder:validation:MaxItems=50
	// +listType=atomic
	// +optional
	CopyAnnotations []string `json:"copyAnnotations,omitempty"`
	// Defaults are the fields of pods that are filled in where they are not stated. Empty: none.
	// +kubebuilder:validation:MaxItems=20
	// +listType=atomic
	// +optional
	Defaults []Default `json:"defaults,omitempty"`
	// StorageClasses are the classes that claims may name. Empty: none.
	// +kubebuilder:validation:MaxItems=50
	// +listType=atomic
	// +optional
	StorageClasses []string `json:"storageClasses,omitempty"`
	// IngressClasses are the classes that Ingresses and Gateways may name, and * is any. Empty: none.
	// +kubebuilder:validation:MaxItems=20
	// +listType=atomic
	// +optional
	IngressClasses []string `json:"ingressClasses,omitempty"`
	// DataClassLabel is the label that names a class of data. Empty: classes are not compared.
	// +optional
	DataClassLabel string `json:"dataClassLabel,omitempty"`
	// Elsewhere is what belongs to the other side: in production what must never be there, outside of it what belongs to
	// production alone.
	// +optional
	Elsewhere Belongings `json:"elsewhere,omitempty"`
	// NetworkModel is the kind of network policy that may be written. Empty: none.
	// +optional
	NetworkModel NetworkModel `json:"networkModel,omitempty"`
	// LoadBalancerClasses are those of internal load balancers. Empty: none.
	// +kubebuilder:validation:MaxItems=20
	// +listType=atomic
	// +optional
	LoadBalancerClasses []string `json:"loadBalancerClasses,omitempty"`
	// Egress maps each allowed "fqdn:port" to the RFC 3339 instant at which it ends; an empty value never ends.
	// +kubebuilder:validation:MaxProperties=10000
	// +optional
	Egress map[string]string `json:"egress,omitempty"`
	// EgressCIDRs are the allowed networks, with port and end. At most 10,000: 500 rules of 20 ports.
	// +kubebuilder:validation:MaxItems=10000
	// +listType=atomic
	// +optional
	EgressCIDRs []EgressCIDR `json:"egressCIDRs,omitempty"`
	// Unwaivable are the ids of controls that no Waiver may waive.
	// +kubebuilder:validation:MaxItems=200
	// +listType=set
	// +optional
	Unwaivable []string `json:"unwaivable,omitempty"`
	// Waivers are the approved waivers, by the subject as Kind/name or Kind.group/name, then by the control's id. The first
	// key is the subject because a policy that found a fault knows the object and looks it up.
	// +kubebuilder:validation:MaxProperties=500
	// +optional
	Waivers map[string]SubjectWaivers `json:"waivers,omitempty"`
	// Debts are until when, by the control's id, what Kubernetes' own controllers make of workloads is not refused although it fails:
	// the RFC 3339 instant. Workloads themselves are refused. Empty: none.
	// +kubebuilder:validation:MaxProperties=1000
	// +optional
	Debts map[string]Instant `json:"debts,omitempty"`
	// Images is what is known of image digests. Absent: no facts about images are supplied, and nothing is claimed of them.
	// Present, a digest that it does not name is one that was never scanned.
	// +optional
	Images *GuardImages `json:"images,omitempty"`
}

// AnyClass in GuardSpec.IngressClasses stands for every class.
const AnyClass = "*"

// GuardImages is what is known of image digests in one namespace.
type GuardImages struct {
	// Rule is the name of the Platform's rule by which the digests were judged. Empty: the bank's own.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Rule string `json:"rule,omitempty"`
	// Admitted is what is known of each digest, as algorithm:hex. A map, because looking one up costs the same of ten thousand.
	// +kubebuilder:validation:MaxProperties=10000
	// +optional
	Admitted map[string]GuardImage `json:"admitted,omitempty"`
	// Trust says whose signatures images must bear here: of the rules the first that covers a reference counts. Empty: none is demanded.
	// +kubebuilder:validation:MaxItems=20
	// +listType=atomic
	// +optional
	Trust []GuardTrust `json:"trust,omitempty"`
	// LeftOut is how many digests are known and have no room here: of those that neither run here nor were scanned last.
	// +optional
	LeftOut int32 `json:"leftOut,omitempty"`
}

// GuardTrust is a trust rule as verdicts need it.
type GuardTrust struct {
	// ID names the rule and what it demands; signatures are kept under it.
	// +kubebuilder:validation:MaxLength=76
	ID string `json:"id"`
	// Prefixes are the beginnings of the references that it covers; one that is empty covers all.
	// +kubebuilder:validation:MaxItems=30
	// +listType=atomic
	Prefixes []string `json:"prefixes"`
	// AdmitUnknown lets in what nobody knows the signatures of.
	// +optional
	AdmitUnknown bool `json:"admitUnknown,omitempty"`
}

// Unsigned in GuardImage.Signed says that an image does not meet a rule: it was looked at. It is over at all times.
const Unsigned Instant = "1970-01-01T00:00:00Z"

// Instant is an RFC 3339 instant in whole seconds of UTC, so that two of them compare as texts do.
//
// +kubebuilder:validation:MaxLength=20
// +kubebuilder:validation:Pattern=`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$`
type Instant string

// GuardImage is what is known of one digest. Its zero value is refused.
type GuardImage struct {
	// ScannedUntil is the last second at which its scan counts. Empty: it was not scanned.
	// +optional
	ScannedUntil Instant `json:"scannedUntil,omitempty"`
	// CleanUntil is the last second at which no vulnerability refuses it. Empty: one refuses it.
	// +optional
	CleanUntil Instant `json:"cleanUntil,omitempty"`
	// Signed is, by the ID of a trust rule, the last second at which its signature counts; Unsigned where it was looked at and lacks it.
	// A rule that is not named: nobody knows.
	// +kubebuilder:validation:MaxProperties=20
	// +optional
	Signed map[string]Instant `json:"signed,omitempty"`
	// RunsUntil is the last second at which Kubernetes' own controllers may make new Pods of it, although it is refused: it ran
	// here when it was not. Empty: it did not run here.
	// +optional
	RunsUntil Instant `json:"runsUntil,omitempty"`
	// Note says what refuses it or will.
	// +kubebuilder:validation:MaxLength=120
	// +optional
	Note string `json:"note,omitempty"`
	// Warn says what is warned of while it is not refused.
	// +kubebuilder:validation:MaxLength=120
	// +optional
	Warn string `json:"warn,omitempty"`
}

// GuardSuspension is until when a control only warns.
type GuardSuspension struct {
	// Expires is the RFC 3339 instant from which it denies again.
	Expires string `json:"expires"`
	// Ticket is the bank's record of why.
	Ticket string `json:"ticket"`
}

// SubjectWaivers are the waivers of one object, by the control's id.
//
// +kubebuilder:validation:MaxProperties=200
type SubjectWaivers map[string]GuardWaiver

// GuardWaiver is one approved waiver as verdicts need it.
type GuardWaiver struct {
	// Name is the Waiver's.
	Name string `json:"name"`
	// Expires is the RFC 3339 instant at which it ends.
	Expires string `json:"expires"`
	// Ticket and Approver are the Waiver's.
	Ticket   string `json:"ticket"`
	Approver string `json:"approver"`
}

// Default is a field of pods that the platform fills in, by the name of its switch in the Platform.
//
// +kubebuilder:validation:MaxLength=63
type Default string

// The defaults, in the order in which they are listed.
const (
	// DefaultSeccompProfile is the pod's seccomp profile, RuntimeDefault.
	DefaultSeccompProfile Default = "seccompProfile"
	// DefaultDropCapabilities is what containers drop, ALL.
	DefaultDropCapabilities Default = "dropCapabilities"
	// DefaultPrivilegeEscalation is allowPrivilegeEscalation of containers, false.
	DefaultPrivilegeEscalation Default = "privilegeEscalation"
	// DefaultServiceAccountToken is the pod's automountServiceAccountToken, false.
	DefaultServiceAccountToken Default = "serviceAccountToken"
)

// EgressCIDR is one allowed network.
type EgressCIDR struct {
	// CIDR is the network.
	CIDR CIDR `json:"cidr"`
	// Port is the TCP port.
	Port Port `json:"port"`
	// Expires is the RFC 3339 instant at which it ends; empty never ends.
	// +optional
	Expires string `json:"expires,omitempty"`
}

// Entry says whether people may enter what runs: exec, attach, port-forward, proxy.
//
// +kubebuilder:validation:Enum=Open;Closed
type Entry string

// The entries.
const (
	// EntryClosed lets in members of the break-glass groups alone. It is the meaning of the zero value too.
	EntryClosed Entry = "Closed"
	// EntryOpen lets in whoever RBAC lets in.
	EntryOpen Entry = "Open"
)
