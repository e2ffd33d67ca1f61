package observe

import (
	"fmt"
	"strings"
)

// shown is how many lines of each part the text has; the JSON has all.
const shown = 10

// Text is the report for people.
func (r Report) Text() string {
	var b strings.Builder
	system, open := 0, []string{}
	for _, n := range r.Namespaces {
		switch {
		case n.System:
			system++
		case !n.Baseline:
			open = append(open, n.Name)
		}
	}
	fmt.Fprintf(&b, "%s: %s in %s, %d of them the platform's own\n", oneLine(r.Cluster), plural(r.Objects, "object"), plural(len(r.Namespaces), "namespace"), system)
	r.controlsText(&b)
	r.imagesText(&b)
	r.rightsText(&b)
	fmt.Fprintf(&b, "\nNetwork: %s of %d without a policy that closes ingress\n", plural(len(open), "namespace"), len(r.Namespaces)-system)
	lines(&b, len(open), func(i int) string { return open[i] })
	r.requestsText(&b)
	if len(r.NotObserved) > 0 {
		fmt.Fprintf(&b, "\nNot observed, and so unknown:\n")
		lines(&b, len(r.NotObserved), func(i int) string { return oneLine(r.NotObserved[i]) })
	}
	return b.String()
}

func (r Report) controlsText(b *strings.Builder) {
	free := 0
	for _, c := range r.Controls {
		if c.Failing == 0 {
			free++
		}
	}
	fmt.Fprintf(b, "\nSwitch on in this order. %d of %d controls would refuse nothing that was seen; then, least breakage for the risk first:\n", free, len(r.Controls))
	rest := r.Controls[free:]
	lines(b, len(rest), func(i int) string {
		c := rest[i]
		var where []string
		for _, n := range c.Namespaces[:min(3, len(c.Namespaces))] {
			where = append(where, fmt.Sprintf("%s %d", n.Name, n.Count))
		}
		if more := len(c.Namespaces) - 3; more > 0 {
			where = append(where, fmt.Sprintf("%d more", more))
		}
		return fmt.Sprintf("%-9s %-8s would refuse %-12s %s (%s)", c.ID, c.Severity, plural(c.Failing, "object")+":", oneLine(c.Title), strings.Join(where, ", "))
	})
}

func (r Report) imagesText(b *strings.Builder) {
	by, outside := map[string]int{}, []Image{}
	publicOf := map[string]bool{}
	for _, reg := range r.Registries {
		publicOf[reg.Name] = reg.Public
	}
	for _, i := range r.Images {
		by[i.By]++
		if publicOf[i.Registry] && !ofSystem(i.Namespaces) {
			outside = append(outside, i)
		}
	}
	fmt.Fprintf(b, "\nImages: %d; %d by digest, %d by tag, %d by neither\n", len(r.Images), by["digest"], by["tag"], by["none"])
	var from []string
	for _, reg := range r.Registries {
		from = append(from, fmt.Sprintf("%s %d", reg.Name, reg.Images))
	}
	if len(from) > 0 {
		fmt.Fprintf(b, "  from %s\n", oneLine(strings.Join(from, ", ")))
	}
	if len(outside) > 0 {
		fmt.Fprintf(b, "  from public registries in namespaces that are not the platform's: %d\n", len(outside))
		lines(b, len(outside), func(i int) string {
			return oneLine(outside[i].Reference) + " in " + strings.Join(outside[i].Namespaces[:min(3, len(outside[i].Namespaces))], ", ")
		})
	}
}

func (r Report) rightsText(b *strings.Builder) {
	fmt.Fprintf(b, "\nRights that matter: %s\n", plural(len(r.Rights), "holder"))
	lines(b, len(r.Rights), func(i int) string {
		h := r.Rights[i]
		where := "the whole cluster"
		if !h.Cluster {
			where = plural(len(h.Namespaces), "namespace")
		}
		return fmt.Sprintf("%s: %s in %s, by %s", oneLine(h.Subject), strings.Join(h.Powers, ", "), where, oneLine(strings.Join(h.Roles, ", ")))
	})
}

func ofSystem(namespaces []string) bool {
	for _, n := range namespaces {
		if !isSystem(n) {
			return false
		}
	}
	return true
}

// lines writes the first lines of a part and says how many more there are.
func lines(b *strings.Builder, n int, text func(i int) string) {
	for i := range min(n, shown) {
		fmt.Fprintf(b, "  %s\n", text(i))
	}
	if n > shown {
		fmt.Fprintf(b, "  ... and %d more; -o json has all\n", n-shown)
	}
}
