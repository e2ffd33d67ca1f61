package cli

import (
	"github.com/spf13/cobra"
)

// newImage is `ringfence image`: what is known of container images.
func newImage(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use: "image", Short: "Read what scanners report of images",
		Args: cobra.ArbitraryArgs, RunE: group,
	}
	cmd.AddCommand(newImageReport(env), newImageVerdict(env), newImageForecast(env), newImageAdvisories(env))
	return cmd
}
