package witness

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"ringfence.dev/ringfence/internal/durable"
	"ringfence.dev/ringfence/ledger"
)

// perFolder is how many sizes of a log share one folder, so that no folder grows without end.
const perFolder = 1 << 16

// Folder is a place in a folder, for instance on a share that keeps what was written once. Each checkpoint is a new file,
// <range>/<size>-<hash>.checkpoint; no file is ever written twice.
func Folder(dir string) Place {
	return Place{Name: "folder " + dir, Publish: func(_ context.Context, checkpoint []byte) error {
		if err := publishFile(dir, checkpoint); err != nil {
			return fmt.Errorf("publish a checkpoint in %s: %w", dir, err)
		}
		return nil
	}}
}

func publishFile(dir string, checkpoint []byte) error {
	_, tree, err := ledger.ParseCheckpoint(string(checkpoint))
	if err != nil {
		return err
	}
	newest, root, err := newestFile(dir)
	switch {
	case err != nil:
		return err
	case newest > tree.N || newest == tree.N && root != shortRoot(tree):
		return conflict(newest, tree.N)
	case newest == tree.N:
		return nil
	}
	sub := filepath.Join(dir, fmt.Sprintf("%020d", tree.N/perFolder*perFolder))
	if err := os.MkdirAll(sub, 0o750); err != nil {
		return err
	}
	path := filepath.Join(sub, fmt.Sprintf("%020d-%s.checkpoint", tree.N, shortRoot(tree)))
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	return durable.Replace(path, checkpoint, 0o640)
}

// shortRoot tells roots apart in the name of a file.
func shortRoot(tree tlog.Tree) string {
	sum := sha256.Sum256(tree.Hash[:])
	return fmt.Sprintf("%x", sum[:8])
}

// newestFile is size and root of the largest checkpoint in a folder, -1 where there is none.
func newestFile(dir string) (size int64, root string, err error) {
	subs, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return -1, "", nil
	}
	if err != nil {
		return 0, "", err
	}
	for i := len(subs) - 1; i >= 0; i-- { // sorted by name, which is by size
		files, err := os.ReadDir(filepath.Join(dir, subs[i].Name()))
		if err != nil {
			return 0, "", err
		}
		for j := len(files) - 1; j >= 0; j-- {
			name, ok := strings.CutSuffix(files[j].Name(), ".checkpoint")
			if n, _ := fmt.Sscanf(name, "%d-%s", &size, &root); ok && n == 2 {
				return size, root, nil
			}
		}
	}
	return -1, "", nil
}
