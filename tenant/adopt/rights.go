package adopt

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// level is how much a role lets somebody do in a namespace, seen from the two roles that Ringfence gives.
type level int

const (
	levelNarrow   level = iota // less than looking at everything, or something else
	levelReadOnly              // looks at what runs
	levelAdmin                 // can run pods, and so read every Secret there
)

// access is a group's level in a namespace, and what gives it.
type access struct {
	group string // as the API server knows it, prefix included
	level level
	from  *Object
	via   string // the role
}

// groups are the groups with a level in the namespace, sorted, each once. Who has both is an admin.
func (n *namespace) groups(l level) []string {
	best := map[string]level{}
	for _, a := range n.access {
		best[a.group] = max(best[a.group], a.level)
	}
	var out []string
	for _, group := range slices.Sorted(maps.Keys(best)) {
		if best[group] == l {
			out = append(out, group)
		}
	}
	return out
}

// role is a Role or ClusterRole, as far as it matters.
type role struct {
	*Object
	level    level
	wildcard bool
	// reaches are rights that lead further than they look.
	reaches []string
	secrets bool
	known   bool // its rules were read; aggregated roles without rules are not
}

func (e *Estate) readRole(o *Object, value map[string]any) {
	if o.Kind == "Role" && e.inside(o) == nil {
		return
	}
	r := judgeRules(value["rules"])
	r.Object = o
	if at(value, "aggregationRule") != nil && len(listOf(value["rules"])) == 0 {
		r.known = false
	}
	e.roles[o.Namespace+"/"+o.Name] = r
	if o.Kind == "ClusterRole" {
		o.set(OfPlatform, "", "a role of the cluster; it stays, and counts where it is bound")
		return
	}
	o.set(Kept, "", "a role of the namespace; it stays, and counts where it is bound")
}

// judgeRules finds what rules come to.
func judgeRules(rules any) *role {
	r := &role{known: true}
	var runs, reads, broad, writes bool
	reaches := map[string]bool{}
	for _, rule := range listOf(rules) {
		verbs, resources := texts(at(rule, "verbs")), texts(at(rule, "resources"))
		if len(texts(at(rule, "resourceNames"))) > 0 {
			continue // of single objects
		}
		any := slices.Contains(resources, "*")
		verb := func(names ...string) bool {
			return slices.ContainsFunc(verbs, func(v string) bool { return v == "*" || slices.Contains(names, v) })
		}
		has := func(names ...string) bool {
			return any || slices.ContainsFunc(resources, func(v string) bool { return slices.Contains(names, v) })
		}
		if any && slices.Contains(verbs, "*") {
			r.wildcard = true
		}
		runs = runs || verb("create", "update", "patch") && has("pods", "deployments", "statefulsets", "daemonsets", "replicasets", "jobs", "cronjobs", "replicationcontrollers")
		writes = writes || verb("create", "update", "patch", "delete", "deletecollection")
		reads = reads || verb("get", "list") && has("pods")
		broad = broad || verb("get", "list") && has("services", "deployments", "configmaps", "events", "jobs")
		r.secrets = r.secrets || verb("get", "list", "watch") && has("secrets")
		for what, found := range map[string]bool{
			"pods/exec": verb("create", "get") && has("pods/exec", "pods/*"), "serviceaccounts/token": verb("create") && has("serviceaccounts/token"),
			"escalate": verb("escalate"), "bind": verb("bind"), "impersonate": verb("impersonate"), "secrets": verb("get", "list", "watch") && has("secrets"),
			"rolebindings": verb("create", "update", "patch") && has("rolebindings"),
		} {
			if found {
				reaches[what] = true
			}
		}
	}
	r.reaches = slices.Sorted(maps.Keys(reaches))
	switch {
	case runs:
		r.level = levelAdmin
	case reads && broad && !writes:
		r.level = levelReadOnly
	}
	return r
}

// usualRoles are ClusterRoles that everybody knows: Kubernetes' own, Rancher's project roles, and Capsule's.
var usualRoles = map[string]level{
	"cluster-admin": levelAdmin, "admin": levelAdmin, "edit": levelAdmin, "view": levelReadOnly, "project-owner": levelAdmin, "project-member": levelAdmin,
	"read-only": levelReadOnly, "basic-user": levelNarrow, "capsule-namespace-deleter": levelNarrow, "capsule-namespace-provisioner": levelNarrow,
	"hnc-admin-role": levelNarrow,
}

// roleOf is what a binding gives. guessed is true where only the role's name says so.
func (e *Estate) roleOf(b *binding) (r *role, guessed bool) {
	key := "/" + b.role
	if b.roleKind == "Role" {
		key = b.Namespace + "/" + b.role
	} else if l, usual := usualRoles[b.role]; usual {
		return &role{level: l, wildcard: b.role == "cluster-admin", known: true}, false
	}
	if r := e.roles[key]; r != nil && r.known {
		return r, false
	}
	return &role{level: levelByName(b.role)}, true
}

// levelByName guesses what a role gives whose rules were not read.
func levelByName(name string) level {
	found := levelNarrow
	for _, part := range strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return r < 'a' || r > 'z' }) {
		switch part {
		case "admin", "admins", "administrator", "edit", "editor", "owner", "owners", "maintainer", "developer", "deploy", "deployer", "operator", "write", "writer", "contributor", "poweruser", "full", "rw":
			return levelAdmin
		case "view", "viewer", "read", "reader", "readonly", "ro", "audit", "auditor", "observer", "lookup":
			found = levelReadOnly
		}
	}
	return found
}

func (e *Estate) roleBinding(o *Object, value map[string]any) {
	b := &binding{Object: o, role: textOf(at(value, "roleRef", "name")), roleKind: textOf(at(value, "roleRef", "kind")), labels: words(at(value, "metadata", "labels"))}
	o.inherited = b.labels["hnc.x-k8s.io/inherited-from"] != ""
	if b.roleKind == "" { // OpenShift's older form
		b.roleKind = "ClusterRole"
		if textOf(at(value, "roleRef", "namespace")) != "" {
			b.roleKind = "Role"
		}
	}
	for _, s := range listOf(value["subjects"]) {
		b.subjects = append(b.subjects, subject{strings.TrimPrefix(textOf(at(s, "kind")), "System"), textOf(at(s, "name")), textOf(at(s, "namespace"))})
	}
	if len(b.subjects) == 0 {
		for _, name := range texts(value["groupNames"]) {
			b.subjects = append(b.subjects, subject{kind: "Group", name: name})
		}
		for _, name := range texts(value["userNames"]) {
			b.subjects = append(b.subjects, subject{kind: "User", name: name})
		}
	}
	for i, s := range b.subjects { // an account may be written as the user or the group that it is
		if rest, ok := strings.CutPrefix(s.name, "system:serviceaccount:"); ok && s.kind == "User" {
			namespace, name, _ := strings.Cut(rest, ":")
			b.subjects[i] = subject{"ServiceAccount", name, namespace}
		}
		if s.kind == "Group" && s.name != "" {
			e.all[s.name] = true
		}
	}
	if b.role == "" {
		o.set(Unmapped, "", "it has no roleRef.name: nobody can tell what it gives")
		return
	}
	if o.Kind == "ClusterRoleBinding" {
		e.clusterBindings = append(e.clusterBindings, b)
		return
	}
	if e.inside(o) != nil {
		e.bindings = append(e.bindings, b)
	}
}

// gatherAccess notes which groups may do what, where.
func (e *Estate) gatherAccess() {
	for _, b := range e.bindings {
		n := e.of(b.Namespace)
		r, _ := e.roleOf(b)
		if n.system != "" || n.ending || r.level == levelNarrow || b.labels["app.kubernetes.io/managed-by"] == "ringfence" {
			continue
		}
		for _, s := range b.subjects {
			if s.kind == "Group" && s.name != "" && !strings.HasPrefix(s.name, "system:") {
				n.access = append(n.access, access{s.name, r.level, b.Object, b.role})
			}
		}
	}
}

// findPrefix is what the API server puts before groups: what is said, else what more than half of the groups begin with.
func (e *Estate) findPrefix() string {
	const usual = "oidc:"
	if e.options.GroupPrefix != nil {
		return *e.options.GroupPrefix
	}
	if e.platform != nil {
		if p := e.platform.Spec.Identity.GroupPrefix; p != nil {
			return *p
		}
		return usual
	}
	count, sum := map[string]int{}, 0
	for _, n := range e.namespaces {
		for _, a := range n.access {
			sum++
			if i := strings.IndexByte(a.group, ':'); i > 0 && i < 31 {
				prefix := a.group[:i+1]
				if rest := a.group[i+1:]; strings.HasPrefix(rest, "//") {
					prefix += "//"
				}
				count[prefix]++
			}
		}
	}
	if sum == 0 {
		return usual
	}
	for _, prefix := range slices.Sorted(maps.Keys(count)) {
		if 2*count[prefix] > sum {
			return prefix
		}
	}
	return ""
}

// bare is a group as the identity provider names it, and why it cannot be a tenant's.
func bare(group, prefix string) (name, why string) {
	name, ok := strings.CutPrefix(group, prefix)
	switch {
	case !ok:
		return "", fmt.Sprintf("it does not begin with %s, which the API server puts before the identity provider's groups", show(prefix))
	case name == "" || len(name) > 256:
		return "", "its name is empty or longer than 256 bytes"
	case strings.HasPrefix(name, "system:"):
		return "", "it is a group of Kubernetes itself"
	case clean(name) != name || strings.ToValidUTF8(name, "") != name:
		return "", "its name has characters that cannot be seen"
	}
	return name, ""
}
