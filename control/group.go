package control

import (
	"slices"
)

// Group is a set of kinds that share variables and are judged by one native policy. The two fixed parts of every
// policy.yaml, which kinds and which shared variables, are owned here; the catalogue's walker fails on a copy that differs.
type Group struct {
	// Name is what control.yaml lists under groups.
	Name string
	// Of is the group whose controls judge this one too, "" where its own are listed; see Template.
	Of string
	// Kinds are the kinds judged.
	Kinds []Kind
	// Variables are shared CEL variables, in the order in which they may use each other. Each has a twin over
	// oldObject, named as Before says.
	Variables []Variable
	// Quick is a CEL expression, over the names of the shared variables, that bounds the objects of which package clean asks
	// whether all is well; "" where that is too dear to ask.
	Quick string
	// When is a CEL expression over object for the objects that are judged, "" for all.
	When string
	// Unless is a CEL expression over request for requests that are not judged, "" for none.
	Unless string
	// Unreachable says that no native policy can judge the kinds: the API server asks none about them.
	Unreachable bool
}

// Elements names for each variable that lists indices the one whose they are.
func (g Group) Elements() map[string]string {
	elements := map[string]string{}
	for _, v := range g.Variables {
		if v.Of != "" {
			elements[v.Name] = v.Of
		}
	}
	return elements
}

// Holds reports whether a control judges objects of the group.
func (g Group) Holds(c Control) bool {
	return slices.Contains(c.Groups, g.Name) || g.Of != "" && slices.Contains(c.Groups, g.Of)
}

// Only are the names of the kinds that a control judges within the group, nil where it judges them all.
func (g Group) Only(c Control) (only []string) {
	if len(c.Kinds) == 0 || g.Of != "" {
		return nil
	}
	for _, k := range g.Kinds {
		if slices.Contains(c.Kinds, k.Kind) {
			only = append(only, k.Kind)
		}
	}
	if len(only) == len(g.Kinds) {
		return nil
	}
	return only
}

// Kind is one kind of object and how the API server serves it.
type Kind struct {
	APIGroup string
	Kind     string
	// Resource is the plural; Subresources are doors to the same object beside it.
	Resource     string
	Subresources []string
	// OldAPIGroups are groups that carried the kind on servers no longer supported; files may still say so.
	OldAPIGroups []string
	// Version is the version that the API server converts to before it judges; "" is v1, "*" judges each as it comes.
	Version string
	// ClusterScoped says that objects of the kind lie in no namespace.
	ClusterScoped bool
	// Template says that objects of the kind carry a pod template: pods are made of them, each judged when it is created.
	Template bool
	// Connect says that the kind is what a request of the operation CONNECT asks for: it is never stored, and has no name.
	Connect bool
	// Asked says that the kind is what a request of the operation CREATE asks of an object of the core group, at the subresource
	// that Resource names: it is never stored.
	Asked bool
}

// Unstored reports whether objects of the kind only pass: nothing is kept of them, nothing can be waived.
func (k Kind) Unstored() bool { return k.Connect || k.Asked }

// Door is the API group of the resource and the operations by which the API server is asked for the kind.
func (k Kind) Door() (apiGroup string, operations []string) {
	switch {
	case k.Connect:
		return k.APIGroup, []string{"CONNECT"}
	case k.Asked:
		return "", []string{"CREATE"}
	}
	return k.APIGroup, []string{"CREATE", "UPDATE"}
}

// Variable is a named CEL expression, used as variables.<Name>.
type Variable struct {
	Name       string `json:"name"`
	Expression string `json:"expression"`
	// Late says that rules need it only once they found something: it says where, not whether.
	Late bool `json:"-"`
	// Brief stands for the expression where only whether is asked, of an object that the group's Quick holds for.
	Brief string `json:"-"`
	// Of is the shared variable whose indices this one lists, AnyList where it lists those of any list, "" for any other.
	Of string `json:"-"`
}

// AnyList as what a variable is Of says that it counts from 0 on, for rules that look up to where a list ends.
const AnyList = "*"

// Groups are the match groups that are always there, in the order in which bundles are listed; Catalogue.Groups has those
// of its templates too.
func Groups() []Group {
	const rbac = "rbac.authorization.k8s.io"
	return []Group{
		{Name: "workloads", Kinds: workloadKinds, Variables: workloadVariables(builtinPods), Quick: quickPods},
		{Name: "services", Quick: "true", Kinds: []Kind{
			{Kind: "Service", Resource: "services", Subresources: []string{"status"}}, // which carries annotations, too
			{APIGroup: "networking.k8s.io", Kind: "Ingress", Resource: "ingresses", Subresources: []string{"status"}, OldAPIGroups: []string{"extensions"}},
			{APIGroup: "gateway.networking.k8s.io", Kind: "HTTPRoute", Resource: "httproutes", Version: "*"},
			{APIGroup: "gateway.networking.k8s.io", Kind: "Gateway", Resource: "gateways", Version: "*"},
		}},
		{Name: "network", Variables: countVariables, Kinds: []Kind{
			{APIGroup: "networking.k8s.io", Kind: "NetworkPolicy", Resource: "networkpolicies", OldAPIGroups: []string{"extensions"}},
			{APIGroup: "cilium.io", Kind: "CiliumNetworkPolicy", Resource: "ciliumnetworkpolicies", Version: "*"},
			{APIGroup: "security.istio.io", Kind: "PeerAuthentication", Resource: "peerauthentications", Version: "*"},
			{APIGroup: "networking.istio.io", Kind: "DestinationRule", Resource: "destinationrules", Version: "*"},
		}},
		{Name: "rbac", Variables: rightsVariables, Unless: controlPlane, Kinds: []Kind{
			{APIGroup: rbac, Kind: "Role", Resource: "roles"},
			{APIGroup: rbac, Kind: "RoleBinding", Resource: "rolebindings"},
		}},
		// The objects have no pod; with its variables a control can judge them and workloads alike.
		{Name: "objects", Variables: workloadVariables(builtinPods), Quick: "true", Kinds: []Kind{
			{Kind: "ConfigMap", Resource: "configmaps"},
			{Kind: "Secret", Resource: "secrets"},
			{Kind: "ServiceAccount", Resource: "serviceaccounts"},
			{Kind: "PersistentVolumeClaim", Resource: "persistentvolumeclaims"},
		}},
		// What opens a way into what runs. Each is the options of one request, behind the Pod or Service that Resource names.
		{Name: "connections", Kinds: []Kind{
			{Kind: "PodExecOptions", Resource: "pods/exec", Connect: true},
			{Kind: "PodAttachOptions", Resource: "pods/attach", Connect: true},
			{Kind: "PodPortForwardOptions", Resource: "pods/portforward", Connect: true},
			{Kind: "PodProxyOptions", Resource: "pods/proxy", Connect: true},
			{Kind: "ServiceProxyOptions", Resource: "services/proxy", Connect: true},
		}},
		// What a token is asked with. Kubelets and controllers ask for pods whose templates were judged, and are never in the way.
		{Name: "tokens", Unless: componentUser, Kinds: []Kind{
			{APIGroup: "authentication.k8s.io", Kind: "TokenRequest", Resource: "serviceaccounts/token", Asked: true},
		}},
		{Name: "cluster", Variables: clusterVariables, Unless: controlPlane, Kinds: clusterKinds(rbac)},
		{Name: "webhooks", Variables: countVariables, Unreachable: true, Kinds: []Kind{
			{APIGroup: "admissionregistration.k8s.io", Kind: "ValidatingWebhookConfiguration", Resource: "validatingwebhookconfigurations", ClusterScoped: true},
			{APIGroup: "admissionregistration.k8s.io", Kind: "MutatingWebhookConfiguration", Resource: "mutatingwebhookconfigurations", ClusterScoped: true},
		}},
	}
}

// kindNames are the names of the kinds that a group judges.
func (g Group) kindNames() (names []string) {
	for _, k := range g.Kinds {
		names = append(names, k.Kind)
	}
	return names
}

// controlPlane are the users that write the roles of Kubernetes itself, at the start of an API server and when it joins
// aggregated roles out of others, each judged when it was written.
const controlPlane = `request.userInfo.?username.orValue('') in ['system:apiserver', 'system:kube-controller-manager', 'system:serviceaccount:kube-system:clusterrole-aggregation-controller']`

// componentUser are nodes, the control plane and what runs in kube-system.
const componentUser = `request.userInfo.?username.orValue('') in ['system:apiserver', 'system:kube-controller-manager', 'system:kube-scheduler']
|| request.userInfo.?username.orValue('').startsWith('system:node:') || request.userInfo.?username.orValue('').startsWith('system:serviceaccount:kube-system:')`

func clusterKinds(rbac string) []Kind {
	kinds := []Kind{
		{Kind: "Namespace", Resource: "namespaces"},
		{Kind: "PersistentVolume", Resource: "persistentvolumes"},
		{APIGroup: rbac, Kind: "ClusterRole", Resource: "clusterroles"},
		{APIGroup: rbac, Kind: "ClusterRoleBinding", Resource: "clusterrolebindings"},
		{APIGroup: "storage.k8s.io", Kind: "StorageClass", Resource: "storageclasses"},
		{APIGroup: "certificates.k8s.io", Kind: "CertificateSigningRequest", Resource: "certificatesigningrequests"},
		{APIGroup: "cilium.io", Kind: "CiliumClusterwideNetworkPolicy", Resource: "ciliumclusterwidenetworkpolicies", Version: "*"},
		{APIGroup: "policy.networking.k8s.io", Kind: "ClusterNetworkPolicy", Resource: "clusternetworkpolicies", Version: "*"},
		{APIGroup: "policy.networking.k8s.io", Kind: "AdminNetworkPolicy", Resource: "adminnetworkpolicies", Version: "*"},
		{APIGroup: "policy.networking.k8s.io", Kind: "BaselineAdminNetworkPolicy", Resource: "baselineadminnetworkpolicies", Version: "*"},
	}
	for i := range kinds {
		kinds[i].ClusterScoped = true
	}
	return kinds
}

// workloadKinds are Pod and every built-in kind with a pod template.
var workloadKinds = []Kind{
	{Kind: "Pod", Resource: "pods", Subresources: []string{"ephemeralcontainers", "resize"}},
	{Kind: "PodTemplate", Resource: "podtemplates", Template: true},
	{Kind: "ReplicationController", Resource: "replicationcontrollers", Template: true},
	{APIGroup: "apps", Kind: "Deployment", Resource: "deployments", OldAPIGroups: []string{"extensions"}, Template: true},
	{APIGroup: "apps", Kind: "StatefulSet", Resource: "statefulsets", Template: true},
	{APIGroup: "apps", Kind: "DaemonSet", Resource: "daemonsets", OldAPIGroups: []string{"extensions"}, Template: true},
	{APIGroup: "apps", Kind: "ReplicaSet", Resource: "replicasets", OldAPIGroups: []string{"extensions"}, Template: true},
	{APIGroup: "batch", Kind: "Job", Resource: "jobs", Template: true},
	{APIGroup: "batch", Kind: "CronJob", Resource: "cronjobs", Template: true},
}
