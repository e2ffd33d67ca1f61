package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/install/setup"
)

// observesNext is what to do once an installation is there that only looks.
const observesNext = `Ringfence looks by its schedule, and refuses nothing. To look now:
  kubectl -n ringfence-system create job --from=cronjob/ringfence-observe look
  kubectl -n ringfence-system wait --for=condition=complete --timeout=30m job/look
  kubectl -n ringfence-system logs job/look`

// writeInstallPlan writes a plan for people.
func writeInstallPlan(env Env, p *setup.Plan) error {
	w := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	row := func(cells ...string) { fmt.Fprintln(w, "  "+strings.Join(cells, "\t")) }
	title := func(format string, args ...any) {
		_ = w.Flush() // each part has columns of its own; the last Flush tells of a fault
		fmt.Fprintf(w, format+"\n", args...)
	}
	title("Ringfence on Kubernetes %s. Nothing is changed without --apply.", p.Kubernetes)
	objects := func(all []setup.Planned) {
		for _, o := range all {
			name := o.Name
			if o.Namespace != "" {
				name = o.Namespace + "/" + name
			}
			row(o.Kind, name, o.Why)
		}
	}
	for _, o := range p.Obstacles {
		title("First: %s", o)
	}
	title("\nApplied by --apply:")
	objects(p.Objects)
	if len(p.Removed) > 0 {
		title("\nRemoved by --apply:")
		objects(p.Removed)
	}
	if p.Observes {
		title("\nMade by Ringfence itself: nothing. It only looks: nothing is refused, and nothing is written to the cluster.")
		writeRights(p.Rights, setup.Observer, false, title, row)
		return w.Flush()
	}
	title("\nMade by Ringfence itself, and put back where somebody changes it:")
	writeKept(p.Kept, row)
	for _, here := range []bool{false, true} {
		writeRights(p.Rights, setup.Account, here, title, row)
	}
	title("\nWhat carries each control on this server:")
	writeDoors(p.Doors, row)
	return w.Flush()
}

// writeRights writes the rights of an account, those in Ringfence's own namespace or those in the whole cluster.
func writeRights(rights []setup.Right, account string, here bool, title func(format string, args ...any), row func(cells ...string)) {
	where := "in the whole cluster"
	if here {
		where = "in " + v1alpha1.SystemNamespace
	}
	title("\nRights of ServiceAccount %s/%s %s:", v1alpha1.SystemNamespace, account, where)
	said := ""
	for _, r := range rights {
		if r.Here != here {
			continue
		}
		if r.Why != said {
			row(r.Why + ":")
		}
		said = r.Why
		row("    " + strings.Join(r.Verbs, " ") + " on " + rightOn(r))
	}
}

// rightOn is what a right is over.
func rightOn(r setup.Right) string {
	var all []string
	for _, resource := range r.Resources {
		if r.Group != "" {
			resource += "." + r.Group
		}
		all = append(all, resource)
	}
	text := strings.Join(all, " ")
	switch {
	case len(r.Names) > 3:
		text += fmt.Sprintf(", only %d by name", len(r.Names))
	case len(r.Names) > 0:
		text += ", only " + strings.Join(r.Names, " ")
	}
	return text
}

// writeKept writes what Ringfence makes: each kind and reason once, with the names.
func writeKept(all []setup.Planned, row func(cells ...string)) {
	names := map[string][]string{}
	var titles []string
	for _, o := range all {
		title := o.Kind + ": " + o.Why
		if names[title] == nil {
			titles = append(titles, title)
		}
		name := o.Name
		if o.Namespace != "" {
			name = o.Namespace + "/" + name
		}
		names[title] = append(names[title], name)
	}
	for _, title := range titles {
		row(title)
		for line := range slices.Chunk(names[title], 4) {
			row("    " + strings.Join(line, " "))
		}
	}
}

// writeDoors writes what carries controls, each carrier once with the ids of its controls.
func writeDoors(doors []setup.Door, row func(cells ...string)) {
	byCarrier := map[string][]setup.Door{}
	var carriers []string
	for _, d := range doors {
		name := strings.TrimSpace(d.Kind + " " + d.Name)
		if byCarrier[name] == nil {
			carriers = append(carriers, name)
		}
		byCarrier[name] = append(byCarrier[name], d)
	}
	for _, name := range carriers {
		all := byCarrier[name]
		var ids []string
		for _, d := range all {
			ids = append(ids, d.Control)
		}
		row(cmp.Or(name, "nothing at the API server") + ": " + all[0].Why)
		for line := range slices.Chunk(ids, 12) {
			row("    " + strings.Join(line, " "))
		}
	}
}
