package adopt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Mark begins the first line of every file that is made of a Plan, behind the character that begins a comment.
const Mark = "Written by: ringfence tenant adopt"

// File is one file to write.
type File struct {
	Name string
	Text []byte
}

// YAML are the Platform and the Tenants as files: platform.yaml, and tenants/NAME.yaml. Comments say where each value came
// from. The same plan gives the same bytes.
func (p *Plan) YAML() []File {
	files := []File{{"platform.yaml", p.platformYAML()}}
	for i := range p.Tenants {
		files = append(files, File{"tenants/" + p.Tenants[i].Name + ".yaml", p.tenantYAML(&p.Tenants[i])})
	}
	return files
}

// lines is YAML in the making.
type lines struct{ bytes.Buffer }

// add writes a line, with a comment where there is one to make.
func (l *lines) add(comment, format string, args ...any) {
	fmt.Fprintf(l, format, args...)
	if comment != "" {
		l.WriteString(" # " + show(comment))
	}
	l.WriteByte('\n')
}

var plainForm = regexp.MustCompile(`^[a-zA-Z][-a-zA-Z0-9._/@]*$`)

// yamlWords are plain scalars with a meaning of their own.
const yamlWords = " y n yes no on off true false null "

// scalar writes a text so that YAML reads the same text.
func scalar(s string) string {
	if plainForm.MatchString(s) && !strings.Contains(yamlWords, " "+strings.ToLower(s)+" ") {
		return s
	}
	text, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(text)
}

// flow writes a list on one line.
func flow[S ~string](list []S) string {
	var out []string
	for _, one := range list {
		out = append(out, scalar(string(one)))
	}
	return "[" + strings.Join(out, ", ") + "]"
}

func (p *Plan) platformYAML() []byte {
	var l lines
	l.add("", "# %s", Mark)
	l.add("", "# A proposal: look at every namespace that is not guarded, and set registries, proxy and the rest (docs/spec/v1alpha1/platform.md).")
	l.add("", "apiVersion: %s\nkind: Platform\nmetadata:\n  name: %s\nspec:\n  profile: %s", p.Platform.APIVersion, p.Platform.Name, p.Platform.Spec.Profile)
	if r := p.Platform.Spec.Registries; len(r) > 0 {
		l.add("those that the tenants name", "  registries: %s", flow(r))
	} else {
		l.add("nothing names any: until you do, every image is refused", "  registries: []")
	}
	l.add("", "  network: {model: %s}", p.Platform.Spec.Network.Model)
	if prefix := p.Platform.Spec.Identity.GroupPrefix; prefix != nil {
		l.add("what the API server puts before groups, as most of those bound have it", "  identity: {groupPrefix: %s}", quoted(*prefix))
	}
	if len(p.Platform.Spec.ExemptNamespaces) > 0 {
		l.add("", "  exemptNamespaces:")
	}
	for _, name := range p.Platform.Spec.ExemptNamespaces {
		l.add(p.exempt[string(name)], "    - %s", scalar(string(name)))
	}
	return l.Bytes()
}

// quoted is a scalar that is a string also where it is empty.
func quoted(s string) string {
	if s == "" {
		return `""`
	}
	return scalar(s)
}

func (p *Plan) tenantYAML(t *Tenant) []byte {
	var l lines
	spec := &t.Object.Spec
	l.add("", "# %s", Mark)
	l.add("", "# Tenant %s: %s, put together by %s; sure: %s.", t.Name, plural(len(t.Environments), "namespace"), show(orText(t.By, "a Capsule Tenant without namespaces")), t.Sure)
	for _, d := range p.Decisions {
		if d.Tenant == t.Name {
			l.add("", "# DECIDE %s: %s", d.Kind, show(d.Question))
		}
	}
	l.add("", "apiVersion: %s\nkind: Tenant\nmetadata:\n  name: %s\nspec:", t.Object.APIVersion, t.Name)
	l.add(t.notes.owner, "  owner: %s", scalar(spec.Owner))
	l.add("", "  groups:")
	l.add(t.notes.admin, "    admin: %s", scalar(spec.Groups.Admin))
	l.add(t.notes.readOnly, "    readOnly: %s", scalar(spec.Groups.ReadOnly))
	if len(spec.Environments) == 0 {
		l.add("Capsule's Tenant has no namespace", "  environments: []")
	} else {
		l.add("", "  environments:")
	}
	for i, env := range spec.Environments {
		why := t.Environments[i]
		l.add(why.By+"; sure: "+string(why.Sure), "    - name: %s", scalar(env.Name))
		l.add("named, for it is there already", "      namespace: %s", scalar(string(env.Namespace)))
		l.add(why.ProductionBy, "      production: %t", env.Production)
		if env.Groups != nil {
			var own []string
			if env.Groups.Admin != "" {
				own = append(own, "admin: "+scalar(env.Groups.Admin))
			}
			if env.Groups.ReadOnly != "" {
				own = append(own, "readOnly: "+scalar(env.Groups.ReadOnly))
			}
			l.add(t.notes.groups[env.Name], "      groups: {%s}", strings.Join(own, ", "))
		}
	}
	if len(spec.Labels) > 0 {
		l.add(t.notes.labels, "  labels:")
	}
	for _, key := range slices.Sorted(maps.Keys(spec.Labels)) {
		l.add("", "    %s: %s", scalar(key), quoted(spec.Labels[key]))
	}
	if len(spec.Registries) > 0 {
		l.add(t.notes.registries, "  registries: %s", flow(spec.Registries))
	}
	if len(spec.StorageClasses) > 0 {
		l.add("of Capsule's Tenant; those that the Platform lists as encrypted count", "  storageClasses: %s", flow(spec.StorageClasses))
	}
	if len(spec.IngressClasses) > 0 {
		l.add("of Capsule's Tenant", "  ingressClasses: %s", flow(spec.IngressClasses))
	}
	p.limitsYAML(&l, t)
	return l.Bytes()
}

// limitsYAML writes quota and grants.
func (p *Plan) limitsYAML(l *lines, t *Tenant) {
	spec := &t.Object.Spec
	if len(spec.Quota) > 0 {
		l.add(t.notes.quota, "  quota:")
	}
	for _, key := range slices.Sorted(maps.Keys(spec.Quota)) {
		amount := spec.Quota[key]
		l.add("", "    %s: %s", scalar(key), scalar(amount.String()))
	}
	g := spec.Grants
	if len(g.Hosts)+len(g.PriorityClasses)+len(g.RuntimeClasses) > 0 {
		l.add(t.notes.grants, "  grants:")
	}
	for _, one := range []struct {
		name string
		list []string
	}{{"hosts", g.Hosts}, {"priorityClasses", g.PriorityClasses}, {"runtimeClasses", g.RuntimeClasses}} {
		if len(one.list) > 0 {
			l.add("", "    %s: %s", one.name, flow(one.list))
		}
	}
}

func orText(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
