package checkcluster

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/cli"
	"ringfence.dev/ringfence/observe"
)

// estate is a namespace as banks have them before a platform: an image by tag of a public registry, a right that is too wide.
const estate = `apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      hostNetwork: true
      containers:
        - {name: shop, image: "nginx:1.27"}
        - {name: agent, image: "harbor.bank.example/agent@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: people}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: shop-people}]`

// audited is an audit log: who went into a pod, who may not, and a line that is none.
const audited = `{"auditID":"1","stage":"ResponseComplete","verb":"create","user":{"username":"eve"},"objectRef":{"resource":"pods","subresource":"exec","namespace":"shop-prod","name":"shop-1"},"responseStatus":{"code":101},"stageTimestamp":"2026-11-21T12:00:00Z"}
{"auditID":"2","stage":"ResponseComplete","verb":"create","user":{"username":"bob"},"objectRef":{"resource":"pods","subresource":"exec","namespace":"shop-prod","name":"shop-1"},"responseStatus":{"code":403},"stageTimestamp":"2026-11-21T12:05:00Z"}
none
`

func ringfence(t *testing.T, args ...string) run {
	t.Helper()
	var out, prose bytes.Buffer
	code := cli.Main(t.Context(), args, cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &prose, Now: time.Now})
	return run{code, out.String(), prose.String()}
}

// TestObserve: with the role that it prints, which only lists, observe shows what would be refused, what runs from where and who may do
// what; and under the Platform that it proposes nothing that was seen is refused.
func TestObserve(t *testing.T) {
	create(t, "shop-prod", estate)
	var role rbacv1.ClusterRole
	if r := ringfence(t, "observe", "--rbac"); r.code != 0 || yaml.UnmarshalStrict([]byte(r.stdout), &role) != nil {
		t.Fatalf("observe --rbac: %d %s %s", r.code, r.stdout, r.stderr)
	}
	for _, rule := range role.Rules {
		if !slices.Equal(rule.Verbs, []string{"list"}) || slices.Contains(rule.Resources, "*") || slices.Contains(rule.Resources, "secrets") {
			t.Errorf("the role grants %v", rule)
		}
	}
	kubeconfig := reader(t, "observer", role.Rules)
	file := filepath.Join(t.TempDir(), "platform.yaml")
	seen := ringfence(t, "observe", "--kubeconfig", kubeconfig, "-o", "json", "--propose", file)
	var r observe.Report
	if err := json.Unmarshal([]byte(seen.stdout), &r); err != nil || seen.code != 0 {
		t.Fatalf("%v: %d %s %s", err, seen.code, seen.stdout, seen.stderr)
	}
	checkObserved(t, r)
	for _, why := range r.NotObserved {
		if strings.Contains(why, "403") {
			t.Errorf("with its own role: %s", why)
		}
	}
	if again := ringfence(t, "observe", "--kubeconfig", kubeconfig, "--propose", file); again.code != 2 || !strings.Contains(again.stderr, "nothing is written over") {
		t.Errorf("over the file: %d %s", again.code, again.stderr)
	}
	proposed, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(proposed), "harbor.bank.example") || strings.Contains(string(proposed), "- docker.io") {
		t.Errorf("%v: %s", err, proposed)
	}
	if judged := check(t.Context(), kubeconfig, "-A", "--platform", file, "-o", "json"); len(judged.findings(t)) == 0 || judged.code == 1 {
		t.Errorf("under the proposed Platform: %d %s", judged.code, judged.stderr)
	} else {
		for _, f := range judged.findings(t) {
			if f.Outcome == "Fail" && f.Action == "Deny" && f.Subject.Namespace != "kube-system" {
				t.Errorf("refused under the proposed Platform: %s", f.Message)
			}
		}
	}
	log := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(log, []byte(audited), 0o600); err != nil {
		t.Fatal(err)
	}
	second := ringfence(t, "observe", "--kubeconfig", kubeconfig, "--platform", file, "--audit", log)
	for _, want := range []string{"2 requests from 2026-11-21T12:00:00Z to 2026-11-21T12:05:00Z, of which the API server forbade 1", "eve in shop-prod by exec: 1 time", "1 lines are no audit events"} {
		if !strings.Contains(second.stdout, want) || second.code != 0 {
			t.Errorf("with audit events the output lacks %q: %d %s %s", want, second.code, second.stdout, second.stderr)
		}
	}
	if none := ringfence(t, "observe", "--kubeconfig", kubeconfig, "--audit", log+".none"); none.code != 2 || !strings.Contains(none.stderr, "want a file of audit events") {
		t.Errorf("without the file of audit events: %d %s", none.code, none.stderr)
	}
	if !strings.Contains(second.stdout, "RF-IM-01") || strings.Contains(second.stdout, "compare with the bank's own settings") {
		t.Errorf("with the proposed Platform: %s %s", second.stdout, second.stderr)
	}
	t.Log(second.stdout)
}

func checkObserved(t *testing.T, r observe.Report) {
	t.Helper()
	failing := map[string]int{}
	for i, c := range r.Controls {
		for _, n := range c.Namespaces {
			if n.Name == "shop-prod" {
				failing[c.ID] = n.Count
			}
		}
		if i > 0 && c.Failing == 0 && r.Controls[i-1].Failing > 0 {
			t.Errorf("%s breaks nothing and comes after %s", c.ID, r.Controls[i-1].ID)
		}
	}
	if failing["RF-WL-02"] != 1 || failing["RF-ID-01"] != 1 {
		t.Errorf("in shop-prod fail %v", failing)
	}
	if !slices.ContainsFunc(r.Images, func(i observe.Image) bool {
		return i.Reference == "nginx:1.27" && i.Registry == "docker.io" && i.By == "tag" && slices.Contains(i.Namespaces, "shop-prod")
	}) {
		t.Errorf("images %+v", r.Images)
	}
	if !slices.ContainsFunc(r.Rights, func(h observe.Holder) bool {
		return h.Subject == "Group shop-people" && !h.Cluster && slices.Contains(h.Powers, observe.PowerEverything) && slices.Equal(h.Namespaces, []string{"shop-prod"})
	}) {
		t.Errorf("rights %+v", r.Rights)
	}
	if !slices.ContainsFunc(r.Namespaces, func(n observe.Namespace) bool {
		return n.Name == "shop-prod" && !n.Baseline && !n.System && n.Failing > 0
	}) {
		t.Errorf("namespaces %+v", r.Namespaces)
	}
}

// TestObserveWithoutRights: what cannot be read is not observed, and a cluster of which nothing can be read is no observation.
func TestObserveWithoutRights(t *testing.T) {
	create(t, "shop-dev", estate)
	blind := reader(t, "blind", []rbacv1.PolicyRule{{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: []string{"list"}}})
	for words, args := range map[string][]string{"Not observed, and so unknown": nil, "list pods: the API server answers 403": {"-o", "json"}} { // the text cuts the list
		if part := ringfence(t, append([]string{"observe", "--kubeconfig", blind}, args...)...); part.code != 0 || !strings.Contains(part.stdout, words) {
			t.Errorf("want %q: %d %s %s", words, part.code, part.stdout, part.stderr)
		}
	}
	none := ringfence(t, "observe", "--kubeconfig", reader(t, "blinder", nil))
	if none.code != 2 || !strings.Contains(none.stderr, "nothing was seen") {
		t.Errorf("%d %s %s", none.code, none.stdout, none.stderr)
	}
}
