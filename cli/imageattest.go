package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/image/signature"
)

// attestOptions are the flags of image verdict that sign it.
type attestOptions struct {
	registryOptions
	signingKey
	image string
}

func (o *attestOptions) register(cmd *cobra.Command) {
	o.registryOptions.register(cmd)
	o.signingKey.register(cmd)
	cmd.Flags().StringVar(&o.image, "attest", "", "sign the verdict on this `IMAGE`, which one of the reports must name, and attach it there; needs --key")
}

// attest signs the verdict on the image that is named, and attaches it; without one it does nothing.
func (o *attestOptions) attest(ctx context.Context, env Env, command string, j *judgedImages) error {
	switch {
	case o.image == "" && o.key != "":
		return usagef(command, "--key is for --attest: want the IMAGE whose verdict is signed")
	case o.image == "":
		return nil
	case o.key == "":
		return usagef(command, "--attest: want --key, the file of a private key")
	}
	signer, err := o.signer()
	if err != nil {
		return &exitError{finding.ExitUsage, fmt.Errorf("%s: %s: %w", command, o.key, err)}
	}
	c, err := o.client()
	if err != nil {
		return &exitError{finding.ExitUsage, err}
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	at, err := c.Resolve(ctx, o.image)
	if err != nil {
		return asked(err)
	}
	i := slices.IndexFunc(j.facts, func(f image.Facts) bool { return slices.Contains(f.Digests, at.Digest()) })
	if i < 0 {
		return &exitError{finding.ExitUsage, fmt.Errorf("%s: --attest: no report names %s; want one of a scan of that digest", command, at)}
	}
	predicate, err := json.Marshal(image.State(j.facts[i], j.rule, j.known, j.at))
	if err != nil {
		return fmt.Errorf("write the verdict: %w", err)
	}
	if len(predicate) > maxStatement/2 { // its base64, and what is around it, must be read again
		return &exitError{finding.ExitUsage, fmt.Errorf("%s: --attest: the verdict has %d bytes, want at most %d; give fewer reports", command, len(predicate), maxStatement/2)}
	}
	bundle, err := signer.Sign(at.Repository(), at.Digest(), image.PredicateVerdict, predicate)
	if err != nil {
		return err
	}
	manifest, err := c.Attach(ctx, at, signature.MediaType, image.PredicateVerdict, bundle, env.Now())
	if err != nil {
		return asked(err)
	}
	env.note("the verdict on %s is signed; the bundle is %s@%s", at, at.Repository(), manifest)
	return nil
}
