package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/image/registry"
	"ringfence.dev/ringfence/internal/durable"
	"ringfence.dev/ringfence/report"
	"ringfence.dev/ringfence/tenant"
)

// imageCheckSchema is the version of the JSON of `ringfence image check`. Fields are only added.
const imageCheckSchema = "ringfence.dev/image-check/v1"

// imageCheck are the flags of image check.
type imageCheck struct {
	registryOptions
	platform        []string
	also            []string
	namespace, kept string
	output          string
}

// newImageCheck is `ringfence image check`.
func newImageCheck(env Env) *cobra.Command {
	var o imageCheck
	cmd := &cobra.Command{
		Use: "check IMAGE...", Short: "Say whether images are signed as the Platform's trust rules demand, and until when that counts",
		Long: `Ask the registries of images whether they are signed as spec.images.trust of the Platform demands. A tag is looked up once; what is said
is said of its digest, which is printed. With --namespace the first rule that covers the image there counts, as in the API server; else
every rule that covers it. No other host than the registry is asked; one that gives out its tokens or keeps its blobs is named by --also.

--signatures FILE writes what follows as ImageSignatures, beside what the file says of other digests: put it into the folder of serve
--image-facts, or name it with check --platform. An image whose registry gave no answer keeps what was known of it.

Exit codes: 0 signed as demanded; 1 at least one is not; 2 bad usage, or something cannot be read; 3 a registry gave no answer.`,
		Example: `  ringfence image check registry.bank.example/payments/api:1.4 --platform platform.yaml
  ringfence image check registry.bank.example/payments/api@sha256:... --platform settings/ -n payments-prod --signatures facts/signatures.json`,
		RunE: func(cmd *cobra.Command, args []string) error { return checkImages(cmd.Context(), env, o, args) },
	}
	o.register(cmd)
	flags := cmd.Flags()
	flags.StringArrayVar(&o.platform, "platform", nil, "`FILE|DIR` with the Platform, whose spec.images.trust says whose signatures count, and Tenants; may be repeated")
	flags.StringArrayVar(&o.also, "also", nil, "`HOST[:PORT]` that is asked beside the registry where it says so; may be repeated")
	flags.StringVarP(&o.namespace, "namespace", "n", "", "by the rules for this namespace (default: by all)")
	flags.StringVar(&o.kept, "signatures", "", "`FILE` to write what is known into, for the API server")
	flags.StringVarP(&o.output, "output", "o", "text", "text or json")
	return cmd
}

// The JSON of image check. Every key is always there.
type (
	checkedImages struct {
		SchemaVersion string         `json:"schemaVersion"`
		At            time.Time      `json:"at"`
		Images        []checkedImage `json:"images"`
	}
	checkedImage struct {
		Image   string        `json:"image"` // with its digest, where the registry told it
		Outcome image.Outcome `json:"outcome"`
		Rules   []checkedRule `json:"rules"`
		Refused []string      `json:"refused"` // signatures that do not count, and why
	}
	checkedRule struct {
		Rule    string        `json:"rule"`
		Outcome image.Outcome `json:"outcome"`
		Text    string        `json:"text"`
		Until   *time.Time    `json:"until"` // the first instant at which it counts no longer
	}
)

func checkImages(ctx context.Context, env Env, o imageCheck, args []string) error {
	const command = "ringfence image check"
	switch {
	case o.output != "text" && o.output != "json":
		return usagef(command, "--output %q: want text or json", finding.Value(o.output))
	case len(args) == 0:
		return usagef(command, "no image named; want at least one IMAGE, such as registry.bank.example/payments/api:1.4")
	}
	now := env.Now().UTC()
	rules, err := o.rules(env, command, now)
	if err != nil {
		return err
	}
	v, err := o.asker(rules)
	if err != nil {
		return &exitError{finding.ExitUsage, fmt.Errorf("%s: %w", command, err)}
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	answer := checkedImages{SchemaVersion: imageCheckSchema, At: now, Images: []checkedImage{}}
	var learnt []image.Signed
	code := finding.ExitAllowed
	for _, reference := range args {
		a, fault := v.Ask(ctx, reference, now)
		if fault != nil && !errors.Is(fault, registry.ErrAway) && !errors.Is(fault, context.DeadlineExceeded) {
			env.note("%s", report.Inert(fault.Error()))
			code = finding.ExitUsage
			continue
		}
		learnt = append(learnt, a.Signed...)
		one := o.judged(rules, reference, a, fault, now)
		answer.Images = append(answer.Images, one)
		switch {
		case code == finding.ExitUsage || one.Outcome == image.Allow || one.Outcome == image.Warn:
		case one.Outcome == image.Deny:
			code = finding.ExitRefused
		case code == finding.ExitAllowed:
			code = finding.ExitUndecided
		}
	}
	if err := keepSignatures(o.kept, learnt); err != nil {
		return &exitError{finding.ExitUsage, err}
	}
	if err := answer.write(env, o.output); err != nil {
		return fmt.Errorf("write what is known of signatures: %w", err)
	}
	return exit(code)
}

// rules are those that count.
func (o *imageCheck) rules(env Env, command string, now time.Time) ([]image.Trust, error) {
	cat, err := env.catalogue()
	if err != nil {
		return nil, err
	}
	schemas, err := newSchemas(nil)
	if err != nil {
		return nil, err
	}
	settings, faults := loadSettings(o.platform, env.Stdin, schemas, cat.Controls, now)
	complain(env, &report.Report{}, faults)
	switch {
	case len(faults) > 0 || settings.platform == nil:
		return nil, &exitError{finding.ExitUsage, fmt.Errorf("%s: --platform: want a usable Platform, whose spec.images.trust says whose signatures count", command)}
	case len(settings.platform.Spec.Images.Trust) == 0:
		return nil, &exitError{finding.ExitUsage, fmt.Errorf("%s: the Platform demands no signature; want rules in its spec.images.trust", command)}
	case o.namespace == "":
		return tenant.TrustRules(settings.platform), nil
	}
	return tenant.TrustIn(settings.platform, settings.tenants, o.namespace), nil
}

// asker asks registries, and no other host that nobody named.
func (o *imageCheck) asker(rules []image.Trust) (*registry.Verifier, error) {
	options, err := o.options()
	if err != nil {
		return nil, err
	}
	options.Alone, options.Also = true, o.also
	c, err := registry.New(options)
	if err != nil {
		return nil, err
	}
	return registry.NewVerifier(c, rules)
}

// judged says what the rules make of an answer: of the first that covers the image in a namespace, of all without one.
func (o *imageCheck) judged(rules []image.Trust, reference string, a registry.Answer, fault error, now time.Time) checkedImage {
	one := checkedImage{Image: reference, Outcome: image.Allow, Rules: []checkedRule{}, Refused: nonNil(a.Refused)}
	if a.Image.Known() {
		one.Image = a.Image.String()
	}
	add := func(rule string, r image.Reason) {
		one.Rules = append(one.Rules, checkedRule{rule, r.Outcome, r.Text, known(r.Until)})
		one.Outcome = image.Worst(one.Outcome, r.Outcome)
	}
	covering := slices.DeleteFunc(slices.Clone(rules), func(t image.Trust) bool { return !t.Covers(reference) })
	if o.namespace != "" {
		covering = covering[:min(len(covering), 1)]
	}
	for _, t := range covering {
		if fault != nil {
			add(t.Name, image.Reason{Outcome: image.Undecided, Text: fault.Error()})
			continue
		}
		add(t.Name, image.Bears([]image.Trust{t}, reference, a.Signed, now))
	}
	if len(covering) == 0 && len(rules) > 0 {
		add("", image.Bears(rules, reference, nil, now))
	}
	return one
}

// keepSignatures writes what was learnt into a file, beside what it says already; "" is none.
func keepSignatures(file string, learnt []image.Signed) error {
	if file == "" {
		return nil
	}
	var before []image.Signed
	text, err := readUpTo(file, maxStatement)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		if before, err = image.ParseSignatures(text); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	if text, err = image.Signatures(image.Newest(learnt, before)); err == nil {
		err = durable.Replace(file, text, os.FileMode(0o644))
	}
	if err != nil {
		return fmt.Errorf("write the signatures: %w", err)
	}
	return nil
}

func (a *checkedImages) write(env Env, output string) error {
	if output == "json" {
		out := json.NewEncoder(env.Stdout)
		out.SetIndent("", "  ")
		return out.Encode(a)
	}
	for _, i := range a.Images {
		if _, err := fmt.Fprintf(env.Stdout, "%-9s %s\n", i.Outcome, report.Inert(i.Image)); err != nil {
			return err
		}
		for _, r := range i.Rules {
			end := ""
			if r.Until != nil {
				end = "; until " + r.Until.Format(time.RFC3339)
			}
			if _, err := fmt.Fprintf(env.Stdout, "  %-9s rule %s: %s%s\n", r.Outcome, cmp.Or(r.Rule, "-"), report.Inert(r.Text), end); err != nil {
				return err
			}
		}
		for _, why := range i.Refused {
			env.note("does not count: %s", report.Inert(why))
		}
	}
	return nil
}
