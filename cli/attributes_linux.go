package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// sameAttributes gives a new file the extended attributes of another, access control lists among them.
func sameAttributes(f *os.File, path string) error {
	names, err := attribute(func(into []byte) (int, error) { return syscall.Listxattr(path, into) })
	if err != nil {
		return fmt.Errorf("list its extended attributes: %w", err)
	}
	for _, name := range strings.FieldsFunc(string(names), func(r rune) bool { return r == 0 }) {
		value, err := attribute(func(into []byte) (int, error) { return syscall.Getxattr(path, name, into) })
		if err != nil {
			return fmt.Errorf("read its extended attribute %s: %w", name, err)
		}
		has, err := attribute(func(into []byte) (int, error) { return syscall.Getxattr(f.Name(), name, into) })
		if err == nil && bytes.Equal(has, value) {
			continue // a label that the system gives, for one
		}
		if err := syscall.Setxattr(f.Name(), name, value, 0); err != nil {
			return fmt.Errorf("its extended attribute %s cannot be kept: %w", name, err)
		}
	}
	return nil
}

// attribute reads what fits the kernel's bound of 64 KiB; a file system that has no attributes has none.
func attribute(read func(into []byte) (int, error)) ([]byte, error) {
	const most = 64 << 10
	into := make([]byte, most)
	n, err := read(into)
	if errors.Is(err, syscall.ENOTSUP) {
		return nil, nil
	}
	return into[:max(n, 0)], err
}
