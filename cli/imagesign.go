package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/image/signature"
)

// signOptions are the flags of image sign.
type signOptions struct {
	registryOptions
	signingKey
	predicate, predicateType string
}

// signingKey are the flags of a private key.
type signingKey struct{ key, password string }

func (o *signingKey) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.key, "key", "", "`FILE` of the private key in PEM")
	cmd.Flags().StringVar(&o.password, "password-file", "", "`FILE` of its password")
}

// newImageSign is `ringfence image sign`.
func newImageSign(env Env) *cobra.Command {
	var o signOptions
	cmd := &cobra.Command{
		Use: "sign IMAGE --key FILE", Short: "Sign an image, or a statement about it, and keep that in its registry",
		Long: `Sign an image with a private key, or a statement about it with --predicate, and attach the sigstore bundle to the image in its
registry, as cosign 3 does: a manifest that refers to the image. A tag is looked up once; what is signed is its digest. The image and the
manifest that refers to it are printed.

The key is PEM: PKCS #8, EC or RSA, or one of cosign's, encrypted, whose password stands in the file --password-file. Nothing is written
to a transparency log. Credentials are those that docker login keeps. Exit codes: 0 signed; 2 bad usage, or something cannot be read; 3
the registry gave no answer.`,
		Example: `  ringfence image sign registry.bank.example/payments/api:1.4 --key cosign.key --password-file password
  ringfence image sign registry.bank.example/payments/api:1.4 --key bank.pem --predicate provenance.json --type https://slsa.dev/provenance/v1`,
		RunE: func(cmd *cobra.Command, args []string) error { return signImage(cmd.Context(), env, o, args) },
	}
	o.registryOptions.register(cmd)
	o.signingKey.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.predicate, "predicate", "", "`FILE` of a predicate in JSON: sign this statement about the image; needs --type")
	flags.StringVar(&o.predicateType, "type", "", "predicate `TYPE` of --predicate, a URI")
	return cmd
}

func signImage(ctx context.Context, env Env, o signOptions, args []string) error {
	const command = "ringfence image sign"
	switch {
	case len(args) != 1:
		return usagef(command, "found %d arguments; want one IMAGE, such as registry.bank.example/payments/api:1.4", len(args))
	case o.key == "":
		return usagef(command, "no --key: want the file of a private key")
	case (o.predicate == "") != (o.predicateType == ""):
		return usagef(command, "--predicate and --type: want both, or neither")
	}
	signer, err := o.signer()
	if err != nil {
		return &exitError{finding.ExitUsage, fmt.Errorf("%s: %s: %w", command, o.key, err)}
	}
	kind, predicate := signature.PredicateImage, json.RawMessage(nil)
	if o.predicate != "" {
		if kind, predicate, err = o.statement(); err != nil {
			return &exitError{finding.ExitUsage, err}
		}
	}
	c, err := o.client()
	if err != nil {
		return &exitError{finding.ExitUsage, err}
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	image, err := c.Resolve(ctx, args[0])
	if err != nil {
		return asked(err)
	}
	bundle, err := signer.Sign(image.Repository(), image.Digest(), kind, predicate)
	if err != nil {
		return err
	}
	manifest, err := c.Attach(ctx, image, signature.MediaType, kind, bundle, env.Now())
	if err != nil {
		return asked(err)
	}
	fmt.Fprintln(env.Stdout, image)
	env.note("signed; the bundle is %s@%s", image.Repository(), manifest)
	return nil
}

func (o *signingKey) signer() (*signature.Signer, error) {
	key, err := readSmall(o.key)
	if err != nil {
		return nil, err
	}
	var password []byte
	if o.password != "" {
		if password, err = readSmall(o.password); err != nil {
			return nil, err
		}
		password = bytes.TrimRight(password, "\r\n")
	}
	return signature.NewSigner(key, password)
}

// statement reads the predicate.
func (o *signOptions) statement() (kind string, predicate json.RawMessage, err error) {
	text, err := readUpTo(o.predicate, maxStatement)
	if err != nil {
		return "", nil, err
	}
	if !json.Valid(text) {
		return "", nil, fmt.Errorf("--predicate %s: want JSON", o.predicate)
	}
	return o.predicateType, text, nil
}
