package cli

import (
	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/server"
)

// apiFlags are the flags of the signed-in API.
func apiFlags(cmd *cobra.Command, cfg *server.APIConfig) {
	flags := cmd.Flags()
	flags.StringVar(&cfg.Listen, "api-listen", "", "host:port of the signed-in API, over TLS 1.3; needs --evidence (default: none)")
	flags.StringVar(&cfg.Cert, "api-cert", "", "file with the certificate of --api-listen; read anew when it is renewed")
	flags.StringVar(&cfg.Key, "api-key", "", "file with its key")
	flags.StringVar(&cfg.URL, "api-url", "", "`URL` where browsers find --api-listen, https://host[:port]; people then sign in at /signin (default: not with a browser)")
	flags.StringVar(&cfg.ProviderCA, "api-provider-ca", "", "file with the CA of the identity provider's certificate (default: the machine's)")
	flags.StringVar(&cfg.GraphClient, "graph-client-id", "", "application that asks Microsoft Graph for groups that a token could not hold (default: the client that people sign in with)")
	flags.StringVar(&cfg.GraphSecret, "graph-secret-file", "", "file with its secret (default: Graph is never asked, and such a token lets nobody in)")
}
