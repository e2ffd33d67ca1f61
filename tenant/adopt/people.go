package adopt

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"ringfence.dev/ringfence/api/v1alpha1"
)

var mailForm = regexp.MustCompile(`^[A-Za-z0-9._%+'-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$`)

// mails are the keys of labels and annotations that hold the address of who answers for a namespace.
const mails = "owneremail teamemail contactemail email mail contact owner ownedby responsible teamcontact costowner supportemail"

// owner finds the mail address that answers for a tenant: the one that most of its namespaces name.
func (b *builder) owner(t *Tenant, all []*namespace) {
	count, from := map[string]int{}, map[string]string{}
	note := func(labels, notes map[string]string, what string) {
		for _, key := range known(&namespace{labels: labels, notes: notes}, mails, High) {
			for _, text := range []string{labels[key.name], notes[key.name]} {
				mail := strings.TrimPrefix(strings.TrimSpace(text), "mailto:")
				if len(mail) <= 254 && mailForm.MatchString(mail) {
					count[mail]++
					if from[mail] == "" {
						from[mail] = key.name + " of " + what
					}
					return
				}
			}
		}
	}
	requesters := map[string]bool{}
	for _, n := range all {
		note(n.labels, n.notes, n.Ref())
		if who := n.notes["openshift.io/requester"]; who != "" {
			requesters[show(who)] = true
		}
	}
	if c := b.capsuleOf(t.Name, all); c != nil {
		note(nil, c.notes, c.Ref())
	}
	best := ""
	for _, mail := range slices.Sorted(maps.Keys(count)) {
		if count[mail] > count[best] {
			best = mail
		}
	}
	if best != "" {
		t.Object.Spec.Owner, t.notes.owner = best, from[best]
		if len(count) > 1 {
			b.decide("owner", t.Name, nil, fmt.Sprintf("its namespaces name %d owners (%s); choose one", len(count), show(strings.Join(slices.Sorted(maps.Keys(count)), ", "))), show(best)+" is the owner, as most of them say")
		}
		return
	}
	t.Object.Spec.Owner, t.notes.owner = "undecided@"+t.Name+".invalid", "UNDECIDED: nothing names an address"
	question := "nothing names the address of who answers for it; set spec.owner"
	if len(requesters) > 0 {
		question += " (requested by " + show(strings.Join(slices.Sorted(maps.Keys(requesters)), ", ")) + ")"
	}
	b.decide("owner", t.Name, nil, question, "the owner is an address that does not exist")
}

// crew is who has rights in one environment: groups as the identity provider names them, sorted.
type crew struct{ admins, readers []string }

// people gives a tenant its groups. The tenant's own are those that most environments have; an environment where others
// have rights names them itself, and one where nobody has names a group that does not exist: no group gets a right that it
// has not got today.
func (b *builder) people(t *Tenant, all []*namespace) {
	t.notes.groups = map[string]string{}
	crews := make([]crew, len(all))
	admins, readers := map[string]int{}, map[string]int{}
	for i, n := range all {
		crews[i] = b.crewOf(t, n)
		for _, g := range crews[i].admins {
			admins[g]++
		}
		for _, g := range crews[i].readers {
			readers[g]++
		}
	}
	if len(all) == 0 {
		b.ownersAlone(t, admins)
	}
	noAdmin, noReader := "undecided-"+t.Name+"-admin", "undecided-"+t.Name+"-readonly"
	groups := &t.Object.Spec.Groups
	groups.Admin = most(admins, "")
	groups.ReadOnly = most(readers, groups.Admin)
	t.notes.admin, t.notes.readOnly = "has admin rights in "+of(admins[groups.Admin], len(all)), "looks at "+of(readers[groups.ReadOnly], len(all))
	if len(all) == 0 {
		t.notes.admin = "owns Capsule's Tenant"
	}
	if groups.Admin == "" {
		groups.Admin, t.notes.admin = noAdmin, "UNDECIDED: no group has admin rights"
		b.decide("no-admin-group", t.Name, nil, "no group has admin rights in any of its namespaces; name one in spec.groups.admin", "the group named there does not exist, and nobody gets rights")
	}
	if groups.ReadOnly == "" {
		groups.ReadOnly, t.notes.readOnly = noReader, "UNDECIDED: no group only looks"
		b.decide("no-readonly-group", t.Name, nil, "no group may only look at its namespaces; name one in spec.groups.readOnly", "the group named there does not exist, and nobody gets rights")
	}
	for i, n := range all {
		env := &t.Object.Spec.Environments[i]
		own := v1alpha1.EnvironmentGroups{Admin: pick(crews[i].admins, groups.Admin, noAdmin), ReadOnly: pick(crews[i].readers, groups.ReadOnly, noReader)}
		if own.Admin == noAdmin && groups.Admin != noAdmin {
			b.decide("no-admin-group", t.Name, n.Object, "no group has admin rights in these namespaces, and one has in others of the tenant; take out the environment's groups.admin to let it in", "nobody gets admin rights there by Ringfence")
		}
		if own.ReadOnly == noReader && groups.ReadOnly != noReader {
			b.decide("no-readonly-group", t.Name, n.Object, "no group may only look at these namespaces, and one may at others of the tenant; take out the environment's groups.readOnly to let it in", "nobody may look there by Ringfence")
		}
		b.choose(n, own)
		if own.Admin == groups.Admin {
			own.Admin = ""
		}
		if own.ReadOnly == groups.ReadOnly {
			own.ReadOnly = ""
		}
		if own != (v1alpha1.EnvironmentGroups{}) {
			env.Groups = &own
			t.notes.groups[env.Name] = "who has rights there today; a name that begins with undecided- is nobody's"
		}
	}
}

func of(n, all int) string { return fmt.Sprintf("%d of %s", n, plural(all, "namespace")) }

// crewOf are the groups with rights in a namespace that a Tenant can name. The others are listed.
func (b *builder) crewOf(t *Tenant, n *namespace) (c crew) {
	for _, side := range []struct {
		l  level
		to *[]string
	}{{levelAdmin, &c.admins}, {levelReadOnly, &c.readers}} {
		for _, group := range n.groups(side.l) {
			if name, why := bare(group, b.prefix); why == "" {
				*side.to = append(*side.to, name)
			} else {
				b.decide("group-name", t.Name, n.Object, "a Tenant cannot name group "+show(group)+": "+why, "its bindings stay, and Ringfence gives it nothing")
			}
		}
	}
	return c
}

// ownersAlone are the owners of a Capsule Tenant without namespaces.
func (b *builder) ownersAlone(t *Tenant, admins map[string]int) {
	if c := b.capsuleOf(t.Name, nil); c != nil {
		for i, s := range c.owners {
			if name, why := bare(s.name, b.prefix); s.kind == "Group" && c.owned[i] == levelAdmin && why == "" {
				admins[name]++
			}
		}
	}
}

// most is the group counted most often, the first by name among equals; not is left out.
func most(count map[string]int, not string) (best string) {
	for _, name := range slices.Sorted(maps.Keys(count)) {
		if name != not && count[name] > count[best] {
			best = name
		}
	}
	return best
}

// pick is the wanted group where it is among those of an environment, else the first of them, else nobody.
func pick(have []string, wanted, nobody string) string {
	switch {
	case slices.Contains(have, wanted):
		return wanted
	case len(have) > 0:
		return have[0]
	}
	return nobody
}

// choose notes whom the Tenant gives which rights in a namespace.
func (b *builder) choose(n *namespace, g v1alpha1.EnvironmentGroups) {
	b.chosen[n.Name+"\x00admin\x00"+b.prefix+g.Admin] = true
	b.chosen[n.Name+"\x00readonly\x00"+b.prefix+g.ReadOnly] = true
}

// gives reports whether the Tenant gives a group at least this level in a namespace.
func (b *builder) gives(namespace, group string, l level) bool {
	return b.chosen[namespace+"\x00admin\x00"+group] || l == levelReadOnly && b.chosen[namespace+"\x00readonly\x00"+group]
}

// shared carries labels that all namespaces of a tenant share and that name the team or who pays.
func (b *builder) shared(t *Tenant, all []*namespace) {
	for _, key := range known(all[0], "team teamname squad owner costcentre costcenter costcode businessunit department dataclass dataclassification application", High) {
		v, ok := all[0].labels[key.name]
		for _, n := range all {
			ok = ok && n.labels[key.name] == v
		}
		if ok && legalLabel(key.name, v) && len(t.Object.Spec.Labels) < 30 {
			if t.Object.Spec.Labels == nil {
				t.Object.Spec.Labels = map[string]string{}
			}
			t.Object.Spec.Labels[key.name] = v
			t.notes.labels = "labels that all its namespaces share"
		}
	}
}

var (
	labelForm = regexp.MustCompile(`^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`)
	valueForm = regexp.MustCompile(`^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$`)
)

// legalLabel reports whether a Tenant may carry a label.
func legalLabel(key, value string) bool {
	return labelForm.MatchString(key) && valueForm.MatchString(value) && !strings.Contains(key, "kubernetes.io/") && !strings.Contains(key, "k8s.io/") && !strings.Contains(key, "ringfence.dev/")
}
