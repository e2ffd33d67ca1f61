//go:build !unix

package durable

import (
	"errors"
	"os"
)

// Lock refuses: elsewhere nothing is written that two processes could write at once.
func Lock(string, os.FileMode) (*os.File, error) {
	return nil, errors.New("this is written on Linux and other Unix systems only")
}
