package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Tenant is a team: its people, its environments and what they may use.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster
// +kubebuilder:printcolumn:name="Owner",type=string,JSONPath=`.spec.owner`
// +kubebuilder:printcolumn:name="Namespaces",type=string,JSONPath=`.status.namespaces`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Critical",type=integer,JSONPath=`.status.findings.critical`
// +kubebuilder:printcolumn:name="High",type=integer,JSONPath=`.status.findings.high`
// +kubebuilder:printcolumn:name="Medium",type=integer,JSONPath=`.status.findings.medium`
// +kubebuilder:printcolumn:name="Low",type=integer,JSONPath=`.status.findings.low`
// +kubebuilder:printcolumn:name="Scanned",type=string,JSONPath=`.status.conditions[?(@.type=="Scanned")].status`
// +kubebuilder:printcolumn:name="Counted",type=date,priority=1,JSONPath=`.status.findings.counted`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="a tenant name is at most 40 characters: a lower-case letter, then letters, digits and -, not ending in -"
// +kubebuilder:validation:XValidation:rule="self.spec.environments.all(e, !((has(e.__namespace__) ? e.__namespace__ : self.metadata.name + '-' + e.name) in ['default', 'ringfence-system']) && !(has(e.__namespace__) ? e.__namespace__ : self.metadata.name + '-').startsWith('kube-'))",fieldPath=".spec.environments",message="an environment cannot be a namespace of the platform (default, kube-*, ringfence-system); choose another namespace"
// +kubebuilder:validation:XValidation:rule="self.spec.environments.all(e, self.spec.environments.all(o, o.name == e.name || (has(o.__namespace__) ? o.__namespace__ : self.metadata.name + '-' + o.name) != (has(e.__namespace__) ? e.__namespace__ : self.metadata.name + '-' + e.name)))",fieldPath=".spec.environments",message="two environments resolve to the same namespace; give each its own"
type Tenant struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what the team is granted.
	Spec TenantSpec `json:"spec"`
	// Status is what Ringfence found and did; it is written by Ringfence alone.
	// +optional
	Status TenantStatus `json:"status,omitempty"`
}

// TenantList is a list of Tenant objects.
//
// +kubebuilder:object:root=true
type TenantList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items are the objects.
	Items []Tenant `json:"items"`
}

// TenantSpec is what a team is granted.
//
// +kubebuilder:validation:XValidation:rule="self.environments.all(e, !has(e.groups) || (has(e.groups.admin) ? e.groups.admin : self.groups.admin) != (has(e.groups.readOnly) ? e.groups.readOnly : self.groups.readOnly))",fieldPath=".environments",message="the two groups of an environment must differ, or every reader is an admin; name another group for one of them"
type TenantSpec struct {
	// Owner is the mail address that answers for the tenant.
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=254
	// +kubebuilder:validation:Pattern=`^[^@\s]+@[^@\s]+$`
	Owner string `json:"owner"`

	// Groups are the two groups of the identity provider that get rights in the tenant's namespaces.
	Groups TenantGroups `json:"groups"`

	// Environments are the tenant's namespaces, for instance dev, test and prod. An empty list is a tenant with none.
	// +kubebuilder:validation:MaxItems=20
	// +listType=map
	// +listMapKey=name
	Environments []Environment `json:"environments"`

	// Ring is the roll-out ring; Platform.spec.controls names rings. Empty means none.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +optional
	Ring string `json:"ring,omitempty"`

	// Labels are put on the tenant's namespaces. Keys of Ringfence and Kubernetes are refused.
	// +kubebuilder:validation:MaxProperties=30
	// +kubebuilder:validation:XValidation:rule="self.all(k, size(k) <= 316 && !k.contains('ringfence.dev/') && !k.contains('kubernetes.io/') && !k.contains('k8s.io/') && size(self[k]) <= 63)",message="labels of ringfence.dev and kubernetes.io are written by the platform and values have at most 63 characters; use keys of your own"
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",message="a label has a key such as cost-centre or bank.example/cost-centre; change the key"
	// +optional
	Labels map[string]string `json:"labels,omitempty"`

	// Annotations are put on the tenant's namespaces. Keys of Ringfence and Kubernetes are refused.
	// +kubebuilder:validation:MaxProperties=30
	// +kubebuilder:validation:XValidation:rule="self.all(k, size(k) <= 316 && !k.contains('ringfence.dev/') && !k.contains('kubernetes.io/') && !k.contains('k8s.io/'))",message="annotations of ringfence.dev and kubernetes.io are written by the platform; use keys of your own"
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",message="an annotation has a key such as cost-centre or bank.example/cost-centre; change the key"
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`

	// Registries narrows the platform's: each must lie inside one of them. Empty means the platform's.
	// +kubebuilder:validation:MaxItems=100
	// +listType=set
	// +optional
	Registries []Registry `json:"registries,omitempty"`

	// Quota is the hard limit of each of the tenant's namespaces, as in a ResourceQuota. Empty means no quota. At most 30.
	// +kubebuilder:validation:MaxProperties=30
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.contains('/') || k.startsWith('hugepages-') || k.startsWith('requests.hugepages-') || k in ['cpu', 'memory', 'ephemeral-storage', 'requests.cpu', 'requests.memory', 'requests.storage', 'requests.ephemeral-storage', 'limits.cpu', 'limits.memory', 'limits.ephemeral-storage', 'pods', 'resourcequotas', 'services', 'replicationcontrollers', 'secrets', 'persistentvolumeclaims', 'configmaps', 'services.nodeports', 'services.loadbalancers'])",message="a quota limits what a ResourceQuota can: cpu, memory, requests.cpu, limits.memory, requests.storage, pods, services.loadbalancers, count/deployments.apps and the like"
	// +kubebuilder:validation:XValidation:rule="self.all(k, type(self[k]) == int ? self[k] >= 0 : (isQuantity(self[k]) && !self[k].startsWith('-')))",message="a quota is an amount of zero or more, such as 8, 500m or 16Gi"
	// +optional
	Quota map[string]resource.Quantity `json:"quota,omitempty"`

	// TotalQuota is the hard limit of all the tenant's namespaces together. It is divided: an environment that a quota is stated for
	// has that, the others share what is left. Empty means no limit of the whole. At most 30.
	// +kubebuilder:validation:MaxProperties=30
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.contains('/') || k.startsWith('hugepages-') || k.startsWith('requests.hugepages-') || k in ['cpu', 'memory', 'ephemeral-storage', 'requests.cpu', 'requests.memory', 'requests.storage', 'requests.ephemeral-storage', 'limits.cpu', 'limits.memory', 'limits.ephemeral-storage', 'pods', 'resourcequotas', 'services', 'replicationcontrollers', 'secrets', 'persistentvolumeclaims', 'configmaps', 'services.nodeports', 'services.loadbalancers'])",message="a quota limits what a ResourceQuota can: cpu, memory, requests.cpu, limits.memory, requests.storage, pods, services.loadbalancers, count/deployments.apps and the like"
	// +kubebuilder:validation:XValidation:rule="self.all(k, type(self[k]) == int ? self[k] >= 0 : (isQuantity(self[k]) && !self[k].startsWith('-')))",message="a quota is an amount of zero or more, such as 8, 500m or 16Gi"
	// +optional
	TotalQuota map[string]resource.Quantity `json:"totalQuota,omitempty"`

	// StorageClasses narrows those that the Platform lists as encrypted; another allows nothing. Empty means the platform's.
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	// +listType=set
	// +optional
	StorageClasses []string `json:"storageClasses,omitempty"`

	// IngressClasses are the classes that its Ingresses and Gateways may name. Empty means any.
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	// +listType=set
	// +optional
	IngressClasses []string `json:"ingressClasses,omitempty"`

	// Pipelines are the machines that deploy into its environments.
	// +kubebuilder:validation:MaxItems=20
	// +listType=map
	// +listMapKey=name
	// +optional
	Pipelines []Pipeline `json:"pipelines,omitempty"`

	// Cordon stops what is new in all environments; absent: nothing is stopped.
	// +optional
	Cordon *Cordon `json:"cordon,omitempty"`

	// Offboarding ends the tenant; absent: it goes on.
	// +optional
	Offboarding *Offboarding `json:"offboarding,omitempty"`
	// Move gives an environment to another tenant; once it was given, what stands here is the record of it.
	// +optional
	Move *Move `json:"move,omitempty"`

	// Egress are destinations outside the cluster that the tenant's own network policies may open.
	// +kubebuilder:validation:MaxItems=500
	// +listType=atomic
	// +optional
	Egress []EgressRule `json:"egress,omitempty"`

	// Grants are what the platform team has granted this tenant beyond what every tenant has.
	// +optional
	Grants Grants `json:"grants,omitempty"`

	// Controls strengthens the action of single controls, by id; a weaker action than the platform's changes nothing.
	// +kubebuilder:validation:MaxProperties=200
	// +kubebuilder:validation:XValidation:rule="self.all(id, id.matches('^RF-[A-Z]{2}-[0-9]{2}$'))",message="a control id looks like RF-WL-01; list them with: ringfence control list"
	// +optional
	Controls map[string]Action `json:"controls,omitempty"`

	// DeletionPolicy says what happens to a namespace that still holds workloads when its environment or the tenant is
	// removed: Cordon (default: people lose their rights there, what runs keeps running under guard, nothing is deleted) or Delete.
	// +kubebuilder:default=Cordon
	// +kubebuilder:validation:Enum=Cordon;Delete
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// DeletionPolicy says what happens to a namespace with workloads whose environment is removed.
type DeletionPolicy string

// The deletion policies.
const (
	// DeletionCordon keeps the namespace, its Guard and what runs there, and takes away people's rights. The default.
	DeletionCordon DeletionPolicy = "Cordon"
	// DeletionDelete deletes the namespace with everything in it.
	DeletionDelete DeletionPolicy = "Delete"
)

// Grants are things that a namespace has only because somebody gave them to it. The zero value grants nothing.
type Grants struct {
	// Hosts are the DNS names that its Ingresses, routes and gateways may serve; app.bank.example includes the names below it.
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	// +listType=set
	// +optional
	Hosts []string `json:"hosts,omitempty"`
	// PriorityClasses are the priority classes that its pods may have.
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=set
	// +optional
	PriorityClasses []string `json:"priorityClasses,omitempty"`
	// RuntimeClasses are the runtime classes that its pods may have.
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=set
	// +optional
	RuntimeClasses []string `json:"runtimeClasses,omitempty"`
	// Tolerations are the keys of the node taints that its pods may tolerate.
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:MaxLength=316
	// +listType=set
	// +optional
	Tolerations []string `json:"tolerations,omitempty"`
	// NodePools are the pools that its pods may choose: values of the Platform's nodePoolLabel.
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=set
	// +optional
	NodePools []string `json:"nodePools,omitempty"`
	// Networks are networks of other namespaces, as namespace/name, that its pods may join by an annotation for the network
	// plug-in.
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:MaxLength=317
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	// +listType=set
	// +optional
	Networks []string `json:"networks,omitempty"`
}

// TenantGroups are groups of the identity provider, as its token names them (no prefix).
//
// +kubebuilder:validation:XValidation:rule="self.admin != self.readOnly",message="the two groups must differ, or every reader is an admin; name another group for one of them"
type TenantGroups struct {
	// Admin may run workloads.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('system:')",message="groups of Kubernetes itself (system:) cannot be a tenant's; name a group of the identity provider"
	Admin string `json:"admin"`
	// ReadOnly may look at everything but Secrets.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('system:')",message="groups of Kubernetes itself (system:) cannot be a tenant's; name a group of the identity provider"
	ReadOnly string `json:"readOnly"`
}

// Environment is one namespace of a tenant.
type Environment struct {
	// Name is the environment's name, without "-" so that tenant and environment can be told apart in <tenant>-<name>.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:Pattern=`^[a-z0-9]+$`
	Name string `json:"name"`
	// Production marks real money and real data.
	// +optional
	Production bool `json:"production,omitempty"`
	// Namespace replaces <tenant>-<name>, for namespaces that exist already.
	// +optional
	Namespace NamespaceName `json:"namespace,omitempty"`
	// Groups replaces the tenant's groups in this environment. Absent, or one of the two absent: the tenant's.
	// +optional
	Groups *EnvironmentGroups `json:"groups,omitempty"`
	// Quota replaces single amounts of the tenant's quota in this environment. Empty: the tenant's. At most 30.
	// +kubebuilder:validation:MaxProperties=30
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.contains('/') || k.startsWith('hugepages-') || k.startsWith('requests.hugepages-') || k in ['cpu', 'memory', 'ephemeral-storage', 'requests.cpu', 'requests.memory', 'requests.storage', 'requests.ephemeral-storage', 'limits.cpu', 'limits.memory', 'limits.ephemeral-storage', 'pods', 'resourcequotas', 'services', 'replicationcontrollers', 'secrets', 'persistentvolumeclaims', 'configmaps', 'services.nodeports', 'services.loadbalancers'])",message="a quota limits what a ResourceQuota can: cpu, memory, requests.cpu, limits.memory, requests.storage, pods, services.loadbalancers, count/deployments.apps and the like"
	// +kubebuilder:validation:XValidation:rule="self.all(k, type(self[k]) == int ? self[k] >= 0 : !self[k].startsWith('-'))",message="a quota is an amount of zero or more, such as 8, 500m or 16Gi"
	// +optional
	Quota map[string]resource.Quantity `json:"quota,omitempty"`
}

// EnvironmentGroups are groups of the identity provider for one environment. An empty one is the tenant's.
type EnvironmentGroups struct {
	// Admin may run workloads in this environment.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('system:')",message="groups of Kubernetes itself (system:) cannot be a tenant's; name a group of the identity provider"
	// +optional
	Admin string `json:"admin,omitempty"`
	// ReadOnly may look at everything but Secrets in this environment.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('system:')",message="groups of Kubernetes itself (system:) cannot be a tenant's; name a group of the identity provider"
	// +optional
	ReadOnly string `json:"readOnly,omitempty"`
}

// EgressRule is one destination outside the cluster: a name or a network, never both.
//
// +kubebuilder:validation:XValidation:rule="has(self.fqdn) != has(self.cidr)",message="give fqdn or cidr, one of them"
type EgressRule struct {
	// FQDN is an exact lower-case name, for instance db.payments.bank.example.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	// +kubebuilder:validation:XValidation:rule="!isIP(self)",message="this is an address, not a name; write it as cidr, for instance 10.20.0.5/32"
	// +optional
	FQDN string `json:"fqdn,omitempty"`
	// CIDR is a network, for instance 10.20.0.0/16.
	// +optional
	CIDR CIDR `json:"cidr,omitempty"`
	// Ports are TCP ports. At least one.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=20
	// +listType=set
	Ports []Port `json:"ports"`
	// Expires is an RFC 3339 instant such as 2027-01-31T18:00:00Z, or a date such as 2027-01-31, which means 00:00:00Z of the following day. Absent means never.
	// +kubebuilder:validation:MaxLength=35
	// +kubebuilder:validation:Pattern=`^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])(T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9]))?$`
	// +kubebuilder:validation:XValidation:rule="timestamp(size(self) == 10 ? self + 'T00:00:00Z' : self) > timestamp('0001-01-01T00:00:00Z')",message="no such day in the calendar; want a date such as 2027-01-31 or an instant such as 2027-01-31T18:00:00Z"
	// +optional
	Expires string `json:"expires,omitempty"`
	// Ticket is the change that granted it.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Ticket string `json:"ticket,omitempty"`
}

// TenantStatus is what Ringfence found and did.
type TenantStatus struct {
	// ObservedGeneration is the generation of spec that the conditions speak of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Namespaces are the namespaces of Environments, with a comma between them, for tables.
	// +optional
	Namespaces string `json:"namespaces,omitempty"`
	// Environments are the namespaces the tenant has, those being taken away included.
	// +listType=map
	// +listMapKey=namespace
	// +optional
	Environments []EnvironmentStatus `json:"environments,omitempty"`
	// Offboarding says when rights ended and when the namespaces go; absent: nothing ends.
	// +optional
	Offboarding *OffboardingStatus `json:"offboarding,omitempty"`
	// Findings are how many findings stand in the tenant's namespaces; absent: they were not counted. The condition Scanned says what the counts lack.
	// +optional
	Findings *FindingCounts `json:"findings,omitempty"`
	// Conditions: Ready is True when every environment is as the tenant asks, Scanned when the background scan has seen all that is there.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// FindingCounts are how many findings of the background scan are open, by severity. They are written where one of them is another, once a minute at most.
type FindingCounts struct {
	// Critical is how many of critical severity are open.
	Critical int32 `json:"critical"`
	// High is how many of high severity are open.
	High int32 `json:"high"`
	// Medium is how many of medium severity are open.
	Medium int32 `json:"medium"`
	// Low is how many of low severity are open.
	Low int32 `json:"low"`
	// Waived is how many more there are that are waived, of any severity.
	Waived int32 `json:"waived"`
	// Counted is since when the counts are these.
	Counted metav1.Time `json:"counted"`
}

// EnvironmentPhase is where an environment is in its life.
//
// +kubebuilder:validation:Enum=Active;Cordoned;Deleting;Refused
type EnvironmentPhase string

// The phases.
const (
	// EnvironmentActive means: namespace, Guard, rights and limits are in place.
	EnvironmentActive EnvironmentPhase = "Active"
	// EnvironmentCordoned means: no longer wanted, but workloads remain, and people have no rights there any more; or the tenant is
	// cordoned or ends, and nothing new comes.
	EnvironmentCordoned EnvironmentPhase = "Cordoned"
	// EnvironmentDeleting means: the namespace is being deleted.
	EnvironmentDeleting EnvironmentPhase = "Deleting"
	// EnvironmentRefused means: the namespace belongs to somebody else; see the message.
	EnvironmentRefused EnvironmentPhase = "Refused"
)

// EnvironmentStatus is one namespace of the tenant as it is.
type EnvironmentStatus struct {
	// Namespace is the namespace.
	Namespace string `json:"namespace"`
	// Name is the environment's name.
	Name string `json:"name"`
	// Phase is where the environment is in its life.
	Phase EnvironmentPhase `json:"phase"`
	// Message says what to do, where something is to be done.
	// +optional
	Message string `json:"message,omitempty"`
}
