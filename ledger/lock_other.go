//go:build !unix

package ledger

import (
	"errors"
	"os"
)

// takeLock refuses: elsewhere a ledger is read and verified, and not written.
func takeLock(string) (*os.File, error) {
	return nil, errors.New("a ledger is written on Linux and other Unix systems only")
}
