//go:build !linux

package token

import (
	"context"
	"fmt"
)

// start is for Linux alone: elsewhere there is no such terminal for the PIN.
func start(context.Context, []string, []byte, []byte) (out, said []byte, err error) {
	return nil, nil, fmt.Errorf("%w: keys in tokens are used on Linux only", ErrToken)
}
