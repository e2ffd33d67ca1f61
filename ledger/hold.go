package ledger

import (
	"errors"
	"fmt"
	"io"

	"ringfence.dev/ringfence/internal/durable"
)

// Hold keeps every process from opening the ledger in a folder until it is closed, without opening it: for work beside a
// ledger that stands still. The error wraps ErrLocked where another process has it open.
func Hold(dir string) (io.Closer, error) {
	lock, err := durable.Lock(folder(dir).path(lockFile), fileMode)
	if errors.Is(err, durable.ErrLocked) {
		err = ErrLocked
	}
	if err != nil {
		return nil, fmt.Errorf("hold the ledger in %s: %w", dir, err)
	}
	return lock, nil
}
