package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/image/registry"
	"ringfence.dev/ringfence/image/signature"
	"ringfence.dev/ringfence/report"
)

// imageVerifySchema is the version of the JSON of `ringfence image verify`. Fields are only added.
const imageVerifySchema = "ringfence.dev/image-signatures/v1"

// maxStatement bounds files of statements, bundles and authorities in bytes; an SBOM has some megabytes.
const maxStatement = 32 << 20

// registryOptions are the flags of what asks registries.
type registryOptions struct {
	ca      string
	timeout time.Duration
}

func (o *registryOptions) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.ca, "ca", "", "`FILE` of certificates of authorities that are trusted beside the system's")
	cmd.Flags().DurationVar(&o.timeout, "timeout", time.Minute, "how long all of it may take")
}

// options are how registries are reached.
func (o *registryOptions) options() (registry.Options, error) {
	options := registry.Options{Agent: "ringfence/" + cmp.Or(moduleVersion(), "devel")}
	if o.ca != "" {
		text, err := readUpTo(o.ca, maxStatement)
		if err != nil {
			return options, err
		}
		options.CA = text
	}
	return options, nil
}

func (o *registryOptions) client() (*registry.Client, error) {
	options, err := o.options()
	if err != nil {
		return nil, err
	}
	return registry.New(options)
}

// asked gives what a registry said its exit code: no answer is undecided, all else is unreadable input.
func asked(err error) error {
	if errors.Is(err, registry.ErrAway) || errors.Is(err, context.DeadlineExceeded) {
		return &exitError{finding.ExitUndecided, err}
	}
	return &exitError{finding.ExitUsage, err}
}

// verifyOptions are the flags of image verify.
type verifyOptions struct {
	registryOptions
	keys                   []string
	root, identity, issuer string
	attestation            string
	bundle, digest, out    string
}

// newImageVerify is `ringfence image verify`.
func newImageVerify(env Env) *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use: "verify IMAGE", Short: "Say who signed an image, and refuse one that nobody who counts has signed",
		Long: `Say who signed an image: by a public key, or by a certificate of an identity that a trusted root vouches for. Sigstore bundles of every
version count, found by the registry's referrers API or by its fallback tag, and so do the signatures and statements that cosign
attached to tags before. With --trusted-root, a key's signature must stand in one of its transparency logs too, if it has any.
A tag is looked up once; what is verified is its digest, which is printed. With --bundle no registry is asked.

Credentials are those that docker login keeps. Exit codes: 0 signed by somebody who counts; 1 not; 2 bad usage, or something cannot be
read; 3 the registry gave no answer.`,
		Example: `  ringfence image verify registry.bank.example/payments/api:1.4 --key cosign.pub
  ringfence image verify registry.bank.example/ext/redis@sha256:... --trusted-root trusted_root.json \
    --identity https://github.com/bank/api/.github/workflows/release.yml@refs/heads/main --issuer https://token.actions.githubusercontent.com
  ringfence image verify --bundle api.sigstore.json --digest sha256:... --key cosign.pub`,
		RunE: func(cmd *cobra.Command, args []string) error { return verifyImage(cmd.Context(), env, o, args) },
	}
	o.register(cmd)
	flags := cmd.Flags()
	flags.StringArrayVar(&o.keys, "key", nil, "`FILE` of a public key in PEM whose signature counts; may be repeated")
	flags.StringVar(&o.root, "trusted-root", "", "`FILE` trusted_root.json: authorities and logs that the bank trusts")
	flags.StringVar(&o.identity, "identity", "", "`SUBJECT` whose certificate counts, exactly; needs --issuer and --trusted-root")
	flags.StringVar(&o.issuer, "issuer", "", "`URL` of who vouches for the identity")
	flags.StringVar(&o.attestation, "attestation", "", "want a statement with this predicate `TYPE`, such as https://slsa.dev/provenance/v1, and print it (default: the image's own signature)")
	flags.StringVar(&o.bundle, "bundle", "", "`FILE` of one sigstore bundle to verify, in place of what a registry has; needs --digest")
	flags.StringVar(&o.digest, "digest", "", "sha256:... of what --bundle signs")
	flags.StringVarP(&o.out, "output", "o", "text", "text or json")
	return cmd
}

// imageSignatures is the JSON of image verify.
type imageSignatures struct {
	SchemaVersion string                `json:"schemaVersion"`
	Image         string                `json:"image"` // with its digest; the digest alone with --bundle
	Verified      bool                  `json:"verified"`
	Signatures    []signature.Signature `json:"signatures"` // those that count and were asked for
	Others        []signature.Signature `json:"others"`     // those that count and were not: statements of another type
	Refused       []refusedSignature    `json:"refused"`
}

// refusedSignature is one that does not count, and why.
type refusedSignature struct {
	From string `json:"from"` // the manifest or the file it stands in
	Why  string `json:"why"`
}

func verifyImage(ctx context.Context, env Env, o verifyOptions, args []string) error {
	const command = "ringfence image verify"
	switch {
	case o.out != "text" && o.out != "json":
		return usagef(command, "-o %q: want text or json", finding.Value(o.out))
	case o.bundle == "" && len(args) != 1:
		return usagef(command, "found %d arguments; want one IMAGE, such as registry.bank.example/payments/api:1.4", len(args))
	case o.bundle != "" && (len(args) != 0 || o.digest == ""):
		return usagef(command, "--bundle: want --digest with it, and no IMAGE")
	case o.bundle == "" && o.digest != "":
		return usagef(command, "--digest is for --bundle; an IMAGE is named with its digest as NAME@sha256:...")
	case (o.identity == "") != (o.issuer == ""):
		return usagef(command, "--identity and --issuer: want both, or neither")
	}
	v, err := o.verifier()
	if err != nil {
		return &exitError{finding.ExitUsage, fmt.Errorf("%s: %w", command, err)}
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	named, digest, attached, err := o.attached(ctx, args)
	if err != nil {
		return err
	}
	answer := imageSignatures{SchemaVersion: imageVerifySchema, Image: named, Signatures: []signature.Signature{}, Others: []signature.Signature{}, Refused: []refusedSignature{}}
	for _, a := range attached {
		s, err := registry.Verify(v, a, digest)
		if err == nil && s.Predicate == image.PredicateVerdict {
			err = rederived(env, s, digest)
		}
		switch {
		case err != nil:
			answer.Refused = append(answer.Refused, refusedSignature{a.From, report.Inert(err.Error())})
		case s.Predicate == o.attestation || o.attestation == "" && s.Predicate == signature.PredicateImage:
			answer.Signatures = append(answer.Signatures, s)
		default:
			answer.Others = append(answer.Others, s)
		}
	}
	answer.Verified = len(answer.Signatures) > 0
	if err := answer.write(env, o); err != nil {
		return fmt.Errorf("write the signatures: %w", err)
	}
	if !answer.Verified {
		return &exitError{finding.ExitRefused, nil}
	}
	return nil
}

// rederived judges a signed verdict again from what it says itself. It is told whatever it says; one that does not follow does not count.
func rederived(env Env, s signature.Signature, digest string) error {
	v, err := image.ParseStatement(s.Statement, digest)
	if err != nil {
		return err
	}
	until := "without an end"
	if !v.Until.IsZero() {
		until = "until " + v.Until.Format(time.RFC3339)
	}
	env.note("verdict %s at %s, %s; derived again from its facts", v.Outcome, v.At.Format(time.RFC3339), until)
	return nil
}

// verifier reads whose signatures count.
func (o *verifyOptions) verifier() (*signature.Verifier, error) {
	var counts signature.Trust
	for _, file := range o.keys {
		text, err := readSmall(file)
		if err != nil {
			return nil, err
		}
		counts.Keys = append(counts.Keys, signature.Key{Name: filepath.Base(file), PEM: text})
	}
	if o.root != "" {
		text, err := readUpTo(o.root, maxStatement)
		if err != nil {
			return nil, err
		}
		counts.Root = text
	}
	if o.identity != "" {
		counts.Identities = []signature.Identity{{Subject: o.identity, Issuer: o.issuer}}
	}
	return signature.New(counts)
}

// attached is what is to be verified, of the image that the arguments name or of --bundle.
func (o *verifyOptions) attached(ctx context.Context, args []string) (image, digest string, all []registry.Attached, err error) {
	if o.bundle != "" {
		text, err := readUpTo(o.bundle, maxStatement)
		if err != nil {
			return "", "", nil, &exitError{finding.ExitUsage, err}
		}
		return o.digest, o.digest, []registry.Attached{{Kind: registry.Bundle, Content: text, From: o.bundle}}, nil
	}
	c, err := o.client()
	if err != nil {
		return "", "", nil, &exitError{finding.ExitUsage, err}
	}
	at, err := c.Resolve(ctx, args[0])
	if err != nil {
		return "", "", nil, asked(err)
	}
	if all, err = c.Attached(ctx, at); err != nil {
		return "", "", nil, asked(err)
	}
	return at.String(), at.Digest(), all, nil
}

// write prints the answer; with --attestation text is the statements, for other programs to read.
func (s *imageSignatures) write(env Env, o verifyOptions) error {
	if o.out == "json" {
		out := json.NewEncoder(env.Stdout)
		out.SetIndent("", "  ")
		return out.Encode(s)
	}
	for _, r := range s.Refused {
		env.note("%s: does not count: %s", r.From, r.Why)
	}
	for _, other := range s.Others {
		env.note("%s; not what was asked for: predicate %s", who(other), finding.Value(cmp.Or(other.Predicate, "none")))
	}
	switch {
	case !s.Verified && o.attestation != "":
		env.note("%s: nobody who counts has signed a statement of predicate %s about it", s.Image, finding.Value(o.attestation))
		return nil
	case !s.Verified:
		env.note("%s: nobody who counts has signed it", s.Image)
		return nil
	}
	if o.attestation == "" {
		if _, err := fmt.Fprintln(env.Stdout, s.Image); err != nil {
			return err
		}
	}
	for _, one := range s.Signatures {
		env.note("%s: %s", s.Image, who(one))
		if o.attestation != "" {
			if _, err := env.Stdout.Write(slices.Concat(one.Statement, []byte("\n"))); err != nil {
				return err
			}
		}
	}
	return nil
}

// who signed, in words.
func who(s signature.Signature) string {
	text := "signed by key " + finding.Value(s.Key)
	if s.Key == "" {
		text = "signed by " + finding.Value(s.Identity) + ", as " + finding.Value(s.Issuer) + " knows it"
	}
	if !s.At.IsZero() {
		text += ", at " + s.At.Format(time.RFC3339)
	}
	return text
}
