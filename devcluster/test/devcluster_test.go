package test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const workload = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      initContainers: [{name: first, image: registry.bank.example/first}]
      containers: [{name: web, image: registry.bank.example/web}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: once, namespace: shop}
spec:
  template: {spec: {restartPolicy: Never, containers: [{name: once, image: registry.bank.example/once}]}}
`

func TestUp(t *testing.T) {
	tmp := t.TempDir()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	c := upIn(t, tmp, "--nodes", "3", "--kubeconfig", kubeconfig)
	if c.Kubeconfig != kubeconfig || c.PID != c.cmd.Process.Pid || len(c.Children) != 4 || !strings.HasPrefix(c.Server, "https://127.0.0.1:") {
		t.Errorf("readiness = %+v, want kubeconfig %s, pid %d, four children and a server on loopback", c, kubeconfig, c.cmd.Process.Pid)
	}
	if info, err := os.Stat(kubeconfig); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the kubeconfig = %v, %v, want 0600", info, err)
	}
	ready := `jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}`
	if got := c.mustKubectl("get", "nodes", "-o", ready); got != "True True True" {
		t.Errorf("nodes are Ready: %q, want three times True at once", got)
	}
	if got := c.mustKubectl("version"); strings.Count(got, "v1.37.1") != 2 {
		t.Errorf("kubectl version = %q, want v1.37.1 for client and server", got)
	}
	c.apply(workload)
	c.wantOutput("2", "-n", "shop", "get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}")
	c.wantOutput("1", "-n", "shop", "get", "job", "once", "-o", "jsonpath={.status.succeeded}")
	c.wantOutput("Running Running", "-n", "shop", "get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].status.phase}")
	c.mustKubectl("-n", "shop", "delete", "deployment", "web", "--wait=false")
	c.wantOutput("", "-n", "shop", "get", "pods", "-l", "app=web", "-o", "name")
	c.stop()
	wantEmpty(t, tmp)
}

func TestSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGHUP} {
		tmp := t.TempDir()
		c := upIn(t, tmp)
		_ = c.cmd.Process.Signal(sig)
		if code := c.end(); code != 0 {
			t.Errorf("exit code after %v = %d, want 0; standard error:\n%s", sig, code, c.stderr)
		}
		c.wantGone()
		wantEmpty(t, tmp)
	}
}

// A stopped API server cannot end on SIGTERM. The first signal then waits for a bound, and the second does not.
func TestStopIsBounded(t *testing.T) {
	for signals, bound := range map[int]time.Duration{1: 10 * time.Second, 2: 2900 * time.Millisecond} {
		tmp := t.TempDir()
		c := upIn(t, tmp)
		if err := syscall.Kill(c.Children["kube-apiserver"], syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for range signals {
			_ = c.cmd.Process.Signal(syscall.SIGTERM)
			time.Sleep(100 * time.Millisecond) // two of the same signal at once are one
		}
		c.end()
		if took := time.Since(began); took > bound {
			t.Errorf("stopped %s after %d signals, want at most %s: 5 s and time for a busy machine, or less than the first bound", took, signals, bound)
		}
		c.wantGone()
		wantEmpty(t, tmp)
	}
}

// A service manager signals all processes at once: that is a stop, although children end before they are asked to.
func TestSignalToAll(t *testing.T) {
	c := up(t)
	for _, pid := range c.Children {
		_ = syscall.Kill(pid, syscall.SIGTERM)
	}
	c.stop()
}

// Readers of the output may go away at any time; the temporary directory is removed all the same.
func TestReaderGone(t *testing.T) {
	tmp := t.TempDir()
	cmd := exec.Command("sh", "-c", `"$0" up 2>&1 | head -n 1`, binary(t))
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "kube-scheduler started", func() error {
		found, _ := filepath.Glob(filepath.Join(tmp, "*", "logs", "kube-scheduler.log"))
		if len(found) != 1 {
			return fmt.Errorf("kube-scheduler.log found %d times", len(found))
		}
		return nil
	})
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
	_ = cmd.Wait()
	eventually(t, "an empty temporary directory", func() error {
		if entries, err := os.ReadDir(tmp); err != nil || len(entries) > 0 {
			return fmt.Errorf("%v, %v", entries, err)
		}
		return nil
	})
}

func TestInterruptedStart(t *testing.T) {
	tmp := t.TempDir()
	c, _ := launch(t, tmp)
	eventually(t, "etcd up", func() error {
		if !strings.Contains(c.stderr.String(), "etcd up") {
			return errors.New(c.stderr.String())
		}
		return nil
	})
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	if code := c.end(); code != 1 {
		t.Errorf("exit code = %d, want 1; standard error:\n%s", code, c.stderr)
	}
	wantEmpty(t, tmp)
}

func TestDirInUse(t *testing.T) {
	dir := t.TempDir()
	c := up(t, "--dir", dir, "--no-scheduler", "--no-controller-manager")
	if len(c.Children) != 2 {
		t.Errorf("children = %v, want etcd and kube-apiserver alone", c.Children)
	}
	code, stderr := run(t, "up", "--dir", dir)
	want := fmt.Sprintf("devcluster: %s is in use by another devcluster (pid %d); stop it or choose another --dir\n", dir, c.PID)
	if code != 1 || stderr != want {
		t.Errorf("second up = %d, %q, want 1, %q", code, stderr, want)
	}
	c.mustKubectl("get", "nodes") // the first one did not notice
	c.stop()
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	code, stderr := run(t, "up", "--port", port)
	if code != 1 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "port "+port) || !strings.Contains(stderr, "--port") {
		t.Errorf("up on a used port = %d, %q, want 1 and one line with the port and what to do", code, stderr)
	}
}

// The port of a kept directory is used again, unless something else has it by then.
func TestPortIsRemembered(t *testing.T) {
	dir := t.TempDir()
	args := []string{"--dir", dir, "--no-scheduler", "--no-controller-manager", "--nodes", "0"}
	c := up(t, args...)
	first := c.Server
	c.stop()
	c = up(t, args...)
	if c.Server != first {
		t.Errorf("server of the second run = %s, want %s again", c.Server, first)
	}
	c.stop()
	l, err := net.Listen("tcp", strings.TrimPrefix(first, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c = up(t, args...)
	if c.Server == first {
		t.Errorf("server of the third run = %s, want another: that port is taken", c.Server)
	}
	c.mustKubectl("get", "--raw", "/readyz")
	c.stop()
}

func TestUsage(t *testing.T) {
	foreign := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(foreign, []byte("apiVersion: v1\nkind: Config\nclusters: [{name: prod, cluster: {server: https://10.0.0.1}}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		want int
	}{
		{[]string{"up", "--bogus"}, 2},
		{[]string{"up", "extra"}, 2},
		{[]string{"bogus"}, 2},
		{[]string{"up", "--port", "65536"}, 2},
		{[]string{"up", "--nodes", "-1"}, 2},
		{[]string{"up", "--audit-webhook", "http://192.0.2.1/"}, 2},
		{[]string{"up", "--audit-webhook", "file:///etc/passwd"}, 2},
		{[]string{"up", "--audit-policy", foreign + ".none"}, 2},
		{[]string{"up", "--apiserver-arg", "v=2"}, 2},
		{[]string{"up", "--authentication-config", foreign, "--apiserver-arg=--oidc-issuer-url=https://x"}, 2},
		{[]string{"up", "--dir", foreign}, 1},
		{[]string{"up", "--kubeconfig", foreign}, 1},
	} {
		code, stderr := run(t, tc.args...)
		if code != tc.want || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "devcluster: ") {
			t.Errorf("devcluster %q = %d, %q, want %d and one line", tc.args, code, stderr, tc.want)
		}
	}
	for _, args := range [][]string{{"--help"}, {"up", "--help"}, {"version"}} {
		if code, stderr := run(t, args...); code != 0 || stderr != "" {
			t.Errorf("devcluster %q = %d, %q, want 0 and nothing on standard error", args, code, stderr)
		}
	}
}

// A killed process of any kind ends the run, and the next run on the same directory has every object.
func TestKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long-", 30)) // beyond the 108 bytes of a socket address
	victims := []string{"etcd", "kube-apiserver", "kube-controller-manager", "devcluster"}
	for i, victim := range victims {
		c := up(t, "--dir", dir)
		c.mustKubectl("create", "configmap", "before-"+victim)
		pid, ok := c.Children[victim]
		if !ok {
			pid = c.PID
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		code := c.end()
		if ok && (code != 1 || !strings.Contains(c.stderr.String(), victim+" ended (signal: killed)") || !strings.Contains(c.stderr.String(), dir+"/logs/"+victim+".log")) {
			t.Errorf("%s killed: exit code %d, want 1 and the name, the end and the log of the child; standard error:\n%s", victim, code, c.stderr)
		}
		if victim == "devcluster" {
			continue // the next run starts at once, while the children may still be ending
		}
		c.wantGone()
		c = up(t, "--dir", dir)
		for _, v := range victims[:i+1] {
			c.mustKubectl("get", "configmap", "before-"+v)
		}
		c.stop()
	}
	c := up(t, "--dir", dir)
	for _, v := range victims {
		c.mustKubectl("get", "configmap", "before-"+v)
	}
	c.stop()
}

// A kill at any moment of a start, the first one included, leaves a directory that works.
func TestKillAtRandomMoments(t *testing.T) {
	dir := t.TempDir()
	for range 8 {
		c, _ := launch(t, t.TempDir(), "--dir", dir)
		time.Sleep(time.Duration(rand.IntN(3500)) * time.Millisecond)
		_ = c.cmd.Process.Kill()
		c.end()
	}
	for range 8 { // before the first component runs, keys and all are made
		c, _ := launch(t, t.TempDir(), "--dir", dir)
		time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond)
		_ = c.cmd.Process.Kill()
		c.end()
		if err := os.RemoveAll(filepath.Join(dir, "pki")); err != nil {
			t.Fatal(err)
		}
	}
	c := up(t, "--dir", dir)
	c.apply(workload)
	c.wantOutput("2", "-n", "shop", "get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}")
	c.stop()
}

// A damaged certificate is made anew, with everything that depends on it.
func TestDamagedKeys(t *testing.T) {
	dir := t.TempDir()
	args := []string{"--dir", dir, "--no-scheduler", "--nodes", "0"}
	c := up(t, args...)
	token := c.mustKubectl("create", "token", "default")
	c.stop()
	if err := os.WriteFile(filepath.Join(dir, "pki", "apiserver.crt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "pki.new"), 0o700); err != nil {
		t.Fatal(err)
	}
	c = up(t, args...)
	c.mustKubectl("get", "namespaces")
	who := c.mustKubectl("--kubeconfig="+os.DevNull, "--server="+c.Server, "--insecure-skip-tls-verify", "--token="+token,
		"auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")
	if who != "system:serviceaccount:default:default" {
		t.Errorf("whoami with a token of the first run = %q, want the service account: the token key is kept", who)
	}
	c.stop()
	for _, name := range []string{"pki", "etcd", "logs"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("mode of %s = %v, %v, want 0700", name, info, err)
		}
	}
}

// run runs devcluster to its end and returns its exit code and standard error. It leaves nothing in the temporary directory.
func run(t *testing.T, args ...string) (int, string) {
	t.Helper()
	tmp := t.TempDir()
	cmd := exec.Command(binary(t), args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	var stderr lockedBuffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	wantEmpty(t, tmp)
	return cmd.ProcessState.ExitCode(), stderr.String()
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("temporary directory holds %v, %v, want nothing", entries, err)
	}
}
