package v1alpha1

// Names and labels that Ringfence writes. They are part of the contract: native policies, RBAC and users select on them.
const (
	// PlatformName is the only legal name of the one Platform of a cluster.
	PlatformName = "platform"
	// GuardName is the name of the one Guard of each guarded namespace.
	GuardName = "guard"
	// SystemNamespace is where Ringfence itself runs. It is always exempt.
	SystemNamespace = "ringfence-system"

	// LabelTenant on a namespace names the tenant that owns it.
	LabelTenant = "ringfence.dev/tenant"
	// LabelEnvironment on a namespace names the tenant's environment.
	LabelEnvironment = "ringfence.dev/environment"
	// LabelProduction on a namespace is "true" for a production environment and "false" otherwise.
	LabelProduction = "ringfence.dev/production"
	// LabelGuarded on a namespace is "true" once its Guard exists. People get their rights only after it.
	LabelGuarded = "ringfence.dev/guarded"
	// LabelCordoned on a namespace is "true" once its environment was removed while workloads still ran there.
	LabelCordoned = "ringfence.dev/cordoned"
	// AnnotationDefaulted on an object lists the defaults that the platform filled in.
	AnnotationDefaulted = "ringfence.dev/defaulted"
	// LabelManagedBy marks every object that Ringfence writes; its value is ManagedBy.
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// ManagedBy is the value of LabelManagedBy.
	ManagedBy = "ringfence"
)

// PinnedExemptNamespaces are never guarded, whatever the Platform says: a cluster must be able to start and
// Ringfence must be able to run. The Platform's exemptNamespaces are added to them.
var PinnedExemptNamespaces = []string{"kube-system", SystemNamespace}
