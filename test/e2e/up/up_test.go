// Package up runs the program `ringfence up` as a user does. It treats it badly: killed processes, taken ports, two at once.
package up

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/ledger"
)

// program is a running `ringfence up`.
type program struct {
	cmd  *exec.Cmd
	out  *bytes.Buffer
	done chan error
}

// bin is a program of the bin folder; the test is skipped where it was not built.
func bin(t testing.TB, name string) string {
	t.Helper()
	root, err := clustertest.Root()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "bin", name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("skipped: %s is not built; fix: make build", name)
	}
	return path
}

// shortDir is a directory whose path leaves room for a socket.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// start runs ringfence up and waits until the story is over and the platform is ready.
func start(t testing.TB, dir string, args ...string) *program {
	t.Helper()
	bin(t, "devcluster")
	p := &program{cmd: exec.Command(bin(t, "ringfence"), append([]string{"up", "--dir", dir}, args...)...), out: &bytes.Buffer{}, done: make(chan error, 1)}
	pipe, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan bool, 1)
	go func() {
		for scan := bufio.NewScanner(pipe); scan.Scan(); {
			fmt.Fprintln(p.out, scan.Text())
			if strings.Contains(scan.Text(), "Ctrl-C stops everything") {
				ready <- true
			}
		}
		p.done <- p.cmd.Wait()
	}()
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	select {
	case <-ready:
		if !strings.Contains(p.out.String(), "all went as it should") {
			t.Fatalf("the story went wrong\n%s", p.out)
		}
	case err := <-p.done:
		t.Fatalf("ringfence up ended before it was ready: %v\n%s", err, p.out)
	case <-time.After(4 * time.Minute):
		t.Fatalf("ringfence up is not ready after four minutes\n%s", p.out)
	}
	return p
}

// ended waits for the end of the program.
func (p *program) ended(t testing.TB, within time.Duration) error {
	t.Helper()
	select {
	case err := <-p.done:
		return err
	case <-time.After(within):
		t.Fatalf("ringfence up is still running after %s\n%s", within, p.out)
		return nil
	}
}

// run runs ringfence with args to its end.
func run(t testing.TB, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, prose bytes.Buffer
	cmd := exec.Command(bin(t, "ringfence"), args...)
	cmd.Stdout, cmd.Stderr = &out, &prose
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return out.String(), prose.String(), code
}

// kubectl runs kubectl as the cluster's admin.
func kubectl(t testing.TB, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(bin(t, "kubectl"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(dir, "cluster", "admin.kubeconfig"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// child is the process below pid whose command line matches.
func child(t testing.TB, pid int, pattern string) int {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for _, p := range descendants(pid) {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p))
		if re.Match(bytes.ReplaceAll(line, []byte{0}, []byte(" "))) {
			return p
		}
	}
	t.Fatalf("no process below %d matches %s", pid, pattern)
	return 0
}

// descendants are the processes below pid, in the order of their ids.
func descendants(pid int) (all []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range dirs {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		id, _ := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		if parent, _ := strconv.Atoi(fields[1]); parent == pid {
			all = append(append(all, id), descendants(id)...)
		}
	}
	return all
}

// TestOnce plays the whole story and exits 0.
func TestOnce(t *testing.T) {
	bin(t, "devcluster")
	dir := shortDir(t)
	out, prose, code := run(t, "up", "--once", "--dir", dir)
	if code != 0 || strings.Count(out, "s  refused: ") != 9 || !strings.Contains(out, "compliant workload runs") {
		t.Errorf("ringfence up --once = %d, want 0, nine refusals and a running workload\n%s%s", code, out, prose)
	}
	images(t, dir, out)
	kept(t, dir, out)
}

// TestLives takes one state through many runs: one that is used and ends by Ctrl-C, one for each process that is killed, and one that
// finds everything again.
func TestLives(t *testing.T) {
	dir := filepath.Join(shortDir(t), ".ringfence")
	p := start(t, dir)
	t.Run("twice", func(t *testing.T) { twice(t, dir) })
	t.Run("findings", func(t *testing.T) { findings(t, dir) })
	t.Run("getting started", func(t *testing.T) { walk(t, filepath.Dir(dir), "docs/getting-started.md") })
	keep := func() {
		t.Helper()
		if out, err := kubectl(t, dir, "create", "configmap", fmt.Sprint("keep-", p.cmd.Process.Pid), "-n", "payments-dev", "--from-literal=a=b"); err != nil {
			t.Fatal(out)
		}
	}
	keep()
	interrupt(t, p)
	victims := []string{"etcd ", "kube-apiserver ", "ringfence"}
	if os.Getenv("RINGFENCE_TEST_SLOW") != "" {
		victims = append(victims, "kube-controller-manager ", "devcluster up")
	}
	for _, victim := range victims {
		p = start(t, dir)
		keep()
		kill(t, p, victim)
	}
	start(t, dir)
	out, err := kubectl(t, dir, "get", "configmap", "-n", "payments-dev", "-o", "name")
	if n := strings.Count(out, "configmap/keep-"); err != nil || n != 1+len(victims) {
		t.Errorf("objects are lost, %d of %d are there: %v, %s", n, 1+len(victims), err, out)
	}
	if out, err := kubectl(t, dir, "run", "shell", "--image=nginx", "-n", "payments-dev"); err == nil || !strings.Contains(out, "RF-IM-01") {
		t.Errorf("after all that, a foreign image: %v, %s", err, out)
	}
}

// twice: a second up on the same directory says so and changes nothing.
func twice(t *testing.T, dir string) {
	out, prose, code := run(t, "up", "--dir", dir)
	if code == 0 || strings.Count(prose, "\n") != 1 || !strings.Contains(prose, "in use by another ringfence up") {
		t.Errorf("a second ringfence up = %d, stderr %q, want one line that says so\n%s", code, prose, out)
	}
	if out, err := kubectl(t, dir, "get", "platform", "platform"); err != nil {
		t.Errorf("the first one is hurt: %s", out)
	}
}

// findings: a native refusal is shown within five seconds, with who asked; and the admin's identity is not confused
// with the one it speaks for.
func findings(t *testing.T, dir string) {
	out, err := kubectl(t, dir, "run", "shell", "--image=nginx", "-n", "payments-dev", "--as=mallory@bank.example", "--as-group=oidc:payments-admins")
	if err == nil || !strings.Contains(out, "RF-IM-01") {
		t.Fatalf("kubectl run of a foreign image: %v, %s", err, out)
	}
	refused := time.Now()
	for {
		text, _, code := run(t, "findings", "--since", "10m", "--dir", dir, "--namespace", "payments-dev")
		if code == 0 && strings.Contains(text, "payments-dev/Pod/shell") && strings.Contains(text, "mallory@bank.example") && strings.Contains(text, "RF-WL-16") {
			break
		}
		if time.Since(refused) > time.Minute {
			t.Fatalf("the refusal is not shown after a minute: exit %d\n%s", code, text)
		}
		time.Sleep(100 * time.Millisecond)
	}
	text, _, _ := run(t, "findings", "--dir", dir, "-o", "json", "--control", "RF-IM-01")
	var answer struct {
		SchemaVersion string
		Findings      []map[string]any
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil || answer.SchemaVersion != "ringfence.dev/findings/v1" || len(answer.Findings) == 0 {
		t.Errorf("findings -o json: %v, %s", err, text)
	}
	evidenced(t, filepath.Join(dir, "evidence", "ledger"), "shell")
	for _, name := range []string{"ringfence.sock", "evidence/ledger.key", "evidence/actor.key", "evidence/store.db", "cluster/admin.kubeconfig"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want one that only its owner may open", name, info, err)
		}
	}
	if _, prose, code := run(t, "findings", "--dir", shortDir(t)); code != 2 || !strings.Contains(prose, "no ringfence up is running") {
		t.Errorf("findings without a platform = %d, %s", code, prose)
	}
}

// interrupt: Ctrl-C ends everything in five seconds, with exit 0, and leaves no process.
func interrupt(t *testing.T, p *program) {
	t.Helper()
	below := descendants(p.cmd.Process.Pid)
	if len(below) < 5 {
		t.Fatalf("processes below ringfence up: %v, want the control plane's five", below)
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := p.ended(t, 30*time.Second); err != nil {
		t.Errorf("ringfence up after Ctrl-C: %v, want exit 0\n%s", err, p.out)
	}
	for _, pid := range below {
		if err := syscall.Kill(pid, 0); err == nil {
			t.Errorf("process %d is still there", pid)
		}
	}
}

// kill: after kill -9 of any one process everything ends, with an error.
func kill(t *testing.T, p *program, victim string) {
	t.Helper()
	pid := p.cmd.Process.Pid
	below := descendants(pid)
	if victim != "ringfence" {
		pid = child(t, pid, victim)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := p.ended(t, time.Minute); err == nil {
		t.Errorf("%s killed: ringfence up ended well, want an error\n%s", victim, p.out)
	}
	gone(t, victim, below)
}

// TestPortInUse: one line that names the port.
func TestPortInUse(t *testing.T) {
	bin(t, "devcluster")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	_, prose, code := run(t, "up", "--dir", shortDir(t), "--port", port)
	if code == 0 || strings.Count(prose, "\n") != 1 || !strings.Contains(prose, port) || strings.Contains(prose, "goroutine") {
		t.Errorf("ringfence up on a port in use = %d, stderr %q, want one line with the port", code, prose)
	}
}

// evidenced waits until a ledger that verifies holds the refusal of an object, and no person's name.
func evidenced(t *testing.T, dir, object string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "keyring"))
	if err != nil {
		t.Fatal(err)
	}
	ring, err := ledger.ParseKeyring(text)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for deadline := time.Now().Add(5 * time.Second); !found && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if _, err := ledger.Verify(t.Context(), ledger.Folder(dir), ring, func(e ledger.Entry) error {
			found = found || strings.Contains(string(e.Statement), `"name":"`+object+`"`)
			if strings.Contains(string(e.Statement), "@bank.example") {
				t.Errorf("an entry holds a name: %s", e.Statement)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if !found {
		t.Errorf("the ledger does not hold the refusal of %s after five seconds", object)
	}
}

// gone waits until processes have ended, as they must when the one they serve was killed.
func gone(t *testing.T, victim string, pids []int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		var left []int
		for _, pid := range pids {
			if syscall.Kill(pid, 0) == nil {
				left = append(left, pid)
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s killed: processes %v are still there", victim, left)
		}
	}
}

// TestExistingCluster: on somebody's cluster the story is played too, but not where workloads of others run, unless the
// user says so; and `ringfence serve` is the control plane there, which ends well when it is told to.
func TestExistingCluster(t *testing.T) {
	cluster, err := clustertest.Start()
	if errors.Is(err, clustertest.ErrUnavailable) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	foreign := exec.Command(bin(t, "kubectl"), "--kubeconfig", cluster.Kubeconfig, "run", "theirs", "--image=theirs")
	if out, err := foreign.CombinedOutput(); err != nil {
		t.Fatalf("%s", out)
	}
	if _, prose, code := run(t, "up", "--once", "--kubeconfig", cluster.Kubeconfig); code != 2 || !strings.Contains(prose, "say --yes") {
		t.Errorf("up on a cluster that runs workloads = %d, %s, want a refusal that names --yes", code, prose)
	}
	if out, prose, code := run(t, "up", "--once", "--yes", "--kubeconfig", cluster.Kubeconfig); code != 0 {
		t.Errorf("up --yes = %d\n%s%s", code, out, prose)
	}
	silenced(t, cluster.Kubeconfig)
	dir := shortDir(t)
	serve := exec.Command(bin(t, "ringfence"), "serve", "--kubeconfig", cluster.Kubeconfig, "--socket", filepath.Join(dir, "ringfence.sock"))
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = serve.Process.Kill() })
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		_, prose, code := run(t, "findings", "--dir", dir)
		if code == 0 && strings.Contains(prose, "refusals not observed") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("findings of a cluster without audit stream = %d, %q, want it to say that refusals are not observed", code, prose)
		}
	}
	_ = serve.Process.Signal(syscall.SIGTERM)
	if err := serve.Wait(); err != nil {
		t.Errorf("serve after SIGTERM: %v, want exit 0", err)
	}
}
