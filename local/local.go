// Package local runs the whole platform on one machine: a real API server and etcd, Ringfence, the sample bank, and the
// story that shows what is refused and what runs.
//
// It is a user of the platform like any other: it starts processes and calls the API server, and holds no rule of its
// own. The command `ringfence up` calls it.
package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"ringfence.dev/ringfence/internal/durable"
	"ringfence.dev/ringfence/internal/kube"
)

// Options is what the user asked of `ringfence up`.
type Options struct {
	// Dir keeps the state between runs. Empty means a temporary directory that is removed at the end.
	Dir string
	// Kubeconfig names an existing cluster to use instead of starting one. Empty starts one.
	Kubeconfig string
	// Port is the API server's port; 0 is the one of the last run, or a free one.
	Port int
	// Once plays the story and ends.
	Once bool
	// Yes lets the story be played on an existing cluster that runs workloads of others.
	Yes bool
	// Devcluster is the control plane's binary. Empty looks beside this program, then in PATH.
	Devcluster string
	// Out is where the story is told.
	Out io.Writer
	// Prove waits until the ledger of the platform in dir holds a refusal that happened since, and verifies it. It says what
	// it found in one line, and gives up when ctx ends. Nil proves nothing.
	Prove func(ctx context.Context, dir string, since time.Time) (string, error)
	// Image runs `ringfence image` with arguments and returns what it prints. That an image is refused, or will be, is no error.
	Image func(ctx context.Context, args ...string) (string, error)
	// NewServer makes the control plane, which answers on the unix socket at a path.
	NewServer func(socket string, log *slog.Logger) (Server, error)
}

// Server is Ringfence's control plane.
type Server interface {
	// AuditURL is where the API server is to send audit events.
	AuditURL() string
	// Run runs the control plane on a cluster until ctx ends, which is no error.
	Run(ctx context.Context, cluster *rest.Config) error
	// Close stops what the server listens on. It is safe to call more than once.
	Close()
}

// SocketPath is where a platform whose state is in dir answers questions such as `ringfence findings`.
func SocketPath(dir string) string { return filepath.Join(dir, "ringfence.sock") }

// ErrStory is what Up returns when the platform runs but something was refused or admitted that should not have been.
var ErrStory = errors.New("the story did not go as it should")

// Up runs the platform until ctx ends, or until the story is over with Once. It returns ErrStory where the story failed
// with Once, and any other error where the platform could not be run.
func Up(ctx context.Context, o Options) error {
	if err := runsOn(runtime.GOOS, o.Kubeconfig); err != nil {
		return err
	}
	story := newStory(o.Out)
	temporary := o.Dir == ""
	if temporary {
		dir, err := os.MkdirTemp("", "ringfence-")
		if err != nil {
			return fmt.Errorf("make a directory for the state: %w", err)
		}
		defer os.RemoveAll(dir)
		o.Dir = dir
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return err
	}
	o.Dir = dir
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	defer unlock()

	logs, err := os.OpenFile(filepath.Join(dir, "ringfence.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	defer logs.Close()
	srv, err := o.NewServer(SocketPath(dir), slog.New(slog.NewTextHandler(logs, nil)))
	if err != nil {
		return err
	}
	defer srv.Close()
	return run(ctx, o, srv, story)
}

// runsOn says why the platform cannot be run on a system, with the cluster of a kubeconfig or, where that is "", one of its own.
func runsOn(goos, kubeconfig string) error {
	switch {
	case goos == "windows":
		return errors.New("ringfence up does not run on Windows; run it on Linux, in WSL 2 for instance, or on macOS with --kubeconfig FILE")
	case goos != "linux" && kubeconfig == "":
		return errors.New("a control plane can be started on Linux only; on this system name an existing cluster: ringfence up --kubeconfig FILE")
	}
	return nil
}

// run starts the cluster, then the control plane, then plays the story; the first of them to end ends all.
func run(ctx context.Context, o Options, srv Server, story *story) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	examined := make(chan error, 1)
	go func() { // which takes half a second, beside a start of four
		var err error
		story.images, err = examine(ctx, o, time.Now())
		examined <- err
	}()
	cluster, err := connect(ctx, o, srv.AuditURL(), story)
	fault := <-examined
	if err != nil {
		return err
	}
	defer cluster.stop()
	if fault != nil {
		return fault
	}
	config, err := kube.Config(cluster.kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 200, 400

	group, ctx := errgroup.WithContext(ctx)
	stop := serve(group, ctx, srv, rest.CopyConfig(config))
	group.Go(func() error { return cluster.wait(ctx) })
	group.Go(func() error {
		err := story.play(ctx, config, cluster, o)
		if o.Once || ctx.Err() != nil {
			cancel()
			return err
		}
		if err != nil && !errors.Is(err, ErrStory) {
			return err
		}
		story.next(o, cluster)
		return nil
	})
	err = group.Wait()
	cluster.stop() // it sends the audit events that it still has, so Ringfence must still take them
	stop()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return err
}

// serve runs the control plane until stop, which waits for its end. Where it ends before, that ends the group.
func serve(group *errgroup.Group, ctx context.Context, srv Server, config *rest.Config) (stop func()) {
	until, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	var err error // once ended is closed
	go func() {
		defer close(ended)
		err = srv.Run(until, config)
	}()
	group.Go(func() error {
		select {
		case <-ended:
			return err
		case <-ctx.Done():
			return nil
		}
	})
	return func() {
		cancel()
		<-ended
	}
}

// lock takes the directory for this process, so that no two platforms share a state.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	path := filepath.Join(dir, "ringfence.lock")
	file, err := durable.Lock(path, 0o600)
	if errors.Is(err, durable.ErrLocked) {
		holder, _ := os.ReadFile(path)
		return nil, fmt.Errorf("%s is in use by another ringfence up (process %.20s); stop that one or choose another --dir", dir, cmp.Or(string(holder), "unknown"))
	}
	if err != nil {
		return nil, fmt.Errorf("lock the state in %s: %w", dir, err)
	}
	if err := errors.Join(file.Truncate(0), writeAt(file, fmt.Sprint(os.Getpid()))); err != nil {
		file.Close()
		return nil, fmt.Errorf("write the lock of %s: %w", dir, err)
	}
	return func() { file.Close() }, nil
}

func writeAt(f *os.File, s string) error {
	_, err := f.WriteAt([]byte(s), 0)
	return err
}

// stopTimeout bounds how long the control plane may take to stop before it is killed; it takes about 2 s.
const stopTimeout = 4 * time.Second
