//go:build !linux

package clustertest

import (
	"fmt"
	"io"
	"runtime"
)

// child is never there: devcluster runs on Linux.
type child struct {
	stdout io.Reader
	stop   func()
	kill   func()
}

func (*child) tail() string { return "" }

func startChild(string, []string) (*child, error) {
	return nil, fmt.Errorf("%w: devcluster runs on Linux, this is %s; fix: set %s", ErrUnavailable, runtime.GOOS, EnvKubeconfig)
}
