package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"ringfence.dev/ringfence/finding"
)

// changes are the files in which a working tree differs from where its branch left another.
type changes struct {
	rev   string
	files map[string]bool // absolute, without links
}

// changedSince asks git for what changed since the branch of the working folder left rev: committed or not, removed, and
// what git does not track and does not ignore. The error is one of usage: no repository, no such revision.
func changedSince(ctx context.Context, rev string) (*changes, error) {
	top, err := git(ctx, "rev-parse", "--show-toplevel")
	if err != nil {
		return nil, fmt.Errorf("--since %s: %w", finding.Value(rev), err)
	}
	root := strings.TrimSuffix(string(top), "\n")
	base, err := git(ctx, "merge-base", "--end-of-options", rev, "HEAD")
	if err != nil {
		return nil, fmt.Errorf("--since %s: %w; want a branch, tag or commit that this branch shares history with", finding.Value(rev), err)
	}
	c := &changes{rev: rev, files: map[string]bool{}}
	for _, args := range [][]string{
		{"-C", root, "diff", "--name-only", "--no-renames", "--no-ext-diff", "-z", strings.TrimSpace(string(base)), "--"},
		{"-C", root, "ls-files", "--others", "--exclude-standard", "-z"},
	} {
		names, err := git(ctx, args...)
		if err != nil {
			return nil, fmt.Errorf("--since %s: %w", finding.Value(rev), err)
		}
		for name := range bytes.SplitSeq(names, []byte{0}) {
			if len(name) > 0 {
				c.files[filepath.Join(root, string(name))] = true
			}
		}
	}
	return c, nil
}

// git runs git in the working folder. The error is what it says.
func git(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	var says bytes.Buffer
	cmd.Stderr = &says
	out, err := cmd.Output()
	switch text := strings.TrimSpace(says.String()); {
	case errors.Is(err, exec.ErrNotFound):
		return nil, errors.New("the program git is not in the PATH; install it")
	case err != nil && text != "":
		return nil, errors.New(finding.Clean(strings.TrimPrefix(text, "fatal: ")))
	}
	return out, err
}

// keep reports whether an input may be judged otherwise than before: its file changed, or one in the folder of a chart. A
// kustomization may read files of any folder, so any change counts. Standard input is always new, a fault always told.
func (c *changes) keep(in input) bool {
	switch {
	case in.err != nil || in.name == stdinName:
		return true
	case in.kustomization:
		return len(c.files) > 0
	case in.render != nil:
		return c.within(in.name)
	}
	return c.files[real(in.name)]
}

// within reports whether a path, or something below it, changed.
func (c *changes) within(path string) bool {
	at := real(path)
	for file := range c.files {
		if file == at || strings.HasPrefix(file, at+string(filepath.Separator)) {
			return true
		}
	}
	return false
}

// real is a path, absolute and without links as far as it exists.
func real(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target
	}
	return path
}

// changed are the inputs that --since leaves. Where the rules changed, by a file of --platform, --policy or --values, all are.
func (o checkOptions) changed(ctx context.Context, env Env, inputs []input) ([]input, error) {
	if o.since == "" {
		return inputs, nil
	}
	c, err := changedSince(ctx, o.since)
	if err != nil {
		return nil, &exitError{finding.ExitUsage, err}
	}
	rules := slices.Concat(o.platform, o.policy, o.values)
	for _, set := range o.valueSets {
		rules = append(rules, strings.Split(set, ",")...)
	}
	if i := slices.IndexFunc(rules, c.within); i >= 0 {
		env.note("%s changed since %s: everything is judged", finding.Clean(rules[i]), finding.Clean(o.since))
		return inputs, nil
	}
	kept := slices.DeleteFunc(slices.Clone(inputs), func(in input) bool { return !c.keep(in) })
	if len(kept) == 0 {
		env.note("nothing to judge in %s changed since %s", finding.Clean(strings.Join(o.paths, ", ")), finding.Clean(o.since))
	}
	return kept, nil
}
