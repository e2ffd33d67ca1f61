//go:build !unix && !windows

package durable

import (
	"errors"
	"os"
)

// Lock refuses: on other systems nothing is written that two processes could write at once.
func Lock(string, os.FileMode) (*os.File, error) {
	return nil, errors.New("this is written on Unix systems and Windows only")
}
