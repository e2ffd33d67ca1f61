package cluster

import (
	"crypto/sha256"
	"slices"
	"strings"
)

// ByOwner orders workloads for Owners: what makes other workloads comes before what it makes.
func ByOwner(workloads []Resource) []Resource {
	rank := func(r Resource) int {
		return slices.Index([]string{"batch/Job", "apps/ReplicaSet", "/ReplicationController", "/Pod"}, r.APIGroup+"/"+r.Kind.Kind)
	}
	sorted := slices.Clone(workloads)
	slices.SortStableFunc(sorted, func(a, b Resource) int { return rank(a) - rank(b) })
	return sorted
}

// Owners tells objects that a controller made of another from those that somebody wrote. It is for one goroutine, which
// shows it every workload, owners before what they own: see ByOwner. The zero value knows no object.
type Owners struct {
	// seen holds group, kind and uid of every workload, as a hash: 16 bytes each, of which there may be a million.
	seen map[Identity]bool
}

// Made reports whether a workload was made by the controller of one that was shown before, of which it is a replica. A
// reference to an object that was not seen proves nothing: anybody can write one. Nor is a Pod a replica that somebody
// added a container to, or an object that names as its controller a kind that makes no such.
func (o *Owners) Made(value map[string]any) bool {
	self, makers := Makers(value)
	if o.seen == nil {
		o.seen = map[Identity]bool{}
	}
	if self != (Identity{}) {
		o.seen[self] = true
	}
	return slices.ContainsFunc(makers, func(m Identity) bool { return o.seen[m] })
}

// Identity stands for one object: the hash of its group, kind and uid. Its zero value stands for none.
type Identity [16]byte

// Makers are the identity of a workload, and those of the controllers that it names and of which it may be a replica: it is one where
// such an object is there. A Pod that somebody added a container to is none.
func Makers(value map[string]any) (self Identity, makers []Identity) {
	apiVersion, _ := value["apiVersion"].(string)
	kind, _ := value["kind"].(string)
	meta, _ := value["metadata"].(map[string]any)
	uid, _ := meta["uid"].(string)
	if uid != "" {
		self = identity(apiVersion, kind, uid)
	}
	if spec, ok := value["spec"].(map[string]any); ok && apiVersion == "v1" && kind == "Pod" && spec["ephemeralContainers"] != nil {
		return self, nil
	}
	by := madeBy(group(apiVersion), kind)
	references, _ := meta["ownerReferences"].([]any)
	for _, r := range references {
		owner, _ := r.(map[string]any)
		if owner["controller"] != true {
			continue
		}
		version, _ := owner["apiVersion"].(string)
		kind, _ := owner["kind"].(string)
		of, _ := owner["uid"].(string)
		if slices.Contains(by, group(version)+"/"+kind) && of != uid {
			makers = append(makers, identity(version, kind, of))
		}
	}
	return self, makers
}

// madeBy are the kinds whose controllers make objects of a kind. Another that an object names did not make it, and nobody takes that away from
// it: the object would not be judged, nor what it should be a replica of.
func madeBy(group, kind string) []string {
	switch group + "/" + kind {
	case "/Pod":
		return []string{"/ReplicationController", "apps/ReplicaSet", "apps/StatefulSet", "apps/DaemonSet", "batch/Job"}
	case "apps/ReplicaSet":
		return []string{"apps/Deployment"}
	case "batch/Job":
		return []string{"batch/CronJob"}
	}
	return nil
}

// OfKubernetes reports whether Kubernetes itself made an object and keeps it as it is: nobody can do otherwise.
func OfKubernetes(value map[string]any) bool {
	if value["apiVersion"] != "v1" {
		return false
	}
	meta, _ := value["metadata"].(map[string]any)
	switch value["kind"] {
	case "ConfigMap":
		return meta["name"] == "kube-root-ca.crt"
	case "Service":
		return meta["name"] == "kubernetes" && meta["namespace"] == "default"
	default:
		return false
	}
}

// identity is the hash of group, kind and uid.
func identity(apiVersion, kind, uid string) Identity {
	sum := sha256.Sum256([]byte(group(apiVersion) + "\x00" + kind + "\x00" + uid))
	return Identity(sum[:16])
}

// group is the API group of an apiVersion, "" for the core's.
func group(apiVersion string) string {
	before, _, grouped := strings.Cut(apiVersion, "/")
	if !grouped {
		return ""
	}
	return before
}
