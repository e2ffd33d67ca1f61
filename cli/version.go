package cli

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersion(env Env) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the versions of the program and of its catalogue",
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error { return version(env) },
	}
}

// version prints what a bug report needs. The digest's first 12 digits name the catalogue; a decision's record has all 64.
func version(env Env) error {
	cat, err := env.catalogue()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.Stdout, "ringfence %s\ncatalogue %.12s (%d controls)\n%s %s/%s\n",
		cmp.Or(moduleVersion(), "devel"), cat.Digest, len(cat.Controls), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// moduleVersion is the version of the program, "" for a build of a working tree.
func moduleVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return ""
}

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef(cmd.CommandPath(), "%s takes no argument, found %q", cmd.Name(), args[0])
	}
	return nil
}
