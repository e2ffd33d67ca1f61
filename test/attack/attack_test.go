// Package attack tries the ways round the controls that we know, on a real API server and at the command line. Each is a file of
// testdata/corpus, in the form of package attempt, with the refusal it must get; one that is let in is a hole, and fails the test.
//
// `make attack` prints the counts. Isolation of tenants has its own corpus, in test/e2e/isolation.
package attack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/cli"
	"ringfence.dev/ringfence/internal/attempt"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/server"
)

const (
	// atOnce is how many requests are on their way at a time.
	atOnce    = 16
	namespace = "payments-dev"
	// bank is the Platform and the Tenant, for the cluster and for the command line alike.
	bank = "testdata/setup/bank.yaml"
)

var cluster *clustertest.Cluster

func TestMain(m *testing.M) {
	os.Exit(clustertest.Main(m.Run, func(c *clustertest.Cluster) { cluster = c }))
}

// people are who attacks: the admin of a tenant, and an engineer of the platform.
func people() map[string]rest.ImpersonationConfig {
	return map[string]rest.ImpersonationConfig{
		"admin":    {UserName: "oidc:abe@bank.example", Groups: []string{"oidc:payments-admins", "system:authenticated"}},
		"platform": {UserName: "oidc:pia@bank.example", Groups: []string{"oidc:platform", "system:authenticated"}},
	}
}

// corpus is every attack. Its last step must be refused: those before may prepare it.
func corpus(t *testing.T) []attempt.Sequence {
	t.Helper()
	all, err := attempt.Read(os.DirFS("testdata/corpus"), slices.Collect(maps.Keys(people()))...)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if last := s.Steps[len(s.Steps)-1]; last.Want == attempt.LetIn {
			t.Errorf("%s: its last step is let in; an attack ends with a refusal", s.File)
		}
	}
	return all
}

// TestAttack makes every attack on the API server.
func TestAttack(t *testing.T) {
	all := corpus(t)
	if cluster == nil {
		t.Skip(clustertest.ErrUnavailable)
	}
	senders := newBed(t)
	ready, err := attempt.Read(os.DirFS("testdata/ready"), slices.Collect(maps.Keys(people()))...)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range attempt.Make(t.Context(), ready, senders, 1) {
		if row.Fault != nil {
			t.Fatalf("wait for the rules: %v", row.Fault)
		}
	}
	began := time.Now()
	rows := attempt.Make(t.Context(), all, senders, atOnce)
	hostile := 0
	for _, row := range rows {
		if row.Want != attempt.LetIn {
			hostile++
		}
		if row.Fault != nil {
			t.Errorf("%s: %v", row.File, row.Fault)
		}
	}
	t.Logf("%d attacks, %d hostile requests of %d, in %v: %s", len(all), hostile, len(rows), time.Since(began).Round(time.Millisecond), attempt.Tally(rows))
}

// newBed is a cluster on which every rule denies, and who attacks it.
func newBed(t *testing.T) map[string]attempt.Sender {
	t.Helper()
	admin := ringfencetest.Client(t, cluster.Config)
	install := func(path string) {
		ringfencetest.Eventually(t, "install "+path, func() error { return cluster.Install(t.Context(), path) })
	}
	install("testdata/setup/platform-team.yaml") // before Ringfence, which refuses the binding
	ringfencetest.Start(t, cluster.Config, server.Config{}, slog.LevelError)
	install(bank)
	ringfencetest.Eventually(t, "the rules to be in force", func() error { return ringfencetest.InForce(t.Context(), admin) })
	who := people()["admin"]
	probe := func(kind corev1.ServiceType) error {
		return ringfencetest.As(t, cluster.Config, who.UserName, who.Groups...).Create(t.Context(), &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: "probe", Namespace: namespace, Labels: map[string]string{"cost-centre": "4711"}}, Spec: corev1.ServiceSpec{Type: kind, Ports: []corev1.ServicePort{{Port: 443}}},
		}, client.DryRunAll)
	}
	ringfencetest.Eventually(t, "the team to have rights", func() error { return probe(corev1.ServiceTypeClusterIP) })
	ringfencetest.Eventually(t, "the team to be refused", func() error { return ringfencetest.RefusedBy(probe(corev1.ServiceTypeNodePort), "RF-NW-08") })
	install("testdata/setup/things.yaml")
	senders := map[string]attempt.Sender{}
	for name, as := range people() {
		config := rest.CopyConfig(cluster.Config)
		config.Impersonate = as
		c, err := rest.HTTPClientFor(config)
		if err != nil {
			t.Fatal(err)
		}
		senders[name] = attempt.Sender{Host: config.Host, Client: c}
	}
	return senders
}

// TestAttackOnCheck gives the command line every object that an attack creates and a control refuses: it must name that control too.
func TestAttackOnCheck(t *testing.T) {
	dir, want := t.TempDir(), map[string]string{} // by file name
	for _, s := range corpus(t) {
		for i, step := range s.Steps {
			object, ok := step.Body.(map[string]any)
			if _, kind := object["kind"]; !ok || !kind || step.Method() != http.MethodPost || !strings.HasPrefix(step.Want, "RF-") || strings.Contains(step.Path(), "/token") {
				continue
			}
			text, err := json.Marshal(object)
			name := fmt.Sprintf("%s-%d.json", strings.ReplaceAll(s.File, "/", "-"), i+1)
			if err := errors.Join(err, os.WriteFile(filepath.Join(dir, name), text, 0o600)); err != nil {
				t.Fatal(err)
			}
			want[name] = step.Want
		}
	}
	got := check(t, dir)
	for name, id := range want {
		if !slices.Contains(got[name], id) {
			t.Errorf("%s: check refuses it for %v; want %s", name, got[name], id)
		}
	}
	t.Logf("%d objects were judged by check", len(want))
}

// check is the controls for which `ringfence check` refuses each file of a folder.
func check(t *testing.T, dir string) (ids map[string][]string) {
	t.Helper()
	var out, prose bytes.Buffer
	code := cli.Main(t.Context(), []string{"check", dir, "--platform", bank, "--namespace", namespace, "-o", "json"},
		cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &prose, Now: time.Now})
	var report struct {
		Findings []struct {
			Control, Outcome, Action string
			Location                 struct{ File string }
		}
	}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil || len(report.Findings) == 0 {
		t.Fatalf("exit code %d, %s: %v", code, prose.String(), err)
	}
	ids = map[string][]string{}
	for _, f := range report.Findings {
		if f.Outcome == "Fail" && f.Action == "Deny" {
			name := filepath.Base(f.Location.File)
			ids[name] = append(ids[name], f.Control)
		}
	}
	return ids
}

// TestCorpus: every file of the corpus is in a folder that says what it attacks. It says which controls are attacked.
func TestCorpus(t *testing.T) {
	attacked := map[string]int{}
	for _, s := range corpus(t) {
		if filepath.Dir(s.File) == "." {
			t.Errorf("%s: want a folder that says what is attacked", s.File)
		}
		for _, step := range s.Steps {
			attacked[step.Want]++
		}
	}
	var ids []string
	for id := range attacked {
		if strings.HasPrefix(id, "RF-") {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	t.Logf("%d controls are attacked: %s", len(ids), strings.Join(ids, " "))
}
