package probe

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

const (
	// ListenPort is where a probe pod listens.
	ListenPort = 8080
	// reachTime bounds one connection: a packet that is dropped is not answered at all.
	reachTime = 5 * time.Second
	// maxSaid is what a kubelet reads of a termination message.
	maxSaid = 4096
)

// said is what a probe pod leaves behind: which of its targets it reached.
type said struct {
	Reached map[string]bool `json:"reached"`
}

// Reach tries to connect to each host:port by TCP, side by side, and writes which it reached to a file, which is the pod's last
// word. It runs in a probe pod.
func Reach(ctx context.Context, targets []string, file string) error {
	text, err := json.Marshal(said{Reached: answering(ctx, targets)})
	if err == nil && len(text) > maxSaid {
		err = fmt.Errorf("%d targets are more than a pod can tell of", len(targets))
	}
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	return nil
}

// answering says which of some host:port take a connection by TCP, tried side by side.
func answering(ctx context.Context, targets []string) map[string]bool {
	out := map[string]bool{}
	var mu sync.Mutex // guards out
	var all sync.WaitGroup
	for _, target := range targets {
		all.Go(func() {
			c, err := (&net.Dialer{Timeout: reachTime}).DialContext(ctx, "tcp", target)
			if err == nil {
				_ = c.Close()
			}
			mu.Lock()
			defer mu.Unlock()
			out[target] = err == nil
		})
	}
	all.Wait()
	return out
}

// Listen takes connections and closes them until ctx ends. It runs in a probe pod.
func Listen(ctx context.Context, address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("probe: %w", err)
		}
		_ = c.Close()
	}
}
