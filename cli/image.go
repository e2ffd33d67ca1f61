package cli

import (
	"github.com/spf13/cobra"
)

// newImage is `ringfence image`: what is known of container images.
func newImage(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use: "image", Short: "Judge container images by what scanners report; sign them and verify signatures",
		Args: cobra.ArbitraryArgs, RunE: group,
	}
	cmd.AddCommand(newImageReport(env), newImagePull(env), newImageVerdict(env), newImageForecast(env), newImageAdvisories(env), newImageSign(env), newImageVerify(env), newImageCheck(env), newImageShow(env), newImageLs(env), newImageWhere(env), newImagePreflight(env), newImageExploited(env), newImageImport(env), newImageHygiene(env))
	return cmd
}
