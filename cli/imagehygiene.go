package cli

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/image/content"
	"ringfence.dev/ringfence/image/intake"
	"ringfence.dev/ringfence/image/registry"
	"ringfence.dev/ringfence/report"
)

// imageHygieneSchema is the version of the JSON of `ringfence image hygiene`. Fields are only added.
const imageHygieneSchema = "ringfence.dev/image-hygiene/v1"

// hygieneOptions are the flags of image hygiene.
type hygieneOptions struct {
	registryOptions
	also    []string
	output  string
	maxSize int64
}

// newImageHygiene is `ringfence image hygiene`.
func newImageHygiene(env Env) *cobra.Command {
	var o hygieneOptions
	cmd := &cobra.Command{
		Use: "hygiene IMAGE", Short: "Say what is in an image that need not be: root, shells, package managers, secrets, an old base",
		Long: `Look into the layers of an image, each platform of it: whether it runs as root, has a shell or a package manager or is distroless, which files
of any layer look like secrets by gitleaks' rules, also those that a later layer deletes, and how old its base is. What a secret is, is never
printed. The image is fetched by digest into a folder that is removed afterwards; no other hosts are asked than the registry and those of
--also. It judges no vulnerability: ringfence image show does.

Exit codes: 0 nothing looks like a secret; 1 something does; 2 bad usage, or the image cannot be read; 3 the registry gave no answer.`,
		Example: "  ringfence image hygiene registry.bank.example/payments/api:1.4\n  ringfence image hygiene registry.bank.example/payments/api@sha256:... -o json",
		RunE:    func(cmd *cobra.Command, args []string) error { return imageHygiene(cmd.Context(), env, o, args) },
	}
	o.register(cmd)
	cmd.Flags().StringArrayVar(&o.also, "also", nil, "`HOST[:PORT]` that is asked beside the registry where it says so; may be repeated")
	cmd.Flags().Int64Var(&o.maxSize, "max-size", 4<<30, "`BYTES` of the image at most; unpacked it may have four times as many")
	cmd.Flags().StringVarP(&o.output, "output", "o", "text", "text or json")
	return cmd
}

// The JSON of image hygiene. Every key is always there.
type (
	hygienic struct {
		SchemaVersion string             `json:"schemaVersion"`
		Image         string             `json:"image"`
		Platforms     []hygienicPlatform `json:"platforms"`
	}
	hygienicPlatform struct {
		Platform string `json:"platform"` // "" where the image is no index
		Digest   string `json:"digest"`
		content.Content
	}
)

func imageHygiene(ctx context.Context, env Env, o hygieneOptions, args []string) error {
	const command = "ringfence image hygiene"
	if len(args) != 1 {
		return usagef(command, "found %d arguments; want one IMAGE, such as registry.bank.example/payments/api:1.4", len(args))
	}
	if err := textOrJSON(command, o.output); err != nil {
		return err
	}
	options, err := o.options()
	if err != nil {
		return &exitError{finding.ExitUsage, err}
	}
	options.Alone, options.Also = true, o.also
	c, err := registry.New(options)
	if err != nil {
		return &exitError{finding.ExitUsage, err}
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	dir, err := os.MkdirTemp("", "ringfence-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	answer := hygienic{SchemaVersion: imageHygieneSchema, Platforms: []hygienicPlatform{}}
	code, err := answer.look(ctx, c, dir, args[0], o.maxSize)
	if err != nil {
		return err
	}
	if o.output == "json" {
		err = indented(env, answer)
	} else {
		err = answer.write(env)
	}
	if err != nil {
		return fmt.Errorf("write what is in the image: %w", err)
	}
	return exit(code)
}

// look fetches an image and looks into it.
func (h *hygienic) look(ctx context.Context, c *registry.Client, dir, reference string, most int64) (code int, err error) {
	folder, err := registry.OpenFolder(dir)
	if err != nil {
		return 0, err
	}
	at, err := c.Resolve(ctx, reference)
	if err != nil {
		return 0, asked(err)
	}
	h.Image = at.String()
	got, err := c.Fetch(ctx, at, folder, most)
	if err != nil {
		return 0, asked(err)
	}
	for _, p := range got.Platforms {
		in, err := look(ctx, folder, p, content.Bounds{Bytes: 4 * most})
		if err != nil {
			return 0, asked(fmt.Errorf("%s: %w", at, err))
		}
		if len(in.Secrets) > 0 {
			code = finding.ExitRefused
		}
		h.Platforms = append(h.Platforms, hygienicPlatform{p.Name, p.Manifest.Digest.String(), in})
	}
	return code, nil
}

// write prints it for people.
func (h *hygienic) write(env Env) error {
	fmt.Fprintln(env.Stdout, h.Image)
	for _, p := range h.Platforms {
		fmt.Fprintf(env.Stdout, "platform   %s %s, %d files\n", report.Inert(p.Platform), p.Digest, p.Files)
		for _, l := range intake.Lines(p.Content) {
			fmt.Fprintf(env.Stdout, "  %s\n", report.Inert(l))
		}
		if p.Distroless {
			fmt.Fprintln(env.Stdout, "  it is distroless: it has neither shell nor package manager")
		}
		if !p.BaseCreated.IsZero() {
			fmt.Fprintf(env.Stdout, "  its base is %d days old, of %s %s\n", int(env.Now().Sub(p.BaseCreated).Hours()/24), p.BaseCreated.Format(time.DateOnly), report.Inert(p.Base))
		} else {
			fmt.Fprintln(env.Stdout, "  it does not say how old its base is")
		}
		for _, s := range p.Secrets {
			fmt.Fprintf(env.Stdout, "  secret   %s in line %d of %s, in %s\n", s.Rule, s.Line, report.Inert(s.Path), s.Layer)
		}
		if p.More {
			fmt.Fprintln(env.Stdout, "  secret   and more than is told of")
		}
	}
	return nil
}
