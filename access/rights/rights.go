// Package rights says which rights of whom nobody used: role bindings against what the audit log shows.
//
// It reads no cluster and no file, and changes nothing: who calls it brings objects and requests. The command line does.
package rights

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Request is one request that the API server answered well: what was refused is no use of a right.
type Request struct {
	Time time.Time
	// User and Groups are whose rights were asked: those of the impersonated where there is one.
	User   string
	Groups []string
	Verb   string
	// Group, Resource, Subresource, Namespace and Name are what it was for; all empty for a path.
	Group, Resource, Subresource, Namespace, Name string
	// Path is a path that is no resource.
	Path string
}

// rule is PolicyRule of rbac.authorization.k8s.io.
type rule struct {
	APIGroups       []string `json:"apiGroups"`
	Resources       []string `json:"resources"`
	Verbs           []string `json:"verbs"`
	ResourceNames   []string `json:"resourceNames"`
	NonResourceURLs []string `json:"nonResourceURLs"`
}

type subject struct {
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
}

// object is a role or a binding, whichever fields it has.
type object struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
	Rules           []rule          `json:"rules"`
	AggregationRule json.RawMessage `json:"aggregationRule"`
	Subjects        []subject       `json:"subjects"`
	RoleRef         struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
	} `json:"roleRef"`
}

// holding is one subject of one binding.
type holding struct {
	binding *object
	subject subject
	// used has the last use of each verb of each rule, "rule/verb".
	used map[string]time.Time
	last time.Time
}

// Review collects roles, bindings and requests. The zero value is not one: New makes it.
type Review struct {
	roles    map[string]*object // by kind, namespace and name
	bindings []*object
	own      int
	// bySubject is made by the first request.
	bySubject     map[string][]*holding
	holdings      []*holding
	oldest, until time.Time
	requests      int
	reads         bool
}

// New is a review of nothing yet.
func New() *Review { return &Review{roles: map[string]*object{}} }

func key(kind, namespace, name string) string { return kind + "\x00" + namespace + "\x00" + name }

// Add takes a role or a binding and reports whether the object is one. All of them come before the first request. Bindings of
// Kubernetes itself are counted and not reviewed; see kubernetes.
func (r *Review) Add(value map[string]any) (bool, error) {
	version, _ := value["apiVersion"].(string)
	kind, _ := value["kind"].(string)
	if !strings.HasPrefix(version, "rbac.authorization.k8s.io/") || !slices.Contains([]string{"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}, kind) {
		return false, nil
	}
	text, err := json.Marshal(value)
	if err != nil {
		return true, err
	}
	o := &object{}
	if err := json.Unmarshal(text, o); err != nil {
		return true, fmt.Errorf("%s: %w", kind, err)
	}
	switch {
	case o.Metadata.Name == "":
		return true, fmt.Errorf("%s without a name", kind)
	case strings.HasSuffix(kind, "Role"):
		r.roles[key(kind, o.Metadata.Namespace, o.Metadata.Name)] = o
	case o.kubernetes():
		r.own++
	default:
		r.bindings = append(r.bindings, o)
	}
	return true, nil
}

// kubernetes reports whether a binding is one of Kubernetes itself: by its name, which anybody may choose, and because it binds nobody
// but Kubernetes' own users and accounts, to a role of Kubernetes.
func (o *object) kubernetes() bool {
	own := func(s subject) bool {
		switch s.Kind {
		case "ServiceAccount":
			return cmp.Or(s.Namespace, o.Metadata.Namespace) == "kube-system"
		case "Group": // of everybody only what everybody has
			everybody := s.Name == "system:authenticated" || s.Name == "system:unauthenticated" || strings.HasPrefix(s.Name, "system:serviceaccounts")
			return strings.HasPrefix(s.Name, "system:") && (!everybody || slices.Contains(forEverybody(), o.RoleRef.Name))
		}
		return strings.HasPrefix(s.Name, "system:") && s.Name != "system:anonymous" && !strings.HasPrefix(s.Name, "system:serviceaccount:")
	}
	role := strings.HasPrefix(o.RoleRef.Name, "system:") || o.Metadata.Namespace == "kube-system" && o.RoleRef.Name == "extension-apiserver-authentication-reader"
	return role && strings.HasPrefix(o.Metadata.Name, "system:") && !slices.ContainsFunc(o.Subjects, func(s subject) bool { return !own(s) })
}

// forEverybody are the roles of Kubernetes that it binds to everybody.
func forEverybody() []string {
	return []string{"system:basic-user", "system:cluster-trust-bundle-discovery", "system:discovery", "system:public-info-viewer", "system:service-account-issuer-discovery"}
}

// roleOf is the role that a binding gives; nil where it is not known.
func (r *Review) roleOf(b *object) *object {
	namespace := ""
	if b.RoleRef.Kind == "Role" {
		namespace = b.Metadata.Namespace
	}
	return r.roles[key(b.RoleRef.Kind, namespace, b.RoleRef.Name)]
}

// account is what authentication calls a subject: "user\x00name" or "group\x00name".
func account(s subject) string {
	switch s.Kind {
	case "ServiceAccount":
		return "User\x00system:serviceaccount:" + s.Namespace + ":" + s.Name
	default:
		return s.Kind + "\x00" + s.Name
	}
}

// index makes a holding of each subject of each binding.
func (r *Review) index() {
	if r.bySubject != nil {
		return
	}
	r.bySubject = map[string][]*holding{}
	for _, b := range r.bindings {
		for _, s := range b.Subjects {
			s.Namespace = cmp.Or(s.Namespace, b.Metadata.Namespace)
			h := &holding{binding: b, subject: s, used: map[string]time.Time{}}
			r.holdings = append(r.holdings, h)
			r.bySubject[account(s)] = append(r.bySubject[account(s)], h)
		}
	}
}

// Use notes one request with everyone whose binding allows it. Where several do, all of them count as used: which one the
// API server took is not known.
func (r *Review) Use(q Request) {
	r.index()
	r.requests++
	if r.oldest.IsZero() || q.Time.Before(r.oldest) {
		r.oldest = q.Time
	}
	if q.Time.After(r.until) {
		r.until = q.Time
	}
	r.reads = r.reads || slices.Contains(readVerbs(), q.Verb)
	names := []string{"User\x00" + q.User}
	for _, g := range q.Groups {
		names = append(names, "Group\x00"+g)
	}
	for _, name := range names {
		for _, h := range r.bySubject[name] {
			r.note(h, q)
		}
	}
}

// readVerbs are those that many audit policies leave out.
func readVerbs() []string { return []string{"get", "list", "watch"} }

// note marks the rules of a holding that allow a request.
func (r *Review) note(h *holding, q Request) {
	role := r.roleOf(h.binding)
	if role == nil || h.binding.Kind == "RoleBinding" && (h.binding.Metadata.Namespace != q.Namespace || q.Path != "") {
		return
	}
	for i, rule := range role.Rules {
		if !rule.allows(q) {
			continue
		}
		verb := q.Verb
		if !slices.Contains(rule.Verbs, verb) {
			verb = "*"
		}
		if at := fmt.Sprintf("%d/%s", i, verb); q.Time.After(h.used[at]) {
			h.used[at] = q.Time
		}
		if q.Time.After(h.last) {
			h.last = q.Time
		}
	}
}

// allows is what RBAC makes of a rule.
func (r rule) allows(q Request) bool {
	has := func(list []string, value string) bool {
		return slices.Contains(list, value) || slices.Contains(list, "*")
	}
	if !has(r.Verbs, q.Verb) {
		return false
	}
	if q.Path != "" {
		return slices.ContainsFunc(r.NonResourceURLs, func(pattern string) bool {
			before, isPrefix := strings.CutSuffix(pattern, "*")
			return pattern == q.Path || isPrefix && strings.HasPrefix(q.Path, before)
		})
	}
	resource := q.Resource
	if q.Subresource != "" {
		resource += "/" + q.Subresource
	}
	return has(r.APIGroups, q.Group) && (has(r.Resources, resource) || q.Subresource != "" && slices.Contains(r.Resources, "*/"+q.Subresource)) &&
		(len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, q.Name))
}
