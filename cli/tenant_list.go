package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/tenant"
)

// The versions of the JSON of `ringfence tenant list`, show and namespaces. Fields are only added.
const (
	tenantsSchema    = "ringfence.dev/tenants/v1"
	namespacesSchema = "ringfence.dev/namespaces/v1"
)

// listedTenant is one tenant in JSON.
type listedTenant struct {
	Name  string `json:"name"`
	Owner string `json:"owner"`
	// State is ready, or the reason why it is not; unknown before anybody looked.
	State        string              `json:"state"`
	Message      *string             `json:"message"`
	Groups       map[string]string   `json:"groups"`
	Environments []listedEnvironment `json:"environments"`
	Pipelines    []listedPipeline    `json:"pipelines"`
	// TotalQuota is the hard limit of all its namespaces together.
	TotalQuota map[string]string `json:"totalQuota"`
	// Cordoned is the ticket of the cordon, Ends when its namespaces go; null for neither.
	Cordoned *string `json:"cordoned"`
	Ends     *string `json:"ends"`
}

type listedEnvironment struct {
	Name       string `json:"name"`
	Namespace  string `json:"namespace"`
	Production bool   `json:"production"`
	// Phase is empty before anybody looked.
	Phase   string  `json:"phase"`
	Message *string `json:"message"`
}

type listedPipeline struct {
	Name         string   `json:"name"`
	Environments []string `json:"environments"`
	// User is how the API server knows it.
	User string `json:"user"`
}

func newTenantList(env Env) *cobra.Command {
	var o tenantOptions
	cmd := &cobra.Command{
		Use: "list", Short: "List the tenants that you may see: all of them, or your own",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return listTenants(cmd.Context(), env, o) },
	}
	o.register(cmd)
	o.outputFlag(cmd, "")
	return cmd
}

func (o *tenantOptions) checkOutput(command string, formats ...string) error {
	if !slices.Contains(formats, o.output) {
		return usagef(command, "-o %s: want %s", finding.Value(o.output), strings.Join(formats, " or "))
	}
	return nil
}

func listTenants(ctx context.Context, env Env, o tenantOptions) error {
	if err := o.checkOutput("ringfence tenant list", "text", "json"); err != nil {
		return err
	}
	d, err := o.open(env)
	if err != nil {
		return err
	}
	all, err := d.Tenants(ctx)
	if err != nil {
		return answered(err)
	}
	listed := []listedTenant{}
	for i := range all {
		listed = append(listed, listTenant(&all[i]))
	}
	return writeList(env, o.output, tenantsSchema, "tenants", listed, "TENANT\tOWNER\tSTATE\tNAMESPACES",
		"no tenant that you may see; whose you are is said by your groups: kubectl auth whoami", func(t listedTenant) string {
			var names []string
			for _, e := range t.Environments {
				names = append(names, e.Namespace)
			}
			return strings.Join([]string{t.Name, finding.Clean(t.Owner), t.State, strings.Join(names, ",")}, "\t")
		})
}

func writeTenants(env Env, listed []listedTenant) error {
	return indented(env, struct {
		SchemaVersion string         `json:"schemaVersion"`
		Tenants       []listedTenant `json:"tenants"`
	}{tenantsSchema, listed})
}

// listTenant is a tenant as it stands.
func listTenant(t *v1alpha1.Tenant) listedTenant {
	given := func(text string) *string {
		if text == "" {
			return nil
		}
		return &text
	}
	out := listedTenant{Name: t.Name, Owner: t.Spec.Owner, State: "unknown", Groups: map[string]string{"admin": t.Spec.Groups.Admin, "readOnly": t.Spec.Groups.ReadOnly},
		Environments: []listedEnvironment{}, Pipelines: []listedPipeline{}, TotalQuota: map[string]string{}}
	for _, c := range t.Status.Conditions {
		switch {
		case c.Type == tenant.ConditionReady && c.Status == "True":
			out.State = "ready"
		case c.Type == tenant.ConditionReady:
			out.State, out.Message = c.Reason, given(c.Message)
		}
	}
	for _, e := range t.Spec.Environments {
		one := listedEnvironment{Name: e.Name, Namespace: tenant.NamespaceOf(t, e), Production: e.Production}
		for _, s := range t.Status.Environments {
			if s.Namespace == one.Namespace {
				one.Phase, one.Message = string(s.Phase), given(s.Message)
			}
		}
		out.Environments = append(out.Environments, one)
	}
	for _, p := range t.Spec.Pipelines {
		out.Pipelines = append(out.Pipelines, listedPipeline{p.Name, p.Environments, tenant.PipelineUser(p)})
	}
	for key, amount := range t.Spec.TotalQuota {
		out.TotalQuota[key] = amount.String()
	}
	if c := t.Spec.Cordon; c != nil {
		out.Cordoned = &c.Ticket
	}
	if s := t.Status.Offboarding; s != nil {
		out.Ends = given(instantOf(s.Deletes.Time))
	}
	return out
}

func newTenantShow(env Env) *cobra.Command {
	var o tenantOptions
	cmd := &cobra.Command{
		Use: "show NAME", Short: "Show one tenant: environments, who may what, quota, pipelines, what is amiss",
		RunE: func(cmd *cobra.Command, args []string) error { return showTenant(cmd.Context(), env, o, args) },
	}
	o.register(cmd)
	o.outputFlag(cmd, "")
	return cmd
}

// oneTenant is the one argument of a command.
func oneTenant(command string, args []string) (string, error) {
	if len(args) != 1 {
		return "", usagef(command, "found %d arguments; want the NAME of one tenant; list them: ringfence tenant list", len(args))
	}
	if !namespaceName.MatchString(args[0]) {
		return "", usagef(command, "%s: want the name of a tenant: lower-case letters, digits and -", finding.Value(args[0]))
	}
	return args[0], nil
}

func showTenant(ctx context.Context, env Env, o tenantOptions, args []string) error {
	const command = "ringfence tenant show"
	name, err := oneTenant(command, args)
	if err == nil {
		err = o.checkOutput(command, "text", "json")
	}
	if err != nil {
		return err
	}
	d, err := o.open(env)
	if err != nil {
		return err
	}
	found, err := d.Tenant(ctx, name)
	if err != nil {
		return answered(err)
	}
	t := listTenant(found)
	if o.output == "json" {
		return writeTenants(env, []listedTenant{t})
	}
	fmt.Fprintf(env.Stdout, "tenant %s, owner %s: %s\n", t.Name, finding.Clean(t.Owner), t.State)
	if t.Message != nil {
		fmt.Fprintf(env.Stdout, "  %s\n", finding.Clean(*t.Message))
	}
	fmt.Fprintf(env.Stdout, "groups: admin %s, readOnly %s\n", finding.Value(t.Groups["admin"]), finding.Value(t.Groups["readOnly"]))
	if t.Cordoned != nil {
		fmt.Fprintf(env.Stdout, "cordoned under %s: %s\n", *t.Cordoned, finding.Clean(found.Spec.Cordon.Reason))
	}
	if t.Ends != nil {
		fmt.Fprintf(env.Stdout, "ends: its namespaces go with all in them at %s\n", *t.Ends)
	}
	w := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ENVIRONMENT\tNAMESPACE\tPRODUCTION\tPHASE")
	for _, e := range t.Environments {
		fmt.Fprintf(w, "%s\t%s\t%t\t%s\n", e.Name, e.Namespace, e.Production, e.Phase)
	}
	for i, p := range t.Pipelines {
		if i == 0 {
			fmt.Fprintln(w, "PIPELINE\tENVIRONMENTS\tUSER")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", p.Name, strings.Join(p.Environments, ","), finding.Clean(p.User))
	}
	return w.Flush()
}

// listedNamespace is one namespace in JSON.
type listedNamespace struct {
	Name        string `json:"name"`
	Tenant      string `json:"tenant"`
	Environment string `json:"environment"`
	Production  bool   `json:"production"`
	Cordoned    bool   `json:"cordoned"`
}

func newTenantNamespaces(env Env) *cobra.Command {
	var o tenantOptions
	cmd := &cobra.Command{
		Use: "namespaces", Short: "List the namespaces of your tenants, and only those",
		Long: `List the namespaces that you may see. Kubernetes cannot filter a list: kubectl get namespaces is for those who may see everybody's.
This asks the API server for your own rules, which name your namespaces, and takes no right beyond. A platform engineer, who may
list namespaces, gets those of all tenants.`,
		Example: "  ringfence tenant namespaces\n  kubectl ringfence tenant namespaces -o name",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return listNamespaces(cmd.Context(), env, o) },
	}
	o.register(cmd)
	o.outputFlag(cmd, ", name")
	return cmd
}

func listNamespaces(ctx context.Context, env Env, o tenantOptions) error {
	if err := o.checkOutput("ringfence tenant namespaces", "text", "name", "json"); err != nil {
		return err
	}
	d, err := o.open(env)
	if err != nil {
		return err
	}
	all, everybody, err := d.Namespaces(ctx)
	if err != nil {
		return answered(err)
	}
	listed := []listedNamespace{}
	for _, ns := range all {
		l := ns.Labels
		listed = append(listed, listedNamespace{ns.Name, l[v1alpha1.LabelTenant], l[v1alpha1.LabelEnvironment], l[v1alpha1.LabelProduction] == "true", l[v1alpha1.LabelCordoned] == "true"})
	}
	switch {
	case o.output == "json":
		return indented(env, struct {
			SchemaVersion string `json:"schemaVersion"`
			// Everybody says that these are the namespaces of all tenants.
			Everybody  bool              `json:"everybody"`
			Namespaces []listedNamespace `json:"namespaces"`
		}{namespacesSchema, everybody, listed})
	case o.output == "name":
		for _, ns := range listed {
			fmt.Fprintln(env.Stdout, ns.Name)
		}
		return nil
	case len(listed) == 0:
		env.note("no namespace of a tenant that you may see; whose you are is said by your groups: kubectl auth whoami")
		return nil
	}
	w := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAMESPACE\tTENANT\tENVIRONMENT\tPRODUCTION")
	for _, ns := range listed {
		fmt.Fprintf(w, "%s\t%s\t%s\t%t\n", ns.Name, finding.Value(ns.Tenant), finding.Value(ns.Environment), ns.Production)
	}
	return w.Flush()
}
