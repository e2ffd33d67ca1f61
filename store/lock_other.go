//go:build !unix

package store

import (
	"errors"
	"os"
)

// takeLock refuses: elsewhere a store is asked, and not filled.
func takeLock(string) (*os.File, error) {
	return nil, errors.New("a store is filled on Linux and other Unix systems only")
}
