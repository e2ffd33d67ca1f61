package faults

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"ringfence.dev/ringfence/server"
)

// childEnv holds the order of a child: this very program runs it as a control plane.
const childEnv = "RINGFENCE_FAULTS_CHILD"

// order is what a child is told.
type order struct {
	Name, Kubeconfig, Service string
	Lease                     time.Duration
	WebhookOnly               bool
}

// child runs the control plane until it is told to end, or its parent is gone.
func child() int {
	var o order
	if err := json.Unmarshal([]byte(os.Getenv(childEnv)), &o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent
		os.Exit(3)
	}()
	config, err := clientcmd.BuildConfigFromFlags("", o.Kubeconfig)
	if err == nil {
		config.UserAgent = o.Name
		err = serve(o, func(s *server.Server) error { return s.Run(ctx, config) })
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func serve(o order, run func(*server.Server) error) error {
	s, err := server.New(server.Config{
		Webhook:  server.WebhookConfig{Listen: "127.0.0.1:0", Service: o.Service, Controls: "RF-WL-01", Settle: time.Second, Drain: time.Second},
		Replicas: server.ReplicasConfig{Elect: !o.WebhookOnly, Lease: o.Lease, WebhookOnly: o.WebhookOnly},
	}, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	if err != nil {
		return err
	}
	defer s.Close()
	fmt.Println(s.WebhookAddress())
	return run(s)
}

// replica is a control plane in a process of its own.
type replica struct {
	order
	address string
	cmd     *exec.Cmd
	ended   chan struct{} // closed when it has; err may be read then
	err     error
}

// start runs a replica until the test ends.
func (b *bed) start(t *testing.T, o order) *replica {
	t.Helper()
	o.Kubeconfig, o.Service = cluster.Kubeconfig, b.front.service()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{order: o, ended: make(chan struct{}), cmd: exec.Command(os.Args[0])}
	r.cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	r.cmd.Stderr = t.Output()
	out, err := r.cmd.StdoutPipe()
	if err == nil {
		_, err = r.cmd.StdinPipe() // open until this process ends
	}
	if err == nil {
		err = r.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	go func() {
		r.err = r.cmd.Wait()
		close(r.ended)
	}()
	t.Cleanup(r.kill)
	if r.address = strings.TrimSpace(line); err != nil || r.address == "" {
		t.Fatalf("%s did not say where it listens: %v", o.Name, err)
	}
	return r
}

// kill ends a replica as kill -9 does.
func (r *replica) kill() {
	_ = r.cmd.Process.Kill()
	<-r.ended
}

// terminate ends it as kubelet does, and gives how it ended.
func (r *replica) terminate() error {
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	<-r.ended
	return r.err
}

// ready is nil where a replica says that it can decide.
func (r *replica) ready() error {
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}, Timeout: 5 * time.Second}
	got, err := web.Get("https://" + r.address + "/readyz")
	if err != nil {
		return err
	}
	defer got.Body.Close()
	if text, _ := io.ReadAll(got.Body); got.StatusCode != http.StatusOK {
		return errors.New(string(text))
	}
	return nil
}
