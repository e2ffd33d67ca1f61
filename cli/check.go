package cli

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/policy/vap"
	"ringfence.dev/ringfence/report"
	"ringfence.dev/ringfence/schema"
)

// checkOptions are the flags and arguments of check.
type checkOptions struct {
	paths        []string
	platform     []string
	policy       []string
	catalogue    bool
	namespace    string
	only         []string
	all          bool
	failOn       string
	requireFacts bool
	fix, diff    bool
	output       string
}

const checkHelp = `Judge Kubernetes manifests (YAML, JSON, Lists) with the controls that guard the cluster.

PATH is a file, a folder (read recursively: *.yaml, *.yml, *.json) or - for standard input. --platform names files with
the bank's Platform and its Tenants; without a Platform every control denies and those that compare with the bank's own
settings are not judged.

--policy names files with ValidatingAdmissionPolicies of anybody, their bindings and parameters, and the Namespaces and
CustomResourceDefinitions that they read; Namespaces and definitions among the PATHs count too. They are judged by the API
server's own code instead of the catalogue; --with-catalogue judges with both. A policy without a binding is judged as if
it were bound with Deny everywhere. Defaults that a cluster fills in are not there, and nobody is known to ask.

--fix rewrites the files: what the catalogue states a repair for is repaired, and comments, order, quotes, line ends and
every other byte stay. The report then says of the files as they are now what is left to a person, and why. With - the
repaired text goes to standard output and the report to standard error. --diff shows what --fix would change, or with
--fix what it changes, as a unified diff on standard output; the report goes to standard error. Without --fix nothing is
written and the exit code is that of the files as they are. An object is left alone where a repair would touch more than
its field (aliases, anchors in use, merge keys, tags, text over several lines, templates).

Exit codes: 0 nothing is refused; 1 something is; 2 an input cannot be read or is invalid (the others are judged and
printed all the same); 3 a control that applies could not be decided.`

func newCheck(env Env) *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use: "check [PATH|-]...", Short: "Judge manifests before they reach a cluster", Long: checkHelp,
		Example: "  ringfence check deploy.yaml --platform platform.yaml\n  kubectl get deploy -o yaml | ringfence check -\n  ringfence check manifests/ -o json\n  ringfence check manifests/ --diff\n  ringfence check manifests/ --fix",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.paths = args
			return check(cmd.Context(), env, o)
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&o.platform, "platform", nil, "`FILE|DIR` with Platform and Tenant objects; may be repeated")
	flags.StringArrayVar(&o.policy, "policy", nil, "judge with the policies in `FILE|DIR` instead of the catalogue; may be repeated")
	flags.BoolVar(&o.catalogue, "with-catalogue", false, "judge with the catalogue beside --policy")
	flags.StringVarP(&o.namespace, "namespace", "n", "", "the `NS` of objects that name none")
	flags.StringSliceVar(&o.only, "only", nil, "judge with these controls alone: `ID,...`")
	flags.BoolVar(&o.all, "all", false, "show what passed and what does not apply, too")
	flags.StringVar(&o.failOn, "fail-on", "deny", "the weakest action that exits 1: `deny|warn`")
	flags.BoolVar(&o.requireFacts, "require-facts", false, "exit 3 where a control lacks what only --platform can say, instead of passing it over")
	flags.BoolVar(&o.fix, "fix", false, "rewrite the files: repair what the catalogue states a repair for")
	flags.BoolVar(&o.diff, "diff", false, "show what --fix changes as a unified diff; without --fix nothing is written")
	flags.StringVarP(&o.output, "output", "o", "text", "`text|json`")
	complete := func(flag string, words ...cobra.Completion) {
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)) // the flags are those above
	}
	complete("output", "text", "json")
	complete("fail-on", "deny", "warn")
	_ = cmd.RegisterFlagCompletionFunc("only", completeIDs(env))
	return cmd
}

// namespaceName is a legal namespace name (RFC 1123 label).
var namespaceName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

func (o checkOptions) validate() error {
	switch {
	case len(o.paths) == 0:
		return usagef("ringfence check", "no PATH: name files, folders, or - for standard input")
	case !slices.Contains([]string{"text", "json"}, o.output):
		return usagef("ringfence check", "--output %q: want text or json", o.output)
	case !slices.Contains([]string{"deny", "warn"}, o.failOn):
		return usagef("ringfence check", "--fail-on %q: want deny or warn", o.failOn)
	case o.namespace != "" && !namespaceName.MatchString(o.namespace):
		return usagef("ringfence check", "--namespace %q: want a namespace: at most 63 lower-case letters, digits and -", o.namespace)
	case o.catalogue && len(o.policy) == 0:
		return usagef("ringfence check", "--with-catalogue: the catalogue judges anyway; give --policy too")
	case len(o.only) > 0 && len(o.policy) > 0 && !o.catalogue:
		return usagef("ringfence check", "--only names controls of the catalogue; give --with-catalogue too")
	case slices.Contains(o.policy, "-"):
		return usagef("ringfence check", "--policy -: want a file or folder; standard input is for what is judged")
	case slices.Contains(o.platform, "-"):
		return usagef("ringfence check", "--platform -: want a file or folder; standard input is for what is judged")
	}
	return o.validateFix()
}

// check judges the manifests that the options name and writes the report. Its error carries the exit code.
func check(ctx context.Context, env Env, o checkOptions) error {
	if err := o.validate(); err != nil {
		return err
	}
	tuneMemory()
	cat, err := env.catalogue()
	if err != nil {
		return err
	}
	if cat, err = only(cat, o.only); err != nil {
		return err
	}
	inputs := expand(o.paths)
	var foreign *vap.Engine
	var bad [][]error
	if len(o.policy) > 0 {
		if foreign, bad, err = loadForeign(env, o.policy, inputs); err != nil {
			return err
		}
		if !o.catalogue {
			cat = &control.Catalogue{Digest: cat.Digest}
		}
	}
	schemas, err := schema.New()
	if err != nil {
		return err
	}
	settings, invalid := loadSettings(o.platform, env.Stdin, schemas, cat.Controls, env.Now())
	j, err := newJudge(cat, schemas, settings)
	if err != nil {
		return err
	}
	j.foreign = foreign
	j.namespace, j.all, j.quote, j.requireFacts = o.namespace, o.all, o.output == "text", o.requireFacts
	r := &report.Report{All: o.all, Quotes: map[finding.Location]report.Quote{}}
	complain(env, r, slices.Concat(bad, invalid))
	run := func() error { return j.run(ctx, env, inputs, r) }
	if o.fix || o.diff {
		run = func() error { return (&repairer{j, env, o.fix, o.diff}).run(ctx, inputs, r) }
	}
	if err := run(); err != nil {
		return err
	}
	r.Finish()
	if len(j.unjudged) > 0 && r.Summary.Objects > 0 {
		env.note("%s", j.missing(len(o.platform) > 0))
	}
	r.Summary.Exit = exitCode(r, o.failOn)
	if err := o.write(env, r); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return exit(r.Summary.Exit)
}

// write writes the report in the wanted form.
func (o checkOptions) write(env Env, r *report.Report) error {
	to := o.reportTo(env)
	if o.output == "json" {
		return report.JSON(to, r)
	}
	return report.Text(to, r, env.colour() && to == env.Stdout)
}

// tuneMemory lets garbage grow to four times what is in use, which saves a fifth of the processor time, as long as all of
// it stays well under the 300 MB that check may take (design.md). GOGC and GOMEMLIMIT of the user hold where they are set.
func tuneMemory() {
	const softLimit = 200 << 20
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(400)
		debug.SetMemoryLimit(softLimit)
	}
}

// missing says which controls are not judged, and why.
func (j *judge) missing(files bool) string {
	why, are := "no --platform given", "was not judged"
	if files {
		why = "no usable Platform among the --platform files"
	}
	if len(j.unjudged) > 1 {
		are = "were not judged"
	}
	return why + ": " + strings.Join(j.unjudged, ", ") + " " + are
}

// only is the catalogue cut down to the named controls; all of them where none is named. Its digest stays.
func only(cat *control.Catalogue, ids []string) (*control.Catalogue, error) {
	if len(ids) == 0 {
		return cat, nil
	}
	cut := &control.Catalogue{Digest: cat.Digest}
	for _, id := range ids {
		c, ok := cat.Find(strings.TrimSpace(id))
		if !ok {
			return nil, usagef("ringfence check", "--only: %s", unknownID(cat, id))
		}
		if !slices.ContainsFunc(cut.Controls, func(known control.Control) bool { return known.ID == c.ID }) {
			cut.Controls = append(cut.Controls, c)
		}
	}
	return cut, nil
}

// complain prints each fault on a line of its own and counts what cannot be used.
func complain(env Env, r *report.Report, invalid [][]error) {
	for _, faults := range invalid {
		r.Summary.Invalid++
		for _, fault := range faults {
			fmt.Fprintln(env.Stderr, finding.Clean(fault.Error()))
		}
	}
}

// exitCode is 2 before 1 before 3 before 0.
func exitCode(r *report.Report, failOn string) int {
	fails := r.Summary.Fail > 0 || failOn == "warn" && slices.ContainsFunc(r.Findings, func(f *finding.Finding) bool {
		return f.Outcome == finding.Fail && f.Action == finding.Warn && f.Waiver == nil
	})
	switch {
	case r.Summary.Invalid > 0:
		return finding.ExitUsage
	case fails:
		return finding.ExitRefused
	case r.Summary.Errored > 0:
		return finding.ExitUndecided
	default:
		return finding.ExitAllowed
	}
}

// run judges every document of the inputs, as many at once as there are processors, and gathers what comes of them in the
// order of the inputs. At most a few documents for each processor are in memory at any time.
func (j *judge) run(ctx context.Context, env Env, inputs []input, r *report.Report) error {
	workers := runtime.GOMAXPROCS(0)
	queue := make(chan chan outcome, 2*workers)
	go func() {
		defer close(queue)
		var pool errgroup.Group
		pool.SetLimit(workers)
		defer func() { _ = pool.Wait() }() // its functions return no error
		enqueue := func(work func() outcome) bool {
			done := make(chan outcome, 1)
			select {
			case <-ctx.Done():
				return false
			case queue <- done:
			}
			pool.Go(func() error {
				done <- work()
				return nil
			})
			return true
		}
		for _, in := range inputs {
			if !j.input(ctx, env, in, enqueue) {
				return
			}
		}
	}()
	for {
		// A read of standard input cannot be interrupted: at the end of ctx the reader is left behind, and the process ends.
		select {
		case <-ctx.Done():
			return ctx.Err()
		case done, more := <-queue:
			if !more {
				return ctx.Err()
			}
			var out outcome
			select {
			case <-ctx.Done():
				return ctx.Err()
			case out = <-done:
			}
			if out.err != nil {
				return out.err
			}
			out.gather(env, r)
		}
	}
}

// gather adds an outcome to a report, and prints its faults.
func (out outcome) gather(env Env, r *report.Report) {
	r.Summary.Files += out.opened
	complain(env, r, out.invalid)
	for _, object := range out.objects {
		r.Add(object)
	}
	for at, quote := range out.quotes {
		r.Quotes[at] = quote
	}
}

// input reads one input and enqueues the judging of each of its documents. It is false once nobody waits any more.
func (j *judge) input(ctx context.Context, env Env, in input, enqueue func(func() outcome) bool) bool {
	invalid := func(err error) bool {
		return enqueue(func() outcome { return outcome{invalid: [][]error{{err}}} })
	}
	file, err := in.open(env.Stdin)
	if err != nil {
		return invalid(err)
	}
	defer file.Close()
	if !enqueue(func() outcome { return outcome{opened: 1} }) {
		return false
	}
	for doc, err := range manifest.Split(file, in.name) {
		if err != nil {
			if !invalid(err) {
				return false
			}
		} else if !enqueue(func() outcome { return j.document(ctx, doc) }) {
			return false
		}
	}
	return true
}
