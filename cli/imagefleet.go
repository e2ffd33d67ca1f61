package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/cluster"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/image/fleet"
	"ringfence.dev/ringfence/tenant"
)

// imagesSchema is the version of the JSON of `ringfence image ls`, where and preflight. Fields are only added.
const imagesSchema = "ringfence.dev/images/v1"

// fleetOptions are the flags of what lists the images that run.
type fleetOptions struct {
	imageJudging
	kubeconfig, context, namespace string
}

func (o *fleetOptions) register(cmd *cobra.Command) {
	o.imageJudging.register(cmd)
	flags := cmd.Flags()
	userFlags(cmd, &o.kubeconfig, &o.context)
	flags.StringVarP(&o.namespace, "namespace", "n", "", "only what runs in this namespace (default: in all)")
}

// newImageLs is `ringfence image ls`.
func newImageLs(env Env) *cobra.Command {
	var o fleetOptions
	cmd := &cobra.Command{
		Use: "ls [REPORT...]", Short: "List the images that run in a cluster, with the verdict of reports",
		Long: `List the images that run in a cluster, by digest: how many workloads and pods run each, in how many namespaces, and, where reports of
scanners are given, whether it may run. An image of which no node and no reference says the digest is listed by its reference. The
cluster is only read.

Exit codes: 0 listed; 2 the cluster or a report cannot be read.`,
		Example: "  ringfence image ls\n  ringfence image ls reports/*.json --platform platform.yaml -n payments-prod",
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := o.list(cmd.Context(), env, "ringfence image ls", args)
			if err != nil {
				return err
			}
			return l.tell(env, o.output, func(listedImage) bool { return true }, finding.ExitAllowed)
		},
	}
	o.register(cmd)
	return cmd
}

// newImageWhere is `ringfence image where`.
func newImageWhere(env Env) *cobra.Command {
	var o fleetOptions
	cmd := &cobra.Command{
		Use: "where DIGEST|REPOSITORY", Short: "Say which workloads run an image",
		Long: `Say which workloads of a cluster run an image, by its digest or by a part of its name. The cluster is only read.

Exit codes: 0 something runs it; 1 nothing does; 2 the cluster cannot be read.`,
		Example: "  ringfence image where sha256:1f0c...\n  ringfence image where payments/api -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return usagef("ringfence image where", "found %d arguments; want one digest, or a part of a name", len(args))
			}
			l, err := o.list(cmd.Context(), env, "ringfence image where", nil)
			if err != nil {
				return err
			}
			l.places = true
			return l.tell(env, o.output, func(i listedImage) bool {
				return i.Digest != nil && strings.HasPrefix(*i.Digest, args[0]) ||
					slices.ContainsFunc(i.References, func(r string) bool { return strings.Contains(r, args[0]) })
			}, finding.ExitRefused)
		},
	}
	o.register(cmd)
	return cmd
}

// newImagePreflight is `ringfence image preflight`.
func newImagePreflight(env Env) *cobra.Command {
	var o fleetOptions
	cmd := &cobra.Command{
		Use: "preflight REPORT...", Short: "Say what runs now and would be refused if it started new now",
		Long: `Judge the images that run in a cluster by the bank's rule and the reports given, and list those that would be refused if they started
new now, with the workloads that run them. An image that no report names is not scanned, and so refused. Whether one that already ran
may start again for a while is shown too, and which workload has waivers by which it may: the Guards say so. The cluster is only read.

Exit codes: 0 none would be refused, or each workload of those has waivers; 1 at least one; 2 the cluster, a report or a setting cannot be read; 3 one could not be decided.`,
		Example: "  ringfence image preflight reports/*.json --platform platform.yaml --advisories advisories.gz",
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := o.list(cmd.Context(), env, "ringfence image preflight", args)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				return usagef("ringfence image preflight", "no report named; want files of scanners, or - for standard input")
			}
			l.places = true
			refused := func(i listedImage) bool {
				return i.Outcome != nil && *i.Outcome != image.Allow && *i.Outcome != image.Warn
			}
			code := finding.ExitAllowed
			for _, i := range l.Images {
				switch {
				case !refused(i) || waivedAll(i.Workloads):
				case *i.Outcome == image.Deny:
					code = finding.ExitRefused
				case code == finding.ExitAllowed:
					code = finding.ExitUndecided
				}
			}
			if l.Invalid > 0 {
				code = finding.ExitUsage
			}
			if err := l.tell(env, o.output, refused, finding.ExitAllowed); err != nil {
				return err
			}
			return exit(code)
		},
	}
	o.register(cmd)
	return cmd
}

// listedImages is the JSON of all three.
type listedImages struct {
	SchemaVersion string        `json:"schemaVersion"`
	At            time.Time     `json:"at"`
	Pods          int           `json:"pods"`
	Invalid       int           `json:"invalid"` // reports that could not be read
	Images        []listedImage `json:"images"`

	places bool // the text names workloads
}

// listedImage is one image that runs, where one rule holds.
type listedImage struct {
	Digest     *string           `json:"digest"`
	References []string          `json:"references"`
	Rule       *string           `json:"rule"` // the Platform's for the tenants or environments of the workloads; null: the bank's own
	Workloads  []runningWorkload `json:"workloads"`
	Pods       int               `json:"pods"`
	// Outcome is null where no report was given; Why are its reasons but allow's.
	Outcome *image.Outcome `json:"outcome"`
	Why     []string       `json:"why"`
	// Until is the first instant at which the clock changes the outcome's reasons; RunsUntil until when what is refused may start again.
	Until     *time.Time `json:"until"`
	RunsUntil *time.Time `json:"runsUntil"`

	refusing []string // the controls that refuse it
}

// list reads the cluster and judges what runs by reports, if any are given.
func (o *fleetOptions) list(ctx context.Context, env Env, command string, reports []string) (*listedImages, error) {
	if o.output != "text" && o.output != "json" {
		return nil, usagef(command, "--output %q: want text or json", finding.Value(o.output))
	}
	l := &listedImages{SchemaVersion: imagesSchema, At: env.Now().UTC(), Images: []listedImage{}}
	if len(reports) == 0 {
		running, err := o.running(ctx, env, command)
		if err != nil {
			return nil, err
		}
		l.Pods = running.Pods()
		for _, r := range running.Running() {
			l.Images = append(l.Images, runImage(r, r.Workloads))
		}
		return l, nil
	}
	j, err := o.judge(ctx, env, command, reports)
	if err != nil {
		return nil, err
	}
	where, err := o.where(ctx, env, command, j)
	if err != nil {
		return nil, err
	}
	l.At, l.Invalid, l.Pods = j.at, j.invalid, where.running.Pods()
	l.Images = append(l.Images, where.judged(j)...)
	return l, nil
}

// runImage is an image that some workloads run, not judged.
func runImage(r fleet.Running, by []fleet.Workload) listedImage {
	one := listedImage{References: r.References, Why: []string{}}
	if r.Digest != "" {
		one.Digest = &r.Digest
	}
	for _, w := range by {
		one.Pods += w.Pods
		one.Workloads = append(one.Workloads, runningWorkload{w, []imageWaiver{}})
	}
	return one
}

// byDigest are the facts by each digest of their images.
func (j *judgedImages) byDigest() map[string]image.Facts {
	known := map[string]image.Facts{}
	for _, f := range j.facts {
		for _, digest := range f.Digests {
			known[digest] = f
		}
	}
	return known
}

// judge is what a rule says of facts, which are empty of what no report names.
func (i *listedImage) judge(f image.Facts, j *judgedImages, rule image.Rule, rules *placedRules) {
	i.Rule = ruleName(rule)
	v := image.Judge(f, rule, j.known, j.at)
	outcome := v.Outcome()
	i.Outcome = &outcome
	i.refusing = j.refusing(v)
	for _, r := range slices.Concat(v.Scan, v.Vulnerabilities) {
		if r.Outcome != image.Allow {
			i.Why = append(i.Why, r.Text)
		}
	}
	if until, _ := v.Until(); !until.IsZero() {
		i.Until = &until
	}
	if o, end := v.Rescheduled(rule, time.Time{}); o == image.Warn && outcome == image.Deny {
		i.RunsUntil = &end
	}
	signatures := i.signatures(j, rules)
	if slices.ContainsFunc(signatures, refuses) {
		i.refusing = append(i.refusing, imageControls(j.catalogue, factSignature)...)
	}
	for _, r := range signatures {
		outcome = image.Worst(outcome, r.Outcome)
		if r.Outcome != image.Allow {
			i.Why = append(i.Why, "signature: "+r.Text)
		}
	}
	slices.Sort(i.refusing)
}

func refuses(r image.Reason) bool { return r.Outcome != image.Allow && r.Outcome != image.Warn }

// signatures are what the trust rules of the namespaces that run an image say of it, each once; none where --platform says nothing of
// signatures.
func (i *listedImage) signatures(j *judgedImages, placed *placedRules) (all []image.Reason) {
	if j.settings.facts() == nil || i.Digest == nil {
		return nil
	}
	seen := map[string]bool{}
	for _, w := range i.Workloads {
		if seen[w.Namespace] {
			continue
		}
		seen[w.Namespace] = true
		rules := tenant.TrustOf(j.settings.platform, placed.of(w.Namespace))
		for _, reference := range i.References {
			if r := image.Bears(rules, reference, j.settings.facts().Signed(*i.Digest), j.at); len(rules) > 0 && !slices.Contains(all, r) {
				all = append(all, r)
			}
		}
	}
	return all
}

// connect is the cluster that the flags name; nothing is asked yet.
func (o *fleetOptions) connect(env Env, command string) (*cluster.Cluster, error) {
	c, err := cluster.Connect(cluster.Config{Kubeconfig: o.kubeconfig, Context: o.context, UserAgent: "ringfence-image/" + cmp.Or(moduleVersion(), "devel"),
		Note: func(text string) { env.note("%s", text) }})
	if err != nil {
		return nil, &exitError{finding.ExitUsage, fmt.Errorf("%s: %w", command, err)}
	}
	return c, nil
}

// running are the images of the cluster's pods.
func (o *fleetOptions) running(ctx context.Context, env Env, command string) (*fleet.Fleet, error) {
	all := &fleet.Fleet{}
	return all, o.each(ctx, env, command, []control.Kind{podKind}, all.Add)
}

var podKind = control.Kind{Kind: "Pod", Version: "v1"}

// each hands on every object of kinds, one kind after the other; of one namespace where --namespace names it. A kind that the cluster does
// not serve has none.
func (o *fleetOptions) each(ctx context.Context, env Env, command string, kinds []control.Kind, do func(map[string]any)) error {
	c, err := o.connect(env, command)
	if err != nil {
		return err
	}
	resources, faults, err := c.Resources(ctx, kinds)
	if err = cmp.Or(err, errors.Join(faults...)); err != nil {
		return &exitError{finding.ExitUsage, fmt.Errorf("%s: %w", command, err)}
	}
	for _, r := range resources {
		for object, fault := range c.List(ctx, r, o.namespace) {
			if fault != nil {
				return &exitError{finding.ExitUsage, fmt.Errorf("%s: %w", command, fault)}
			}
			do(object)
		}
	}
	return nil
}

// tell writes the images that are wanted; none at all ends with the code none.
func (l *listedImages) tell(env Env, output string, wanted func(listedImage) bool, none int) error {
	l.Images = slices.DeleteFunc(l.Images, func(i listedImage) bool { return !wanted(i) })
	code := finding.ExitAllowed
	if len(l.Images) == 0 {
		code = none
	}
	if output == "json" {
		if err := indented(env, l); err != nil {
			return fmt.Errorf("write the images: %w", err)
		}
		return exit(code)
	}
	w := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	if len(l.Images) > 0 {
		fmt.Fprintln(w, "DIGEST\tIMAGE\tVERDICT\tNAMESPACES\tWORKLOADS\tPODS")
	}
	for _, i := range l.Images {
		i.row(w)
		if l.places {
			i.placed(w)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the images: %w", err)
	}
	images := map[string]bool{} // one may stand there once for each rule
	for _, i := range l.Images {
		images[i.name()] = true
	}
	env.note("%s of %s", count(len(images), "image"), count(l.Pods, "pod"))
	return exit(code)
}

// name is its digest, or a reference where there is none.
func (i listedImage) name() string {
	if i.Digest != nil {
		return *i.Digest
	}
	return i.References[0]
}

// row is an image in the table.
func (i listedImage) row(w *tabwriter.Writer) {
	digest, verdict := "unknown", "-"
	if i.Digest != nil {
		digest = (*i.Digest)[:len("sha256:")+12]
	}
	if i.Outcome != nil {
		verdict = string(*i.Outcome)
	}
	if i.Rule != nil {
		verdict += " by " + *i.Rule
	}
	namespaces := map[string]bool{}
	for _, at := range i.Workloads {
		namespaces[at.Namespace] = true
	}
	name := finding.Value(i.References[0])
	if more := len(i.References) - 1; more > 0 {
		name += fmt.Sprintf(" and %d more", more)
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\n", digest, name, verdict, len(namespaces), len(i.Workloads), i.Pods)
}

// placed is what the text says of an image below its row: why it is refused, and who runs it.
func (i listedImage) placed(w *tabwriter.Writer) {
	for n, why := range i.Why {
		if n == maxReasons {
			fmt.Fprintf(w, "  ... and %d more; -o json has all\n", len(i.Why)-n)
			break
		}
		fmt.Fprintf(w, "  %s\n", finding.Clean(why))
	}
	if i.RunsUntil != nil {
		fmt.Fprintf(w, "  where it ran before it may start again until %s\n", i.RunsUntil.Format(time.RFC3339))
	}
	for _, at := range i.Workloads {
		fmt.Fprintf(w, "  %s\n", at.line())
	}
}
