// Package foreign proves on a real API server that `ringfence check --policy` answers as the server does that has the same
// policies installed: the same refusal, the same warnings, in the same words. How check reads its files and what it exits
// with for bad ones is tested with the command line.
package foreign

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/cli"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/manifest"
)

const setup = "testdata/setup.yaml"

// within is how long the server may take to act by what it was given.
const within = 40 * time.Second

// server is a client that keeps warnings.
type server struct {
	client.Client
	mu       sync.Mutex
	warnings []string // under mu
}

// HandleWarningHeaderWithContext keeps a warning.
func (s *server) HandleWarningHeaderWithContext(_ context.Context, _ int, _ string, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.warnings = append(s.warnings, text)
}

func TestForeign(t *testing.T) {
	cluster, err := clustertest.Start("--nodes", "0", "--no-scheduler")
	if errors.Is(err, clustertest.ErrUnavailable) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	s := &server{}
	config := rest.CopyConfig(cluster.Config)
	config.WarningHandlerWithContext = s
	if s.Client, err = kube.NewClient(config); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(setup)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range read(t, text) {
		s.create(t, o)
	}
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(archive.Files); i += 2 {
			n++
			policy, object := archive.Files[i], archive.Files[i+1]
			t.Run(filepath.Dir(policy.Name), func(t *testing.T) { s.compare(t, n, policy.Data, object.Data) })
		}
	}
}

// answer is what a door says of an object.
type answer struct {
	refused  bool
	messages []string // of refusals: the server gives the first, check all
	warnings []string
}

// compare installs the policies, asks the server for a dry run and check for its verdict.
func (s *server) compare(t *testing.T, n int, policy, object []byte) {
	sentinel := fmt.Sprintf("sentinel-%d", n)
	installed := append(read(t, policy), read(t, fmt.Appendf(nil, sentinelText, sentinel))...)
	for _, o := range installed {
		s.create(t, o)
	}
	t.Cleanup(func() { s.remove(t, installed) })
	s.await(t, sentinel)
	theirs := s.ask(t, read(t, object)[0])
	ours, code := check(t, policy, object)
	want, _, _ := bytes.Cut(bytes.TrimPrefix(object, []byte("# want: ")), []byte("\n"))
	exits := map[string]int{"deny": finding.ExitRefused, "error": finding.ExitUndecided}[string(want)]
	if theirs.refused != (exits != 0) || string(want) == "warn" && len(theirs.warnings) == 0 {
		t.Errorf("the server says %+v, want %s", theirs, want)
	}
	if code != exits {
		t.Errorf("check exits %d, want %d: %+v", code, exits, ours)
	}
	if theirs.refused && !slices.Contains(ours.messages, theirs.messages[0]) {
		t.Errorf("the server refuses: %q\ncheck says: %q", theirs.messages, ours.messages)
	}
	if ours.refused != theirs.refused || !slices.Equal(ours.warnings, theirs.warnings) {
		t.Errorf("the server: %+v\ncheck: %+v", theirs, ours)
	}
}

// ask asks the server to create an object and not to store it.
func (s *server) ask(t *testing.T, o *unstructured.Unstructured) (a answer) {
	t.Helper()
	s.mu.Lock()
	s.warnings = nil
	s.mu.Unlock()
	err := s.Create(t.Context(), o.DeepCopy(), client.DryRunAll)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.warnings {
		if strings.Contains(w, "ValidatingAdmissionPolicy") {
			a.warnings = append(a.warnings, w)
		}
	}
	if err != nil {
		_, message, found := strings.Cut(err.Error(), "is forbidden: ")
		if !found {
			t.Fatalf("the server gives no verdict: %v", err)
		}
		a.refused, a.messages = true, []string{message}
	}
	return a
}

// check runs `ringfence check --policy` as a user would.
func check(t *testing.T, policy, object []byte) (a answer, code int) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string][]byte{"policy.yaml": policy, "object.yaml": object} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var stdout, stderr bytes.Buffer
	code = cli.Main(t.Context(), []string{"check", "-o", "json", "--policy", setup, "--policy", filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "object.yaml")},
		cli.Env{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Now: time.Now})
	var report struct{ Findings []finding.Finding }
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil {
		t.Fatalf("check: exit %d: %v\n%s", code, err, stderr.String())
	}
	for _, f := range report.Findings {
		switch {
		case f.Action == finding.Deny:
			a.refused, a.messages = true, append(a.messages, f.Message)
		case f.Action == finding.Warn:
			a.warnings = append(a.warnings, f.Message)
		}
	}
	return a, code
}

// sentinelText is a policy that refuses the Secret of its own name: once it does, what was created before it holds too.
const sentinelText = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: %[1]s}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [secrets], resourceNames: [%[1]s]}]
  validations: [{expression: "false"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: %[1]s}
spec: {policyName: %[1]s, validationActions: [Deny]}
`

// await waits until the sentinel refuses.
func (s *server) await(t *testing.T, sentinel string) {
	t.Helper()
	probe := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Secret",
		"metadata": map[string]any{"name": sentinel, "namespace": "default"}}}
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, within, true, func(ctx context.Context) (bool, error) {
		last = s.Create(ctx, probe.DeepCopy(), client.DryRunAll)
		return last != nil && strings.Contains(last.Error(), "'"+sentinel+"'"), nil
	})
	if err != nil {
		t.Fatalf("the policies do not hold: %v", last)
	}
}

// remove deletes what was installed, and waits until the server has forgotten the policies.
func (s *server) remove(t *testing.T, installed []*unstructured.Unstructured) {
	ctx := context.WithoutCancel(t.Context())
	for _, o := range installed {
		if err := s.Delete(ctx, o.DeepCopy()); err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("delete %s %s: %v", o.GetKind(), o.GetName(), err)
		}
	}
}

// create stores an object, as soon as its kind is served.
func (s *server) create(t *testing.T, o *unstructured.Unstructured) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, within, true, func(ctx context.Context) (bool, error) {
		last = s.Create(ctx, o.DeepCopy())
		return last == nil || apierrors.IsAlreadyExists(last), nil
	})
	if err != nil {
		t.Fatalf("create %s %s: %v", o.GetKind(), o.GetName(), last)
	}
}

func read(t *testing.T, text []byte) (all []*unstructured.Unstructured) {
	t.Helper()
	for o, err := range manifest.Read(bytes.NewReader(text), "case") {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, &unstructured.Unstructured{Object: o.Value})
	}
	return all
}
