package cli

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/image/advisory"
	"ringfence.dev/ringfence/internal/durable"
)

// newImageAdvisories is `ringfence image advisories`.
func newImageAdvisories(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use: "advisories", Short: "Know when vulnerabilities were published, and which are exploited",
		Args: cobra.ArbitraryArgs, RunE: group,
	}
	cmd.AddCommand(newAdvisoriesImport(env), newAdvisoriesShow(env))
	return cmd
}

func newAdvisoriesImport(env Env) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use: "import DIR --out FILE", Short: "Make an index of files that the bank mirrors",
		Long: `Read every *.json, *.json.gz and *.zip below DIR: records of OSV (also a whole ecosystem's all.zip), feeds of NVD (API 2.0) and the catalogue
of CISA of what is being exploited (KEV). Aliases are joined; each date keeps its source. Nothing is fetched. FILE is replaced whole or
not at all: one file that cannot be read stops the import.`,
		Example: "  ringfence image advisories import mirror/ --out advisories.gz",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if out == "" {
				return usagef("ringfence image advisories import", "no --out; name the file of the index")
			}
			if info, err := os.Stat(args[0]); err != nil || !info.IsDir() {
				return &exitError{finding.ExitUsage, errors.Join(fmt.Errorf("read advisories: %s is not a folder; want the folder of the mirrored files", args[0]), err)}
			}
			index, counts, err := advisory.Read(os.DirFS(args[0]))
			if err == nil {
				err = durable.Replace(out, index.Bytes(), 0o644)
			}
			if err != nil {
				return &exitError{finding.ExitUsage, err}
			}
			fmt.Fprintf(env.Stdout, "%d vulnerabilities from %d files: %d records of OSV, %d of NVD, %d exploited of KEV, %d withdrawn\n", index.Len(), counts.Files, counts.OSV, counts.NVD, counts.KEV, counts.Withdrawn)
			if newest := index.Newest(); !newest.IsZero() {
				fmt.Fprintf(env.Stdout, "the newest was published %s\n", newest.Format(time.DateOnly))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "the `FILE` to write")
	return cmd
}

func newAdvisoriesShow(env Env) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "show NAME", Short: "Say what is known of a vulnerability under any of its names",
		Long:    "Say under which names a vulnerability goes, when each source says that it was published, and whether it is being exploited.\n\nExit codes: 0 it is known; 1 it is not; 2 the index cannot be read.",
		Example: "  ringfence image advisories show GHSA-jfh8-c2jp-5v3q --advisories advisories.gz",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if file == "" {
				return usagef("ringfence image advisories show", "no --advisories; name the file that import wrote")
			}
			index, err := loadAdvisories(file)
			if err != nil {
				return &exitError{finding.ExitUsage, err}
			}
			a, ok := index.Find(args[0])
			if !ok {
				return &exitError{finding.ExitRefused, fmt.Errorf("%s is not in %s", finding.Value(args[0]), file)}
			}
			fmt.Fprintln(env.Stdout, a.ID)
			for _, name := range a.Aliases {
				fmt.Fprintf(env.Stdout, "  also %s\n", name)
			}
			for i, d := range a.Published {
				what := "published"
				if i > 0 {
					what = "and      "
				}
				fmt.Fprintf(env.Stdout, "  %s %s says %s\n", what, d.At.Format(time.RFC3339), d.Source)
			}
			if a.Exploited {
				fmt.Fprintln(env.Stdout, "  is being exploited: no grace")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "advisories", "", "the `FILE` of the index")
	return cmd
}

func loadAdvisories(file string) (*advisory.Index, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, pathFault(file, err)
	}
	defer f.Close()
	index, err := advisory.Load(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return index, nil
}
