package cli

import (
	"context"
	"slices"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/image/fleet"
	"ringfence.dev/ringfence/tenant"
)

// placedRules say by which of a Platform's rules images are judged in the namespaces of a cluster.
type placedRules struct {
	owners
	platform *v1alpha1.Platform
}

// rules reads whose namespaces are, where a rule of the Platform depends on it.
func (o *fleetOptions) rules(ctx context.Context, env Env, command string, stated *settings) (*placedRules, error) {
	rules := &placedRules{owners{stated: stated.tenants}, stated.platform}
	if stated.platform == nil || len(stated.platform.Spec.Images.Rules)+len(stated.platform.Spec.Images.Trust) == 0 {
		return rules, nil
	}
	var err error
	rules.owners, err = o.owners(ctx, env, command, stated)
	return rules, err
}

// ruledWorkloads run an image where one rule holds.
type ruledWorkloads struct {
	rule      image.Rule
	workloads []fleet.Workload
}

// split parts workloads by the rule that holds where they are, in the order in which the rules come up.
func (p *placedRules) split(workloads []fleet.Workload) (all []ruledWorkloads) {
	at := map[string]int{} // by the rule's name, one higher
	for _, w := range workloads {
		rule := tenant.ImageRuleOf(p.platform, p.of(w.Namespace))
		if at[rule.Name] == 0 {
			all = append(all, ruledWorkloads{rule: rule})
			at[rule.Name] = len(all)
		}
		part := &all[at[rule.Name]-1]
		part.workloads = append(part.workloads, w)
	}
	return all
}

// placedImages are the images that run in a cluster, with the rules and waivers that hold there.
type placedImages struct {
	running *fleet.Fleet
	rules   *placedRules
	waivers waivers
}

// where reads which images run, and what they are judged by there.
func (o *fleetOptions) where(ctx context.Context, env Env, command string, j *judgedImages) (*placedImages, error) {
	waived, err := o.waivers(ctx, env, command)
	if err != nil {
		return nil, err
	}
	rules, err := o.rules(ctx, env, command, j.settings)
	if err != nil {
		return nil, err
	}
	running, err := o.running(ctx, env, command)
	return &placedImages{running, rules, waived}, err
}

// judged are all images that run, each once for each rule that holds where it does.
func (p *placedImages) judged(j *judgedImages) (all []listedImage) {
	known := j.byDigest()
	for _, r := range p.running.Running() {
		all = append(all, p.judge(r, known[r.Digest], j)...)
	}
	return all
}

// judge is an image that runs, once for each rule that holds where it does.
func (p *placedImages) judge(r fleet.Running, f image.Facts, j *judgedImages) (all []listedImage) {
	for _, part := range p.rules.split(r.Workloads) {
		one := runImage(r, part.workloads)
		one.judge(f, j, part.rule, p.rules)
		for i := range one.Workloads {
			one.Workloads[i].Waived = p.waivers.of(one.Workloads[i].Workload, one.refusing, j.at)
		}
		all = append(all, one)
	}
	return all
}

// of are the workloads that run an image.
func (p *placedImages) of(f image.Facts, j *judgedImages) []shownWorkload {
	found := []shownWorkload{}
	for _, r := range p.running.Running() {
		if !slices.Contains(f.Digests, r.Digest) {
			continue
		}
		for _, part := range p.judge(r, f, j) {
			for _, w := range part.Workloads {
				found = append(found, shownWorkload{w, part.Rule, *part.Outcome})
			}
		}
	}
	return found
}
