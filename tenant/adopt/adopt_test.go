package adopt

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/schema"
	"ringfence.dev/ringfence/tenant"
)

// read reads YAML into an estate and plans it.
func read(t testing.TB, o Options, text string) *Plan {
	t.Helper()
	e := New(o)
	for object, err := range manifest.Read(strings.NewReader(text), "estate.yaml") {
		if err != nil {
			t.Fatal(err)
		}
		e.Add(object.Value, "")
	}
	return e.Plan(schemas(t))
}

var compiled = sync.OnceValues(schema.New)

// schemas are compiled once: that takes longer than any plan.
func schemas(t testing.TB) *schema.Set {
	t.Helper()
	s, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func estate(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func find(t *testing.T, p *Plan, name string) *Tenant {
	t.Helper()
	for i := range p.Tenants {
		if p.Tenants[i].Name == name {
			return &p.Tenants[i]
		}
	}
	t.Fatalf("no tenant %s", name)
	return nil
}

// shape is a tenant as tests write it: name: namespace=environment(!), where ! is production.
func shape(p *Plan) string {
	var out []string
	for i := range p.Tenants {
		line := p.Tenants[i].Name + ":"
		for _, env := range p.Tenants[i].Object.Spec.Environments {
			line += " " + string(env.Namespace) + "=" + env.Name
			if env.Production {
				line += "!"
			}
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func TestEstates(t *testing.T) {
	for name, want := range map[string]string{
		"plain":     "cards: cards-prod=prod! cards-test=test cardsvault=cardsvault!\noddity: oddity=main!\npayments: payments-dev=dev payments-prod=prod!",
		"capsule":   "gas-wells:\noil: oil-development=development oil-production=production!",
		"hnc":       "acme-org: acme-org=main!\nsnake: snake=main!\ntail: tail=main!\nteam-a: team-a=main! team-a-dev=dev team-a-prod=prod!\nteam-b: team-b=main!\ntrading: fx=fx! rates=rates! trading=main!",
		"openshift": "loans: loans-live=live! loans-uat=uat\ntreasury: hedging=hedging! liquidity=liquidity!",
	} {
		t.Run(name, func(t *testing.T) {
			p := read(t, Options{}, estate(t, name))
			if got := shape(p); got != want {
				t.Errorf("made\n%s\nwant\n%s", got, want)
			}
			sound(t, p)
		})
	}
}

// sound shows of any plan that it can be applied, keeps every name and gives no group a right that it has not got.
func sound(t *testing.T, p *Plan) {
	t.Helper()
	schemas := schemas(t)
	if p.Counts.UnmappedPercent() > 5 {
		t.Errorf("%.1f %% unmapped, want at most 5", p.Counts.UnmappedPercent())
	}
	if c := p.Counts; c.Mapped+c.Kept+c.Platform+c.Decide+c.Unmapped+c.Duplicates != c.Objects || len(p.Objects) != c.Objects {
		t.Errorf("the outcomes do not add up to the objects: %+v", c)
	}
	for _, o := range p.Objects {
		if o.Reason == "" {
			t.Errorf("%s has no reason", o.Ref())
		}
	}
	owners := map[string]string{}
	for _, f := range p.YAML() {
		for o, err := range manifest.Read(bytes.NewReader(f.Text), f.Name) {
			if err != nil {
				t.Fatalf("%v\n%s", err, f.Text)
			}
			for _, fault := range schemas.Validate(o.Value) {
				t.Errorf("%s: %s: %s", f.Name, fault.Path, fault.Message)
			}
			of, _ := strings.CutSuffix(filepath.Base(f.Name), ".yaml")
			if o.Subject().Name != of {
				t.Errorf("%s holds %s", f.Name, o.Subject().Name)
			}
		}
	}
	for i := range p.Tenants {
		object := &p.Tenants[i].Object
		for j, plan := range tenant.Plan(input(object, &p.Platform, nil)) {
			ns := p.Tenants[i].Environments[j].Namespace
			if plan.Status.Namespace != ns || plan.Status.Phase != v1alpha1.EnvironmentActive {
				t.Errorf("%s: planned as %+v", ns, plan.Status)
			}
			if owners[ns] != "" {
				t.Errorf("%s belongs to %s and %s", ns, owners[ns], object.Name)
			}
			owners[ns] = object.Name
			if g := tenant.Compile(nil, &p.Platform, object, nil, ns); g.Spec.Tenant != object.Name {
				t.Errorf("%s: its Guard is of %q", ns, g.Spec.Tenant)
			}
		}
	}
	again := p.YAML()
	for i, f := range p.YAML() {
		if !bytes.Equal(f.Text, again[i].Text) {
			t.Errorf("%s is not the same twice", f.Name)
		}
	}
}

// granted are the groups that a plan would give rights, by namespace: "group admin" and "group readonly".
func granted(p *Plan) map[string][]string {
	out := map[string][]string{}
	for i := range p.Tenants {
		object := &p.Tenants[i].Object
		for _, plan := range tenant.Plan(input(object, &p.Platform, nil)) {
			for _, c := range plan.Changes {
				b, ok := c.Object.(*rbacv1.RoleBinding)
				if !ok {
					continue
				}
				switch b.Name {
				case tenant.RoleAdmin:
					out[b.Namespace] = append(out[b.Namespace], b.Subjects[0].Name+" admin")
				case tenant.RoleReadOnly:
					out[b.Namespace] = append(out[b.Namespace], b.Subjects[0].Name+" readonly")
				}
			}
		}
	}
	return out
}

// TestRoundTrip shows that tenant.Plan gives each mapped group what it has, in the namespace where it has it, and nobody else
// anything: names that begin with undecided are nobody's.
func TestRoundTrip(t *testing.T) {
	p := read(t, Options{}, estate(t, "plain"))
	want := map[string][]string{
		"payments-dev":  {"oidc:payments-developers admin", "oidc:payments-readers readonly"},
		"payments-prod": {"oidc:payments-operators admin", "oidc:payments-readers readonly"},
		"cards-test":    {"oidc:cards-admins admin", "oidc:undecided-cards-readonly readonly"},
		"cards-prod":    {"oidc:cards-admins admin", "oidc:undecided-cards-readonly readonly"},
		"cardsvault":    {"oidc:cards-admins admin", "oidc:undecided-cards-readonly readonly"},
		"oddity":        {"oidc:undecided-oddity-admin admin", "oidc:undecided-oddity-readonly readonly"},
	}
	if got := granted(p); !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("granted %v, want %v", got, want)
	}
}

// TestNothingIsWidened shows on a generated estate that each group gets no right in a namespace where no binding gives it.
func TestNothingIsWidened(t *testing.T) {
	text := generated(40)
	has := map[string]bool{}
	for o, err := range manifest.Read(strings.NewReader(text), "x") {
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range listOf(o.Value["subjects"]) {
			has[o.Subject().Namespace+" "+textOf(at(s, "name"))] = true
		}
	}
	p := read(t, Options{}, text)
	sound(t, p)
	gained, kept := 0, 0
	for ns, groups := range granted(p) {
		for _, g := range groups {
			group, _, _ := strings.Cut(g, " ")
			switch {
			case strings.HasPrefix(group, "oidc:undecided-"):
			case has[ns+" "+group]:
				kept++
			default:
				gained++
				t.Errorf("%s: %s, whom nothing gives rights there", ns, g)
			}
		}
	}
	if kept < 80 {
		t.Errorf("%d rights were kept, want at least 80", kept)
	}
}

// generated is an estate of teams with three or four environments each and bindings of every kind.
func generated(teams int) string {
	var b strings.Builder
	binding := func(ns, name, role, kind, subject string) {
		fmt.Fprintf(&b, "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: %s, namespace: %s}\n"+
			"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %s}\nsubjects: [{apiGroup: rbac.authorization.k8s.io, kind: %s, name: %q}]\n---\n", name, ns, role, kind, subject)
	}
	for i := range teams {
		team := fmt.Sprintf("team%d", i)
		for j, env := range []string{"dev", "test", "uat", "prod"}[:3+i%2] {
			ns := team + "-" + env
			if i%3 == 1 {
				fmt.Fprintf(&b, "apiVersion: v1\nkind: Namespace\nmetadata: {name: %s, labels: {team: %s}}\n---\n", ns, team)
			} else {
				fmt.Fprintf(&b, "apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n---\n", ns)
			}
			group := "oidc:" + team + "-admins"
			if env == "uat" && i%4 == 0 {
				group = "oidc:" + team + "-operators"
			}
			if i%5 != 4 || j == 0 {
				binding(ns, "admins", "admin", "Group", group)
			}
			if j == 1 {
				binding(ns, "readers", "view", "Group", "oidc:"+team+"-readers")
			}
			if i%7 == 0 && j == 0 {
				binding(ns, "person", "edit", "User", "oidc:dana@bank.example")
			}
			if j != 2 {
				fmt.Fprintf(&b, "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: quota, namespace: %s}\nspec: {hard: {pods: %q, requests.cpu: 4}}\n---\n", ns, fmt.Sprint(10*(j+1)))
			}
		}
	}
	return b.String()
}

func TestDecisions(t *testing.T) {
	p := read(t, Options{}, estate(t, "plain"))
	got := map[string]string{}
	for _, d := range p.Decisions {
		got[d.Kind+" "+d.Tenant] = strings.Join(d.About, "; ")
	}
	for key, about := range map[string]string{
		"person-bound payments":       "RoleBinding payments-prod/dana (User oidc:dana@bank.example)",
		"account-of-another payments": "RoleBinding payments-prod/deployer (ServiceAccount builder)",
		"more-groups payments":        "RoleBinding payments-prod/readers (Group oidc:payments-developers)",
		"cluster-admin ":              "ClusterRoleBinding root (Group oidc:platform)",
		"everything-allowed cards":    "RoleBinding cards-test/team",
		"tools-of-the-platform ":      "RoleBinding payments-prod/deployer (ServiceAccount ingress-nginx/controller)",
		"opens-egress payments":       "NetworkPolicy payments-prod/closed (10.20.0.0/16)",
		"whose-is-it oddity":          "Namespace oddity",
		"traffic-that-ends payments":  "Namespace payments-dev",
	} {
		if got[key] != about {
			t.Errorf("%s is about %q, want %q", key, got[key], about)
		}
	}
	payments := find(t, p, "payments").Object.Spec
	if q := payments.Quota["pods"]; q.String() != "50" || len(payments.Quota) != 2 {
		t.Errorf("quota = %v, want pods 50, requests.cpu 16 and nothing that one namespace alone limits", payments.Quota)
	}
}

func TestNames(t *testing.T) {
	long := strings.Repeat("a", 45)
	for in, want := range map[string]string{"Payments Team": "payments-team", "42nd": "t-42nd", "__": "", "gas.wells": "gas-wells", long + "b": legal(long + "b"), "ünïcode": "n-code"} {
		if got := legal(in); got != want || len(got) > maxTenantName {
			t.Errorf("legal(%q) = %q, want %q", in, got, want)
		}
	}
	if legal(long+"b") == legal(long+"c") {
		t.Error("two long names became one")
	}
	for in, want := range map[string]string{
		"payments-dev": "payments dev", "payments-uat2": "payments uat2", "payments-prod-eu": "payments prodeu", "dev-payments": "payments dev",
		"payments-pre-prod": "payments preprod", "payments-dev-api-eu": "payments devapieu", "team-a": "", "payments": "", "dev": "", "pay-p": "pay p",
	} {
		tenant, env, _, _ := split(in)
		if got := strings.TrimSpace(tenant + " " + env); got != want {
			t.Errorf("split(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestHostile shows what becomes of objects that nobody would write.
func TestHostile(t *testing.T) {
	var many strings.Builder
	for i := range 45 {
		fmt.Fprintf(&many, "apiVersion: v1\nkind: Namespace\nmetadata: {name: huge-%02d, labels: {team: huge}}\n---\n", i)
	}
	for name, tc := range map[string]struct {
		text, want string
		unmapped   int
	}{
		"a tenant's label in two spellings":   {"{apiVersion: v1, kind: Namespace, metadata: {name: x, labels: {team: Pay_Ments}}}\n---\n{apiVersion: v1, kind: Namespace, metadata: {name: z, labels: {team: pay-ments}}}", "pay-ments: x=x! z=z!", 0},
		"more namespaces than a Tenant takes": {many.String(), "huge huge-2 huge-3", 0},
		"a namespace that is being deleted":   {"{apiVersion: v1, kind: Namespace, metadata: {name: x, deletionTimestamp: '2026-01-01T00:00:00Z'}}", "", 0},
		"a binding in a namespace not read":   {"{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: b, namespace: pay-dev}, roleRef: {kind: ClusterRole, name: admin}, subjects: [{kind: Group, name: 'oidc:g'}]}", "pay: pay-dev=dev", 0},
		"no name":                             {"{apiVersion: v1, kind: Namespace, metadata: {}}", "", 1},
		"no namespace":                        {"{apiVersion: v1, kind: ResourceQuota, metadata: {name: q}}", "", 1},
		"a name that cannot be":               {"{apiVersion: v1, kind: Namespace, metadata: {name: 'X y'}}", "", 1},
		"subjects of another type":            {"{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: b, namespace: pay-dev}, roleRef: [], subjects: {a: b}}", "", 1},
		"a Tenant of that name is there":      {"{apiVersion: ringfence.dev/v1alpha1, kind: Tenant, metadata: {name: pay}}\n---\n{apiVersion: v1, kind: Namespace, metadata: {name: pay-dev}}", "pay-2: pay-dev=dev", 0},
		"groups of Kubernetes":                {"{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: b, namespace: pay-dev}, roleRef: {kind: ClusterRole, name: admin}, subjects: [{kind: Group, name: 'system:authenticated'}]}", "pay: pay-dev=dev", 0},
		"an amount that never ends":           {"{apiVersion: v1, kind: ResourceQuota, metadata: {name: q, namespace: pay-dev}, spec: {hard: {pods: 1e999999999, cpu: '-1', memory: {}}}}", "pay: pay-dev=dev", 0},
		"kube- claimed by Capsule":            {"{apiVersion: v1, kind: Namespace, metadata: {name: kube-mine, labels: {capsule.clastix.io/tenant: x}}}", "", 0},
		"somebody's invisible group":          {"{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: b, namespace: pay-dev}, roleRef: {kind: ClusterRole, name: admin}, subjects: [{kind: Group, name: \"a\\u202eb\"}]}", "pay: pay-dev=dev", 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := read(t, Options{}, tc.text)
			got := shape(p)
			if len(p.Tenants) == 3 {
				got = fmt.Sprint(p.Tenants[0].Name, " ", p.Tenants[1].Name, " ", p.Tenants[2].Name)
			}
			if got != tc.want || p.Counts.Unmapped != tc.unmapped {
				t.Errorf("made %q and %d unmapped, want %q and %d: %+v", got, p.Counts.Unmapped, tc.want, tc.unmapped, p.Objects)
			}
			for i := range p.Tenants {
				if g := p.Tenants[i].Object.Spec.Groups; strings.Contains(g.Admin, "system:") || strings.Contains(g.Admin, "\u202e") {
					t.Errorf("admin group %q", g.Admin)
				}
			}
		})
	}
}

// TestTenantLabel shows that a label named by the user is believed before the usual ones.
func TestTenantLabel(t *testing.T) {
	text := "{apiVersion: v1, kind: Namespace, metadata: {name: x-dev, labels: {team: a, bank.example/squad-code: b}}}"
	if got := shape(read(t, Options{TenantLabels: []string{"bank.example/squad-code"}}, text)); got != "b: x-dev=xdev" {
		t.Errorf("made %s", got)
	}
}

// TestOrder shows that the order in which objects are read changes nothing.
func TestOrder(t *testing.T) {
	for name, text := range map[string]string{"generated": generated(20), "plain": estate(t, "plain"), "capsule": estate(t, "capsule"), "hnc": estate(t, "hnc")} {
		docs := strings.Split(text, "---\n")
		first := read(t, Options{}, strings.Join(docs, "\n---\n"))
		slices.Reverse(docs)
		second := read(t, Options{}, strings.Join(docs, "\n---\n"))
		var a, b bytes.Buffer
		if err := first.JSON(&a); err != nil {
			t.Fatal(err)
		}
		if err := second.JSON(&b); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Errorf("%s: another order gives another plan", name)
		}
	}
}

// TestRightsInTheWholeCluster shows which bindings of the whole cluster somebody must look at, and which are Kubernetes' own.
func TestRightsInTheWholeCluster(t *testing.T) {
	for subject, want := range map[string]string{
		"{kind: Group, name: 'system:masters'}":                                 "",
		"{kind: Group, name: 'system:nodes'}":                                   "",
		"{kind: User, name: 'system:kube-scheduler'}":                           "",
		"{kind: ServiceAccount, name: x, namespace: kube-system}":               "",
		"{kind: Group, name: 'system:serviceaccounts:kube-system'}":             "",
		"{kind: ServiceAccount, name: ci, namespace: pay-dev}":                  "account-everywhere",
		"{kind: User, name: 'system:serviceaccount:pay-dev:ci'}":                "account-everywhere",
		"{kind: Group, name: 'system:serviceaccounts:pay-dev'}":                 "cluster-admin",
		"{kind: Group, name: 'system:authenticated:oauth'}":                     "everybody-everywhere",
		"{kind: Group, name: 'oidc:platform'}":                                  "cluster-admin",
		"{kind: User, name: dana}":                                              "cluster-admin",
		"{kind: Group, name: 'system:masters'}, {kind: User, name: 'somebody'}": "cluster-admin",
	} {
		p := read(t, Options{}, "{apiVersion: v1, kind: Namespace, metadata: {name: pay-dev}}\n---\n{apiVersion: v1, kind: Namespace, metadata: {name: kube-system}}\n---\n"+
			"{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: b}, roleRef: {kind: ClusterRole, name: cluster-admin}, subjects: ["+subject+"]}")
		got := ""
		for _, d := range p.Decisions {
			if len(d.About) > 0 && strings.HasPrefix(d.About[0], "ClusterRoleBinding b") {
				got += d.Kind
			}
		}
		outcome := OfPlatform
		if want != "" {
			outcome = Decide
		}
		if got != want || p.Objects[0].Outcome != outcome {
			t.Errorf("%s: decision %q and %s, want %q and %s", subject, got, p.Objects[0].Outcome, want, outcome)
		}
	}
}

// whole plans a file as the command would, and fails where what comes out is not sound.
func whole(t *testing.T, schemas *schema.Set, text []byte) {
	t.Helper()
	e := New(Options{})
	for o, err := range manifest.ReadLists(bytes.NewReader(text), "x.yaml") {
		if err == nil {
			e.Add(o.Value, "")
		}
	}
	p := e.Plan(schemas)
	for _, o := range p.Objects {
		if o.Outcome == "" || o.Reason == "" || strings.Contains(o.Reason, "would be refused") {
			t.Fatalf("%s is %q: %s", o.Ref(), o.Outcome, o.Reason)
		}
	}
	for _, d := range p.Decisions {
		if d.Kind == "refused" {
			t.Fatalf("%s: %s", d.Tenant, d.Question)
		}
	}
	for _, file := range p.YAML() {
		for _, err := range manifest.Read(bytes.NewReader(file.Text), file.Name) {
			if err != nil {
				t.Fatalf("%v\n%s", err, file.Text)
			}
		}
	}
	if err := p.Text(&bytes.Buffer{}, true); err != nil {
		t.Fatal(err)
	}
}

// TestMangled plans the estates with pieces cut out, doubled, and put into each other.
func TestMangled(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var texts []string
	for _, name := range []string{"plain", "capsule", "hnc", "openshift"} {
		texts = append(texts, estate(t, name))
	}
	for range 40 {
		text := texts[r.IntN(len(texts))]
		for range 1 + r.IntN(6) {
			other := texts[r.IntN(len(texts))]
			from, at := r.IntN(len(other)-40), r.IntN(len(text)-40)
			text = text[:at] + other[from:from+r.IntN(40)] + text[at+r.IntN(40):]
		}
		whole(t, schemas(t), []byte(text))
	}
}

// FuzzPlan throws whole files at the reader and the plan: nothing may panic, and what comes out must be sound.
func FuzzPlan(f *testing.F) {
	for _, name := range []string{"plain", "capsule", "hnc", "openshift"} {
		for doc := range strings.SplitSeq(estate(f, name), "---\n") {
			f.Add([]byte(doc))
		}
	}
	schemas := schemas(f)
	f.Fuzz(func(t *testing.T, text []byte) { whole(t, schemas, text) })
}

// BenchmarkPlan reads and plans about 1,500 namespaces with 2,000 bindings.
func BenchmarkPlan(b *testing.B) {
	text := generated(430)
	b.ReportAllocs()
	for b.Loop() {
		p := read(b, Options{}, text)
		b.ReportMetric(float64(p.Counts.Namespaces), "namespaces")
		b.ReportMetric(float64(p.Counts.Bindings), "bindings")
	}
}
