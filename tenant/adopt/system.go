package adopt

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// systemNames are namespaces that Kubernetes, its distributions and widely used add-ons make, by their documentation.
const systemNames = ` kube-system kube-public kube-node-lease default ringfence-system
 openshift calico-system calico-apiserver tigera-operator cilium cilium-secrets istio-system istio-ingress istio-operator linkerd linkerd-viz
 cert-manager ingress-nginx nginx-ingress traefik metallb-system external-dns external-secrets sealed-secrets vault kyverno gatekeeper-system
 argocd argo-cd argo-rollouts openshift-gitops flux-system velero rook-ceph longhorn-system openebs portworx trident
 capsule-system hnc-system monitoring prometheus logging observability elastic-system datadog dynatrace falco trivy-system neuvector
 kubernetes-dashboard local-path-storage olm operators operator-lifecycle-manager crossplane-system keda tekton-pipelines knative-serving knative-eventing
 gmp-system gmp-public gke-managed-system gke-managed-cim amazon-cloudwatch amazon-guardduty aws-observability azure-arc gatekeeper
 cattle-system cattle-fleet-system fleet-system fleet-local fleet-default security-scan `

// systemPrefixes and systemSuffix are how such namespaces are called.
const (
	systemPrefixes = "kube- openshift- cattle- fleet- gke- gmp- eks- aks- rancher- tanzu- vmware-system- istio- calico- linkerd- "
	systemSuffix   = "-system"
)

// findSystem marks the namespaces of the platform.
func (e *Estate) findSystem() {
	rancher := "" // Rancher keeps the system's namespaces in a project of their own
	if n := e.namespaces["kube-system"]; n != nil {
		rancher = rancherProject(n)
	}
	for _, n := range e.namespaces {
		n.system = systemBy(n)
		if n.system == "" && rancher != "" && rancherProject(n) == rancher {
			n.system = "it is in the Rancher project of kube-system"
		}
	}
}

// systemBy says by what a namespace is the platform's, "" if it is not.
func systemBy(n *namespace) string {
	hard := strings.HasPrefix(n.Name, "kube-") || n.Name == "default" || n.Name == "ringfence-system"
	if !hard && (n.capsule != "" || n.parent != "") {
		return ""
	}
	if strings.Contains(systemNames, " "+n.Name+" ") || strings.Contains(systemNames, "\n"+n.Name+" ") {
		return "its name is one that Kubernetes or an add-on uses"
	}
	for prefix := range strings.FieldsSeq(systemPrefixes) {
		if strings.HasPrefix(n.Name, prefix) {
			return "its name begins with " + prefix
		}
	}
	for _, key := range slices.Sorted(maps.Keys(n.labels)) {
		switch value := n.labels[key]; {
		case key == "openshift.io/cluster-monitoring" && value == "true", key == "addonmanager.kubernetes.io/mode", key == "kubernetes.io/cluster-service", key == "openshift.io/run-level":
			return "label " + key + " is the platform's"
		}
	}
	if _, ok := n.notes["openshift.io/run-level"]; ok {
		return "annotation openshift.io/run-level is the platform's"
	}
	if strings.HasSuffix(n.Name, systemSuffix) && teamLabel(n, nil) == "" {
		return "its name ends in " + systemSuffix + " and no label names a team"
	}
	return ""
}

// teamLabel is the first label or annotation that names a team, as key=value.
func teamLabel(n *namespace, options []string) string {
	for _, key := range labelKeys(n, options) {
		if v := valueOf(n, key.name); v != "" {
			return key.name + "=" + v
		}
	}
	return ""
}

// rancherProject is the project that Rancher keeps a namespace in, "" for none.
func rancherProject(n *namespace) string {
	id := n.notes["field.cattle.io/projectId"]
	if id == "" {
		id = n.labels["field.cattle.io/projectId"]
	}
	if _, project, ok := strings.Cut(id, ":"); ok {
		return project
	}
	return id
}

// mostExempt is how many namespaces a Platform may exempt.
const mostExempt = 50

// exempt proposes what the Platform leaves alone.
func (e *Estate) exempt(p *Plan) {
	names := []string{}
	for _, n := range e.sorted() {
		if n.system == "" {
			continue
		}
		n.set(OfPlatform, "", n.system)
		if n.Name == "default" || slices.Contains([]string{"kube-system", "ringfence-system"}, n.Name) || n.ending {
			continue // never exempt, and always exempt
		}
		names = append(names, n.Name)
	}
	if len(names) > mostExempt {
		for _, name := range names[mostExempt:] {
			e.decide("exempt-too-many", "", e.namespaces[name].Object, fmt.Sprintf("a Platform exempts at most %d namespaces; make them a tenant of the platform team, or fewer", mostExempt), "they are not exempt: they are guarded as namespaces of nobody")
		}
		names = names[:mostExempt]
	}
	p.exempt = map[string]string{}
	for _, name := range names {
		p.exempt[name] = e.namespaces[name].system
	}
}
