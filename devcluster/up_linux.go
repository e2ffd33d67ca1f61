package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

const (
	startLimit = 3 * time.Minute       // for each step of a start; a machine with busy cores needs one
	pollEvery  = 25 * time.Millisecond // between two looks at a component that starts
)

// errInterrupted is the end of a start that the user stopped.
var errInterrupted = errors.New("stopped before it was ready")

// readiness is the line on standard output. Fields are only ever added.
type readiness struct {
	Ready      bool           `json:"ready"`
	Kubeconfig string         `json:"kubeconfig"`
	Server     string         `json:"server"`
	Seconds    float64        `json:"seconds"`
	PID        int            `json:"pid"`
	Children   map[string]int `json:"children"`
}

// cluster is one run of "devcluster up".
type cluster struct {
	opts    options
	state   *state
	pki     pki
	port    int
	audit   []string // flags of the API server
	family  *family
	started time.Time
	stderr  io.Writer
}

// up runs a cluster until a signal or the death of a component. It returns nil for a signal after readiness.
func up(opts options, stdout, stderr io.Writer) error {
	runtime.LockOSThread() // for ever: the children die with this thread
	started := time.Now()
	ctx, hurry, release := interrupts()
	defer release()
	if opts.kubeconfig != "" {
		if err := checkKubeconfigTarget(opts.kubeconfig); err != nil {
			return err
		}
	}
	s, err := openState(opts.dir)
	if err != nil {
		return err
	}
	binary, err := os.Executable()
	if err != nil {
		s.close(false)
		return fmt.Errorf("find the program to start components with: %w", err)
	}
	c := &cluster{opts: opts, state: s, started: started, stderr: stderr,
		family: newFamily(binary, s.path("etcd"), s.path("logs"), s.children)}
	err = c.run(ctx, stdout)
	stopping, running := time.Now(), len(c.family.members) > 0
	c.family.stop(hurry)
	var death *deathError
	if errors.As(err, &death) {
		err = errors.New(death.Error()) // read the log before it can be removed
	}
	s.close(death != nil)
	if running {
		fmt.Fprintf(stderr, "devcluster: stopped in %.1fs\n", time.Since(stopping).Seconds())
	}
	return err
}

// interrupts returns a context that ends with the first signal to stop, and one that ends with the second.
func interrupts() (first, second context.Context, release func()) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	// A reader of our output that went away must not kill us before the directory is cleaned: writes fail instead.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	first, cancelFirst := context.WithCancel(context.Background())
	second, cancelSecond := context.WithCancel(context.Background())
	go func() { // lives as long as the process
		<-signals
		cancelFirst()
		<-signals
		cancelSecond()
	}()
	return first, second, func() { cancelFirst(); cancelSecond() }
}

// run starts everything, says so on stdout, and returns when ctx ends or a component dies. The caller stops the rest.
func (c *cluster) run(ctx context.Context, stdout io.Writer) error {
	if err := c.prepare(); err != nil {
		return err
	}
	if err := c.startStorage(ctx); err != nil {
		return err
	}
	client, err := c.startAPIServer(ctx)
	if err != nil {
		return err
	}
	if err := c.startControllers(); err != nil {
		return err
	}
	nodes, err := c.startNodes(ctx, client)
	if err != nil {
		return err
	}
	defer nodes.stop()
	if err := c.awaitControllers(ctx, client); err != nil {
		return err
	}
	line, err := json.Marshal(readiness{Ready: true, Kubeconfig: c.adminKubeconfig(), Server: c.server(), PID: os.Getpid(),
		Seconds: float64(time.Since(c.started).Milliseconds()) / 1000, Children: c.family.pids()})
	if err != nil {
		return err
	}
	c.progress("ready, KUBECONFIG=" + c.adminKubeconfig())
	fmt.Fprintf(stdout, "%s\n", line)
	select {
	case <-ctx.Done():
		return nil
	case dead := <-c.family.died:
		return afterDeath(ctx, dead, nil)
	}
}

// afterDeath is the error for the death of a child. When a signal to stop follows at once, the death is part of that
// stop, because the signal went to all processes, as a service manager sends it: then it is stopped.
func afterDeath(ctx context.Context, dead *child, stopped error) error {
	select {
	case <-ctx.Done():
		return stopped
	case <-time.After(200 * time.Millisecond):
		return &deathError{dead}
	}
}

// prepare does what needs no component: keys, port and files.
func (c *cluster) prepare() error {
	var err error
	if c.port, err = c.state.choosePort(c.opts.port); err != nil {
		return err
	}
	if c.pki, err = openPKI(c.state.path("pki"), time.Now()); err != nil {
		return err
	}
	if c.audit, err = auditArgs(c.state, c.opts); err != nil {
		return err
	}
	log, err := os.OpenFile(c.state.path("logs/nodes.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	klog.SetSlogLogger(slog.New(slog.NewTextHandler(log, nil))) // client-go complains about every connection a stop breaks
	return c.writeKubeconfigs()
}

func (c *cluster) writeKubeconfigs() error {
	for _, client := range []string{"admin", "nodes", "kube-controller-manager", "kube-scheduler"} {
		if err := writeKubeconfig(c.state.path(client+".kubeconfig"), c.server(), c.pki, client); err != nil {
			return err
		}
	}
	if c.opts.kubeconfig != "" {
		if err := writeKubeconfig(c.opts.kubeconfig, c.server(), c.pki, "admin"); err != nil {
			return err
		}
	}
	return writeFile(c.state.path("port"), []byte(strconv.Itoa(c.port)+"\n"), 0o600)
}

func (c *cluster) server() string { return fmt.Sprintf("https://127.0.0.1:%d", c.port) }

func (c *cluster) adminKubeconfig() string {
	if c.opts.kubeconfig != "" {
		return c.opts.kubeconfig
	}
	return c.state.path("admin.kubeconfig")
}

// startStorage starts etcd and waits until it answers.
func (c *cluster) startStorage(ctx context.Context) error {
	// A relative socket name works only from this directory. Nothing here uses another relative path.
	if err := os.Chdir(c.state.path("etcd")); err != nil {
		return err
	}
	if _, err := c.family.start("etcd", etcdArgs(c.state.temporary)...); err != nil {
		return err
	}
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", etcdSocket)
		}}}
	if err := c.await(ctx, "etcd", func() error { return get(client, "http://etcd/readyz") }); err != nil {
		return err
	}
	c.progress("etcd up")
	return nil
}

// startAPIServer starts the API server, waits until it is ready and returns the client of the simulated nodes. When
// another process took the port since it was chosen, and the user did not ask for that one, it tries others.
func (c *cluster) startAPIServer(ctx context.Context) (kubernetes.Interface, error) {
	for tries := 1; ; tries++ {
		client, err := c.nodesClient()
		if err != nil {
			return nil, err
		}
		if _, err := c.family.start("kube-apiserver", apiServerArgs(c.pki, c.port, c.audit, c.opts)...); err != nil {
			return nil, err
		}
		err = c.await(ctx, "kube-apiserver", func() error {
			return client.Discovery().RESTClient().Get().AbsPath("/readyz").Timeout(2 * time.Second).MaxRetries(0).Do(ctx).Error()
		})
		if err == nil {
			c.progress("kube-apiserver up on " + c.server())
			return client, nil
		}
		var death *deathError
		if c.opts.port != 0 || tries == 3 || !errors.As(err, &death) || !bytes.Contains(death.logTail(), []byte("address already in use")) {
			return nil, err
		}
		c.family.forget(death.child)
		if c.port, err = freePort(); err != nil {
			return nil, err
		}
		if err := c.writeKubeconfigs(); err != nil {
			return nil, err
		}
	}
}

func (c *cluster) nodesClient() (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.state.path("nodes.kubeconfig"))
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 500, 1000 // one client stands for many kubelets
	return kubernetes.NewForConfig(config)
}

func (c *cluster) startControllers() error {
	if !c.opts.noControllerManager {
		if _, err := c.family.start("kube-controller-manager", controllerManagerArgs(c.state, c.pki, c.opts)...); err != nil {
			return err
		}
	}
	if !c.opts.noScheduler {
		if _, err := c.family.start("kube-scheduler", schedulerArgs(c.state)...); err != nil {
			return err
		}
	}
	return nil
}

// startNodes registers the simulated nodes, and then moves the Pods on them until ctx ends.
func (c *cluster) startNodes(ctx context.Context, client kubernetes.Interface) (*kubelets, error) {
	var nodes []node
	err := c.await(ctx, "the simulated nodes", func() (err error) {
		nodes, err = registerNodes(ctx, client, c.opts.nodes, time.Now())
		return err
	})
	if err != nil {
		return nil, err
	}
	c.progress(fmt.Sprintf("%d simulated nodes up", c.opts.nodes))
	return startKubelets(ctx, client, nodes), nil
}

// awaitControllers waits for the first thing the controller manager makes and every Pod needs.
func (c *cluster) awaitControllers(ctx context.Context, client kubernetes.Interface) error {
	if c.opts.noControllerManager {
		return nil
	}
	err := c.await(ctx, "kube-controller-manager", func() error {
		_, err := client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	if err != nil {
		return err
	}
	c.progress("kube-controller-manager up")
	return nil
}

// await calls probe until it returns nil. It gives up when ctx ends, a component dies, or after startLimit.
func (c *cluster) await(ctx context.Context, what string, probe func() error) error {
	deadline := time.After(startLimit)
	for {
		err := probe()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errInterrupted
		case dead := <-c.family.died:
			return afterDeath(ctx, dead, errInterrupted)
		case <-deadline:
			return fmt.Errorf("%s is not ready after %s: %w; is this machine overloaded? logs of a kept --dir are in its folder logs", what, startLimit, err)
		case <-time.After(pollEvery):
		}
	}
}

func (c *cluster) progress(what string) {
	fmt.Fprintf(c.stderr, "devcluster: %s (%.1fs)\n", what, time.Since(c.started).Seconds())
}

// get returns nil when url answers 200.
func get(client *http.Client, url string) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(body))
	}
	return nil
}
