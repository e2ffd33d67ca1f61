//go:build linux

package cli

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// repairable is a pod of which check --fix changes a line.
const repairable = pod + "spec: {containers: [{name: a, securityContext: {allowPrivilegeEscalation: true}}]}\n"

func fixed(t *testing.T, path string) (code int, prose string) {
	t.Helper()
	var told bytes.Buffer
	code = Main(t.Context(), []string{"check", "--only", "RF-WL-07", "--fix", path}, Env{Stdout: &told, Stderr: &told, Now: time.Now})
	return code, told.String()
}

// TestFixHardLink leaves a file with several names alone, and says so.
func TestFixHardLink(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")
	write(t, path, repairable)
	if err := os.Link(path, other); err != nil {
		t.Skip(err)
	}
	code, prose := fixed(t, path)
	text, err := os.ReadFile(other)
	if code != 2 || !strings.Contains(prose, "not written: the file has 2 names (hard links)") || err != nil || string(text) != repairable {
		t.Errorf("exit code %d, want 2; %v; %s\n%s", code, err, text, prose)
	}
}

// TestFixAttributes keeps extended attributes and access control lists.
func TestFixAttributes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.yaml")
	write(t, path, repairable)
	list := binary.LittleEndian.AppendUint32(nil, 2) // version 2, then tag, permissions and id of each entry
	for _, e := range [][3]uint32{{1, 6, 1<<32 - 1}, {2, 6, 4711}, {4, 4, 1<<32 - 1}, {0x10, 6, 1<<32 - 1}, {0x20, 0, 1<<32 - 1}} {
		list = binary.LittleEndian.AppendUint16(list, uint16(e[0]))
		list = binary.LittleEndian.AppendUint16(list, uint16(e[1]))
		list = binary.LittleEndian.AppendUint32(list, e[2])
	}
	tried := 0
	for name, value := range map[string][]byte{"user.owner": []byte("payments"), "system.posix_acl_access": list} {
		if syscall.Setxattr(path, name, value, 0) == nil {
			tried++
		}
	}
	if tried == 0 {
		t.Skip("this file system keeps no extended attributes")
	}
	before := attributes(t, path)
	if code, prose := fixed(t, path); code != 0 {
		t.Fatalf("exit code %d: %s", code, prose)
	}
	text, _ := os.ReadFile(path)
	if after := attributes(t, path); after != before || !strings.Contains(string(text), "allowPrivilegeEscalation: false") {
		t.Errorf("attributes %q, want %q; %s", after, before, text)
	}
}

func attributes(t *testing.T, path string) (all string) {
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"user.owner", "system.posix_acl_access"} {
		value := make([]byte, 1000)
		if n, err := syscall.Getxattr(path, name, value); err == nil {
			all += name + string(value[:n])
		}
	}
	return all + info.Mode().String()
}
