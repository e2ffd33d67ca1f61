package observe

import (
	"fmt"
	"slices"
	"strings"
)

// Platform is a Platform to begin with, as YAML: under it nothing that runs now is refused. registries are those of the report that
// are not public; a control that something fails only warns. A person reads it before it is applied.
func (r Report) Platform(cilium bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Proposed by ringfence observe of cluster %s at %s. Under it nothing that was seen is refused: read it, then apply it.\n", oneLine(r.Cluster), r.At.Format("2006-01-02T15:04:05Z"))
	b.WriteString("apiVersion: ringfence.dev/v1alpha1\nkind: Platform\nmetadata:\n  name: platform\nspec:\n  profile: mvp\n")
	b.WriteString(r.registries())
	model := "kubernetes"
	if cilium {
		model = "cilium"
	}
	fmt.Fprintf(&b, "  network:\n    model: %s # set proxy too: where traffic to the outside goes\n", model)
	if exempt := r.exempt(); len(exempt) > 0 {
		b.WriteString("  exemptNamespaces: # the platform's own by their names; a tenant's namespace in this list is guarded by nobody\n")
		for _, name := range exempt {
			fmt.Fprintf(&b, "    - %s\n", name)
		}
	}
	b.WriteString("  controls: # what something fails today warns; take lines away in this order as the numbers fall\n")
	for _, c := range r.Controls {
		if c.Failing > 0 {
			fmt.Fprintf(&b, "    %s: {action: Warn} # %s: %s\n", c.ID, oneLine(c.Title), plural(c.Failing, "object"))
		}
	}
	for _, text := range r.unjudged() {
		fmt.Fprintf(&b, "    %s: {action: Warn} # not judged yet: it compares with this Platform\n", text)
	}
	text := b.String()
	return strings.TrimSuffix(text, "  controls: # what something fails today warns; take lines away in this order as the numbers fall\n")
}

// unjudged are the ids that were not judged for lack of a Platform.
func (r Report) unjudged() []string {
	for _, text := range r.NotObserved {
		if ids, _, found := strings.Cut(text, ": compare with the bank's own settings"); found {
			return strings.Split(ids, ", ")
		}
	}
	return nil
}

func (r Report) registries() string {
	var b strings.Builder
	for _, reg := range r.Registries {
		if !reg.Public && reg.Containers > 0 {
			fmt.Fprintf(&b, "    - %s # %s\n", reg.Name, plural(reg.Containers, "container"))
		}
	}
	if b.Len() == 0 {
		return "  registries: [] # no image comes from a registry of the bank's own: name it here\n"
	}
	return "  registries:\n" + b.String()
}

// pinned are exempt without being named.
var pinned = []string{"kube-system", "kube-public", "kube-node-lease", "ringfence-system"}

func (r Report) exempt() (names []string) {
	for _, n := range r.Namespaces {
		if n.System && !slices.Contains(pinned, n.Name) {
			names = append(names, n.Name)
		}
	}
	return names
}

// oneLine keeps a text from leaving its comment.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, text)
}

func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
