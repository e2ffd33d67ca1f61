package adopt

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// Schema is the version of the JSON of a Plan. Fields are only added.
const Schema = "ringfence.dev/adoption/v1"

// JSON writes the whole plan.
func (p *Plan) JSON(w io.Writer) error {
	type full struct {
		Tenant
		Spec v1alpha1.TenantSpec `json:"spec"`
	}
	out := struct {
		SchemaVersion string                `json:"schemaVersion"`
		Counts        Counts                `json:"counts"`
		Percent       float64               `json:"unmappedPercent"`
		Platform      v1alpha1.PlatformSpec `json:"platform"`
		Tenants       []full                `json:"tenants"`
		Decisions     []Decision            `json:"decisions"`
		Objects       []Object              `json:"objects"`
		NotRead       []NotRead             `json:"notRead"`
	}{Schema, p.Counts, p.Counts.UnmappedPercent(), p.Platform.Spec, []full{}, p.Decisions, p.Objects, p.NotRead}
	for _, t := range p.Tenants {
		out.Tenants = append(out.Tenants, full{t, t.Object.Spec})
	}
	if out.Decisions == nil {
		out.Decisions = []Decision{}
	}
	if out.Objects == nil {
		out.Objects = []Object{}
	}
	if out.NotRead == nil {
		out.NotRead = []NotRead{}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(out)
}

// few is how many names stand in a short report.
const few = 5

// Text writes the plan for people. Whole lists every object and every change; otherwise long lists are cut, and say so.
func (p *Plan) Text(w io.Writer, whole bool) error {
	var b strings.Builder
	p.summary(&b)
	p.tenantTable(&b)
	p.decisionText(&b, whole)
	p.changeText(&b, whole)
	p.objectText(&b, whole)
	_, err := io.WriteString(w, b.String())
	return err
}

func (p *Plan) summary(w io.Writer) {
	c := p.Counts
	fmt.Fprintf(w, "read: %s: %s, %s, %s, %s\n", plural(c.Objects, "object"), plural(c.Namespaces, "namespace"), plural(c.Bindings, "binding"), plural(c.Groups, "group"), plural(c.Quotas, "quota"))
	fmt.Fprintf(w, "made: %s with %s; %s to make\n", plural(c.Tenants, "tenant"), plural(c.Environments, "environment"), plural(c.Decisions, "decision"))
	fmt.Fprintf(w, "objects: %d mapped, %d kept as they are, %d of the platform, %d to decide on, %d unmapped (%.1f %%), %d read twice, %d of kinds not read\n",
		c.Mapped, c.Kept, c.Platform, c.Decide, c.Unmapped, c.UnmappedPercent(), c.Duplicates, c.NotRead)
	fmt.Fprintln(w, "nothing was changed in any cluster")
}

func (p *Plan) tenantTable(b io.Writer) {
	if len(p.Tenants) == 0 {
		return
	}
	fmt.Fprintln(b)
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TENANT\tNAMESPACES\tADMIN\tREADONLY\tSURE\tBY")
	for i := range p.Tenants {
		t := &p.Tenants[i]
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", t.Name, len(t.Environments), show(t.Object.Spec.Groups.Admin), show(t.Object.Spec.Groups.ReadOnly), t.Sure, show(t.By))
	}
	_ = w.Flush() // into a buffer
}

// cut is a list for one line.
func cut(list []string, whole bool) string {
	if !whole && len(list) > few {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:few], ", "), len(list)-few)
	}
	return strings.Join(list, ", ")
}

func (p *Plan) decisionText(w io.Writer, whole bool) {
	if len(p.Decisions) == 0 {
		return
	}
	fmt.Fprintln(w, "\nTo decide:")
	kind, shown := "", 0
	hidden := func() {
		if shown > few && !whole {
			fmt.Fprintf(w, "  and %d more of this kind\n", shown-few)
		}
	}
	for _, d := range p.Decisions {
		if d.Kind != kind {
			hidden()
			kind, shown = d.Kind, 0
		}
		if shown++; shown > few && !whole {
			continue
		}
		who := "the platform"
		if d.Tenant != "" {
			who = "tenant " + d.Tenant
		}
		fmt.Fprintf(w, "  %s, %s: %s\n    until then: %s\n", d.Kind, who, d.Question, d.Until)
		if len(d.About) > 0 {
			fmt.Fprintf(w, "    about: %s\n", cut(d.About, whole))
		}
	}
	hidden()
}

// changeText says what would change if Ringfence took over.
func (p *Plan) changeText(w io.Writer, whole bool) {
	var added, superseded, policies, closes int
	for i := range p.Tenants {
		for _, env := range p.Tenants[i].Environments {
			for _, c := range env.Changes {
				if strings.HasPrefix(c, "create RoleBinding ") {
					added++
				}
			}
			superseded, policies = superseded+len(env.Superseded), policies+len(env.Policies)
			if len(env.Closes) > 0 {
				closes++
			}
		}
	}
	fmt.Fprintf(w, "\nIf Ringfence took over: %s added, none removed (%d could be deleted then, for Ringfence's take their place); %s kept; traffic that is open today closed in %s\n",
		plural(added, "binding"), superseded, plural2(policies, "network policy", "network policies"), plural(closes, "namespace"))
	if !whole {
		return
	}
	for i := range p.Tenants {
		for _, env := range p.Tenants[i].Environments {
			fmt.Fprintf(w, "  %s (tenant %s, environment %s)\n", show(env.Namespace), p.Tenants[i].Name, env.Name)
			for _, c := range env.Changes {
				fmt.Fprintf(w, "    %s\n", show(c))
			}
			for _, list := range []struct {
				what  string
				names []string
			}{{"could be deleted then: RoleBinding", env.Superseded}, {"stays:", env.Policies}, {"closes:", env.Closes}} {
				if len(list.names) > 0 {
					fmt.Fprintf(w, "    %s %s\n", list.what, strings.Join(list.names, ", "))
				}
			}
		}
	}
}

func plural2(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// objectText lists what was not mapped, and in a whole report every object.
func (p *Plan) objectText(w io.Writer, whole bool) {
	for _, list := range []struct {
		title string
		of    Outcome
		all   bool
	}{{"Unmapped", Unmapped, true}, {"Read twice", Duplicate, whole}, {"Mapped", Mapped, whole}, {"Kept", Kept, whole}, {"Of the platform", OfPlatform, whole}, {"To decide on", Decide, whole}} {
		n := 0
		for i := range p.Objects {
			o := &p.Objects[i]
			if o.Outcome != list.of || !list.all {
				continue
			}
			if n++; n == 1 {
				fmt.Fprintf(w, "\n%s:\n", list.title)
			}
			where := ""
			if o.At != "" {
				where = " (" + show(o.At) + ")"
			}
			if n <= 20*few || whole {
				fmt.Fprintf(w, "  %s%s: %s\n", o.Ref(), where, o.Reason)
			}
		}
		if n > 20*few && !whole {
			fmt.Fprintf(w, "  and %d more\n", n-20*few)
		}
	}
	if len(p.NotRead) > 0 {
		fmt.Fprintln(w)
	}
	for _, n := range p.NotRead {
		fmt.Fprintf(w, "not read: kind %s of %s: %s\n", n.Kind, n.APIVersion, plural(n.Count, "object"))
	}
}
