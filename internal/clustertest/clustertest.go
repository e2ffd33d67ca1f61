// Package clustertest gives tests a real Kubernetes control plane: devcluster as a child process, or a cluster that exists.
//
// It installs nothing of Ringfence but CRDs, and only when asked. The end-to-end tests call it from TestMain; nothing else does.
package clustertest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"
)

// The environment variables that choose the cluster.
const (
	// EnvKubeconfig names the kubeconfig of a cluster that exists. Tests write to it: give them one that may be thrown away.
	EnvKubeconfig = "RINGFENCE_TEST_KUBECONFIG"
	// EnvBinary names the devcluster binary; without it bin/devcluster beside the nearest go.mod above is taken.
	EnvBinary = "DEVCLUSTER_BIN"
	// EnvVersion has a devcluster's API server behave as an older one (1.34 to 1.36): kinds, fields and CEL that came later are not there.
	EnvVersion = "RINGFENCE_TEST_KUBERNETES"
)

// Emulated is the argument of Start for an API server that behaves as one of an older version, such as 1.34.
func Emulated(version string) string { return "--apiserver-arg=--emulated-version=" + version }

// ErrUnavailable means that there is no cluster to test on and no way to start one here. Tests skip, with its text.
var ErrUnavailable = errors.New("no cluster to test on")

// readyWithin is how long a start may take: 4 to 7 s on an idle machine, many times that on a shared one.
const readyWithin = 3 * time.Minute

// Cluster is a running control plane.
type Cluster struct {
	// Kubeconfig is the path of an administrator's kubeconfig, and Config what it says. QPS is not limited.
	Kubeconfig string
	Config     *rest.Config

	own *own // nil for a cluster that was there before
}

// own is a devcluster that was started here.
type own struct {
	binary, dir string
	args        []string
	child       *child
}

// Stop ends the cluster if Start started it, and removes its files. It may be called twice.
func (c *Cluster) Stop() {
	if c.own != nil {
		c.own.child.stop()
		_ = os.RemoveAll(c.own.dir)
		c.own = nil
	}
}

// Kill ends all processes of the cluster at once, as a loss of power does; what was stored stays. The error wraps
// ErrUnavailable for a cluster that Start did not start.
func (c *Cluster) Kill() error {
	if c.own == nil {
		return fmt.Errorf("%w that may be killed", ErrUnavailable)
	}
	c.own.child.kill()
	address, err := url.Parse(c.Config.Host)
	if err != nil {
		return err
	}
	for range 100 { // its children die with it, a moment later; until then they hold its port
		conn, err := net.DialTimeout("tcp", address.Host, time.Second)
		if err != nil {
			return nil
		}
		conn.Close()
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("kill the cluster: something still answers at %s", address.Host)
}

// Restart starts the cluster again after Kill, on what was stored and at the same address.
func (c *Cluster) Restart() error {
	if c.own == nil {
		return fmt.Errorf("%w that may be started", ErrUnavailable)
	}
	path, err := c.own.start()
	if err != nil {
		return err
	}
	now, err := load(path)
	if err == nil && now.Config.Host != c.Config.Host {
		err = fmt.Errorf("the cluster came back at %s; want %s: another process took its port", now.Config.Host, c.Config.Host)
	}
	return err
}

// Start gives a cluster: the one of EnvKubeconfig, else a devcluster with args beside those it needs, in a directory of its
// own. The error wraps ErrUnavailable where neither can be had.
func Start(args ...string) (*Cluster, error) {
	log.SetLogger(logr.Discard()) // else controller-runtime complains that nobody reads what it says
	if path := os.Getenv(EnvKubeconfig); path != "" {
		return load(path)
	}
	binary, err := findBinary()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "rf")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the cluster: %w", err)
	}
	if version := os.Getenv(EnvVersion); version != "" {
		args = append([]string{Emulated(version)}, args...)
	}
	o := &own{binary: binary, dir: dir, args: append([]string{"up", "--dir", filepath.Join(dir, "c")}, args...)}
	path, err := o.start()
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	c, err := load(path)
	if err != nil {
		c = &Cluster{own: o}
		c.Stop()
		return nil, err
	}
	c.own = o
	return c, nil
}

// start starts the cluster, waits until it is ready and says where its kubeconfig is.
func (o *own) start() (kubeconfig string, err error) {
	if o.child, err = startChild(o.binary, o.args); err != nil {
		return "", fmt.Errorf("start %s: %w", o.binary, err)
	}
	if kubeconfig, err = awaitReady(o.child); err != nil {
		o.child.stop()
		return "", fmt.Errorf("start %s: %w; its last words: %s", o.binary, err, o.child.tail())
	}
	return kubeconfig, nil
}

// Main runs the tests of a package on one cluster that Start gives, and returns the code to exit with. use is told of the
// cluster first; where none can be had it is not called and the tests, which must skip then, are run without.
func Main(run func() int, use func(*Cluster), args ...string) int {
	c, err := Start(args...)
	switch {
	case err == nil:
		defer c.Stop()
		use(c)
	case !errors.Is(err, ErrUnavailable):
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return run()
}

// MainAudited is Main on a cluster that writes its audit log, by docs/audit-policy.yaml, to a file; use is told which. A cluster that was there
// before writes none, or elsewhere.
func MainAudited(run func() int, use func(c *Cluster, auditLog string), args ...string) int {
	root, err := Root()
	dir, tempErr := os.MkdirTemp("", "rf")
	if err := errors.Join(err, tempErr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "audit.log")
	args = append(args, "--audit-policy", filepath.Join(root, "docs", "audit-policy.yaml"), "--apiserver-arg=--audit-log-path="+file)
	return Main(run, func(c *Cluster) { use(c, file) }, args...)
}

// load reads a kubeconfig.
func load(path string) (*Cluster, error) {
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", path, err)
	}
	config.QPS = -1
	return &Cluster{Kubeconfig: path, Config: config}, nil
}

// findBinary is the devcluster to run.
func findBinary() (string, error) {
	if path := os.Getenv(EnvBinary); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("%w: %s names %s: %w", ErrUnavailable, EnvBinary, path, err)
		}
		return path, nil
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, "bin", "devcluster")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w: there is no %s; fix: make, or set %s or %s", ErrUnavailable, path, EnvBinary, EnvKubeconfig)
	}
	return path, nil
}

// Root is the directory of the nearest go.mod at or above the working directory, which is a package's own in its tests.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("%w: no go.mod above the working directory", ErrUnavailable)
		}
		dir = up
	}
}

// awaitReady reads the child's standard output until the line that says where the kubeconfig is.
func awaitReady(c *child) (string, error) {
	found := make(chan string, 1)
	go func() {
		defer close(found)
		lines := bufio.NewScanner(c.stdout)
		for lines.Scan() {
			var ready struct {
				Ready      bool   `json:"ready"`
				Kubeconfig string `json:"kubeconfig"`
			}
			if json.Unmarshal(lines.Bytes(), &ready) == nil && ready.Ready {
				found <- ready.Kubeconfig
				break
			}
		}
		for lines.Scan() { // a full pipe would stop it
		}
	}()
	select {
	case path, ok := <-found:
		if !ok {
			return "", errors.New("it ended before it was ready")
		}
		return path, nil
	case <-time.After(readyWithin):
		return "", fmt.Errorf("it was not ready within %v", readyWithin)
	}
}

// Install applies the YAML documents of files with server-side apply, in order, as the administrator.
func (c *Cluster) Install(ctx context.Context, files ...string) error {
	to, err := client.New(c.Config, client.Options{})
	if err != nil {
		return fmt.Errorf("connect to the cluster: %w", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("install: %w", err)
		}
		for _, doc := range bytes.Split(data, []byte("\n---\n")) {
			u := &unstructured.Unstructured{}
			if err := yaml.Unmarshal(doc, &u.Object); err != nil {
				return fmt.Errorf("install %s: %w", file, err)
			}
			if len(u.Object) == 0 {
				continue
			}
			if err := to.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.ForceOwnership, client.FieldOwner("clustertest")); err != nil {
				return fmt.Errorf("install %s: %w", file, err)
			}
		}
	}
	return nil
}

// InstallCRDs installs the CRDs of api/v1alpha1 and waits until they are served.
func (c *Cluster) InstallCRDs(ctx context.Context) error {
	root, err := Root()
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(root, "api", "v1alpha1", "crds", "*.yaml"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("install CRDs: want files in api/v1alpha1/crds: %w", errors.Join(err, os.ErrNotExist))
	}
	if err := c.Install(ctx, files...); err != nil {
		return err
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml") // <group>_<plural>
		group, plural, _ := strings.Cut(name, "_")
		if err := c.AwaitCRD(ctx, plural+"."+group); err != nil {
			return err
		}
	}
	return nil
}

// AwaitCRD waits until a CRD is established, 30 s at most.
func (c *Cluster) AwaitCRD(ctx context.Context, name string) error {
	to, err := client.New(c.Config, client.Options{})
	if err != nil {
		return fmt.Errorf("connect to the cluster: %w", err)
	}
	u := &unstructured.Unstructured{}
	u.SetAPIVersion("apiextensions.k8s.io/v1")
	u.SetKind("CustomResourceDefinition")
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		if err := to.Get(ctx, client.ObjectKey{Name: name}, u); err == nil {
			conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
			for _, condition := range conditions {
				if m, ok := condition.(map[string]any); ok && m["type"] == "Established" && m["status"] == "True" {
					return nil
				}
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for CRD %s: %w", name, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
