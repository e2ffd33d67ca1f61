package rights

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func daysAgo(n int) time.Time { return now.Add(-time.Duration(n) * 24 * time.Hour) }

// estate is a cluster with one of each: what is used, partly used, never used, and what cannot be known.
const estate = `
{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"admin"},"rules":[
  {"apiGroups":["apps"],"resources":["deployments","deployments/scale"],"verbs":["create","patch","delete"]},
  {"apiGroups":[""],"resources":["secrets"],"resourceNames":["db"],"verbs":["update"]},
  {"nonResourceURLs":["/metrics/*"],"verbs":["get"]}]}
{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":"reader","namespace":"pay"},"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["list"]}]}
{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"all"},"rules":[{"apiGroups":["*"],"resources":["*"],"verbs":["*"]}]}
{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{"name":"admins","namespace":"pay"},"roleRef":{"kind":"ClusterRole","name":"admin"},"subjects":[{"kind":"Group","name":"oidc:pay"},{"kind":"ServiceAccount","name":"ci"}]}
{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{"name":"readers","namespace":"pay"},"roleRef":{"kind":"Role","name":"reader"},"subjects":[{"kind":"Group","name":"oidc:look"}]}
{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{"name":"lost","namespace":"pay"},"roleRef":{"kind":"Role","name":"gone"},"subjects":[{"kind":"User","name":"bob"}]}
{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"root"},"roleRef":{"kind":"ClusterRole","name":"all"},"subjects":[{"kind":"User","name":"root"}]}
{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"system:basic-user"},"roleRef":{"kind":"ClusterRole","name":"system:basic-user"},"subjects":[{"kind":"Group","name":"system:authenticated"}]}
{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"}}`

func review(t testing.TB, requests ...Request) *Review {
	t.Helper()
	r, found := New(), 0
	for d := json.NewDecoder(strings.NewReader(estate)); d.More(); {
		var value map[string]any
		if err := d.Decode(&value); err != nil {
			t.Fatal(err)
		}
		is, err := r.Add(value)
		if err != nil {
			t.Fatal(err)
		}
		if is {
			found++
		}
	}
	if found != 8 {
		t.Fatalf("%d objects were taken, want 8", found)
	}
	for _, q := range requests {
		r.Use(q)
	}
	return r
}

// deploy is a request that the admins' role allows.
func deploy(at time.Time, user string, groups ...string) Request {
	return Request{Time: at, User: user, Groups: groups, Verb: "create", Group: "apps", Resource: "deployments", Namespace: "pay", Name: "api"}
}

// TestStates shows which requests count as use of which right.
func TestStates(t *testing.T) {
	change := func(q Request, f func(*Request)) Request { f(&q); return q }
	by := deploy(daysAgo(2), "alice", "oidc:pay")
	old := Request{Time: daysAgo(95), User: "nobody", Verb: "delete", Resource: "pods", Namespace: "x"}
	list := Request{Time: daysAgo(1), User: "carol", Groups: []string{"oidc:look"}, Verb: "list", Resource: "pods", Namespace: "pay"}
	const admins, ci, readers, root = "Group oidc:pay", "ServiceAccount pay/ci", "Group oidc:look", "User root"
	for name, c := range map[string]struct {
		requests []Request
		subject  string
		state    State
		unused   string // part of it
	}{
		"used in part":             {[]Request{old, by, list}, admins, Partly, "patch,delete deployments.apps,deployments/scale.apps"},
		"nobody asked":             {[]Request{old, list}, admins, Unused, "create,patch,delete"},
		"in another namespace":     {[]Request{old, list, change(by, func(q *Request) { q.Namespace = "other" })}, admins, Unused, ""},
		"another group":            {[]Request{old, list, change(by, func(q *Request) { q.Groups = []string{"oidc:payments"} })}, admins, Unused, ""},
		"another API":              {[]Request{old, list, change(by, func(q *Request) { q.Group = "extensions" })}, admins, Unused, ""},
		"another resource":         {[]Request{old, list, change(by, func(q *Request) { q.Subresource = "status" })}, admins, Unused, ""},
		"a secret by its name":     {[]Request{old, list, change(by, func(q *Request) { q.Verb, q.Group, q.Resource, q.Name = "update", "", "secrets", "db" })}, admins, Partly, "get /metrics/*"},
		"another secret":           {[]Request{old, list, change(by, func(q *Request) { q.Verb, q.Group, q.Resource, q.Name = "update", "", "secrets", "other" })}, admins, Unused, "named db"},
		"an account's":             {[]Request{old, list, deploy(daysAgo(2), "system:serviceaccount:pay:ci", "system:serviceaccounts")}, ci, Partly, ""},
		"too long ago":             {[]Request{old, list, deploy(daysAgo(91), "alice", "oidc:pay")}, admins, Unused, ""},
		"a path in a RoleBinding":  {[]Request{old, list, {Time: daysAgo(1), User: "a", Groups: []string{"oidc:pay"}, Verb: "get", Path: "/metrics/x"}}, admins, Unused, ""},
		"used whole":               {[]Request{old, list}, readers, Used, ""},
		"no reads were logged":     {[]Request{old, by}, readers, Unknown, ""},
		"everything":               {[]Request{old, list, {Time: daysAgo(1), User: "root", Verb: "create", Group: "x", Resource: "y"}}, root, Used, ""},
		"a role that is not there": {[]Request{old, list}, "User bob", Unknown, ""},
		"the log is too short":     {[]Request{list}, admins, Unknown, ""},
	} {
		report := review(t, c.requests...).Report(90, now)
		found := false
		for _, r := range report.Rights {
			if r.Subject != c.subject {
				continue
			}
			found = true
			if r.State != c.state || !strings.Contains(strings.Join(r.Unused, "; "), c.unused) {
				t.Errorf("%s: %s, unused %q; want %s, %q", name, r.State, r.Unused, c.state, c.unused)
			}
			if r.Proposal != "" && (!report.Covered || r.State == Used) {
				t.Errorf("%s: proposes %q", name, r.Proposal)
			}
		}
		if !found || report.Kubernetes != 1 || len(report.Rights) != 5 {
			t.Errorf("%s: %d rights, %d of Kubernetes, found %v", name, len(report.Rights), report.Kubernetes, found)
		}
	}
}

// TestKubernetesOwn: a binding is not passed over for its name, which anybody may choose, but for whom it binds to what.
func TestKubernetesOwn(t *testing.T) {
	binding := func(name, role, kind, subject, namespace string) map[string]any {
		return map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": map[string]any{"name": name}, "roleRef": map[string]any{"kind": "ClusterRole", "name": role},
			"subjects": []any{map[string]any{"kind": "Group", "name": "system:nodes"}, map[string]any{"kind": kind, "name": subject, "namespace": namespace}}}
	}
	for what, c := range map[string]struct {
		binding map[string]any
		own     int
	}{
		"a controller's":             {binding("system:controller:x", "system:controller:x", "ServiceAccount", "x", "kube-system"), 1},
		"the scheduler's":            {binding("system:kube-scheduler", "system:kube-scheduler", "User", "system:kube-scheduler", ""), 1},
		"everybody's":                {binding("system:discovery", "system:discovery", "Group", "system:authenticated", ""), 1},
		"a person's":                 {binding("system:node-proxier", "system:node-proxier", "User", "eve", ""), 0},
		"a group's":                  {binding("system:monitoring", "system:monitoring", "Group", "oidc:eve", ""), 0},
		"an account's, elsewhere":    {binding("system:controller:x", "system:controller:x", "ServiceAccount", "x", "pay"), 0},
		"an account's, by its user":  {binding("system:controller:x", "system:controller:x", "User", "system:serviceaccount:pay:x", ""), 0},
		"another role than its own":  {binding("system:kube-dns", "cluster-admin", "ServiceAccount", "kube-dns", "kube-system"), 0},
		"everybody's, more than all": {binding("system:x", "system:x", "Group", "system:authenticated", ""), 0},
	} {
		r := New()
		if _, err := r.Add(c.binding); err != nil {
			t.Fatal(err)
		}
		if got := r.Report(90, now); got.Kubernetes != c.own || len(got.Rights) != 2-2*c.own {
			t.Errorf("%s: %d of Kubernetes, %d rights; want %d and %d", what, got.Kubernetes, len(got.Rights), c.own, 2-2*c.own)
		}
	}
}

// FuzzAdd holds objects of any form to being taken or refused.
func FuzzAdd(f *testing.F) {
	for _, line := range strings.Split(strings.ReplaceAll(estate, "\n  ", ""), "\n") {
		f.Add(line)
	}
	f.Add(`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":"` + "\x1b" + `"},"rules":[{}],"subjects":[{}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		var value map[string]any
		if json.Unmarshal([]byte(text), &value) != nil {
			return
		}
		r := review(t)
		if _, err := r.Add(value); err != nil {
			return
		}
		r.Use(deploy(daysAgo(1), "alice", "oidc:pay", ""))
		r.Use(Request{Time: daysAgo(100), Verb: "get", Path: "/metrics/x"})
		var out bytes.Buffer
		if err := r.Report(90, now).Text(&out); err != nil || strings.ContainsAny(out.String(), "\x1b\r\x00") {
			t.Errorf("%v %q", err, out.String())
		}
	})
}
