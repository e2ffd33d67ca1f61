package cli

import (
	"cmp"
	"os"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/internal/otlp"
)

// tracesFlags adds the flags that say where traces go. What they leave open the environment may say.
func tracesFlags(cmd *cobra.Command, cfg *otlp.Config) {
	cfg.Version, cfg.Getenv = cmp.Or(moduleVersion(), "devel"), os.Getenv
	flags := cmd.Flags()
	flags.StringVar(&cfg.Endpoint, "traces-endpoint", "", "URL to which traces are sent by OTLP over HTTP, for instance https://otel-collector:4318 (default: OTEL_EXPORTER_OTLP_ENDPOINT, else none are made)")
	flags.BoolVar(&cfg.Insecure, "traces-insecure", false, "send traces in the clear to another machine too, where the URL is http://")
	flags.Float64Var(&cfg.Sample, "traces-sample", 1, "part of the traces that begin here and are sent, from 0 to 1; a request that came with a trace goes with that")
}
