package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/internal/durable"
	"ringfence.dev/ringfence/report"
	"ringfence.dev/ringfence/tenant"
)

// imageJudging are the flags of what judges images by reports.
type imageJudging struct {
	platform   []string
	advisories string
	at         string
	output     string
}

func (o *imageJudging) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVar(&o.platform, "platform", nil, "`FILE|DIR` with the Platform, whose spec.images is the rule (default: the rule's defaults); may be repeated")
	flags.StringVar(&o.advisories, "advisories", "", "`FILE` of ringfence image advisories import: when vulnerabilities were published, and which are exploited")
	flags.StringVar(&o.at, "at", "", "judge as of this `INSTANT`, such as 2026-11-21T12:00:00Z (default now)")
	flags.StringVarP(&o.output, "output", "o", "text", "text or json")
}

// judgedImages are what was judged: images in the order of their digests, the rule where nobody says whose namespace it is about, and what
// could not be read.
type judgedImages struct {
	facts   []image.Facts
	each    []image.Facts // as each report says it
	rule    image.Rule
	known   image.Advisories
	at      time.Time
	invalid int
	// settings are what --platform says, also of signatures.
	settings  *settings
	catalogue *control.Catalogue
}

// judge reads what the flags and reports say. A report that cannot be read is told and counted; the others are judged.
func (o *imageJudging) judge(ctx context.Context, env Env, command string, reports []string) (*judgedImages, error) {
	switch {
	case o.output != "text" && o.output != "json":
		return nil, usagef(command, "--output %q: want text or json", finding.Value(o.output))
	case len(reports) == 0:
		return nil, usagef(command, "no report named; want files of scanners, or - for standard input")
	}
	j := &judgedImages{at: env.Now().UTC()}
	if o.at != "" {
		at, err := time.Parse(time.RFC3339, o.at)
		if err != nil {
			return nil, usagef(command, "--at %q: want an instant such as 2026-11-21T12:00:00Z", finding.Value(o.at))
		}
		j.at = at.UTC()
	}
	cat, err := env.catalogue()
	if err != nil {
		return nil, err
	}
	schemas, err := newSchemas(nil)
	if err != nil {
		return nil, err
	}
	settings, faults := loadSettings(o.platform, env.Stdin, schemas, cat.Controls, j.at)
	counted := &report.Report{}
	complain(env, counted, faults)
	if settings.platform == nil && len(o.platform) > 0 {
		return nil, &exitError{finding.ExitUsage, fmt.Errorf("%s: --platform: no usable Platform there; want one with the bank's rule in spec.images", command)}
	}
	j.rule, j.invalid, j.settings, j.catalogue = tenant.ImageRule(settings.platform), counted.Summary.Invalid, settings, cat
	if o.advisories != "" {
		index, err := loadAdvisories(o.advisories)
		if err != nil {
			return nil, &exitError{finding.ExitUsage, err}
		}
		j.known = index.Find
	}
	var all []image.Facts
	for _, name := range reports {
		facts, err := readReport(ctx, env, name)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			j.invalid++
			env.note("%s", report.Inert(err.Error()))
		}
		all = append(all, facts...)
	}
	j.each, j.facts = all, image.Merge(all)
	return j, nil
}

// The JSON of image verdict. Fields are only added; every key is always there.
type (
	imageVerdicts struct {
		SchemaVersion string         `json:"schemaVersion"` // ringfence.dev/image-verdict/v1
		At            time.Time      `json:"at"`
		Images        []imageVerdict `json:"images"`
		Summary       struct {
			Allow     int `json:"allow"`
			Warn      int `json:"warn"`
			Deny      int `json:"deny"`
			Undecided int `json:"undecided"`
			Invalid   int `json:"invalid"`
			Exit      int `json:"exit"`
		} `json:"summary"`
	}
	imageVerdict struct {
		Digests      []string      `json:"digests"`
		Repositories []string      `json:"repositories"`
		Rule         *string       `json:"rule"` // the Platform's for some tenants or environments; null: the bank's own
		Outcome      image.Outcome `json:"outcome"`
		// Until is the first instant at which the clock alone changes the outcome's reasons, and Ends the reason that does.
		Until *time.Time `json:"until"`
		Ends  *string    `json:"ends"`
		// RunsUntil is, of what is refused now, until when it may start again where it ran before.
		RunsUntil *time.Time    `json:"runsUntil"`
		Reasons   []imageReason `json:"reasons"` // of the scan first
	}
	imageReason struct {
		Outcome       image.Outcome `json:"outcome"`
		Vulnerability *string       `json:"vulnerability"`
		Text          string        `json:"text"`
		Since         *time.Time    `json:"since"`
		Until         *time.Time    `json:"until"`
	}
)

func newImageVerdict(env Env) *cobra.Command {
	var o imageJudging
	var admission, namespace string
	var attest attestOptions
	cmd := &cobra.Command{
		Use: "verdict REPORT...", Short: "Say of images whether they may run, why not, and until when",
		Long: `Judge the images of scanners' reports by the bank's rule: a scan that is young enough, and no vulnerability from the refusing severity
on that was published longer ago than the grace. Reports that share a digest are of one image. The verdict says until when it holds and
what will end it.

The rule is the bank's own, or with --namespace the one for it, of spec.images.rules of the Platform and by the Tenants beside it.

--admission FILE writes what follows by each rule as an ImageAdmission: put it into the folder of serve --image-facts, or name it with check
--platform.

--attest IMAGE --key FILE signs the verdict on that image as an in-toto statement, with the rule, the facts and the advisories that it follows
from, and attaches it to the image in its registry. ringfence image verify judges it again from those.

Exit codes: 0 all may run; 1 one may not; 2 a report or setting cannot be read (the others are judged); 3 one could not be decided.`,
		Example: "  ringfence image verdict trivy.json --platform platform.yaml\n  ringfence image verdict reports/*.json --advisories advisories.gz --admission facts/images.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			j, err := o.judge(cmd.Context(), env, "ringfence image verdict", args)
			if err != nil {
				return err
			}
			j.judgeIn(env, namespace, "--namespace")
			if err := attest.attest(cmd.Context(), env, "ringfence image verdict", j); err != nil {
				return err
			}
			return j.tell(env, o.output, admission)
		},
	}
	o.register(cmd)
	attest.register(cmd)
	cmd.Flags().StringVar(&admission, "admission", "", "write what follows for each digest to `FILE`")
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "by the rule for this namespace (default: by the bank's own)")
	return cmd
}

// tell writes the verdicts and, where it is asked for, the admission.
func (j *judgedImages) tell(env Env, output, admission string) error {
	answer := imageVerdicts{SchemaVersion: "ringfence.dev/image-verdict/v1", At: j.at, Images: []imageVerdict{}}
	var admitted []image.Admitted
	for _, f := range j.facts {
		v := image.Judge(f, j.rule, j.known, j.at)
		answer.add(f, v, j.rule)
		for _, rule := range tenant.ImageRules(j.settings.platform) {
			by := image.Judge(f, rule, j.known, j.at)
			for _, digest := range f.Digests {
				admitted = append(admitted, by.Admits(digest))
			}
		}
	}
	answer.Summary.Invalid, answer.Summary.Exit = j.invalid, answer.exit(j.invalid)
	if admission != "" {
		text, err := image.Admission(admitted)
		if err == nil {
			err = durable.Replace(admission, text, 0o644)
		}
		if err != nil {
			return &exitError{finding.ExitUsage, fmt.Errorf("write the admission: %w", err)}
		}
	}
	if err := answer.write(env, output); err != nil {
		return fmt.Errorf("write the verdicts: %w", err)
	}
	return exit(answer.Summary.Exit)
}

func (a *imageVerdicts) add(f image.Facts, v image.Verdict, rule image.Rule) {
	one := imageVerdict{Digests: nonNil(f.Digests), Repositories: nonNil(f.Repositories), Rule: ruleName(rule), Outcome: v.Outcome(), Reasons: []imageReason{}}
	if until, why := v.Until(); !until.IsZero() {
		one.Until, one.Ends = &until, &why.Text
	}
	if o, end := v.Rescheduled(rule, time.Time{}); o == image.Warn && one.Outcome == image.Deny {
		one.RunsUntil = &end
	}
	for _, r := range slices.Concat(v.Scan, v.Vulnerabilities) {
		reason := imageReason{Outcome: r.Outcome, Text: r.Text, Since: known(r.Since), Until: known(r.Until)}
		if r.Vulnerability != "" {
			reason.Vulnerability = &r.Vulnerability
		}
		one.Reasons = append(one.Reasons, reason)
	}
	a.Images = append(a.Images, one)
	switch one.Outcome {
	case image.Allow:
		a.Summary.Allow++
	case image.Warn:
		a.Summary.Warn++
	case image.Deny:
		a.Summary.Deny++
	default:
		a.Summary.Undecided++
	}
}

// ruleName is the name of a rule for some; nil of the bank's own.
func ruleName(rule image.Rule) *string {
	if rule.Name == "" {
		return nil
	}
	return &rule.Name
}

// judgeIn has images judged by the rule for a namespace. Without one it is the bank's own, and who has others is told by which flag they
// are asked for.
func (j *judgedImages) judgeIn(env Env, namespace, flag string) {
	if namespace != "" {
		j.rule = tenant.ImageRuleIn(j.settings.platform, j.settings.tenants, namespace)
		return
	}
	var others []string
	for _, rule := range tenant.ImageRules(j.settings.platform)[1:] {
		others = append(others, rule.Name)
	}
	if len(others) > 0 {
		env.note("judged by the bank's own rule; the Platform has others for some tenants or environments (%s), which %s asks for", strings.Join(others, ", "), flag)
	}
}

// exit is 2 before 1 before 3 before 0.
func (a *imageVerdicts) exit(invalid int) int {
	switch {
	case invalid > 0:
		return finding.ExitUsage
	case a.Summary.Deny > 0:
		return finding.ExitRefused
	case a.Summary.Undecided > 0:
		return finding.ExitUndecided
	}
	return finding.ExitAllowed
}

func (a *imageVerdicts) write(env Env, output string) error {
	if output == "json" {
		return indented(env, a)
	}
	for _, v := range a.Images {
		if _, err := io.WriteString(env.Stdout, v.text()); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(env.Stdout, "%d allowed, %d warned, %d refused, %d undecided\n", a.Summary.Allow, a.Summary.Warn, a.Summary.Deny, a.Summary.Undecided)
	return err
}

// maxReasons is how many reasons the text has of an image; the JSON has all.
const maxReasons = 10

// text is a verdict for people.
func (v *imageVerdict) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-9s %s\n", v.Outcome, imageName(v.Repositories, v.Digests))
	if v.Rule != nil {
		fmt.Fprintf(&b, "  by rule   %s\n", *v.Rule)
	}
	for i, r := range v.Reasons {
		if i == maxReasons {
			fmt.Fprintf(&b, "  ... and %d more; -o json has all\n", len(v.Reasons)-i)
			break
		}
		fmt.Fprintf(&b, "  %-9s %s\n", r.Outcome, report.Inert(r.Text))
	}
	if v.RunsUntil != nil {
		fmt.Fprintf(&b, "  where it ran before it may start again until %s\n", v.RunsUntil.Format(time.RFC3339))
	}
	if v.Until != nil {
		fmt.Fprintf(&b, "  holds until %s\n", v.Until.Format(time.RFC3339))
	}
	return b.String()
}

// imageName names an image for people: where it is, and its first digest.
func imageName(repositories, digests []string) string {
	name := "an image without a name"
	if len(repositories) > 0 {
		name = shownList(repositories)
	}
	if len(digests) == 0 {
		return name
	}
	return name + " " + digests[0]
}
