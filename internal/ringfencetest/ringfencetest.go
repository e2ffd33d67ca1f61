// Package ringfencetest gives tests a running Ringfence on a cluster, clients of the people who use it, and ways to wait and to ask
// why something was refused.
//
// It starts no cluster; package clustertest does. The end-to-end tests call it, and nothing else does.
package ringfencetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/policy/bundle"
	"ringfence.dev/ringfence/server"
)

// patience is how long Eventually waits: far longer than anything takes on an idle machine.
const patience = 4 * time.Minute

// Start makes a Ringfence of cfg and runs it on the cluster, until stop is called or the test ends. It logs from level on.
func Start(t *testing.T, on *rest.Config, cfg server.Config, level slog.Level) (srv *server.Server, stop func()) {
	t.Helper()
	out := &output{to: t.Output()}
	t.Cleanup(out.end)
	srv, err := server.New(cfg, slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: level})))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx, rest.CopyConfig(on)) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("Ringfence ended: %v", err)
		}
	})
	t.Cleanup(stop)
	return srv, stop
}

// output is a test's, until the test ends: who ends later, as some of a manager's goroutines do, must not write to it, for that is a panic.
type output struct {
	mu sync.Mutex // guards to
	to io.Writer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.to.Write(p)
}

func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.to = io.Discard
}

// As is a client of a user in groups, and in those that everybody is in.
func As(t *testing.T, on *rest.Config, user string, groups ...string) client.Client {
	t.Helper()
	config := rest.CopyConfig(on)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: append([]string{"system:authenticated"}, groups...)}
	return Client(t, config)
}

// Client is a client of a configuration.
func Client(t *testing.T, config *rest.Config) client.Client {
	t.Helper()
	c, err := kube.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Eventually tries until there is no error, and ends the test with the last one where that takes too long.
func Eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		last = try()
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("wait for %s: %v", what, last)
	}
}

// InForce is nil where conditions of the Platform are True; without any it asks for bundle.ConditionEnforced.
func InForce(ctx context.Context, c client.Client, conditions ...string) error {
	var p v1alpha1.Platform
	if err := c.Get(ctx, client.ObjectKey{Name: v1alpha1.PlatformName}, &p); err != nil {
		return err
	}
	for _, condition := range append(conditions, bundle.ConditionEnforced) {
		if !meta.IsStatusConditionTrue(p.Status.Conditions, condition) {
			return fmt.Errorf("conditions: %v", p.Status.Conditions)
		}
	}
	return nil
}

// Refused is nil where err is a refusal with these words.
func Refused(err error, words string) error {
	if apierrors.IsForbidden(err) && strings.Contains(err.Error(), words) {
		return nil
	}
	return fmt.Errorf("got %v, want a refusal with %q", err, words)
}

// RefusedBy is nil where err is a refusal by that control.
func RefusedBy(err error, id string) error {
	return Refused(err, "denied request: "+id+" ")
}

// Scrape is what a control plane's socket answers of its metrics.
func Scrape(t *testing.T, socket string) string {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	got, err := c.Get("http://ringfence/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
