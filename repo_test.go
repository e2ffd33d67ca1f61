// Package ringfence_test holds the rules of the house: what every folder of this repository keeps to, with the numbers.
//
// How a rule is checked is package internal/archtest's business; which rules there are, with what limits and exceptions,
// is said here and nowhere else. A limit is changed here, in a commit that argues for it.
package ringfence_test

import (
	"bytes"
	"cmp"
	"errors"
	"flag"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"ringfence.dev/ringfence/internal/archtest"
)

var update = flag.Bool("update", false, "write deps.txt anew")

// law is the law of the house.
var law = archtest.Law{
	Sentences:  2,
	Documented: 98,
	Chain:      8,
	FileLines:  500,
	FuncLines:  59,
	MainLines:  40,
	Banned: []string{"util", "utils", "common", "helper", "helpers", "types", "core", "base", "manager", "models",
		"services", "controllers", "handlers", "pkg"},
	Edges: slices.Concat(vocabulary, kubernetes, direction),
	Immutable: []string{"errors.New", "fmt.Errorf", "regexp.MustCompile", "strings.NewReplacer", "template.Must",
		"append", "slices.Concat", "resource.MustParse", "version.MajorMinor", "sync.OnceValue", "sync.OnceValues"},
	Secret:     []string{"home", "root", "tmp", "work"},
	Exceptions: exceptions,
}

// vocabulary are the packages that everything imports; they must stay cheap to import.
var vocabulary = []archtest.Edge{
	{From: []string{"finding"}, Only: []string{"std"}, Why: "finding is below everything and imports the standard library only"},
	{From: []string{"control", "waiver"}, Only: []string{"std", "ours"}, Why: "control, finding and waiver import the standard library and us only"},
	{From: []string{"api/..."}, Only: []string{"std", "k8s.io/apimachinery/..."}, Why: "api is what others import; it needs apimachinery and nothing else"},
}

// kubernetes keeps Kubernetes libraries with the packages that speak to it.
var kubernetes = []archtest.Edge{{
	From: []string{"..."},
	Except: []string{"api/...", "cluster/...", "policy/...", "admission/...", "tenant/...", "detect/...", "remediate/...", "schema/...", "server/...", "install/...",
		"local/...", "internal/...", "test/..."},
	Never: []string{"k8s.io/...", "sigs.k8s.io/controller-runtime/..."},
	Why:   "Kubernetes libraries stay in api, cluster, policy, admission, tenant, detect, remediate, schema, server, install, local, internal and test",
}}

// direction is producer -> record -> consumer, and who wires them.
var direction = []archtest.Edge{
	{
		From:  []string{"policy/...", "detect/...", "tenant/...", "manifest/...", "admission/...", "benchmark/...", "image/...", "drift/...", "render/...", "scan/..."},
		Never: []string{"ledger/...", "store/...", "forward/...", "portal/..."},
		Why:   "a producer knows nothing of those who read its findings: ledger, store, forward, portal",
	},
	{
		From:   []string{"..."},
		Except: []string{"cli/...", "server/...", "test/..."},
		Never: []string{"policy/cel", "policy/vap", "policy/kyverno", "detect/auditlog", "detect/sigma", "image/cosign", "image/registry", "image/scanner",
			"secret/vault", "secret/cyberark", "ledger/filelog", "ledger/pglog", "forward/splunk", "forward/syslog", "forward/ocsf", "compliance/oscal"},
		Why: "a plug-in is chosen in a literal of cli or server, and nobody else imports it",
	},
	{
		From: []string{"..."}, Except: []string{"render/..."},
		Never: []string{"helm.sh/...", "sigs.k8s.io/kustomize/...", "github.com/santhosh-tekuri/...", "github.com/Masterminds/sprig/v3"},
		Why:   "only render knows Helm and Kustomize: it keeps them from the network, from programs and from the environment",
	},
	{
		From: []string{"..."}, Except: []string{"server", "internal/otlp", "test/..."},
		Never: []string{"go.opentelemetry.io/..."},
		Why:   "only server makes spans, of what the other packages tell it, and internal/otlp sends them",
	},
	{From: []string{"internal/otlp"}, Only: []string{"std", "go.opentelemetry.io/...", "google.golang.org/protobuf/...", "github.com/prometheus/..."}, Why: "what sends spans knows nothing of what they tell"},
	{From: []string{"render/...", "ignore/..."}, Only: []string{"std", "finding", "manifest", "helm.sh/...", "sigs.k8s.io/kustomize/...", "github.com/santhosh-tekuri/...",
		"go.yaml.in/...", "github.com/Masterminds/sprig/v3"}, Why: "render and ignore read files and judge nothing"},
	{From: []string{"..."}, Except: []string{"cmd/...", "cli/..."}, Never: []string{"cli/..."}, Why: "only cmd imports cli"},
	{From: []string{"..."}, Never: []string{"cmd/...", "test/..."}, Except: []string{"test/..."}, Why: "nothing is built on a command or on test code"},
}

var exceptions = []archtest.Exception{
	{Rule: "banned-names", Path: "api/v1alpha1/*_types.go", Name: "types", Reason: "kubebuilder and controller-gen readers expect <kind>_types.go"},
	{Rule: "nothing-left-to-do", Path: "image/leaks/gitleaks.toml", Reason: "gitleaks' own file, unchanged, so that a newer one is copied over it"},
}

// TestHouse holds the whole repository to every rule of the house.
func TestHouse(t *testing.T) {
	tree, err := archtest.Load(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range archtest.Rules() {
		t.Run(rule.Name, func(t *testing.T) {
			faults, measure := rule.Check(tree, &law)
			if measure != "" {
				t.Log(measure)
			}
			for _, fault := range faults {
				t.Error(fault)
			}
			if len(faults) > 0 {
				t.Logf("what to do: %s; the rules and their exceptions are in repo_test.go", rule.Fix)
			}
		})
	}
}

// TestDeps holds deps.txt to the modules that are linked into the binary.
func TestDeps(t *testing.T) {
	want := linked(t)
	if *update {
		if err := os.WriteFile("deps.txt", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("deps.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range diff(string(got), want) {
		t.Errorf("deps.txt %s", d)
	}
	if t.Failed() {
		t.Log("what to do: ask whether the binary needs the new module; if so run: go test -run TestDeps . -update, and say why in the commit")
	}
}

// TestDiff shows that a module which is missing in deps.txt, one too many and another version are each seen.
func TestDiff(t *testing.T) {
	got := diff("a.example/a v1.0.0\nb.example/b v1.0.0\n", "a.example/a v1.0.1\nc.example/c v1.0.0\n")
	want := []string{"lists a.example/a v1.0.0, which is not linked", "lists b.example/b v1.0.0, which is not linked",
		"lacks a.example/a v1.0.1, which is linked", "lacks c.example/c v1.0.0, which is linked"}
	if !slices.Equal(got, want) {
		t.Errorf("diff = %q, want %q", got, want)
	}
}

func diff(got, want string) (faults []string) {
	have, need := slices.Collect(strings.Lines(got)), slices.Collect(strings.Lines(want))
	for _, line := range have {
		if !slices.Contains(need, line) {
			faults = append(faults, "lists "+strings.TrimSpace(line)+", which is not linked")
		}
	}
	for _, line := range need {
		if !slices.Contains(have, line) {
			faults = append(faults, "lacks "+strings.TrimSpace(line)+", which is linked")
		}
	}
	return faults
}

// linked is the module and version, one a line, of every package in the binary for Linux.
func linked(t *testing.T) string {
	t.Helper()
	list := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}", "./cmd/ringfence")
	list.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	out, err := list.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		t.Fatalf("go list ./cmd/ringfence: %v\n%s", err, exit.Stderr)
	} else if err != nil {
		t.Fatalf("go list ./cmd/ringfence: %v", err)
	}
	lines := slices.Collect(strings.Lines(string(bytes.TrimLeft(out, "\n"))))
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.TrimSpace(line) == "" })
	slices.SortFunc(lines, cmp.Compare)
	return strings.Join(slices.Compact(lines), "")
}
