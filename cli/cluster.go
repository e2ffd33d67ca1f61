package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/cluster"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/report"
)

// clusterOptions are the flags of check --cluster.
type clusterOptions struct {
	asked               bool
	kubeconfig, context string
	allNamespaces       bool
	// seen is shown every object that was judged; nil for nobody. It is called by many goroutines.
	seen func(subject finding.Subject, value map[string]any, findings []finding.Finding)
	// withoutSecrets leaves Secrets alone.
	withoutSecrets bool
	// everything judges also what a controller made of objects that are judged; filled judges what the platform would fill in of each
	// object if it were created now.
	everything, filled bool
	// change is shown the settings before anything is judged, and may change them; nil for nobody.
	change func(*settings) error
}

func (o *clusterOptions) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&o.asked, "cluster", false, "judge what a live cluster holds instead of PATHs")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "with --cluster: the kubeconfig `FILE` (default KUBECONFIG, else the user's own)")
	flags.StringVar(&o.context, "context", "", "with --cluster: the `NAME` of the kubeconfig's context (default its current one)")
	flags.BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "with --cluster: judge every namespace, as without --namespace")
}

// validateCluster says what does not go together with --cluster.
func (o checkOptions) validateCluster() error {
	refuse := func(format string, args ...any) error { return usagef("ringfence check", format, args...) }
	c := o.cluster
	if !c.asked {
		for flag, given := range map[string]bool{"--kubeconfig": c.kubeconfig != "", "--context": c.context != "", "--all-namespaces": c.allNamespaces} {
			if given {
				return refuse("%s says which cluster; give --cluster too", flag)
			}
		}
		return nil
	}
	switch {
	case len(o.paths) > 0:
		return refuse("--cluster judges what a cluster holds and %s is a PATH; give one of the two", finding.Value(o.paths[0]))
	case o.fix || o.diff:
		return refuse("--cluster and --fix: nothing is repaired in a cluster; repair the files that its objects come from, and apply them")
	case o.since != "":
		return refuse("--cluster and --since: git knows no cluster; leave out --since")
	case len(o.policy) > 0:
		return refuse("--cluster and --policy: a cluster is judged with the catalogue; leave out --policy")
	case len(o.values)+len(o.valueSets) > 0:
		return refuse("--cluster and --values: there is no chart in a cluster; leave out --values")
	case len(o.kubeVersions)+len(o.crds) > 0:
		return refuse("--cluster and --kube-version or --crds: the API server has judged the form of what it holds; leave them out")
	case c.allNamespaces && o.namespace != "":
		return refuse("--all-namespaces and --namespace %s: give one of the two", o.namespace)
	}
	return nil
}

// survey is the judging of a cluster.
type survey struct {
	*judge
	env       Env
	cluster   *cluster.Cluster
	workloads []cluster.Resource
	others    []cluster.Resource
	seen      func(subject finding.Subject, value map[string]any, findings []finding.Finding)
	// everything judges also what a controller made of objects that are judged.
	everything bool
	// say tells the user something of how a list came about.
	say func(text string)

	mu   sync.Mutex
	over map[string]int // by kind, what was passed over as its owner is judged; under mu
	// ofKubernetes counts what was passed over as Kubernetes keeps it; under mu.
	ofKubernetes int
	// lost says that the last list could not be asked for at all.
	lost bool
}

// gatherCluster judges what a cluster holds and adds what comes of it to the report.
func gatherCluster(ctx context.Context, env Env, o checkOptions, cat *control.Catalogue, r *report.Report) error {
	schemas, err := newSchemas(nil)
	if err != nil {
		return err
	}
	s := &survey{env: env, seen: o.cluster.seen, over: map[string]int{}, say: func(text string) { env.note("%s", text) }}
	s.cluster, err = cluster.Connect(cluster.Config{
		Kubeconfig: o.cluster.kubeconfig, Context: o.cluster.context, UserAgent: "ringfence-check/" + cmp.Or(moduleVersion(), "devel"),
		Note: func(text string) { s.say(text) }})
	if err != nil {
		return &exitError{finding.ExitUsage, fmt.Errorf("--cluster: %w", err)}
	}
	r.Cluster, r.Controls = s.cluster.Name(), cat.Controls
	own, faults, err := s.discover(ctx, cat)
	if err != nil {
		return &exitError{finding.ExitUsage, fmt.Errorf("--cluster: %w", err)}
	}
	if o.cluster.withoutSecrets {
		s.others = slices.DeleteFunc(s.others, func(r cluster.Resource) bool { return r.APIGroup == "" && r.Kind.Kind == "Secret" })
	}
	settings, invalid, err := s.settings(ctx, o, own, schemas, cat)
	if err != nil {
		return err
	}
	for _, fault := range faults {
		invalid = append(invalid, []error{fault})
	}
	if o.cluster.change != nil {
		if err := o.cluster.change(settings); err != nil {
			return err
		}
	}
	if s.judge, err = newJudge(cat, schemas, settings); err != nil {
		return err
	}
	s.asWritten, s.everything = !o.cluster.filled, o.cluster.everything
	r.Unjudged = s.unjudged
	s.all, s.passes, s.requireFacts = o.all, r.All || r.KeepPassed, o.requireFacts
	complain(env, r, invalid)
	err = pump(ctx, env, r, newProgress(env, -1), func(ctx context.Context, enqueue func(func() outcome) bool) {
		s.feed(ctx, o.namespace, enqueue)
	})
	if err == nil && r.Summary.Objects == 0 && r.Summary.Invalid == 0 {
		complain(env, r, [][]error{{s.nothing(o.namespace)}})
	}
	s.tellPassedOver()
	if err := interrupted(env, r, err); err != nil {
		return err
	}
	s.tellUnjudged(env, o, r)
	return nil
}

// discover finds out which of the kinds that are judged the cluster serves, and of Ringfence's own those with settings.
func (s *survey) discover(ctx context.Context, cat *control.Catalogue) (own []cluster.Resource, faults []error, err error) {
	workloads, others := cat.Kinds()
	group := v1alpha1.GroupVersion
	settings := []control.Kind{
		{APIGroup: group.Group, Kind: "Platform", Version: group.Version},
		{APIGroup: group.Group, Kind: "Tenant", Version: group.Version},
		{APIGroup: group.Group, Kind: "Waiver", Version: group.Version},
		{APIGroup: group.Group, Kind: guardKind, Version: group.Version},
	}
	served, faults, err := s.cluster.Resources(ctx, slices.Concat(workloads, others, settings))
	for _, r := range served {
		same := func(k control.Kind) bool { return k.APIGroup == r.APIGroup && k.Kind == r.Kind.Kind }
		switch {
		case r.APIGroup == group.Group:
			own = append(own, r)
		case slices.ContainsFunc(workloads, same):
			s.workloads = append(s.workloads, r)
		default:
			s.others = append(s.others, r)
		}
	}
	return own, faults, err
}

// nothing is what to say where no object was found.
func (s *survey) nothing(namespace string) error {
	if namespace == "" {
		return fmt.Errorf("nothing was found to judge in cluster %s; check --context", s.cluster.Name())
	}
	return fmt.Errorf("nothing was found to judge in namespace %s of cluster %s: it is empty, or there is no such namespace; check --namespace and --context", namespace, s.cluster.Name())
}

// pass counts what is passed over: at the end of ctx the counting and the telling are at work at once.
func (s *survey) pass(count func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	count()
}

// tellPassedOver says what was not judged by itself.
func (s *survey) tellPassedOver() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var counts []string
	sum := 0
	for _, kind := range slices.Sorted(maps.Keys(s.over)) {
		counts = append(counts, fmt.Sprintf("%d %s", s.over[kind], kind))
		sum += s.over[kind]
	}
	if sum > 0 {
		s.env.note("passed over what a controller made of objects that were judged: %d (%s)", sum, strings.Join(counts, ", "))
	}
	if s.ofKubernetes > 0 {
		s.env.note("passed over what Kubernetes itself makes and keeps (ConfigMap kube-root-ca.crt, Service kubernetes): %d", s.ofKubernetes)
	}
}

// feed lists one resource after the other and enqueues the judging of every object; owners come before what they own.
func (s *survey) feed(ctx context.Context, namespace string, enqueue func(func() outcome) bool) {
	s.say = func(text string) { enqueue(func() outcome { return outcome{note: text} }) }
	owners := &cluster.Owners{}
	resources := append(cluster.ByOwner(s.workloads), s.others...)
	for i, r := range resources {
		if namespace != "" && !r.Namespaced {
			continue
		}
		if i >= len(s.workloads) {
			owners = nil
		}
		again := s.lost
		if !s.list(ctx, r, namespace, owners, enqueue) {
			return
		}
		if left := len(resources) - i - 1; again && s.lost && left > 0 {
			err := fmt.Errorf("the API server does not answer any more: %d more kinds were not asked for; run it again", left)
			enqueue(func() outcome { return outcome{invalid: [][]error{{err}}} })
			return
		}
	}
}

// list enqueues the judging of every object of a resource. It is false once nobody waits any more.
func (s *survey) list(ctx context.Context, r cluster.Resource, namespace string, owners *cluster.Owners, enqueue func(func() outcome) bool) bool {
	s.lost = false
	for value, err := range s.cluster.List(ctx, r, namespace) {
		work := func() outcome { return s.live(ctx, value) }
		switch {
		case err != nil:
			s.lost = errors.Is(err, cluster.ErrUnreachable)
			work = func() outcome { return outcome{invalid: [][]error{{err}}} }
		case owners != nil && !s.everything && owners.Made(value):
			s.pass(func() { s.over[r.Kind.Kind]++ })
			continue
		case cluster.OfKubernetes(value):
			s.pass(func() { s.ofKubernetes++ })
			continue
		}
		if !enqueue(work) {
			return false
		}
	}
	return ctx.Err() == nil
}

// live judges one object of the cluster.
func (s *survey) live(ctx context.Context, value map[string]any) outcome {
	o := manifest.NewObject(value)
	said, err := s.object(ctx, o)
	if err != nil {
		return outcome{err: err}
	}
	if s.seen != nil {
		s.seen(o.Subject(), value, said.Findings)
	}
	return outcome{objects: []report.Object{said}}
}
