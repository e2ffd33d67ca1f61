package waiver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/cli"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/internal/ringfencetest"
)

// kubeconfig is a file that speaks as somebody.
func kubeconfig(t *testing.T, p person) string {
	t.Helper()
	config, err := clientcmd.LoadFromFile(cluster.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range config.AuthInfos {
		who.Impersonate, who.ImpersonateGroups = p.name, append([]string{"system:authenticated"}, p.groups...)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	return file
}

// ran is what a command said.
type ran struct {
	code           int
	stdout, stderr string
}

func ringfence(t *testing.T, args ...string) ran {
	t.Helper()
	var out, prose bytes.Buffer
	code := cli.Main(t.Context(), args, cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &prose, Now: time.Now})
	return ran{code, out.String(), prose.String()}
}

// TestCommands takes a waiver through its life with the commands, each person with a kubeconfig of their own.
func TestCommands(t *testing.T) {
	admin, _ := onboard(t)
	ctx, name := t.Context(), "rf-wl-02-cmd"
	waiver := func(p person, args ...string) ran {
		return ringfence(t, append(append([]string{"waiver"}, args...), "--kubeconfig", kubeconfig(t, p))...)
	}
	in := func(code int, r ran, words ...string) {
		t.Helper()
		if r.code != code {
			t.Errorf("exit code %d, want %d: %s%s", r.code, code, r.stdout, r.stderr)
		}
		for _, w := range words {
			if !strings.Contains(r.stdout+r.stderr, w) {
				t.Errorf("it does not say %q: %s%s", w, r.stdout, r.stderr)
			}
		}
	}
	listed := func(flags ...string) (names map[string]string) {
		t.Helper()
		r := waiver(dave, append([]string{"list", "-n", namespace, "-o", "json"}, flags...)...)
		var all struct {
			SchemaVersion string
			Waivers       []struct{ Name, State string }
		}
		if err := json.Unmarshal([]byte(r.stdout), &all); err != nil || r.code != 0 || all.SchemaVersion != "ringfence.dev/waivers/v1" {
			t.Fatalf("list %v: exit code %d, %v: %s%s", flags, r.code, err, r.stdout, r.stderr)
		}
		names = map[string]string{}
		for _, w := range all.Waivers {
			names[w.Name] = w.State
		}
		return names
	}
	ask := []string{"-n", namespace, "--reason", "the vendor needs it", "--ticket", "RISK-7", "--expires", time.Now().Add(72 * time.Hour).UTC().Format(time.DateOnly)}
	in(1, waiver(dave, append([]string{"request", noneID, "deploy/cmd"}, ask...)...), noneID+" cannot be waived", "fix:")
	in(0, waiver(dave, append([]string{"request", waivedID, "deploy/cmd"}, ask...)...), namespace+"/"+name, "owned by "+dave.name, "ringfence waiver approve "+name+" -n "+namespace)
	in(1, waiver(dave, append([]string{"request", waivedID, "deploy/cmd"}, ask...)...), "already exists")
	if got := listed()[name]; got != "pending" {
		t.Errorf("state %q, want pending", got)
	}
	in(1, waiver(dave, "approve", name, "-n", namespace), "refused")
	in(1, waiver(mallory, "approve", name, "-n", namespace), "takes the verb approve")
	in(1, waiver(erin, "approve", "no-such", "-n", namespace), "not there")
	in(0, waiver(erin, "approve", name, "-n", namespace), erin.name+" approved "+waivedID+" for Deployment/cmd", "RISK-7")
	in(1, waiver(erin, "approve", name, "-n", namespace), "never changed")
	if got := listed("--unused")[name]; got != "live" {
		t.Errorf("--unused lists it as %q, want live: there is no such Deployment yet", got)
	}
	bad := workloads("cmd", true)["Deployment.apps"]
	ringfencetest.Eventually(t, "the Deployment to be let in", func() error { return client.IgnoreAlreadyExists(as(t, dave).Create(ctx, bad)) })
	if got, ok := listed("--unused")[name]; ok {
		t.Errorf("--unused lists it as %q, and it covers a Deployment", got)
	}
	if _, ok := listed("--expiring", "14d")[name]; !ok {
		t.Error("--expiring 14d lacks it")
	}
	if _, ok := listed("--expiring", "36h")[name]; ok {
		t.Error("--expiring 36h has it")
	}
	judge := func() (found []finding.Finding, r ran) {
		r = ringfence(t, "check", "--cluster", "--kubeconfig", cluster.Kubeconfig, "-n", namespace, "--only", waivedID, "-o", "json")
		var report struct{ Findings []finding.Finding }
		if err := json.Unmarshal([]byte(r.stdout), &report); err != nil {
			t.Fatalf("%v: %s%s", err, r.stdout, r.stderr)
		}
		for _, f := range report.Findings {
			if f.Subject.Name == "cmd" {
				found = append(found, f)
			}
		}
		return found, r
	}
	if found, r := judge(); len(found) != 1 || found[0].Waiver == nil || found[0].Waiver.Ticket != "RISK-7" || found[0].Waiver.Approver != erin.name {
		t.Errorf("check --cluster: %+v, want one finding that is waived; %s", found, r.stderr)
	}
	in(0, waiver(dave, "revoke", name, "-n", namespace), name)
	in(0, waiver(dave, "revoke", name, "-n", namespace), "it had ended already")
	if got := listed("--expired")[name]; got != "ended" {
		t.Errorf("--expired lists it as %q", got)
	}
	if found, r := judge(); len(found) != 1 || found[0].Waiver != nil || r.code != 1 {
		t.Errorf("check --cluster after its end: exit code %d, %+v", r.code, found)
	}
	ringfencetest.Eventually(t, "the Deployment to be refused again", func() error {
		again := workloads("cmd", true)["Deployment.apps"]
		if err := admin.Delete(ctx, bad); client.IgnoreNotFound(err) != nil {
			return err
		}
		if err := as(t, dave).Create(ctx, again, client.DryRunAll); err == nil {
			return fmt.Errorf("it was let in")
		} else if ringfencetest.RefusedBy(err, waivedID) != nil {
			return err
		}
		return nil
	})
	in(0, waiver(erin, "list", "-A"), "NAMESPACE", name, "ended")
}
