package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/report"
	"ringfence.dev/ringfence/tenant"
)

// imageShowSchema is the version of the JSON of `ringfence image show`. Fields are only added.
const imageShowSchema = "ringfence.dev/image-show/v1"

// showOptions are the flags of image show.
type showOptions struct {
	fleetOptions
	cluster bool
}

// newImageShow is `ringfence image show`, by whichever of its names.
func newImageShow(env Env) *cobra.Command {
	var o showOptions
	cmd := &cobra.Command{
		Use: "show IMAGE|DIGEST REPORT...", Aliases: []string{"why", "scan-status"}, Short: "Say all that is known of one image, also as why and scan-status: scans, vulnerabilities, signature, verdict, where it runs",
		Long: `Say on one page what is known of an image: who scanned it and when, which vulnerabilities count and why, whether it is signed as the
Platform demands, whether it may run, until when that holds and what ends it. An image is named by its digest or the beginning of one, by
a reference with a digest, by the digest of a layer or by a repository, which both may be of several. It is judged by the rule for --namespace; without one by the bank's own,
and what the Platform's other rules say is said too, and does not count for the exit code. Signatures are those of ImageSignatures files
among --platform, by the rules for --namespace or by all. With --cluster the page says which workloads run it, what becomes of each if it
starts new, and by which waivers it may; the cluster is only read.

Exit codes: 0 it may run; 1 it is refused, or no report names it; 2 bad usage, or something cannot be read; 3 undecided.`,
		Example: `  ringfence image show sha256:1f0c... reports/*.json --platform settings/ --advisories advisories.gz
  ringfence image why registry.bank.example/payments/api@sha256:... reports/*.json --platform settings/ -n payments-prod --cluster`,
		RunE: func(cmd *cobra.Command, args []string) error { return showImage(cmd.Context(), env, o, args) },
	}
	o.register(cmd)
	cmd.Flags().BoolVar(&o.cluster, "cluster", false, "say which workloads of the kubeconfig's cluster run it")
	return cmd
}

// The JSON of image show. Every key is always there.
type (
	shownImages struct {
		SchemaVersion string       `json:"schemaVersion"`
		At            time.Time    `json:"at"`
		Images        []shownImage `json:"images"`
	}
	shownImage struct {
		imageVerdict
		System     string           `json:"system"`     // the distribution that a scanner recognised; "" unknown
		Base       string           `json:"base"`       // what the image says itself it was built on; "" where it says nothing
		Layers     []string         `json:"layers"`     // the lowest first, as reports have them
		Scans      []shownScan      `json:"scans"`      // the newest first
		Signatures []shownSignature `json:"signatures"` // one a rule and reference; none where none is demanded
		Rules      []shownRule      `json:"rules"`      // what the Platform's other rules say; none with --namespace
		Workloads  []shownWorkload  `json:"workloads"`  // null without --cluster
	}
	shownRule struct {
		Rule    string        `json:"rule"`
		Outcome image.Outcome `json:"outcome"`
		Until   *time.Time    `json:"until"` // as of the image
		Why     *string       `json:"why"`   // what refuses or warns first
	}
	shownWorkload struct {
		runningWorkload
		Rule    *string       `json:"rule"` // that holds there; null: the bank's own
		Outcome image.Outcome `json:"outcome"`
	}
	shownScan struct {
		Scanner         string     `json:"scanner"`
		Version         string     `json:"version"`
		At              *time.Time `json:"at"`       // null of a statement, such as VEX
		Database        *time.Time `json:"database"` // of when its knowledge is
		Vulnerabilities int        `json:"vulnerabilities"`
		Counts          bool       `json:"counts"` // by the Platform's images.scanners
	}
	shownSignature struct {
		Reference string        `json:"reference"`
		Outcome   image.Outcome `json:"outcome"`
		Text      string        `json:"text"`
		Until     *time.Time    `json:"until"`
	}
)

func showImage(ctx context.Context, env Env, o showOptions, args []string) error {
	const command = "ringfence image show"
	if len(args) < 2 {
		return usagef(command, "found %d arguments; want an IMAGE or a DIGEST, and reports of scanners", len(args))
	}
	if d := digestPart(args[0]); (strings.HasPrefix(d, "sha256:") || strings.HasPrefix(d, "sha512:")) && len(d) < minDigest {
		return usagef(command, "%q: want at least six digits of a digest", finding.Value(args[0]))
	}
	j, err := o.judge(ctx, env, command, args[1:])
	if err != nil {
		return err
	}
	if o.namespace != "" {
		j.judgeIn(env, o.namespace, "")
	}
	var where *placedImages
	if o.cluster {
		if where, err = o.where(ctx, env, command, j); err != nil {
			return err
		}
	}
	answer := shownImages{SchemaVersion: imageShowSchema, At: j.at, Images: []shownImage{}}
	outcome := image.Allow
	for _, f := range j.facts {
		if meant(f, args[0]) {
			one := o.shown(f, j, args[0], where)
			outcome = image.Worst(outcome, one.Outcome)
			answer.Images = append(answer.Images, one)
		}
	}
	if err := answer.write(env, o.output); err != nil {
		return fmt.Errorf("write what is known: %w", err)
	}
	switch {
	case len(answer.Images) == 0:
		env.note("%s: no report names it: it is not scanned", report.Inert(args[0]))
		outcome = image.Deny
	case j.invalid > 0:
		return exit(finding.ExitUsage)
	}
	switch outcome {
	case image.Allow, image.Warn:
		return exit(finding.ExitAllowed)
	case image.Deny:
		return exit(finding.ExitRefused)
	}
	return exit(finding.ExitUndecided)
}

// minDigest is how much of a digest names an image: sha256: and six digits.
const minDigest = len("sha256:") + 6

// digestPart is what follows the @ of a reference, or all where there is none.
func digestPart(reference string) string {
	return reference[strings.LastIndexByte(reference, '@')+1:]
}

// meant tells whether an image is meant: by its digest or that of a layer where there is one, else by its repository.
func meant(f image.Facts, reference string) bool {
	digest := digestPart(reference)
	if strings.HasPrefix(digest, "sha256:") || strings.HasPrefix(digest, "sha512:") {
		return slices.ContainsFunc(slices.Concat(f.Digests, f.Built.Layers), func(d string) bool { return strings.HasPrefix(d, digest) })
	}
	return slices.Contains(f.Repositories, reference)
}

// shown is the page of one image.
func (o *showOptions) shown(f image.Facts, j *judgedImages, reference string, where *placedImages) shownImage {
	var verdicts imageVerdicts
	verdicts.add(f, image.Judge(f, j.rule, j.known, j.at), j.rule)
	one := shownImage{imageVerdict: verdicts.Images[0], System: f.Built.System, Base: f.Built.Base, Layers: nonNil(f.Built.Layers), Scans: []shownScan{}, Signatures: []shownSignature{}, Rules: []shownRule{}}
	for _, s := range f.Scans {
		one.Scans = append(one.Scans, shownScan{s.Scanner, s.Version, known(s.At), known(s.Database), len(s.Vulnerabilities),
			len(j.rule.Scanners) == 0 || slices.Contains(j.rule.Scanners, s.Scanner)})
	}
	slices.SortStableFunc(one.Scans, func(a, b shownScan) int { return cmp.Compare(b.when().Unix(), a.when().Unix()) })
	for _, s := range o.signatures(f, j, reference) {
		one.Signatures = append(one.Signatures, s)
		one.Outcome = image.Worst(one.Outcome, s.Outcome)
		if s.Until != nil && (one.Until == nil || s.Until.Before(*one.Until)) {
			one.Until, one.Ends = s.Until, &s.Text
		}
	}
	if o.namespace == "" {
		for _, rule := range tenant.ImageRules(j.settings.platform)[1:] {
			one.Rules = append(one.Rules, j.shownRule(f, rule))
		}
	}
	if where != nil {
		one.Workloads = where.of(f, j)
	}
	return one
}

// shownRule is what a rule says of an image.
func (j *judgedImages) shownRule(f image.Facts, rule image.Rule) shownRule {
	v := image.Judge(f, rule, j.known, j.at)
	until, _ := v.Until()
	one := shownRule{Rule: rule.Name, Outcome: v.Outcome(), Until: known(until)}
	for _, r := range slices.Concat(v.Scan, v.Vulnerabilities) {
		if r.Outcome == one.Outcome && r.Outcome != image.Allow {
			one.Why = &r.Text
			break
		}
	}
	return one
}

// signatures are what the trust rules say of the references by which an image is known; none where --platform says nothing of
// signatures.
func (o *showOptions) signatures(f image.Facts, j *judgedImages, reference string) (all []shownSignature) {
	if j.settings.facts() == nil {
		return nil
	}
	rules := tenant.TrustRules(j.settings.platform)
	if o.namespace != "" {
		rules = tenant.TrustIn(j.settings.platform, j.settings.tenants, o.namespace)
	}
	var signed []image.Signed
	for _, d := range f.Digests {
		signed = append(signed, j.settings.facts().Signed(d)...)
	}
	references := f.Repositories
	if at := strings.LastIndexByte(reference, '@'); at > 0 {
		references = []string{reference[:at]}
	}
	for _, name := range references {
		if len(rules) == 0 {
			break
		}
		r := image.Bears(rules, name+"@", signed, j.at)
		all = append(all, shownSignature{name, r.Outcome, r.Text, known(r.Until)})
	}
	return all
}

// prefixed is a text behind another; of none there is none.
func prefixed(before, text string) string {
	if text == "" {
		return ""
	}
	return before + text
}

// when a scan was; statements come last.
func (s shownScan) when() time.Time {
	if s.At == nil {
		return time.Unix(0, 0)
	}
	return *s.At
}

func (a *shownImages) write(env Env, output string) error {
	if output == "json" {
		return indented(env, a)
	}
	for _, i := range a.Images {
		if _, err := io.WriteString(env.Stdout, i.page()); err != nil {
			return err
		}
	}
	return nil
}

// page is what people read of an image.
func (i *shownImage) page() string {
	var b strings.Builder
	b.WriteString(i.text())
	if i.Until != nil && i.Ends != nil {
		fmt.Fprintf(&b, "  ended by: %s\n", report.Inert(*i.Ends))
	}
	for _, s := range i.Scans {
		fmt.Fprintf(&b, "scan       %s %s", report.Inert(s.Scanner), report.Inert(s.Version))
		if s.At != nil {
			fmt.Fprintf(&b, " at %s", s.At.Format(time.RFC3339))
		}
		if s.Database != nil {
			fmt.Fprintf(&b, ", knowledge of %s", s.Database.Format(time.RFC3339))
		}
		fmt.Fprintf(&b, ": %d found", s.Vulnerabilities)
		if !s.Counts {
			b.WriteString("; does not count")
		}
		b.WriteString("\n")
	}
	for _, s := range i.Signatures {
		fmt.Fprintf(&b, "signature  %s %s: %s\n", s.Outcome, report.Inert(s.Reference), report.Inert(s.Text))
	}
	for _, d := range i.Digests {
		fmt.Fprintf(&b, "digest     %s\n", d)
	}
	if i.System != "" || i.Base != "" || len(i.Layers) > 0 {
		fmt.Fprintf(&b, "built on   %s%s, %s\n", report.Inert(cmp.Or(i.System, "an unknown system")), report.Inert(prefixed(", base image ", i.Base)), count(len(i.Layers), "layer"))
	}
	for _, r := range i.Rules {
		fmt.Fprintf(&b, "by rule    %s: %s", r.Rule, r.Outcome)
		if r.Why != nil {
			fmt.Fprintf(&b, ": %s", report.Inert(*r.Why))
		}
		b.WriteString("\n")
	}
	for _, w := range i.Workloads {
		by := ""
		if w.Rule != nil {
			by = " by " + *w.Rule
		}
		fmt.Fprintf(&b, "runs       %s%s: %s\n", w.Outcome, by, w.line())
	}
	if i.Workloads != nil && len(i.Workloads) == 0 {
		b.WriteString("runs       nowhere in this cluster\n")
	}
	return b.String()
}
