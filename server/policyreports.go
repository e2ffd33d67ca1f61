package server

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/report"
	"ringfence.dev/ringfence/scan"
	"ringfence.dev/ringfence/tenant"
)

const (
	// DefaultReportEvery is how often one policy report is written at most.
	DefaultReportEvery = time.Minute
	// reportLook is how often it is looked whether one is another, reportPace the pause between two writes, and reportAgain after how many times
	// DefaultReportEvery it is asked which there are, for somebody may have taken them away.
	reportLook, reportPace, reportAgain = 5 * time.Second, 100 * time.Millisecond, 15
	// reportPage is how many of them one answer names.
	reportPage = 500
)

// The annotations of a report: which bytes it was made of, how many findings it does not list, and what the scan did not see.
const (
	annotationReportDigest = "ringfence.dev/report-digest"
	annotationLeftOut      = "ringfence.dev/left-out"
	annotationNotSeen      = "ringfence.dev/not-seen"
)

// policyReports keeps one report in each guarded namespace, and one of what lies in none, in the forms that the Platform asks for. The manager
// runs it on the replica that leads.
type policyReports struct {
	*Server
	mgr   ctrl.Manager
	every time.Duration
	forms []*reportForm
}

// reportForm is a kind of one of the two forms: of namespaces, or of what lies in none.
type reportForm struct {
	kinds   report.ReportKinds
	cluster bool
	field   string // of spec.reports
	wanted  func(v1alpha1.ReportRules) bool
	// kept are those that there are, by namespace, as they were listed; nil where that is not known.
	kept   map[string]keptReport
	listed time.Time
	// swept says that none is left after nobody wanted any.
	swept bool
	// pause is until when it is left alone, after something went wrong, and told what was said of that.
	pause time.Time
	told  string
}

// keptReport is a report in the cluster.
type keptReport struct {
	digest     string
	generation int64
	// from says of what it was made, so that it is not made again for nothing; written is when.
	from    string
	written time.Time
}

// addReports has the leader keep policy reports.
func (s *Server) addReports(mgr ctrl.Manager) error {
	r := &policyReports{Server: s, mgr: mgr, every: cmp.Or(s.cfg.ReportEvery, DefaultReportEvery)}
	for _, cluster := range []bool{false, true} {
		r.forms = append(r.forms,
			&reportForm{kinds: report.OpenReportKinds(), cluster: cluster, field: "openReports", wanted: func(r v1alpha1.ReportRules) bool { return r.OpenReports }},
			&reportForm{kinds: report.PolicyReportKinds(), cluster: cluster, field: "policyReports", wanted: func(r v1alpha1.ReportRules) bool { return r.PolicyReports }})
	}
	return mgr.Add(r)
}

// kind is what its reports are.
func (f *reportForm) kind() string {
	if f.cluster {
		return f.kinds.Cluster
	}
	return f.kinds.Namespaced
}

// Start keeps them until ctx ends.
func (r *policyReports) Start(ctx context.Context) error {
	ticker := time.NewTicker(min(r.every/4, reportLook))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		platform, err := scanner{r.Server, r.mgr}.platform(ctx)
		if err != nil || platform == nil {
			continue // without a Platform nothing is removed
		}
		for _, f := range r.forms {
			now := r.cfg.Now()
			if now.Before(f.pause) {
				continue
			}
			err := r.keep(ctx, f, platform)
			if ctx.Err() != nil {
				return nil
			}
			if text := fmt.Sprint(err); err != nil && text != f.told {
				f.told = text
				r.log.Warn("policy reports are not kept as spec.reports of the Platform says; trying again", "every", r.every, "err", err)
			}
			if f.pause = now; err != nil {
				f.pause = now.Add(r.every)
			} else {
				f.told = ""
			}
		}
	}
}

// keep brings the reports of one form to what the Platform asks for.
func (r *policyReports) keep(ctx context.Context, f *reportForm, p *v1alpha1.Platform) error {
	var rules v1alpha1.ReportRules
	if p.Spec.Reports != nil {
		rules = *p.Spec.Reports
	}
	on := f.wanted(rules) && !r.cfg.NoScan // what nobody looks at any more is told of by none
	if !on && f.swept {
		return nil
	}
	if _, err := r.mgr.GetRESTMapper().RESTMapping(f.gvk().GroupKind(), f.gvk().Version); meta.IsNoMatchError(err) {
		f.kept, f.swept = nil, !on
		if on {
			return fmt.Errorf("the cluster does not serve %s of %s; fix: install its definition, or take %s out of spec.reports", f.kind(), f.kinds.APIVersion, f.field)
		}
		return nil
	} else if err != nil {
		return fmt.Errorf("ask the cluster for %s: %w", f.kind(), err)
	}
	if f.kept == nil || r.cfg.Now().Sub(f.listed) >= reportAgain*r.every {
		if err := r.list(ctx, f); !on && f.kept == nil && apierrors.IsForbidden(err) {
			f.swept = true // an account that never had the right made none
			return nil
		} else if err != nil {
			return f.fault("list", err)
		}
	}
	if !on {
		err := r.remove(ctx, f, func(string) bool { return false })
		if f.swept = err == nil; f.swept {
			f.kept = nil
		}
		return err
	}
	f.swept = false
	return r.write(ctx, f, p, rules)
}

// fault says of what was being done that it went wrong.
func (f *reportForm) fault(doing string, err error) error {
	err = fmt.Errorf("%s %s: %w", doing, f.kind(), err)
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("%w; fix: give Ringfence's account the right: reports.%s of the chart", err, f.field)
	}
	return err
}

func (f *reportForm) gvk() schema.GroupVersionKind {
	return schema.FromAPIVersionAndKind(f.kinds.APIVersion, f.kind())
}

// list asks which reports of Ringfence's there are. Of one that somebody changed it is forgotten what it was made of.
func (r *policyReports) list(ctx context.Context, f *reportForm) error {
	kept := map[string]keptReport{}
	var page metav1.PartialObjectMetadataList
	page.SetGroupVersionKind(f.gvk().GroupVersion().WithKind(f.kind() + "List"))
	for {
		if err := r.mgr.GetAPIReader().List(ctx, &page, client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}, client.Limit(reportPage), client.Continue(page.Continue)); err != nil {
			return err
		}
		for i := range page.Items {
			o := &page.Items[i]
			if o.Name != report.KeptName {
				continue
			}
			is := keptReport{digest: o.Annotations[annotationReportDigest], generation: o.Generation}
			if was, known := f.kept[o.Namespace]; known && was.generation == is.generation && was.digest == is.digest {
				is = was
			} else if known {
				is.digest = "" // it was edited
			}
			kept[o.Namespace] = is
		}
		if page.Continue == "" {
			break
		}
	}
	f.kept, f.listed = kept, r.cfg.Now()
	return nil
}

// remove removes those that need not stay.
func (r *policyReports) remove(ctx context.Context, f *reportForm, stays func(namespace string) bool) error {
	for _, namespace := range slices.Sorted(maps.Keys(f.kept)) {
		if stays(namespace) {
			continue
		}
		o := &unstructured.Unstructured{}
		o.SetGroupVersionKind(f.gvk())
		o.SetNamespace(namespace)
		o.SetName(report.KeptName)
		if err := r.mgr.GetClient().Delete(ctx, o); client.IgnoreNotFound(err) != nil {
			return f.fault("delete", err)
		}
		delete(f.kept, namespace)
		breathe(ctx, reportPace)
	}
	return nil
}

// write writes those that are others, once the scan has seen everything.
func (r *policyReports) write(ctx context.Context, f *reportForm, p *v1alpha1.Platform, rules v1alpha1.ReportRules) error {
	guarded, err := r.guarded(ctx, f, p)
	if err != nil {
		return err
	}
	if err := r.remove(ctx, f, func(namespace string) bool { return guarded[namespace] }); err != nil {
		return err
	}
	running := r.scan.Load()
	if running == nil {
		return nil
	}
	state := running.State()
	if state.Whole.IsZero() {
		return nil
	}
	spaces := running.Spaces(r.severity)
	for _, namespace := range slices.Sorted(maps.Keys(guarded)) {
		in, is, now := spaces[namespace], f.kept[namespace], r.cfg.Now()
		from := fmt.Sprint(in.Edition, rules.Limit, state.Unread)
		waits := !in.Waiting.IsZero() && now.Sub(in.Waiting) < r.every // it is about to be another
		if is.from == from || waits || !is.written.IsZero() && now.Sub(is.written) < r.every {
			continue
		}
		made, err := r.one(running, f, namespace, int(cmp.Or(rules.Limit, report.MaxKept/2)), state.Unread)
		if err != nil {
			return err
		}
		if digest := made.GetAnnotations()[annotationReportDigest]; digest != is.digest {
			_, known := f.kept[namespace]
			err := r.put(ctx, made, known)
			if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
				continue
			}
			if err != nil {
				return f.fault("write", err)
			}
			is = keptReport{digest: digest, generation: made.GetGeneration(), written: now}
			breathe(ctx, reportPace)
		}
		is.from = from
		f.kept[namespace] = is
	}
	return nil
}

// guarded are the namespaces that have a report: "" is none.
func (r *policyReports) guarded(ctx context.Context, f *reportForm, p *v1alpha1.Platform) (map[string]bool, error) {
	if f.cluster {
		return map[string]bool{"": true}, nil
	}
	var guards v1alpha1.GuardList
	if err := r.mgr.GetClient().List(ctx, &guards, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list Guards: %w", err)
	}
	guarded := map[string]bool{}
	for i := range guards.Items {
		if g := &guards.Items[i]; g.Name == v1alpha1.GuardName && g.DeletionTimestamp == nil && !tenant.Exempt(p, g.Namespace) {
			guarded[g.Namespace] = true
		}
	}
	return guarded, nil
}

// one is the report of a namespace as it should be.
func (r *policyReports) one(running *scan.Scan, f *reportForm, namespace string, limit int, unread []string) (*unstructured.Unstructured, error) {
	var open []finding.Finding
	for _, k := range running.StandingIn(namespace) {
		if k.Waiver == "" {
			open = append(open, r.worded(heldFinding(k)))
		}
	}
	var text bytes.Buffer
	left, err := report.Keep(&text, f.kinds, namespace, open, limit)
	if err != nil {
		return nil, err
	}
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(text.Bytes(), &o.Object); err != nil {
		return nil, fmt.Errorf("read the policy report of namespace %s: %w", namespace, err)
	}
	notes := map[string]string{}
	if left > 0 {
		notes[annotationLeftOut] = strconv.Itoa(left)
	}
	if len(unread) > 0 {
		notes[annotationNotSeen] = "Ringfence cannot list or watch " + strings.Join(unread, ", ")
		text.WriteString(notes[annotationNotSeen])
	}
	sum := sha256.Sum256(text.Bytes())
	notes[annotationReportDigest] = hex.EncodeToString(sum[:16])
	o.SetLabels(map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy})
	o.SetAnnotations(notes)
	return o, nil
}

// put writes a report, which becomes what the API server answers.
func (r *policyReports) put(ctx context.Context, o *unstructured.Unstructured, known bool) error {
	if !known {
		if err := r.mgr.GetClient().Create(ctx, o); !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	fresh, whole := o.DeepCopy(), o.DeepCopy()
	notes := map[string]any{annotationLeftOut: nil, annotationNotSeen: nil} // null removes what is no more
	for key, value := range o.GetAnnotations() {
		notes[key] = value
	}
	if err := unstructured.SetNestedMap(whole.Object, notes, "metadata", "annotations"); err != nil {
		return err
	}
	data, err := json.Marshal(whole.Object)
	if err != nil {
		return err
	}
	err = r.mgr.GetClient().Patch(ctx, o, client.RawPatch(types.MergePatchType, data))
	if known && apierrors.IsNotFound(err) { // somebody took it away
		err = r.mgr.GetClient().Create(ctx, fresh)
		o.Object = fresh.Object
	}
	return err
}

// breathe waits a while, or until ctx ends.
func breathe(ctx context.Context, while time.Duration) {
	timer := time.NewTimer(while)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
