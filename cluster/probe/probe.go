// Package probe shows on a bank's own cluster what only its nodes and its network can show: that packets out of a tenant's
// namespace are dropped, that nobody enters a pod, that images come from the bank's registry alone. It runs two pods of its own for a minute,
// as the user of a kubeconfig, and says of each row whether it is proven, broken, or not proven and why: what could not be tried never passes.
//
// It judges no manifest and knows no control beside the answers it waits for. The command line calls it;
// the control plane reads the report that is kept.
package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/kube"
)

// State is what a row comes to. The zero value is no state and passes nowhere.
type State string

// The states of a row.
const (
	Proven    State = "proven"
	Broken    State = "broken"
	NotProven State = "not proven here"
)

// Schema is the schemaVersion of a Report. Fields are only added.
const Schema = "ringfence.dev/verification/v1"

// Row is one thing that was tried.
type Row struct {
	// Probe names it for programs; What says it.
	Probe string `json:"probe"`
	What  string `json:"what"`
	State State  `json:"state"`
	// Why is what was seen, or what is missing.
	Why string `json:"why"`
}

// Report is what a cluster showed.
type Report struct {
	SchemaVersion string `json:"schemaVersion"`
	// Cluster is the uid of its namespace kube-system: a report that was copied from elsewhere says nothing here.
	Cluster string `json:"cluster"`
	// Verified is when; the zero time is never.
	Verified time.Time `json:"verified"`
	// Namespace and Other are where pods ran.
	Namespace string `json:"namespace"`
	Other     string `json:"other"`
	Rows      []Row  `json:"rows"`
}

// Config says what is tried, and where.
type Config struct {
	// On reaches the cluster as somebody who may make pods in both namespaces and impersonate their people.
	On *rest.Config
	// Image is Ringfence's own, REPOSITORY@sha256:..., of which probe pods are made.
	Image string
	// Namespace is that of a tenant; Other that of another one.
	Namespace, Other string
	// Outside are addresses IP:port outside the cluster that answer whoever calls Verify, and that no policy opens. A name would show what the
	// cluster's DNS knows, and not where packets go.
	Outside []string
	// Open is an address host:port that pods must reach; "" is that of the cluster's DNS.
	Open string
	// Patience is how long pods may take.
	Patience time.Duration
	// Now is the clock.
	Now func() time.Time
	// Say is told of each step, for people.
	Say func(format string, args ...any)
}

// GoodFor is how long what was proven counts: nodes, their network and what stands around them change.
const GoodFor = 90 * 24 * time.Hour

// metadata are addresses under which clouds hand out credentials to whoever asks from a node.
var metadata = [...]string{"169.254.169.254:80", "[fd00:ec2::254]:80", "168.63.129.16:80"}

// notTried is why a row is NotProven before anything was tried.
const notTried = "it was not tried on this cluster; fix: ringfence verify-cluster --apply"

// Rows are all there are, before anything was tried.
func Rows() []Row {
	why := notTried
	return []Row{
		{"pull", "nodes run what the bank's registry holds", NotProven, why},
		{"network", "pods of a tenant reach what they must", NotProven, why},
		{"egress", "pods of a tenant reach nothing outside that no policy opens", NotProven, why},
		{"metadata", "pods of a tenant do not reach the cloud's metadata addresses", NotProven, why},
		{"cross-tenant", "pods of a tenant do not reach those of another", NotProven, why},
		{"exec", "a tenant's people cannot enter a pod that runs in production", NotProven, why},
		{"foreign-image", "a pod with an image from outside the registry is refused", NotProven, why},
	}
}

// run is one verification.
type run struct {
	Config
	c      client.Client
	report *Report
	// production says that Other is: elsewhere people may enter pods.
	production bool
}

func open(ctx context.Context, cfg Config) (*run, error) {
	c, err := kube.NewClient(cfg.On)
	if err != nil {
		return nil, err
	}
	var system corev1.Namespace
	if err := c.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, &system); err != nil {
		return nil, fmt.Errorf("ask which cluster this is: %w", err)
	}
	return &run{Config: cfg, c: c, report: &Report{SchemaVersion: Schema, Cluster: string(system.UID), Namespace: cfg.Namespace, Other: cfg.Other, Rows: Rows()}}, nil
}

// set says what a row came to.
func (r *run) set(probe string, state State, format string, args ...any) {
	r.report.set(probe, state, format, args...)
}

// set says what a row came to. A state that nobody knows is none.
func (r *Report) set(probe string, state State, format string, args ...any) {
	if state != Proven && state != Broken {
		state = NotProven
	}
	for i := range r.Rows {
		if r.Rows[i].Probe == probe {
			r.Rows[i].State, r.Rows[i].Why = state, fmt.Sprintf(format, args...)
		}
	}
}

// state is what a row came to.
func (r *Report) state(probe string) State {
	for _, row := range r.Rows {
		if row.Probe == probe {
			return row.State
		}
	}
	return NotProven
}

// Verify tries all rows on a cluster and keeps the report there. What cannot be tried is a row, not an error.
func Verify(ctx context.Context, cfg Config) (*Report, error) {
	r, err := open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := r.namespaces(ctx); err != nil {
		return nil, err
	}
	defer r.clear(context.WithoutCancel(ctx))
	target := r.network(ctx)
	r.foreign(ctx)
	r.enter(ctx, target)
	r.report.Verified = cfg.Now().UTC().Truncate(time.Second)
	return r.report, r.keep(ctx)
}

// namespaces refuses two that do not belong to two tenants: nothing would be shown.
func (r *run) namespaces(ctx context.Context) error {
	owners := map[string]string{}
	for _, name := range []string{r.Namespace, r.Other} {
		var ns corev1.Namespace
		if err := r.c.Get(ctx, client.ObjectKey{Name: name}, &ns); err != nil {
			return fmt.Errorf("look at namespace %s: %w", name, err)
		}
		owner := ns.Labels[v1alpha1.LabelTenant]
		if owner == "" {
			return fmt.Errorf("namespace %s is no tenant's; want one with the label %s", name, v1alpha1.LabelTenant)
		}
		if before := owners[owner]; before != "" {
			return fmt.Errorf("namespaces %s and %s are both of tenant %s; want those of two", before, name, owner)
		}
		owners[owner] = name
		r.production = ns.Labels[v1alpha1.LabelProduction] == "true" // in the end that of Other
	}
	return nil
}

// ReportName is the ConfigMap in v1alpha1.SystemNamespace that keeps a report.
const ReportName, reportKey = "ringfence-verification", "report.json"

// keep writes the report into the cluster, so that whoever asks later is answered.
func (r *run) keep(ctx context.Context) error {
	text, err := json.MarshalIndent(r.report, "", "  ")
	if err != nil {
		return err
	}
	at := metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: ReportName}
	now := &corev1.ConfigMap{ObjectMeta: at, Data: map[string]string{reportKey: string(text)}}
	err = r.c.Create(ctx, now)
	if apierrors.IsAlreadyExists(err) {
		err = r.c.Update(ctx, now)
	}
	if err != nil {
		return fmt.Errorf("keep the report in ConfigMap %s of %s: %w", ReportName, v1alpha1.SystemNamespace, err)
	}
	return nil
}

// Last is what the cluster showed when it was last verified. Where it never was, every row is NotProven.
func Last(ctx context.Context, cfg Config) (*Report, error) {
	r, err := open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	var kept corev1.ConfigMap
	err = r.c.Get(ctx, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: ReportName}, &kept)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("read the last report: %w", err)
	}
	last, err := Kept(r.report.Cluster, kept)
	if err != nil {
		return nil, err
	}
	return last.At(cfg.Now()), nil
}

// Kept is the report that the ConfigMap of a cluster holds. One of no report, and one that was copied from another cluster, say nothing.
func Kept(cluster string, in corev1.ConfigMap) (*Report, error) {
	report := &Report{SchemaVersion: Schema, Cluster: cluster, Rows: Rows()}
	text, ok := in.Data[reportKey]
	if !ok {
		return report, nil
	}
	var last Report
	if err := json.Unmarshal([]byte(text), &last); err != nil || last.SchemaVersion != Schema {
		return nil, errors.Join(err, fmt.Errorf("read the last report in ConfigMap %s: found %q; want %s; fix: verify again", ReportName, last.SchemaVersion, Schema))
	}
	if last.Cluster != cluster {
		return report, nil
	}
	report.Verified, report.Namespace, report.Other = last.Verified, last.Namespace, last.Other
	for _, row := range last.Rows { // rows that are new since stay not proven
		report.set(row.Probe, row.State, "%s", row.Why)
	}
	return report, nil
}

// At is the report as it counts at a time: what was proven longer ago than GoodFor, or is said to have been proven later, is not proven. What
// was broken is so until it is tried again.
func (r *Report) At(now time.Time) *Report {
	why := ""
	switch age := now.Sub(r.Verified); {
	case r.Verified.IsZero():
		why = notTried
	case age > GoodFor:
		why = fmt.Sprintf("it was proven at %s, more than %d days ago; fix: ringfence verify-cluster --apply", r.Verified.Format(time.RFC3339), int(GoodFor.Hours()/24))
	case age < -time.Hour:
		why = fmt.Sprintf("it is said to have been proven at %s, which has not come yet; fix: ringfence verify-cluster --apply", r.Verified.Format(time.RFC3339))
	}
	out := *r
	out.Rows = slices.Clone(r.Rows)
	for i, row := range out.Rows {
		if why != "" && row.State != Broken {
			out.Rows[i].State, out.Rows[i].Why = NotProven, why
		}
	}
	return &out
}
