package cli

import (
	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/server"
)

// webhookFlags are the flags of the admission door.
func webhookFlags(cmd *cobra.Command, cfg *server.WebhookConfig) {
	flags := cmd.Flags()
	flags.StringVar(&cfg.Listen, "webhook-listen", "", "host:port of the admission webhook, /readyz and /healthz, over TLS 1.3 (default: none)")
	flags.StringVar(&cfg.Service, "webhook-service", "", "NAMESPACE/NAME or NAMESPACE/NAME:PORT of the Service in front of --webhook-listen")
	flags.StringVar(&cfg.URL, "webhook-url", "", "https://HOST:PORT at which API servers find --webhook-listen, where it runs outside of the cluster")
	flags.StringVar(&cfg.Controls, "webhook-controls", "needed", "what the webhook judges: needed (what no native policy can carry), all, or ids with commas")
	flags.StringVar(&cfg.Mutations, "webhook-mutations", "auto", "when the webhook fills in metadata and defaults: auto (where no native policy can), always, never")
	flags.StringVar(&cfg.Cert, "webhook-cert", "", "file with the webhook's certificate, as cert-manager writes it (default: it issues its own)")
	flags.StringVar(&cfg.Key, "webhook-key", "", "file with its key")
	flags.StringVar(&cfg.CA, "webhook-ca", "", "file with the certificates that API servers must trust for it")
}

// registriesFlags are the flags of how registries are reached.
func registriesFlags(cmd *cobra.Command, cfg *server.RegistriesConfig) {
	flags := cmd.Flags()
	flags.StringVar(&cfg.CA, "registry-ca", "", "file of certificates of authorities that are trusted for registries, beside the system's")
	flags.StringVar(&cfg.Auths, "registry-auths", "", "file of registries' credentials, in the form of a pull secret (.dockerconfigjson), with which tags are resolved and signatures looked up")
	flags.BoolVar(&cfg.Signatures, "registry-signatures", false, "look up the signatures that the Platform's trust rules demand of what runs or was refused, and keep the answers in --image-facts, which must be writable")
	flags.StringArrayVar(&cfg.Also, "registry-also", nil, "HOST[:PORT] that is asked beside a registry where it says so, such as where its tokens are given out; repeatable")
}
