package tenant

import (
	_ "embed" // protected.yaml, waivers.yaml, elevations.yaml, imports.yaml, quarantines.yaml, offboarding.yaml, moves.yaml, promotions.yaml
	"fmt"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// The ClusterRoles that RoleBindings in tenant namespaces refer to. They are the same for every tenant.
const (
	// RoleReadOnly looks at everything but Secrets, and enters nothing.
	RoleReadOnly = "ringfence-tenant-readonly"
	// RoleAdmin runs workloads. It changes no quota, limit, right, Guard or namespace.
	RoleAdmin = "ringfence-tenant-admin"
	// RoleDebug enters running pods. It is bound outside production alone.
	RoleDebug = "ringfence-tenant-debug"
	// RolePipeline deploys. It reads and writes no Secret, waives nothing and enters nothing.
	RolePipeline = "ringfence-tenant-pipeline"
	// rolePrefixNetwork and a network model name the role that writes policies of that model.
	rolePrefixNetwork = "ringfence-tenant-network-"
	// RoleApprover approves waivers. Ringfence binds it to nobody: the bank does, in each namespace or in all.
	RoleApprover = "ringfence-waiver-approver"
	// RoleElevationRequester asks for elevations where it is bound, as tenants' admins may in their own namespaces. RoleElevationApprover
	// approves and reviews them. Both are the bank's to bind.
	RoleElevationRequester = "ringfence-elevation-requester"
	RoleElevationApprover  = "ringfence-elevation-approver"
	// rolePrefixRight and a right of elevations name the role of that right.
	rolePrefixRight = "ringfence-tenant-elevation-"
	// RoleResponder quarantines workloads, confirms and lifts. It too is the bank's to bind.
	RoleResponder = "ringfence-quarantine-responder"
	// RoleImporter asks for imports of images and says that they were pushed, RoleImportApprover approves them. Both are the bank's to bind.
	RoleImporter       = "ringfence-importer"
	RoleImportApprover = "ringfence-import-approver"
)

// RoleOfRight is the ClusterRole of a right of elevations.
func RoleOfRight(right v1alpha1.Right) string { return rolePrefixRight + string(right) }

func networkRole(model v1alpha1.NetworkModel) string { return rolePrefixNetwork + string(model) }

//go:embed protected.yaml
var protectedYAML string

//go:embed waivers.yaml
var waiversYAML string

//go:embed elevations.yaml
var elevationsYAML string

//go:embed imports.yaml
var importsYAML string

//go:embed quarantines.yaml
var quarantinesYAML string

//go:embed offboarding.yaml
var offboardingYAML string

//go:embed moves.yaml
var movesYAML string

//go:embed promotions.yaml
var promotionsYAML string

// Protection is what must be installed once in a cluster beside the CRDs, before the Reconciler runs: the ClusterRoles of
// tenants, the native policies that keep everyone else off what Ringfence writes, those that say who asks for waivers, elevations
// and imports of images and who approves them, those of quarantines: who opens and lifts one, and what one freezes, and those that say who ends a tenant,
// moves an environment, and insists on a promotion. The installer applies it and keeps it.
func Protection() ([]client.Object, error) {
	var objects []client.Object
	for _, role := range Roles() {
		objects = append(objects, &role)
	}
	policies := strings.Join([]string{
		protectedYAML, waiversYAML, elevationsYAML, importsYAML, quarantinesYAML, offboardingYAML, movesYAML, promotionsYAML}, "\n---\n")
	for i, doc := range strings.Split(policies, "\n---\n") {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(doc), &kind); err != nil {
			return nil, fmt.Errorf("read document %d of the protecting policies: %w", i+1, err)
		}
		policy := &admissionregistrationv1.ValidatingAdmissionPolicy{}
		var object client.Object = policy
		if kind.Kind == "ValidatingAdmissionPolicyBinding" {
			object = &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}
		}
		if err := yaml.UnmarshalStrict([]byte(doc), object); err != nil {
			return nil, fmt.Errorf("read document %d of the protecting policies: %w", i+1, err)
		}
		if err := addApprovals(policy); err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// rule grants verbs on resources of one API group. No rule of this package uses a wildcard.
func rule(group, resources, verbs string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: strings.Fields(resources), Verbs: strings.Fields(verbs)}
}

const (
	look  = "get list watch"
	write = "create update patch delete deletecollection"
)

// Roles are the ClusterRoles of tenants, labelled as Ringfence's.
func Roles() []rbacv1.ClusterRole {
	role := func(name string, rules ...rbacv1.PolicyRule) rbacv1.ClusterRole {
		return rbacv1.ClusterRole{
			TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole"},
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}},
			Rules:      rules,
		}
	}
	right := func(r v1alpha1.Right, rules ...rbacv1.PolicyRule) rbacv1.ClusterRole {
		return role(RoleOfRight(r), rules...)
	}
	return []rbacv1.ClusterRole{
		role(RoleReadOnly, readOnlyRules()...),
		role(RoleAdmin, append(readOnlyRules(), adminRules()...)...),
		role(RoleDebug,
			rule("", "pods/exec pods/attach pods/portforward", "get create"),
			rule("", "pods/ephemeralcontainers", "get update patch")),
		role(RolePipeline, append(readOnlyRules(), pipelineRules()...)...),
		role(RoleApprover,
			rule("ringfence.dev", "waivers", look+" patch approve"),
			rule("ringfence.dev", "waivers/status", "get update patch"),
			rule("ringfence.dev", "guards", look)),
		role(RoleElevationRequester, append(readOnlyRules(), rule("ringfence.dev", "elevations", look+" create patch"))...),
		role(RoleElevationApprover,
			rule("ringfence.dev", "elevations", look+" patch approve review"),
			rule("ringfence.dev", "elevations/status", "get update patch"),
			rule("ringfence.dev", "guards", look)),
		right(v1alpha1.RightLogs, rule("", "pods/log", "get")),
		right(v1alpha1.RightExec, rule("", "pods/exec pods/attach", "get create")),
		right(v1alpha1.RightPortForward, rule("", "pods/portforward", "get create")),
		right(v1alpha1.RightSecrets, rule("", "secrets", "get")),
		right(v1alpha1.RightDebug, rule("", "pods/ephemeralcontainers", "get update patch")),
		right(v1alpha1.RightRestart, rule("", "pods", "delete"), rule("", "pods/eviction", "create"),
			rule("apps", "deployments/scale statefulsets/scale replicasets/scale", "get update patch")),
		role(RoleResponder, append(readOnlyRules(), rule("ringfence.dev", "quarantines", look+" create patch"))...),
		role(RoleImporter, append(readOnlyRules(), rule("ringfence.dev", "imageimports", look+" create"),
			rule("ringfence.dev", "imageimports/status", "get update patch"))...),
		role(RoleImportApprover,
			rule("ringfence.dev", "imageimports", look+" approve"),
			rule("ringfence.dev", "imageimports/status", "get update patch"),
			rule("ringfence.dev", "guards", look)),
		role(networkRole(v1alpha1.NetworkKubernetes), rule("networking.k8s.io", "networkpolicies", write)),
		role(networkRole(v1alpha1.NetworkCilium), rule("cilium.io", "ciliumnetworkpolicies", write)),
	}
}

// readOnlyRules let a group see its namespace: what runs, why it does not, what it may use and who may do what.
func readOnlyRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule("", "namespaces", "get"),
		rule("", "pods services endpoints configmaps serviceaccounts persistentvolumeclaims "+
			"replicationcontrollers podtemplates events resourcequotas limitranges", look),
		rule("", "pods/log pods/status replicationcontrollers/scale", "get"),
		rule("apps", "deployments statefulsets daemonsets replicasets controllerrevisions", look),
		rule("apps", "deployments/scale statefulsets/scale replicasets/scale", "get"),
		rule("batch", "jobs cronjobs", look),
		rule("autoscaling", "horizontalpodautoscalers", look),
		rule("policy", "poddisruptionbudgets", look),
		rule("networking.k8s.io", "ingresses networkpolicies", look),
		rule("cilium.io", "ciliumnetworkpolicies", look),
		rule("discovery.k8s.io", "endpointslices", look),
		rule("events.k8s.io", "events", look),
		rule("metrics.k8s.io", "pods", "get list"),
		rule("rbac.authorization.k8s.io", "roles rolebindings", look),
		rule("ringfence.dev", "guards waivers elevations quarantines imageimports", look),
	}
}

// adminRules let a group run its workloads. Endpoints are left out because writing them sends others' traffic elsewhere
// (CVE-2021-25740), tokens because one can be made for any account, and exec because it belongs to RoleDebug.
func adminRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule("", "pods services configmaps secrets serviceaccounts persistentvolumeclaims replicationcontrollers podtemplates", write),
		rule("", "secrets", look),
		rule("", "pods/eviction", "create"),
		rule("", "pods/resize replicationcontrollers/scale", "get update patch"),
		rule("apps", "deployments statefulsets daemonsets replicasets", write),
		rule("apps", "deployments/scale statefulsets/scale replicasets/scale", "update patch"),
		rule("batch", "jobs cronjobs", write),
		rule("autoscaling", "horizontalpodautoscalers", write),
		rule("policy", "poddisruptionbudgets", write),
		rule("networking.k8s.io", "ingresses", write),
		rule("ringfence.dev", "waivers", "create patch delete"), // patch ends one early; nothing else of it can be changed
		rule("ringfence.dev", "elevations", "create patch"),     // patch ends one
	}
}

// pipelineRules let a pipeline deploy: what an admin writes but Secrets, which come from their store, and waivers, which people ask for.
func pipelineRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule("", "pods services configmaps serviceaccounts persistentvolumeclaims replicationcontrollers podtemplates", write),
		rule("apps", "deployments statefulsets daemonsets replicasets", write),
		rule("apps", "deployments/scale statefulsets/scale replicasets/scale", "update patch"),
		rule("batch", "jobs cronjobs", write),
		rule("autoscaling", "horizontalpodautoscalers", write),
		rule("policy", "poddisruptionbudgets", write),
		rule("networking.k8s.io", "ingresses", write),
	}
}

// BoundRoles are the names of the ClusterRoles that Ringfence itself gives; the others of Roles are the bank's to bind.
func BoundRoles() (names []string) {
	for _, role := range Roles() {
		if !slices.Contains([]string{RoleApprover, RoleResponder, RoleElevationRequester, RoleElevationApprover, RoleImporter, RoleImportApprover}, role.Name) {
			names = append(names, role.Name)
		}
	}
	return names
}

// ServiceAccountRules are all the rights that the Reconciler needs, for the ClusterRole of Ringfence's own ServiceAccount;
// the tests run it with these and nothing else. bind names the roles it may give: without it the API server refuses a
// RoleBinding to rights that the binder has not.
//
//	what                                      why
//	platforms, tenants look; tenants patch    the desired state; the tenant's finalizer
//	tenants/status update                     phases and conditions
//	guards                                    the compiled knowledge, and its finalizer
//	waivers, elevations look                  what is waived, who has more rights; Ringfence asks for none
//	the kind Tenant get, by name              whether a Tenant is deleted, or its kind with all Tenants
//	namespaces                                onboarding, labels, deletion
//	serviceaccounts create, patch             no token for pods that name no account (server-side apply asks for create)
//	resourcequotas, limitranges,              limits, baseline, rights
//	network policies, rolebindings
//	clusterroles bind, by name                giving the tenants' roles
//	clusterroles, clusterrolebindings         letting people find their namespaces; no right that Ringfence itself has not
//	the kinds of workloadKinds, holdingKinds  list of metadata: does anything run, does anything wait for a finalizer
func ServiceAccountRules() []rbacv1.PolicyRule {
	own := "create update delete " + look
	bind := rule(rbacv1.GroupName, "clusterroles", "bind")
	bind.ResourceNames = BoundRoles()
	kind := rule("apiextensions.k8s.io", "customresourcedefinitions", "get")
	kind.ResourceNames = []string{kindTenants}
	rules := []rbacv1.PolicyRule{
		kind,
		rule("ringfence.dev", "platforms", look),
		rule("ringfence.dev", "tenants", look+" patch"),
		rule("ringfence.dev", "tenants/status", "update"),
		rule("ringfence.dev", "guards", own+" patch"),
		rule("ringfence.dev", "waivers elevations", "list watch"),
		rule("", "namespaces", "create patch delete "+look),
		rule("", "serviceaccounts", "create patch "+look),
		rule("", "resourcequotas limitranges", own),
		rule("networking.k8s.io", "networkpolicies", own),
		rule("cilium.io", "ciliumnetworkpolicies", own),
		rule(rbacv1.GroupName, "rolebindings clusterroles clusterrolebindings", own),
		bind,
	}
	for _, k := range holdingKinds {
		rules = append(rules, rule(k.Group, k.Resource, "list"))
	}
	return rules
}
