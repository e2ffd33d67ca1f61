package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/detect/auditlog"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/install/setup"
	"ringfence.dev/ringfence/internal/durable"
	"ringfence.dev/ringfence/observe"
	"ringfence.dev/ringfence/report"
)

type observeOptions struct {
	checkOptions
	secrets, rights bool
	format, propose string
	audit           []string
}

func newObserve(env Env) *cobra.Command {
	var o observeOptions
	cmd := &cobra.Command{
		Use: "observe", Short: "See what a cluster would refuse, before anything is installed",
		Long: `Read what a cluster holds and show, without changing anything: what each control would refuse and in which order to switch
controls on; which images run by tag or from public registries; who holds which rights; which namespaces no policy closes.

It only lists. --rbac prints the ClusterRole that it needs, which has no other verb, and no right to Secrets: with --secrets
they are judged too, by name and type alone, which needs the right to list them. What cannot be read is named as not observed.

--audit FILE reads audit events too, as the API server writes them, one a line: who went into pods, and what is forbidden today.

--propose FILE writes a Platform to begin with, under which nothing that was seen is refused. Give it to a second run with
--platform: controls that compare with it are judged then. ringfence tenant adopt proposes the Tenants.

Exit codes: 0 observed, whatever was found; 2 the cluster cannot be read at all, or bad usage.`,
		Example: "  ringfence observe --kubeconfig prod.kubeconfig --propose platform.yaml\n  ringfence observe --platform platform.yaml -o json\n  ringfence observe --rbac | kubectl apply -f -",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return takeStock(cmd.Context(), env, o) },
	}
	flags := cmd.Flags()
	userFlags(cmd, &o.cluster.kubeconfig, &o.cluster.context)
	flags.StringArrayVar(&o.platform, "platform", nil, "`FILE|DIR` with Platform and Tenant objects (default the cluster's own, if it has any); may be repeated")
	flags.StringVarP(&o.format, "output", "o", "text", "text or json")
	flags.StringVar(&o.propose, "propose", "", "write a Platform to begin with to `FILE`, which must not exist")
	flags.StringArrayVar(&o.audit, "audit", nil, "a `FILE` of audit events; may be given again")
	flags.BoolVar(&o.secrets, "secrets", false, "judge Secrets too, by name and type")
	flags.BoolVar(&o.rights, "rbac", false, "print the ClusterRole that it needs, and do nothing else")
	return cmd
}

// takeStock observes a cluster. Its error carries the exit code.
func takeStock(ctx context.Context, env Env, o observeOptions) error {
	if o.format != "text" && o.format != "json" {
		return usagef("ringfence observe", "--output %q: want text or json", finding.Value(o.format))
	}
	cat, err := env.catalogue()
	if err != nil {
		return err
	}
	if o.rights {
		_, err := io.WriteString(env.Stdout, observerRole(cat, o.secrets))
		return err
	}
	if _, err := os.Lstat(o.propose); o.propose != "" && err == nil {
		return usagef("ringfence observe", "--propose %s: it exists; name another file, nothing is written over", finding.Value(o.propose))
	}
	for _, name := range o.audit {
		if _, err := os.Stat(name); err != nil && name != "-" {
			return usagef("ringfence observe", "--audit %s: %s; want a file of audit events", finding.Value(name), finding.Clean(err.Error()))
		}
	}
	stock, seen := observe.New(), &report.Report{Time: env.Now()}
	o.cluster.asked, o.cluster.seen, o.cluster.withoutSecrets = true, stock.Add, !o.secrets
	quiet := env
	quiet.Stderr = io.Discard // what cannot be read is part of the answer
	if err := gatherCluster(ctx, quiet, o.checkOptions, cat, seen); err != nil {
		return err
	}
	if seen.Interrupted {
		return &exitError{finding.ExitUsage, fmt.Errorf("observe cluster %s: interrupted; nothing was written", seen.Cluster)}
	}
	notObserved := unseen(o, seen)
	for _, name := range o.audit {
		for _, fault := range eachRequest(ctx, env, name, func(e auditlog.Event) { stock.Ask(observedRequest(e)) }) {
			notObserved = append(notObserved, "audit events: "+fault.Error())
		}
	}
	r := stock.Report(seen.Cluster, env.Now(), observedRules(cat, o, seen), notObserved)
	if r.Objects == 0 {
		return &exitError{finding.ExitUsage, fmt.Errorf("observe cluster %s: nothing was seen: %s", seen.Cluster, strings.Join(r.NotObserved, "; "))}
	}
	if o.propose != "" {
		if err := durable.Replace(o.propose, []byte(r.Platform(stock.Cilium())), 0o644); err != nil {
			return &exitError{finding.ExitUsage, fmt.Errorf("write the proposed Platform to %s: %w", o.propose, err)}
		}
	}
	return tell(env, o, r)
}

// tell writes the report, and says what to do next.
func tell(env Env, o observeOptions, r observe.Report) error {
	if o.format == "json" {
		e := json.NewEncoder(env.Stdout)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		if err := e.Encode(r); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	} else if _, err := io.WriteString(env.Stdout, r.Text()); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if o.propose != "" {
		env.note("a Platform to begin with is in %s: read it, then judge with it: ringfence observe --platform %s", filepath.ToSlash(o.propose), filepath.ToSlash(o.propose))
	}
	return nil
}

// observedRules are the controls that judged, or could not.
func observedRules(cat *control.Catalogue, o observeOptions, seen *report.Report) (rules []observe.Rule) {
	for _, c := range cat.Controls {
		groups := cat.Groups()
		if !slices.ContainsFunc(groups, func(g control.Group) bool {
			return g.Holds(c) && slices.ContainsFunc(g.Kinds, func(k control.Kind) bool { return !k.Connect && (o.secrets || k.Kind != "Secret") })
		}) {
			continue // it judges requests, which do not stay
		}
		rules = append(rules, observe.Rule{ID: c.ID, Title: c.Title, Severity: c.Severity, Unjudged: seen.Unjudged[c.ID]})
	}
	return rules
}

// unseen is what could not be observed.
func unseen(o observeOptions, seen *report.Report) (why []string) {
	if !o.secrets {
		why = append(why, "Secrets: not asked for; --secrets judges them by name and type")
	}
	if len(o.audit) == 0 {
		why = append(why, "what is done through exec and port-forward, and what is forbidden today: no audit events were given; --audit FILE reads them")
	}
	why = append(why, "requests: what came and went was not judged; only what is there was")
	for _, f := range seen.Faults {
		why = append(why, f.Message)
	}
	return why
}

// observedRequest is what a stock needs of an event.
func observedRequest(e auditlog.Event) observe.Request {
	q := requestOf(e)
	return observe.Request{Time: q.Time, User: q.User, Namespace: q.Namespace, Resource: q.Resource, Subresource: q.Subresource, Refused: e.ResponseStatus.Code == http.StatusForbidden}
}

// observerRole is the ClusterRole with exactly what is listed.
func observerRole(cat *control.Catalogue, secrets bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# What ringfence observe needs: to list, and nothing else.\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: %s}\nrules:\n", setup.Observer)
	for _, r := range setup.ObserverRights(cat, secrets) {
		fmt.Fprintf(&b, "  - {apiGroups: [%q], resources: [%s], verbs: [%s]}\n", r.Group, strings.Join(r.Resources, ", "), strings.Join(r.Verbs, ", "))
	}
	return b.String()
}
