//go:build !linux

package local

import "syscall"

// childAttributes are never used: no control plane is started on this system.
func childAttributes() *syscall.SysProcAttr { return nil }
