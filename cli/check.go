package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/policy/vap"
	"ringfence.dev/ringfence/render"
	"ringfence.dev/ringfence/report"
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
	outputs      []string
	baseline     string
	// own are files that are not judged although a folder of paths holds them.
	own       []os.FileInfo
	values    []string
	valueSets []string
	fix, diff bool
	since     string
	// kubeVersions are the servers that the objects are for.
	kubeVersions []string
	crds         []string
	cluster      clusterOptions
	push         pushOptions
}

const checkHelp = `Judge Kubernetes manifests (YAML, JSON, Lists) with the controls that guard the cluster.

PATH is a file, a folder (read recursively: *.yaml, *.yml, *.json), a packed Helm chart (*.tgz) or - for standard input. --platform names files with
the bank's Platform, its Tenants and approved Waivers; without a Platform every control denies and those that compare with the bank's own
settings are not judged.

In a folder, hidden folders, links to folders, and what .gitignore and .ringfenceignore name are passed over. A folder
with a Chart.yaml is rendered as helm does, with the charts in its charts/, the definitions in its crds/, the release name
release-name and the namespace of --namespace. --values merges values files, as helm does; each --values-set renders every
chart once more, with its own files after those of --values. A folder with a kustomization.yaml is built as kustomize
does, if no other one in the same PATH refers to it; files that are used so are not judged by themselves. Nothing is
fetched and no program is run: dependencies and bases must be there as files. A finding in what was rendered says so, and
its line counts in what came out.

What the API server would not take whatever the policies say is an invalid input: a wrong type, an unknown or missing field, a
word that a field does not know, an API version that is not served. Kubernetes' own kinds are judged as the servers 1.30 to
1.37 know them: without --kube-version an object is valid where any of them takes it, with it where each that is named does.
Custom resources are judged by their CustomResourceDefinitions: among the PATHs, in a chart's crds/, or of --crds.

--policy names files with ValidatingAdmissionPolicies of anybody, their bindings and parameters, and the Namespaces and
CustomResourceDefinitions that they read; Namespaces and definitions among the PATHs count too. They are judged by the API
server's own code instead of the catalogue; --with-catalogue judges with both. A policy without a binding is judged as if
it were bound with Deny everywhere. Defaults that a cluster fills in are not there, and nobody is known to ask.

--output FORMAT writes to standard output, --output FORMAT=FILE to a file, which is replaced whole or not at all. It may be
repeated, with at most one format on standard output. The formats:

%s
File names in a report are as the paths name them: run it in the root of the repository. With --baseline FILE, a report that
--output json=FILE wrote, only what is new is reported and counts: findings are alike where control, object and field are,
in whatever file and line. A waived or undecided finding of the baseline does not make a failure known. These files are not judged where a PATH holds them.

--since REV asks git which files differ from where this branch left REV, a branch, tag or commit, and judges those alone; a
chart where one of its files changed, a kustomization where anything did, and everything where a file of --platform,
--policy or --values did. Nothing changed is exit code 0, and said. REV must be there: a pipeline that fetches one commit alone cannot know it.

--fix rewrites the files: what the catalogue states a repair for is repaired, and comments, order, quotes, line ends and
every other byte stay. The report then says of the files as they are now what is left to a person, and why. With - the
repaired text goes to standard output and the report to standard error. --diff shows what --fix would change, or with
--fix what it changes, as a unified diff on standard output; the report goes to standard error. Without --fix nothing is
written and the exit code is that of the files as they are. An object is left alone where a repair would touch more than
its field (aliases, anchors in use, merge keys, tags, text over several lines, templates).

--cluster judges what a live cluster holds instead of PATHs, in all namespaces or with --namespace in one; --kubeconfig and
--context are those of kubectl. It only reads; docs/sources.md has the ClusterRole that it needs. Platform and Tenants are
the cluster's own unless --platform is given. What a controller made of an object that is judged is passed over, and counted.

%s

Exit codes: 0 nothing is refused; 1 something is; 2 an input cannot be read or is invalid (the others are judged and
printed all the same) or the run was interrupted (what was judged until then is printed); 3 a control that applies could not be decided, or what was to be sent with --push was not.`

func newCheck(env Env) *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use: "check [PATH|-]...", Short: "Judge manifests before they reach a cluster", Long: fmt.Sprintf(checkHelp, formatHelp(), pushHelp),
		Example: "  ringfence check deploy.yaml --platform platform.yaml\n  kubectl get deploy -o yaml | ringfence check -\n  ringfence check manifests/ -o text -o sarif=ringfence.sarif\n  ringfence check manifests/ --baseline known.json\n" +
			"  ringfence check chart/ --values common.yaml --values-set dev.yaml --values-set prod.yaml,eu.yaml\n  ringfence check manifests/ --kube-version 1.33-1.35 --crds crds/\n  ringfence check manifests/ --diff\n  ringfence check manifests/ --fix\n  ringfence check --cluster -n payments-dev",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.paths = args
			return check(cmd.Context(), env, o)
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&o.platform, "platform", nil, "`FILE|DIR` with Platform, Tenant and Waiver objects; may be repeated")
	flags.StringArrayVar(&o.policy, "policy", nil, "judge with the policies in `FILE|DIR` instead of the catalogue; may be repeated")
	flags.BoolVar(&o.catalogue, "with-catalogue", false, "judge with the catalogue beside --policy")
	flags.StringVarP(&o.namespace, "namespace", "n", "", "the `NS` of objects that name none; with --cluster the one that is judged")
	flags.StringSliceVar(&o.only, "only", nil, "judge with these controls alone: `ID,...`")
	flags.StringSliceVar(&o.values, "values", nil, "render charts with these values: `FILE,...`; may be repeated, what comes later wins")
	flags.StringArrayVar(&o.valueSets, "values-set", nil, "render charts with --values and `FILE,...`; repeat it to render once with each set")
	flags.BoolVar(&o.all, "all", false, "show what passed and what does not apply, too")
	flags.StringVar(&o.failOn, "fail-on", "deny", "the weakest action that exits 1: `deny|warn`")
	flags.BoolVar(&o.requireFacts, "require-facts", false, "exit 3 where a control lacks what only --platform can say, instead of passing it over")
	flags.StringArrayVarP(&o.outputs, "output", "o", nil, "`FORMAT[=FILE]`: "+strings.Join(formatNames(), ", ")+"; may be repeated (default text)")
	flags.StringVar(&o.baseline, "baseline", "", "report only what is not in `FILE`, an earlier report of -o json")
	flags.StringSliceVar(&o.kubeVersions, "kube-version", nil, "the servers, each of which must take every object: `VERSION|FROM-TO,...` (default: any of them)")
	flags.StringArrayVar(&o.crds, "crds", nil, "`FILE|DIR` with CustomResourceDefinitions, which custom resources are judged by; may be repeated")
	flags.StringVar(&o.since, "since", "", "judge only what changed since this branch left `REV`, committed or not")
	flags.BoolVar(&o.fix, "fix", false, "rewrite the files: repair what the catalogue states a repair for")
	o.cluster.register(cmd)
	o.push.register(cmd)
	flags.BoolVar(&o.diff, "diff", false, "show what --fix changes as a unified diff; without --fix nothing is written")
	complete := func(flag string, words ...cobra.Completion) {
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)) // the flags are those above
	}
	complete("output", formatNames()...)
	complete("fail-on", "deny", "warn")
	_ = cmd.RegisterFlagCompletionFunc("only", completeIDs(env))
	return cmd
}

// namespaceName is a legal namespace name (RFC 1123 label).
var namespaceName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

func (o checkOptions) validate() error {
	switch {
	case len(o.paths) == 0 && !o.cluster.asked:
		return usagef("ringfence check", "no PATH: name files, folders, or - for standard input")
	case !slices.Contains([]string{"deny", "warn"}, o.failOn):
		return usagef("ringfence check", "--fail-on %q: want deny or warn", o.failOn)
	case o.namespace != "" && !namespaceName.MatchString(o.namespace):
		return usagef("ringfence check", "--namespace %q: want a namespace: at most 63 lower-case letters, digits and -", o.namespace)
	case o.catalogue && len(o.policy) == 0:
		return usagef("ringfence check", "--with-catalogue: the catalogue judges anyway; give --policy too")
	case len(o.only) > 0 && len(o.policy) > 0 && !o.catalogue:
		return usagef("ringfence check", "--only names controls of the catalogue; give --with-catalogue too")
	case slices.Contains(o.values, "-") || slices.Contains(o.valueSets, "-"):
		return usagef("ringfence check", "--values -: want a file; standard input is for what is judged")
	case slices.Contains(o.policy, "-"):
		return usagef("ringfence check", "--policy -: want a file or folder; standard input is for what is judged")
	case slices.Contains(o.crds, "-"):
		return usagef("ringfence check", "--crds -: want a file or folder; standard input is for what is judged")
	case slices.Contains(o.platform, "-"):
		return usagef("ringfence check", "--platform -: want a file or folder; standard input is for what is judged")
	}
	return nil
}

// check judges the manifests that the options name and writes the report. Its error carries the exit code.
func check(ctx context.Context, env Env, o checkOptions) error {
	if err := o.validate(); err != nil {
		return err
	}
	outputs, err := parseOutputs(o.outputs)
	if err != nil {
		return err
	}
	if err := errors.Join(o.validateCluster(), o.validateFix(outputs)); err != nil {
		return err
	}
	baseline, err := readBaseline(o.baseline)
	if err != nil {
		return err
	}
	push, err := o.push.open()
	if err != nil {
		return err
	}
	o.own = own(outputs, o.baseline)
	if i := slices.IndexFunc(o.paths, func(path string) bool { return isOneOf(o.own, path) }); i >= 0 {
		return usagef("ringfence check", "%s is to be judged, and is the file of --output or --baseline; name another file", finding.Value(o.paths[i]))
	}
	told := o.told(env)
	sinks, err := openSinks(told, outputs)
	if err != nil {
		return err
	}
	defer closeSinks(sinks)
	r := newReport(env, o, outputs)
	r.Baseline = baseline
	if err := gather(ctx, env, o, r); err != nil {
		return err
	}
	r.Finish()
	r.Summary.Exit = exitCode(r, o.failOn)
	if err := writeAll(told, sinks, r); err != nil {
		return err
	}
	if baseline != nil && !textToStdout(outputs) {
		env.note("%s", report.Summary(r))
	}
	return push.finish(ctx, env, o, r)
}

// newReport is the empty report, which knows what the outputs need.
func newReport(env Env, o checkOptions, outputs []target) *report.Report {
	r := &report.Report{
		All: o.all, KeepPassed: has(outputs, "junit"), FailOnWarn: o.failOn == "warn", Time: env.Now(), Version: moduleVersion(),
		Quotes: map[finding.Location]report.Quote{},
	}
	if !has(outputs, "text") {
		r.Quotes = nil
	}
	if root, err := os.Getwd(); err == nil {
		r.Root = root // without one, absolute names stay absolute
	}
	return r
}

// readBaseline reads the report of an earlier run; nil where none is named.
func readBaseline(file string) (*report.Baseline, error) {
	if file == "" {
		return nil, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, &exitError{finding.ExitUsage, fmt.Errorf("--baseline: %w", pathFault(file, err))}
	}
	defer f.Close()
	baseline, err := report.ReadBaseline(f)
	if cause := (*fs.PathError)(nil); errors.As(err, &cause) {
		err = cause.Err
	}
	if err != nil {
		return nil, &exitError{finding.ExitUsage, fmt.Errorf("--baseline: %s: %w", file, err)}
	}
	return baseline, nil
}

// gather judges the inputs and adds what comes of them to the report.
func gather(ctx context.Context, env Env, o checkOptions, r *report.Report) error {
	tuneMemory()
	cat, err := env.catalogue()
	if err != nil {
		return err
	}
	if cat, err = only(cat, o.only); err != nil {
		return err
	}
	if o.cluster.asked {
		return interrupted(env, r, gatherCluster(ctx, env, o, cat, r))
	}
	inputs, badValues, err := list(o)
	if err != nil {
		return err
	}
	inputs = slices.DeleteFunc(inputs, func(in input) bool { return isOneOf(o.own, in.name) })
	if len(inputs) == 0 {
		return usagef("ringfence check", "nothing to judge in %s but files of --output and --baseline", strings.Join(o.paths, ", "))
	}
	judged, err := o.changed(ctx, env, inputs)
	if err != nil {
		return err
	}
	var foreign *vap.Engine
	var bad [][]error
	if len(o.policy) > 0 {
		if foreign, bad, err = loadForeign(ctx, env, o.policy, inputs); err != nil {
			return err
		}
		if !o.catalogue {
			cat = &control.Catalogue{Digest: cat.Digest}
		}
	}
	schemas, err := newSchemas(o.kubeVersions)
	if err != nil {
		return err
	}
	settings, invalid := loadSettings(o.platform, env.Stdin, schemas, cat.Controls, env.Now())
	settings.tell(env)
	j, err := newJudge(cat, schemas, settings)
	if err != nil {
		return err
	}
	j.foreign = foreign
	j.namespace, j.all, j.quote, j.requireFacts = o.namespace, o.all, r.Quotes != nil, o.requireFacts
	j.passes = r.All || r.KeepPassed
	r.Controls = cat.Controls
	complain(env, r, slices.Concat(badValues, bad, schemas.define(ctx, env, o.crds, inputs), invalid))
	run := func() error { return j.run(ctx, env, judged, r) }
	if o.fix || o.diff {
		run = func() error { return (&repairer{j, env, o.fix, o.diff, len(o.only) > 0}).run(ctx, judged, r) }
	}
	if err := interrupted(env, r, run()); err != nil {
		return err
	}
	j.tellUnjudged(env, o, r)
	return nil
}

// interrupted is err, but for an interruption: that the report says.
func interrupted(env Env, r *report.Report, err error) error {
	if !errors.Is(err, context.Canceled) && !errors.Is(err, render.ErrRunaway) {
		return err
	}
	r.Interrupt()
	env.note("%s; what was judged until then is reported", strings.Replace(err.Error(), context.Canceled.Error(), "interrupted", 1))
	return nil
}

// list is what is to be judged. Each list of faults is one set of values that cannot be used.
func list(o checkOptions) ([]input, [][]error, error) {
	// What the libraries of Helm and Kustomize have to say is prose like any other.
	log.SetFlags(0)
	log.SetPrefix("ringfence: ")
	from, faults := newSources(o.namespace, o.values, o.valueSets)
	inputs := expand(o.paths, from)
	if len(o.values)+len(o.valueSets) > 0 && from.charts == 0 {
		return nil, nil, usagef("ringfence check", "--values: no Helm chart among the PATHs; name a folder with a Chart.yaml, or a packed chart")
	}
	return inputs, faults, nil
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
			fmt.Fprintln(env.Stderr, report.Inert(fault.Error()))
			told := report.Fault{Message: fault.Error()}
			if placed := (*manifest.Error)(nil); errors.As(fault, &placed) {
				told = report.Fault{Location: placed.Location, Message: placed.Message}
			}
			r.Faults = append(r.Faults, told)
		}
	}
}

// exitCode is 2 before 1 before 3 before 0.
func exitCode(r *report.Report, failOn string) int {
	fails := r.Summary.Fail > 0 || failOn == "warn" && slices.ContainsFunc(r.Findings, func(f *finding.Finding) bool {
		return f.Outcome == finding.Fail && f.Action == finding.Warn && f.Waiver == nil
	})
	switch {
	case r.Summary.Invalid > 0 || r.Interrupted:
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
	return pump(ctx, env, r, newProgress(env, len(inputs)), func(ctx context.Context, enqueue func(func() outcome) bool) {
		for _, in := range inputs {
			if !j.input(ctx, env, in, enqueue) {
				return
			}
		}
	})
}

// pump does the work that feed enqueues, as run does.
func pump(ctx context.Context, env Env, r *report.Report, p *progress, feed func(ctx context.Context, enqueue func(func() outcome) bool)) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	workers := runtime.GOMAXPROCS(0)
	queue := make(chan chan outcome, 2*workers)
	type task struct {
		work func() outcome
		done chan<- outcome
	}
	tasks := make(chan task)
	for range workers { // not one goroutine a document: each would grow a stack of its own
		go func() {
			for t := range tasks {
				t.done <- t.work()
			}
		}()
	}
	go func() {
		defer close(queue)
		defer close(tasks)
		enqueue := func(work func() outcome) bool {
			done := make(chan outcome, 1)
			select {
			case <-ctx.Done():
				return false
			case queue <- done:
			}
			tasks <- task{work, done}
			return true
		}
		feed(ctx, enqueue)
	}()
	defer p.clear()
	var memory memory
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
			if err := p.take(out, r, env); err != nil {
				return err
			}
			memory.ease(len(r.Findings))
		}
	}
}

// addTo gathers what came of a document.
func (out outcome) addTo(r *report.Report, env Env) {
	if out.note != "" {
		env.note("%s", out.note)
	}
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
	opened := func() bool { return enqueue(func() outcome { return outcome{opened: 1} }) }
	for doc, err := range in.documents(ctx, env.Stdin, opened) {
		work := func() outcome { return j.document(ctx, doc) }
		if err != nil {
			work = func() outcome { return outcome{invalid: [][]error{{err}}} }
		}
		if !enqueue(work) {
			return false
		}
	}
	return ctx.Err() == nil
}
