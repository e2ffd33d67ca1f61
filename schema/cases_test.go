package schema

import (
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// cases is the table that both judges are asked: Validate, and a real API server where one is given. A case without want
// is accepted; each want is "<pointer> <part of the message>".
var cases = []struct {
	name string
	yaml string
	want []string
}{
	{name: "the example tenant", yaml: tenant("payments", "")},
	{name: "a tenant with everything", yaml: `
apiVersion: ringfence.dev/v1alpha1
kind: Tenant
metadata: {name: payments, labels: {bank.example/cost-centre: "4711"}, annotations: {note: any text}}
spec:
  owner: payments-team@bank.example
  groups: {admin: "cn=Payments Admins,ou=k8s", readOnly: payments-viewers}
  environments: [{name: dev}, {name: prod, production: true}, {name: legacy, namespace: old-payments}]
  ring: early
  labels: {cost-centre: "4711", bank.example/app: pay}
  annotations: {bank.example/manager: Jo Doe}
  registries: [registry.bank.example/payments, "registry.bank.example:5000"]
  quota: {requests.cpu: 8, requests.memory: 16Gi, pods: "50", count/deployments.apps: 20}
  egress:
  - {fqdn: db.payments.bank.example, ports: [5432], expires: "2027-01-31", ticket: CHG001}
  - {cidr: 10.20.0.0/16, ports: [5432, 6432], expires: "2027-01-31T18:00:00+01:00"}
  - {cidr: "2001:db8::/32", ports: [443]}
  controls: {RF-WL-15: Deny}
  deletionPolicy: Delete
`},
	{name: "a tenant without environments", yaml: edit(tenant("payments", ""), "[{name: dev}, {name: prod, production: true}]", "[]")},
	{name: "the example platform", yaml: `
apiVersion: ringfence.dev/v1alpha1
kind: Platform
metadata: {name: platform}
spec:
  profile: mvp
  registries: [registry.bank.example]
  images: {maxScanAge: 720h, denySeverity: 4, grace: 720h, undatedAs: old}
  metadata: {requiredLabels: [app.kubernetes.io/name], copyAnnotations: []}
  network: {model: cilium, proxy: {cidr: 10.0.0.8/32, ports: [3128]}, clusterCIDRs: [10.244.0.0/16]}
  identity: {issuer: "https://sso.bank.example/realms/bank", mfa: mfa, groupPrefix: ""}
  exemptNamespaces: [monitoring]
  controls: {RF-WL-15: {action: Warn, production: Deny, rings: {early: Deny}}}
`},
	{name: "the smallest platform", yaml: platform("{}")},
	{name: "nulls are as absent", yaml: platform("{profile: null, registries: null, network: {model: null, proxy: null}}")},
	{name: "a guard", yaml: guard("guard", `{tenant: payments, environment: dev, actions: {RF-WL-01: Warn}, registries: [r.example],
  cpuLimit: Required, egress: {"db.bank.example:5432": "2027-02-01T00:00:00Z"}, egressCIDRs: [{cidr: 10.20.0.0/16, port: 5432}]}`)},
	{name: "status is the platform's to write and ignored in a file", yaml: tenant("payments", "") + "status: {conditions: wrong}\n"},

	{name: "name of 60 characters", yaml: tenant(strings.Repeat("a", 60), ""), want: []string{"/metadata/name at most 40 characters"}},
	{name: "name with a dot", yaml: tenant("pay.ments", ""), want: []string{"/metadata/name found \"pay.ments\"; a tenant name"}},
	{name: "name in upper case", yaml: tenant("Payments", ""), want: []string{"/metadata/name a tenant name"}},
	{name: "no name", yaml: edit(tenant("payments", ""), "name: payments", ""), want: []string{"/metadata field name is missing; add it"}},
	{name: "no metadata", yaml: edit(tenant("payments", ""), "metadata: {name: payments}", ""), want: []string{" field metadata.name is missing; add it"}},
	{name: "a name to be generated", yaml: edit(tenant("payments", ""), "name: payments", "generateName: pay-")},
	{name: "name is a number", yaml: tenant("4711", ""), want: []string{`/metadata/name write it in quotes: "4711"`}},
	{name: "namespace of a cluster-scoped object", yaml: edit(tenant("payments", ""), "name: payments", "name: payments, namespace: somewhere")},
	{name: "unknown field of metadata", yaml: edit(tenant("payments", ""), "name: payments", "name: payments, label: {a: b}"),
		want: []string{"/metadata/label did you mean `labels`?"}},
	{name: "label that is no text", yaml: edit(tenant("payments", ""), "name: payments", "name: payments, labels: {a/b: 5}"),
		want: []string{`/metadata/labels/a~1b found 5; want text; write it in quotes: "5"`}},
	{name: "label of the object that is no label", yaml: edit(tenant("payments", ""), "name: payments", "name: payments, labels: {a: b c}"),
		want: []string{"/metadata/labels b c"}},

	{name: "two environments of one name", yaml: edit(tenant("payments", ""), "{name: prod,", "{name: dev,"),
		want: []string{`/spec/environments/1 found a second item with name "dev"; want each name once`}},
	{name: "- in an environment name", yaml: edit(tenant("payments", ""), "{name: dev}", "{name: pre-prod}"),
		want: []string{`/spec/environments/0/name found "pre-prod"; want text that matches ^[a-z0-9]+$; Name is the environment's name, without "-"`}},
	{name: "clash through a namespace", yaml: edit(tenant("payments", ""), "{name: dev}", "{name: dev, namespace: payments-prod}"),
		want: []string{"/spec/environments two environments resolve to the same namespace"}},
	{name: "environment in kube-system", yaml: edit(tenant("payments", ""), "{name: dev}", "{name: dev, namespace: kube-system}"),
		want: []string{"/spec/environments an environment cannot be a namespace of the platform"}},
	{name: "tenant kube, environment system", yaml: edit(tenant("kube", ""), "{name: dev}", "{name: system}"),
		want: []string{"/spec/environments an environment cannot be a namespace of the platform"}},
	{name: "tenant ringfence, environment system", yaml: edit(tenant("ringfence", ""), "{name: dev}", "{name: system}"),
		want: []string{"/spec/environments an environment cannot be a namespace of the platform"}},
	{name: "environment without name", yaml: edit(tenant("payments", ""), "{name: dev}", "{production: true}"),
		want: []string{"/spec/environments/0 field name is missing; add it; Name is the environment's name"}},
	{name: "21 environments", yaml: edit(tenant("payments", ""), "[{name: dev}, {name: prod, production: true}]", list(21, "{name: e%d}")),
		want: []string{"/spec/environments found 21; want at most 20 items"}},
	{name: "unknown field", yaml: edit(tenant("payments", ""), "environments:", "environmnets:"),
		want: []string{"/spec field environments is missing", "/spec/environmnets unknown field \"environmnets\"; did you mean `environments`?"}},
	{name: "unknown field deep down", yaml: edit(tenant("payments", ""), "production: true", "prod: true"),
		want: []string{"/spec/environments/1/prod unknown field \"prod\"; want one of groups, name, namespace, production"}},
	{name: "unknown field at the top", yaml: tenant("payments", "") + "Spec: {}\n", want: []string{"/Spec did you mean `spec`?"}},
	{name: "unknown field of status", yaml: tenant("payments", "") + "status: {condition: []}\n", want: []string{"/status/condition did you mean `conditions`?"}},
	{name: "yes in quotes", yaml: edit(tenant("payments", ""), "production: true", `production: "yes"`),
		want: []string{`/spec/environments/1/production found "yes"; want true or false; write true, without quotes`}},
	{name: "number for text", yaml: edit(tenant("payments", ""), "owner: payments-team@bank.example", "owner: 5"), want: []string{`/spec/owner write it in quotes: "5"`}},
	{name: "text for a list", yaml: tenant("payments", "registries: registry.bank.example"), want: []string{`/spec/registries want a list; write it as ["registry.bank.example"]`}},
	{name: "text for an object", yaml: edit(tenant("payments", ""), "groups: {admin: payments-admins, readOnly: payments-viewers}", "groups: payments"),
		want: []string{`/spec/groups found "payments"; want a map of fields`}},
	{name: "spec is missing", yaml: "apiVersion: ringfence.dev/v1alpha1\nkind: Tenant\nmetadata: {name: payments}\n", want: []string{" field spec is missing"}},
	{name: "no owner", yaml: edit(tenant("payments", ""), "owner: payments-team@bank.example", ""),
		want: []string{"/spec field owner is missing; add it; Owner is the mail address"}},
	{name: "owner is no address", yaml: edit(tenant("payments", ""), "payments-team@bank.example", "the payments team"), want: []string{"/spec/owner mail address"}},
	{name: "admin is readOnly", yaml: edit(tenant("payments", ""), "payments-viewers", "payments-admins"), want: []string{"/spec/groups the two groups must differ"}},
	{name: "group system:masters", yaml: edit(tenant("payments", ""), "payments-admins", `"system:masters"`),
		want: []string{`/spec/groups/admin found "system:masters"; groups of Kubernetes itself`}},
	{name: "registry with scheme", yaml: tenant("payments", "registries: [https://registry.bank.example]"), want: []string{"/spec/registries/0 without scheme, tag or trailing slash"}},
	{name: "registry with trailing slash", yaml: tenant("payments", "registries: [registry.bank.example/]"), want: []string{"/spec/registries/0 trailing slash"}},
	{name: "registry in upper case", yaml: tenant("payments", "registries: [Registry.bank.example]"), want: []string{"/spec/registries/0 want text that matches"}},
	{name: "registry twice", yaml: tenant("payments", "registries: [r.example, r.example]"), want: []string{`/spec/registries/1 found "r.example" a second time`}},
	{name: "label of the platform", yaml: tenant("payments", "labels: {pod-security.kubernetes.io/enforce: privileged}"), want: []string{"/spec/labels are written by the platform"}},
	{name: "label key that is none", yaml: tenant("payments", `labels: {"a b": c}`), want: []string{"/spec/labels change the key"}},
	{name: "label value that is no text", yaml: tenant("payments", `labels: {"a/b": 5}`), want: []string{"/spec/labels/a~1b want text"}},
	{name: "annotation that is no text, with dots and brackets", yaml: tenant("payments", `annotations: {"a.b[0]/c~d.e": {f: g}}`),
		want: []string{"/spec/annotations/a.b[0]~1c~0d.e found a map; want text"}},
	{name: "quota of an unknown resource", yaml: tenant("payments", "quota: {cpus: 8}"), want: []string{"/spec/quota a quota limits what"}},
	{name: "quota below zero", yaml: tenant("payments", "quota: {cpu: -8}"), want: []string{"/spec/quota zero or more"}},
	{name: "quota below zero as text", yaml: tenant("payments", `quota: {cpu: "-8"}`), want: []string{"/spec/quota zero or more"}},
	{name: "quota that is no amount", yaml: tenant("payments", "quota: {memory: 16 GB}"), want: []string{"/spec/quota amount of zero or more", "/spec/quota/memory found \"16 GB\""}},
	{name: "quota that only looks like an amount", yaml: tenant("payments", "quota: {memory: 1e+3.5}"), want: []string{"/spec/quota amount of zero or more"}},
	{name: "egress with neither", yaml: tenant("payments", "egress: [{ports: [443]}]"), want: []string{"/spec/egress/0 give fqdn or cidr, one of them"}},
	{name: "egress with both", yaml: tenant("payments", "egress: [{fqdn: a.example, cidr: 10.0.0.0/8, ports: [443]}]"), want: []string{"/spec/egress/0 give fqdn or cidr, one of them"}},
	{name: "CIDR with host bits", yaml: tenant("payments", "egress: [{cidr: 10.20.0.1/16, ports: [443]}]"),
		want: []string{`/spec/egress/0/cidr found "10.20.0.1/16"; want a network such as 10.20.0.0/16, without host bits`}},
	{name: "CIDR that is none", yaml: tenant("payments", "egress: [{cidr: everything, ports: [443]}]"), want: []string{"/spec/egress/0/cidr want a network"}},
	{name: "address for a name", yaml: tenant("payments", "egress: [{fqdn: 10.20.0.5, ports: [443]}]"), want: []string{"/spec/egress/0/fqdn write it as cidr"}},
	{name: "pattern for a name", yaml: tenant("payments", `egress: [{fqdn: "*.example", ports: [443]}]`), want: []string{"/spec/egress/0/fqdn exact lower-case name"}},
	{name: "port 0", yaml: tenant("payments", "egress: [{fqdn: a.example, ports: [0]}]"), want: []string{"/spec/egress/0/ports/0 found 0; want at least 1"}},
	{name: "port 70000", yaml: tenant("payments", "egress: [{fqdn: a.example, ports: [443, 70000]}]"), want: []string{"/spec/egress/0/ports/1 found 70000; want at most 65535"}},
	{name: "port in quotes", yaml: tenant("payments", `egress: [{fqdn: a.example, ports: ["443"]}]`), want: []string{`/spec/egress/0/ports/0 found "443"; want a whole number; write it without quotes`}},
	{name: "no ports", yaml: tenant("payments", "egress: [{fqdn: a.example, ports: []}]"), want: []string{"/spec/egress/0/ports found an empty list; want at least 1 item;"}},
	{name: "expires tomorrow", yaml: tenant("payments", "egress: [{fqdn: a.example, ports: [443], expires: tomorrow}]"),
		want: []string{`/spec/egress/0/expires found "tomorrow"; no such day in the calendar; want a date such as 2027-01-31`}},
	{name: "expires on 30 February", yaml: tenant("payments", `egress: [{fqdn: a.example, ports: [443], expires: "2027-02-30"}]`), want: []string{"/spec/egress/0/expires no such day"}},
	{name: "control id X", yaml: tenant("payments", "controls: {X: Deny}"), want: []string{"/spec/controls a control id looks like RF-WL-01"}},
	{name: "unknown action", yaml: tenant("payments", "controls: {RF-WL-01: deny}"),
		want: []string{"/spec/controls/RF-WL-01 found \"deny\"; want one of Deny, Warn, Audit; did you mean `Deny`?"}},
	{name: "the longest names", yaml: edit(tenant(strings.Repeat("a", 40), ""), "{name: dev}", "{name: "+strings.Repeat("b", 20)+"}")},
	{name: "unknown ring name", yaml: tenant("payments", "ring: Early Birds"), want: []string{"/spec/ring want text that matches"}},
	{name: "unknown deletion policy", yaml: tenant("payments", "deletionPolicy: delete"), want: []string{"/spec/deletionPolicy did you mean `Delete`?"}},
	{name: "many faults at once", yaml: edit(tenant("payments", "registries: [r.example/]\n  egress: [{ports: [0]}]\n  colour: blue"), "payments-viewers", "payments-admins"),
		want: []string{"/spec/colour unknown field", "/spec/egress/0 give fqdn or cidr", "/spec/egress/0/ports/0 at least 1", "/spec/groups must differ", "/spec/registries/0 matches"}},
	{name: "a missing field does not hide a rule elsewhere", yaml: edit(edit(tenant("payments", ""), "owner: payments-team@bank.example", ""), "payments-viewers", "payments-admins"),
		want: []string{"/spec field owner is missing", "/spec/groups must differ"}},

	{name: "Platform of another name", yaml: edit(platform("{}"), "name: platform", "name: main"),
		want: []string{`/metadata/name found "main"; a cluster has one Platform and its name is platform`}},
	{name: "unknown profile", yaml: platform("{profile: standrad}"), want: []string{"/spec/profile did you mean `standard`?"}},
	{name: "default cannot be exempt", yaml: platform("{exemptNamespaces: [default]}"), want: []string{"/spec/exemptNamespaces the default namespace cannot be exempt"}},
	{name: "scan age in days", yaml: platform("{images: {maxScanAge: 30d}}"), want: []string{"/spec/images/maxScanAge in hours, minutes and seconds such as 720h"}},
	{name: "severity 9", yaml: platform("{images: {denySeverity: 9}}"), want: []string{"/spec/images/denySeverity found 9; want at most 5"}},
	{name: "proxy as a URL", yaml: platform("{network: {proxy: http://proxy.bank.example:3128}}"), want: []string{"/spec/network/proxy want a map of fields"}},
	{name: "issuer without https", yaml: platform("{identity: {issuer: http://sso.bank.example}}"), want: []string{"/spec/identity/issuer https"}},
	{name: "prefix that completes system:", yaml: platform("{identity: {groupPrefix: sys}}"), want: []string{"/spec/identity/groupPrefix choose another"}},
	{name: "user prefix of the system", yaml: platform("{identity: {userPrefix: 'system:'}}"), want: []string{"/spec/identity/userPrefix choose another"}},
	{name: "issuer with a place for no directory", yaml: platform("{identity: {issuer: 'https://login.example/{tenantid}/v2.0'}}"), want: []string{"/spec/identity name it in directory"}},
	{name: "issuer with a place for a directory", yaml: platform("{identity: {issuer: 'https://login.example/{tenantid}/v2.0', directory: 6f1c7e0a-51d1-4d0e-9a10-0c2d5c7b1a11, clientID: a, graphHost: graph.example}}")},
	{name: "directory by name", yaml: platform("{identity: {directory: bank.example}}"), want: []string{"/spec/identity/directory 0-9a-f"}},
	{name: "Graph as a URL", yaml: platform("{identity: {graphHost: 'https://graph.example'}}"), want: []string{"/spec/identity/graphHost a-z0-9"}},
	{name: "unknown action in a ring", yaml: platform("{controls: {RF-WL-01: {rings: {early: Allow}}}}"), want: []string{"/spec/controls/RF-WL-01/rings/early want one of Deny, Warn, Audit"}},
	{name: "control id X on the platform", yaml: platform("{controls: {X: {action: Deny}}}"), want: []string{"/spec/controls a control id"}},
	{name: "action without its key", yaml: platform("{controls: {RF-WL-01: Deny}}"), want: []string{`/spec/controls/RF-WL-01 found "Deny"; want a map of fields`}},

	{name: "Guard of another name", yaml: guard("mine", "{}"), want: []string{"/metadata/name its name is guard"}},
	{name: "Guard with host bits", yaml: guard("guard", "{egressCIDRs: [{cidr: 10.0.0.1/8, port: 443}]}"), want: []string{"/spec/egressCIDRs/0/cidr host bits"}},
	{name: "Guard with an unknown action", yaml: guard("guard", "{actions: {RF-WL-01: Allow}}"), want: []string{"/spec/actions/RF-WL-01 want one of"}},
}

// tenant is a sound tenant with one more line in its spec.
func tenant(name, more string) string {
	if more != "" {
		more = "  " + more + "\n"
	}
	return fmt.Sprintf(`
apiVersion: ringfence.dev/v1alpha1
kind: Tenant
metadata: {name: %s}
spec:
  owner: payments-team@bank.example
  groups: {admin: payments-admins, readOnly: payments-viewers}
  environments: [{name: dev}, {name: prod, production: true}]
%s`, name, more)
}

func platform(spec string) string {
	return "apiVersion: ringfence.dev/v1alpha1\nkind: Platform\nmetadata: {name: platform}\nspec: " + spec + "\n"
}

func guard(name, spec string) string {
	return "apiVersion: ringfence.dev/v1alpha1\nkind: Guard\nmetadata: {name: " + name + "}\nspec: " + spec + "\n"
}

// edit replaces what must be there.
func edit(text, old, with string) string {
	if !strings.Contains(text, old) {
		panic("no " + old + " in " + text)
	}
	return strings.Replace(text, old, with, 1)
}

func list(n int, format string) string {
	var items []string
	for i := range n {
		items = append(items, fmt.Sprintf(format, i))
	}
	return "[" + strings.Join(items, ", ") + "]"
}

func object(t testing.TB, text string) map[string]any {
	t.Helper()
	var obj map[string]any
	if err := yaml.Unmarshal([]byte(text), &obj); err != nil {
		t.Fatalf("case is no YAML: %v\n%s", err, text)
	}
	return numbers(obj).(map[string]any)
}

// numbers makes whole numbers int64, as the API server's decoder does.
func numbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case float64:
		if i := int64(v); float64(i) == v {
			return i
		}
	}
	return v
}
