package isolation

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"

	"ringfence.dev/ringfence/internal/attempt"
	"ringfence.dev/ringfence/internal/ringfencetest"
)

var update = flag.Bool("update", false, "write testdata/expected.tsv anew")

const expectedFile = "testdata/expected.tsv"

// Places that are no namespace.
const (
	everywhere = "(all)"     // namespaced resources, of all namespaces at once
	ofCluster  = "(cluster)" // resources in no namespace
	ofServer   = "(server)"  // paths that are no resource
)

// verbs are those that some door of the API server asks for. Not each is asked for on each resource: a right that means nothing
// today is still none that anybody should have.
func verbs() []string {
	return []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection",
		"bind", "escalate", "impersonate", "approve", "sign", "use", "connect"}
}

// target is something that rights are of: a resource or a subresource, or a path.
type target struct {
	group, resource, sub, name string
	namespaced                 bool
	path                       string
}

func (g target) String() string {
	if g.path != "" {
		return g.path
	}
	text := cmp.Or(g.group, "core") + "/" + g.resource
	if g.sub != "" {
		text += "/" + g.sub
	}
	if g.name != "" {
		text += "[" + g.name + "]"
	}
	return text
}

// unlisted are targets that no discovery lists and that the API server, or a kubelet, asks for all the same.
func unlisted() []target {
	all := []target{
		{resource: "users"}, {resource: "groups"}, {resource: "serviceaccounts", namespaced: true},
		{group: "authentication.k8s.io", resource: "uids"}, {group: "authentication.k8s.io", resource: "userextras", sub: "ringfence.dev/mfa"},
		{group: "authentication.k8s.io", resource: "userextras", sub: "ringfence.dev/oid"},
		{group: "certificates.k8s.io", resource: "signers"}, {group: "rbac.authorization.k8s.io", resource: "clusterroles", name: "cluster-admin"},
		{group: "metrics.k8s.io", resource: "pods", namespaced: true}, {group: "metrics.k8s.io", resource: "nodes"},
	}
	for _, sub := range []string{"log", "metrics", "stats", "spec", "configz", "healthz", "pods", "checkpoint"} {
		all = append(all, target{resource: "nodes", sub: sub})
	}
	return all
}

// paths are what is no resource.
func paths() (all []target) {
	for _, path := range []string{"/", "/api", "/apis", "/healthz", "/livez", "/readyz", "/version", "/metrics", "/metrics/slis", "/openapi/v2", "/openapi/v3",
		"/logs", "/debug/pprof", "/debug/flags/v", "/debug/api_priority_and_fairness", "/configz", "/statusz", "/flagz", "/.well-known/openid-configuration", "/openid/v1/jwks"} {
		all = append(all, target{path: path})
	}
	return all
}

// offered is every resource and subresource that the API server lists, in any version.
func offered(t *testing.T) (all []target) {
	t.Helper()
	d, err := discovery.NewDiscoveryClientForConfig(cluster.Config)
	if err != nil {
		t.Fatal(err)
	}
	_, lists, err := d.ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	known := map[target]bool{}
	for _, list := range lists {
		group, version, found := strings.Cut(list.GroupVersion, "/")
		if !found {
			group, version = "", group
		}
		for _, r := range list.APIResources {
			resource, sub, _ := strings.Cut(r.Name, "/")
			g := target{group: group, resource: resource, sub: sub, namespaced: r.Namespaced}
			if !known[g] && version != "" {
				known[g] = true
				all = append(all, g)
			}
		}
	}
	return all
}

// matrix asks of every cell and compares what is allowed with the expectation, row by row.
func (b *bed) matrix(t *testing.T) {
	targets := offered(t)
	served := map[string]bool{}
	for _, g := range targets {
		served[g.String()] = true
	}
	for _, g := range unlisted() {
		if !served[g.String()] {
			targets = append(targets, g)
		}
	}
	targets = append(targets, paths()...)
	m := newMatrix(t)
	if err := m.ask(t.Context(), targets); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d resources and subresources, %d cells asked, %d allowed, %d denied", len(targets), m.asked, m.yes, m.asked-m.yes)
	if m.yes == 0 || m.yes == m.asked {
		t.Fatal("whoever answers does not tell people apart")
	}
	b.byName(t, m, targets)
	if *update {
		if err := os.WriteFile(expectedFile, []byte(m.text()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := expected()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range targets {
		served[g.String()] = true
	}
	m.compare(t, want, served)
	m.laws(t)
}

// row is a person, a place and a target; what is allowed there are verbs.
type row struct{ person, where, what string }

func (r row) String() string { return r.person + "\t" + r.where + "\t" + r.what }

type matrix struct {
	sender attempt.Sender // of system:masters

	mu         sync.Mutex // guards what follows
	allowed    map[row][]string
	asked, yes int
}

// newMatrix speaks HTTP/1.1 without a typed client: half of what tens of thousands of small questions cost is theirs.
func newMatrix(t *testing.T) *matrix {
	t.Helper()
	config := rest.CopyConfig(cluster.Config)
	config.NextProtos = []string{"http/1.1"}
	c, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	return &matrix{sender: attempt.Sender{Host: config.Host, Client: c}, allowed: map[row][]string{}}
}

// review asks one question.
func (m *matrix) review(ctx context.Context, spec authorizationv1.SubjectAccessReviewSpec) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	text, err := json.Marshal(authorizationv1.SubjectAccessReview{Spec: spec})
	if err != nil {
		return false, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, m.sender.Host+"/apis/authorization.k8s.io/v1/subjectaccessreviews", bytes.NewReader(text))
	if err != nil {
		return false, err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := m.sender.Client.Do(request)
	if err != nil {
		return false, err
	}
	defer answer.Body.Close()
	text, err = io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return false, err
	}
	var review authorizationv1.SubjectAccessReview
	if err := json.Unmarshal(text, &review); err != nil || answer.StatusCode != http.StatusCreated || review.Status.EvaluationError != "" {
		return false, fmt.Errorf("answer %d: %s", answer.StatusCode, text)
	}
	return review.Status.Allowed, nil
}

// ask asks for every verb of every target in every place, for everybody.
func (m *matrix) ask(ctx context.Context, targets []target) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, p := range people() {
		for _, g := range targets {
			for _, where := range places(g) {
				group.Go(func() error { return m.cells(ctx, p, where, g) })
			}
		}
	}
	return group.Wait()
}

func places(g target) []string {
	switch {
	case g.path != "":
		return []string{ofServer}
	case g.group == "" && g.resource == "namespaces": // a role in a namespace may be about that namespace
		return append(namespaces(), ofCluster)
	case !g.namespaced:
		return []string{ofCluster}
	}
	return append(namespaces(), everywhere)
}

// cells asks for every verb of one target in one place.
func (m *matrix) cells(ctx context.Context, p person, where string, g target) error {
	var allowed []string
	asking := verbs()
	if g.path != "" {
		asking = []string{"get", "post", "put", "delete"}
	}
	for _, verb := range asking {
		spec := authorizationv1.SubjectAccessReviewSpec{User: p.user, Groups: p.everyGroup()}
		if g.path != "" {
			spec.NonResourceAttributes = &authorizationv1.NonResourceAttributes{Path: g.path, Verb: verb}
		} else {
			namespace, name := where, g.name
			if where == everywhere || where == ofCluster {
				namespace = ""
			} else if g.resource == "namespaces" {
				name = where
			}
			spec.ResourceAttributes = &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: verb, Group: g.group, Version: "*", Resource: g.resource, Subresource: g.sub, Name: name}
		}
		may, err := m.review(ctx, spec)
		if err != nil {
			return fmt.Errorf("ask whether %s may %s %s in %s: %w", p.name, verb, g, where, err)
		}
		if may {
			allowed = append(allowed, verb)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked += len(asking)
	m.yes += len(allowed)
	if len(allowed) > 0 {
		m.allowed[row{p.name, where, g.String()}] = allowed
	}
	return nil
}

// byName adds what only the rules themselves say: rights on things by name, and on resources that nobody serves here.
func (b *bed) byName(t *testing.T, m *matrix, targets []target) {
	t.Helper()
	known := map[string]bool{}
	for _, g := range targets {
		known[g.String()] = true
	}
	for _, p := range people() {
		if p.name == "anonymous" { // who may not ask
			continue
		}
		as := ringfencetest.As(t, cluster.Config, p.user, p.groups...)
		for _, namespace := range namespaces() {
			review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}
			if err := as.Create(t.Context(), review); err != nil {
				t.Fatal(err)
			}
			for _, rule := range review.Status.ResourceRules {
				m.rule(p, namespace, rule, known)
			}
		}
	}
}

func (m *matrix) rule(p person, namespace string, rule authorizationv1.ResourceRule, known map[string]bool) {
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			plural, sub, _ := strings.Cut(resource, "/")
			for _, name := range append(rule.ResourceNames, "") {
				g := target{group: group, resource: plural, sub: sub, name: name}
				if name == "" && (len(rule.ResourceNames) > 0 || known[g.String()]) {
					continue
				}
				key := row{p.name, namespace, g.String()}
				all := append(m.allowed[key], rule.Verbs...)
				slices.Sort(all)
				m.allowed[key] = slices.Compact(all)
			}
		}
	}
}

// lines are the rows that are allowed, in order.
func (m *matrix) lines() (all []string) {
	for r, verbs := range m.allowed {
		all = append(all, r.String()+"\t"+strings.Join(verbs, " "))
	}
	slices.Sort(all)
	return all
}

func (m *matrix) text() string {
	return "# Who may do what: every row that is allowed, and every other cell is denied. See docs/isolation.md.\n" +
		"# Written by: go test -run TestIsolation/matrix ./test/e2e/isolation -update. Each new row is a right that somebody gained: say in the commit why.\n" +
		"# person\twhere\tgroup/resource\tverbs\n" + strings.Join(m.lines(), "\n") + "\n"
}

func expected() (all []string, err error) {
	file, err := os.Open(expectedFile)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if strings.HasPrefix(line, "#") || line == "" {
			continue
		}
		if strings.Count(line, "\t") != 3 {
			return nil, fmt.Errorf("%s:%d: want person, where, resource and verbs with tabs between them", expectedFile, n)
		}
		all = append(all, line)
	}
	return all, lines.Err()
}

// compare names every row that is not as expected. Rows of what this server does not offer are left out: others offer less.
func (m *matrix) compare(t *testing.T, want []string, served map[string]bool) {
	t.Helper()
	got := m.lines()
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("allowed and not expected: %s", line)
		}
	}
	left := 0
	for _, line := range want {
		if what := strings.Split(line, "\t")[2]; !served[what] && !strings.Contains(what, "[") {
			left++
		} else if !slices.Contains(got, line) {
			t.Errorf("expected and not allowed: %s", line)
		}
	}
	t.Logf("%d rows allowed, %d expected, %d of them of what this server does not offer", len(got), len(want), left)
}

// laws hold whatever the file says, so that writing it anew cannot make a hole the expectation.
func (m *matrix) laws(t *testing.T) {
	t.Helper()
	for _, p := range people() {
		stranger := "stranger" // with the rights that any such person has
		if strings.HasPrefix(p.user, "system:serviceaccount:") {
			stranger = "strange-account"
		}
		for r, verbs := range m.allowed {
			own := p.tenant != "" && (strings.HasPrefix(r.where, p.tenant+"-") || owned(p.tenant, r.what) && slices.Equal(verbs, []string{"get"}))
			if r.person != p.name || own {
				continue
			}
			for _, verb := range verbs {
				if p.tenant != "" && !slices.Contains(m.allowed[row{stranger, r.where, r.what}], verb) {
					t.Errorf("%s may %s %s in %s, which is none of theirs and no stranger's", p.name, verb, r.what, r.where)
				}
			}
		}
		m.twins(t, p)
	}
	for r, verbs := range m.allowed {
		for _, verb := range []string{"bind", "escalate", "impersonate", "approve", "sign", "use", "connect", "*"} {
			if slices.Contains(verbs, verb) {
				t.Errorf("%s may %s %s in %s", r.person, verb, r.what, r.where)
			}
		}
		if strings.Contains(r.what, "*") {
			t.Errorf("%s has a right on %s in %s", r.person, r.what, r.where)
		}
		reader := strings.HasSuffix(r.person, "-reader")
		if admin := (row{strings.TrimSuffix(r.person, "reader") + "admin", r.where, r.what}); reader && !contains(m.allowed[admin], verbs) {
			t.Errorf("%s may do what the admin may not: %s", r.person, r)
		}
		if reader && strings.HasPrefix(r.what, "core/secrets") {
			t.Errorf("a reader has a right on secrets: %s", r)
		}
	}
}

// owned reports whether a target is the tenant itself or one of its namespaces, by name: what lies in no namespace is asked for in each.
func owned(tenant, what string) bool {
	return what == "ringfence.dev/tenants["+tenant+"]" || strings.HasPrefix(what, "core/namespaces["+tenant+"-")
}

// twins: the same person of the other tenant has the same rights in their own namespaces.
func (m *matrix) twins(t *testing.T, p person) {
	t.Helper()
	if p.twin == "" {
		return
	}
	swap := strings.NewReplacer("alpha-", "beta-", "beta-", "alpha-", "[alpha]", "[beta]", "[beta]", "[alpha]")
	for r, verbs := range m.allowed {
		other := row{map[string]string{p.name: p.twin, p.twin: p.name}[r.person], swap.Replace(r.where), swap.Replace(r.what)}
		if other.person != "" && !slices.Equal(m.allowed[other], verbs) {
			t.Errorf("%s: %v, and %s: %v; want the same", r, verbs, other, m.allowed[other])
		}
	}
}

// contains reports whether all has each of some.
func contains(all, some []string) bool {
	return !slices.ContainsFunc(some, func(s string) bool { return !slices.Contains(all, s) })
}
