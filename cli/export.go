package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/install"
	"ringfence.dev/ringfence/policy/bundle"
)

const exportHelp = `Write the catalogue for other tools and for readers.

  bundles    what Ringfence installs: two policies with their bindings for each match group, ready for kubectl apply
  policies   one ValidatingAdmissionPolicy for each control, to read and to compare
  markdown   a page for each control, and an index
  static     one policy for the API server's own files: only --keeper changes what Ringfence installs; see docs/static.md

The same catalogue gives the same bytes. A folder is written whole or not at all; one that holds anything is left alone,
unless --force is given and all it holds is an earlier export.`

// exportOptions are the flags of control export.
type exportOptions struct {
	to, format, keeper string
	force              bool
}

// formats are what control export writes, by the name of the format.
var formats = map[string]func(Env, *control.Catalogue, exportOptions) ([]file, error){
	"bundles": exportBundles, "policies": exportPolicies, "markdown": exportMarkdown, "static": exportStatic,
}

func newControlExport(env Env) *cobra.Command {
	var o exportOptions
	cmd := &cobra.Command{
		Use: "export", Short: "Write the catalogue as policies or as Markdown", Long: exportHelp, Args: noArguments,
		Example: "  ringfence control export | kubectl apply --dry-run=server -f -\n  ringfence control export --format markdown -o catalogue/",
		RunE:    func(*cobra.Command, []string) error { return controlExport(env, o) },
	}
	cmd.Flags().StringVarP(&o.to, "output", "o", "-", "the folder to write, or - for standard output: `DIR|-`")
	cmd.Flags().StringVar(&o.format, "format", "bundles", "`bundles|policies|markdown|static`")
	cmd.Flags().StringVar(&o.keeper, "keeper", "system:serviceaccount:"+v1alpha1.SystemNamespace+":ringfence", "of static: the `USER` as whom Ringfence runs")
	cmd.Flags().BoolVar(&o.force, "force", false, "replace an earlier export")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]cobra.Completion{"bundles", "policies", "markdown", "static"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func controlExport(env Env, o exportOptions) error {
	const command = "ringfence control export"
	format, ok := formats[o.format]
	switch {
	case !ok:
		return usagef(command, "--format %q: want bundles, policies, markdown or static", o.format)
	case o.to == "":
		return usagef(command, "--output is empty: want a folder, or - for standard output")
	case o.keeper == "" || strings.ContainsAny(o.keeper, "\r\n"):
		return usagef(command, "--keeper %q: want a user as the API server names it", finding.Value(o.keeper))
	}
	cat, err := env.catalogue()
	if err != nil {
		return err
	}
	files, err := format(env, cat, o)
	if err != nil {
		return err
	}
	if o.to == "-" {
		return writeStream(env.Stdout, files)
	}
	if err := writeFolder(o.to, files, o.force); err != nil {
		return err
	}
	env.note("wrote %s to %s", count(len(files), "file"), o.to)
	return nil
}

// file is one file of an export.
type file struct {
	name string
	text []byte
}

// writeStream writes the files one after another, YAML documents apart.
func writeStream(w io.Writer, files []file) error {
	for i, f := range files {
		gap := ""
		if i > 0 {
			gap = "\n"
			if isYAML(f.name) {
				gap = "---\n"
			}
		}
		if _, err := fmt.Fprintf(w, "%s%s", gap, f.text); err != nil {
			return err
		}
	}
	return nil
}

// mark begins the first line of every file of an export, behind the characters that begin a comment.
const mark = "Written by: ringfence control export"

// exportBundles are the bundles, numbered in the order in which they are listed.
func exportBundles(_ Env, cat *control.Catalogue, _ exportOptions) ([]file, error) {
	var files []file
	for i, b := range bundle.Build(cat, nil) {
		text, err := b.YAML()
		if err != nil {
			return nil, err
		}
		files = append(files, file{fmt.Sprintf("%02d-%s.yaml", i+1, b.Policy.Name), slices.Concat([]byte("# "+mark+" --format bundles\n"), text)})
	}
	return files, nil
}

// exportPolicies are the controls as policies, in order of their ids.
func exportPolicies(_ Env, cat *control.Catalogue, _ exportOptions) ([]file, error) {
	var files []file
	for _, c := range cat.Controls {
		text, err := bundle.SingleYAML(c)
		if err != nil {
			return nil, err
		}
		files = append(files, file{c.ID + ".yaml", slices.Concat([]byte("# "+mark+" --format policies\n"), text)})
	}
	return files, nil
}

// exportStatic is the policy for the API server's own files.
func exportStatic(_ Env, _ *control.Catalogue, o exportOptions) ([]file, error) {
	return []file{{"ringfence.yaml", slices.Concat([]byte("# "+mark+" --format static\n"), install.Static(o.keeper))}}, nil
}
