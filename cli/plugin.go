package cli

import (
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// IsPlugin says whether the name that the program was called by is the one by which kubectl calls a plugin.
func IsPlugin(argv0 string) bool {
	return strings.TrimSuffix(filepath.Base(argv0), ".exe") == "kubectl-ringfence"
}

// Root is the tree of commands, for those who write manual pages and completions of it. It is not to be run.
func Root() *cobra.Command {
	root := newRoot(Env{})
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	root.DisableAutoGenTag = true // it carries the time at which a page is written
	return root
}

// asPlugin makes the help show what the user types: kubectl ringfence.
func asPlugin(root *cobra.Command) {
	root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl ringfence"}
	root.Long = typed(root.Long)
	var examples func(*cobra.Command)
	examples = func(cmd *cobra.Command) {
		cmd.Example = typed(cmd.Example)
		for _, below := range cmd.Commands() {
			examples(below)
		}
	}
	examples(root)
}

// typed changes the lines of a help that show a command.
func typed(help string) string {
	lines := strings.Split(help, "\n")
	for i, line := range lines {
		if rest, ok := strings.CutPrefix(line, "  ringfence "); ok {
			lines[i] = "  kubectl ringfence " + rest
		}
	}
	return strings.Join(lines, "\n")
}
