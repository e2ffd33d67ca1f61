package load

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ringfence.dev/ringfence/admission"
	"ringfence.dev/ringfence/server"
)

// process is a Ringfence that runs.
type process struct {
	t        *testing.T
	settings settings
	cmd      *exec.Cmd
	audit    string // where audit events are posted; "" where none are
	words    words
	ended    chan struct{}
}

// words keep what a process says; after 1 MiB the first half goes.
type words struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.text.Len() > 1<<20 {
		w.text.Next(w.text.Len() / 2)
	}
	return w.text.Write(p)
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// usual are the settings of a Ringfence with every control at both doors and evidence in a folder of the test.
func usual(t *testing.T) settings {
	t.Helper()
	dir, err := os.MkdirTemp("", "rf") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return settings{Kubeconfig: cluster.Kubeconfig, Evidence: filepath.Join(dir, "evidence"), Socket: filepath.Join(dir, "s"), AuditFile: events,
		Webhook: server.WebhookConfig{Listen: address, URL: "https://" + address, Controls: admission.All, Settle: time.Second, Drain: time.Second}}
}

// start runs Ringfence until the test ends.
func start(t *testing.T, s settings) *process {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, settings: s, cmd: exec.Command(program), ended: make(chan struct{})}
	p.cmd.Env, p.cmd.Stderr = append(os.Environ(), envServe+"="+string(text)), &p.words
	if _, err = p.cmd.StdinPipe(); err != nil { // closed when this process ends, however it does
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	p.audit = strings.TrimSpace(line)
	go func() { // ends with the process, for which kill and stop wait
		_, _ = io.Copy(io.Discard, stdout)
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			said := p.words.String()
			t.Logf("Ringfence said:\n%s", said[max(0, len(said)-8000):])
		}
	})
	return p
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // gone already is as good
	<-p.ended
}

// stop asks it to end, and waits.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	<-p.ended
}

// alive is nil while it runs.
func (p *process) alive() error {
	select {
	case <-p.ended:
		return fmt.Errorf("ringfence has ended: %v", p.cmd.ProcessState)
	default:
		return nil
	}
}

// ready is nil where /readyz says so.
func (p *process) ready() error {
	if err := p.alive(); err != nil {
		p.t.Fatal(err)
	}
	web := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	code, text, err := get(web, "https://"+p.settings.Webhook.Listen+"/readyz")
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("/readyz says %d %s", code, text)
	}
	return err
}

// metric is the sum of a metric over all its labels that hold some text.
func (p *process) metric(name, label string) (sum float64, err error) {
	web := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", p.settings.Socket)
	}}}
	_, text, err := get(web, "http://ringfence/metrics")
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if before, labels, _ := strings.Cut(key, "{"); before != name || !strings.Contains(labels, label) {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, err
}

func get(web *http.Client, url string) (int, string, error) {
	answer, err := web.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), err
}

// component is the process of a component of the cluster, found by its folder; 0 where it is not there.
func component(name string) int {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range lines {
		text, _ := os.ReadFile(file)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		at, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)) // every component's is the folder etcd
		if args := bytes.Split(text, []byte{0}); len(args) > 1 && string(args[1]) == name && filepath.Dir(at) == filepath.Dir(cluster.Kubeconfig) {
			return pid
		}
	}
	return 0
}

// cpu is the CPU time that a process has used (proc(5): utime and stime, in ticks of 10 ms); 0 where it cannot be read.
func cpu(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if err != nil || len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// rss is the memory of a process, in MiB (proc(5): VmRSS); 0 where it cannot be read.
func rss(pid int) float64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmRSS:" {
			kib, _ := strconv.ParseFloat(fields[1], 64)
			return kib / 1024
		}
	}
	return 0
}
