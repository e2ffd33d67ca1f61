package witness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"ringfence.dev/ringfence/internal/durable"
	"ringfence.dev/ringfence/ledger"
)

// gitFile is the file of the repository that holds the checkpoint.
const gitFile = "checkpoint"

// Git is a place in a Git repository: one commit a checkpoint, in a work tree of its own, which is made where it is missing. Where
// remote is not empty each commit is pushed to its branch main, never with force; protect it there. It needs the program git;
// hooks and signing of the machine's user are not used, and nothing asks for a password.
func Git(dir, remote string) Place {
	return Place{Name: "git " + dir, Publish: func(ctx context.Context, checkpoint []byte) error {
		if err := (repository{ctx, dir}).publish(remote, checkpoint); err != nil {
			return fmt.Errorf("publish a checkpoint in the Git repository %s: %w", dir, err)
		}
		return nil
	}}
}

// repository is a work tree for the time of one call.
type repository struct {
	ctx context.Context
	dir string
}

func (r repository) publish(remote string, checkpoint []byte) error {
	_, tree, err := ledger.ParseCheckpoint(string(checkpoint))
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(r.dir, ".git")); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(r.dir, 0o750); err != nil {
			return err
		}
		if _, err := r.git("init", "--quiet", "--initial-branch=main"); err != nil {
			return err
		}
	}
	if committed, err := r.git("show", "HEAD:"+gitFile); err == nil {
		_, there, err := ledger.ParseCheckpoint(committed)
		if err != nil {
			return fmt.Errorf("read the committed checkpoint: %w", err)
		}
		if there.N > tree.N || there.N == tree.N && there.Hash != tree.Hash {
			return conflict(there.N, tree.N)
		}
	}
	if err := durable.Replace(filepath.Join(r.dir, gitFile), checkpoint, 0o640); err != nil {
		return err
	}
	if _, err := r.git("add", "--", gitFile); err != nil {
		return err
	}
	if _, err := r.git("diff", "--cached", "--quiet"); err != nil { // exit code 1: there is something to commit
		if _, err := r.git("commit", "--quiet", "--no-verify", "-m", fmt.Sprintf("checkpoint of %d entries", tree.N)); err != nil {
			return err
		}
	}
	if remote == "" {
		return nil
	}
	_, err = r.git("push", "--quiet", remote, "HEAD:refs/heads/main")
	return err
}

// git runs git in the work tree.
func (r repository) git(args ...string) (string, error) {
	cmd := exec.CommandContext(r.ctx, "git", append([]string{"-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false", "-c", "core.fsync=all"}, args...)...)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "GIT_AUTHOR_NAME=ringfence", "GIT_AUTHOR_EMAIL=ringfence@localhost",
		"GIT_COMMITTER_NAME=ringfence", "GIT_COMMITTER_EMAIL=ringfence@localhost", "GIT_DIR=.git", "GIT_WORK_TREE=.")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(errs.String())
		return "", fmt.Errorf("git %s: %w: %.300q", args[0], err, text)
	}
	return out.String(), nil
}
