package admission

import (
	"context"
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
)

const (
	// FillName is the name of the MutatingWebhookConfiguration.
	FillName = "ringfence-mutation"
	// fillSeconds is how long the API server waits for what to fill in. Where nothing answers a request goes on after that, and at
	// once where nothing listens.
	fillSeconds = 2
	// tagsSeconds is the same for what tags mean, which a registry must be asked about.
	tagsSeconds = 5
	// The webhooks in it.
	fillWebhookName = "mutation" + WebhookSuffix
	tagsWebhookName = "tags" + WebhookSuffix
)

// FillRegistration tells the API server what to ask Fillers about. fills is about what holds a pod, and where the Platform names metadata,
// every kind of namespaced object that lacks some of it, custom ones too; tags about pods that name images without digests. All is let
// through while no door answers. Never asked about are exempt namespaces, other subresources, what goes, and what the native policies leave
// out: leases, events, Guards and the like.
func FillRegistration(p *v1alpha1.PlatformSpec, at Client, ca []byte, fills, tags bool) *admissionv1.MutatingWebhookConfiguration {
	r := &admissionv1.MutatingWebhookConfiguration{
		TypeMeta:   metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "MutatingWebhookConfiguration"},
		ObjectMeta: metav1.ObjectMeta{Name: FillName, Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}},
	}
	if fills {
		lacks := append(lacking("labels", p.Metadata.RequiredLabels), lacking("annotations", p.Metadata.CopyAnnotations)...)
		ask := fillRule("*", "*")
		if len(lacks) == 0 {
			ask = podRules()
		}
		r.Webhooks = append(r.Webhooks, fillWebhook(p, at, ca, fillWebhookName, FillPath, fillSeconds, ask,
			admissionv1.MatchCondition{Name: "not-left-out", Expression: fillLeftOut},
			admissionv1.MatchCondition{Name: "something-may-be-absent", Expression: strings.Join(append([]string{fillPods()}, lacks...), "\n|| ")}))
	}
	if tags {
		ask := append(podRules(), fillRule("", "pods/ephemeralcontainers")...)
		r.Webhooks = append(r.Webhooks, fillWebhook(p, at, ca, tagsWebhookName, TagsPath, tagsSeconds, ask,
			admissionv1.MatchCondition{Name: "names-a-tag", Expression: namesTag}))
	}
	return r
}

// fillWebhook is one that changes objects and is let go on without.
func fillWebhook(p *v1alpha1.PlatformSpec, at Client, ca []byte, name, path string, seconds int32, ask []admissionv1.RuleWithOperations, conditions ...admissionv1.MatchCondition) admissionv1.MutatingWebhook {
	exempt := slices.Clone(v1alpha1.PinnedExemptNamespaces)
	for _, ns := range p.ExemptNamespaces {
		exempt = append(exempt, string(ns))
	}
	slices.Sort(exempt)
	where := at.config(ca)
	if where.URL != nil {
		where.URL = new(at.URL + path)
	} else {
		where.Service.Path = new(path)
	}
	return admissionv1.MutatingWebhook{
		Name: name, ClientConfig: where, Rules: ask,
		// What is not filled in is absent, and what must not be absent is refused by the rules, which need no process of ours.
		FailurePolicy:      new(admissionv1.Ignore),
		ReinvocationPolicy: new(admissionv1.IfNeededReinvocationPolicy), // another webhook may add a container
		MatchPolicy:        new(admissionv1.Equivalent),
		ObjectSelector:     &metav1.LabelSelector{},
		NamespaceSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
			Key: "kubernetes.io/metadata.name", Operator: metav1.LabelSelectorOpNotIn, Values: slices.Compact(exempt),
		}}},
		MatchConditions: append([]admissionv1.MatchCondition{{Name: "is-not-going", Expression: "!has(object.metadata.deletionTimestamp)"}}, conditions...),
		SideEffects:     new(admissionv1.SideEffectClassNone), TimeoutSeconds: new(seconds), AdmissionReviewVersions: []string{"v1"},
	}
}

// podRules are about what holds a pod.
func podRules() (all []admissionv1.RuleWithOperations) {
	for _, group := range []string{"", "apps", "batch"} {
		all = append(all, fillRule(group, podResources(group)...)...)
	}
	return all
}

// namesTag asks whether a pod, or the one in an object, names an image without a digest.
const namesTag = `[(object.kind == 'Pod' ? object.?spec : object.kind == 'PodTemplate' ? object.?template.?spec
  : object.kind == 'CronJob' ? object.?spec.?jobTemplate.?spec.?template.?spec : object.?spec.?template.?spec).orValue({})].exists(pod,
  (pod.?containers.orValue([]) + pod.?initContainers.orValue([]) + pod.?ephemeralContainers.orValue([])).exists(c, !c.?image.orValue('@').contains('@'))
  || pod.?volumes.orValue([]).exists(v, !v.?image.?reference.orValue('@').contains('@')))`

// fillLeftOut says in CEL what excludeResourceRules say of the native policies, which webhooks do not have.
const fillLeftOut = `!(request.resource.group in ['events.k8s.io', 'coordination.k8s.io', 'discovery.k8s.io', 'authentication.k8s.io', 'authorization.k8s.io'])
&& !(request.resource.group == '' && request.resource.resource in ['events', 'endpoints', 'bindings'])
&& !(request.resource.group == 'ringfence.dev' && request.resource.resource == 'guards')`

// podResources are the resources of an API group that hold a pod.
func podResources(group string) []string {
	return map[string][]string{"": {"pods", "podtemplates", "replicationcontrollers"},
		"apps": {"deployments", "statefulsets", "daemonsets", "replicasets"}, "batch": {"jobs", "cronjobs"}}[group]
}

// fillPods asks whether an object holds a pod that may be filled in; Pods themselves cannot change.
func fillPods() string {
	quoted := func(group string) string { return "['" + strings.Join(podResources(group), "', '") + "']" }
	return "request.resource.group == '' && request.resource.resource in " + quoted("") + " && (request.operation == 'CREATE' || request.resource.resource != 'pods')" +
		"\n|| request.resource.group == 'apps' && request.resource.resource in " + quoted("apps") +
		"\n|| request.resource.group == 'batch' && request.resource.resource in " + quoted("batch")
}

// lacking asks whether one of some keys is absent. Nothing in a key ends a string of CEL: the Platform's schema sees to it.
func lacking(field string, keys []string) []string {
	if len(keys) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("['%s'].exists(k, !(k in object.metadata.?%s.orValue({})))", strings.Join(keys, "', '"), field)}
}

func fillRule(group string, resources ...string) []admissionv1.RuleWithOperations {
	return []admissionv1.RuleWithOperations{{Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
		Rule: admissionv1.Rule{APIGroups: []string{group}, APIVersions: []string{"*"}, Resources: resources, Scope: new(admissionv1.NamespacedScope)}}}
}

// fillState is what came of keeping the registration of what is filled in.
type fillState struct {
	trusts []byte // the certificates that it trusts; nil where it is not there
	fresh  bool   // it was only just made
	waits  bool   // it is too early to make it
}

// fill keeps the registration of what is filled in in place, or away where another door fills in. ca are the certificates that
// the other registration trusts; nil where that is not there. Without a Platform only the certificates are kept as they must be.
func (r *Reconciler) fill(ctx context.Context, p *v1alpha1.Platform, ca []byte) (f fillState, err error) {
	if r.Fills == nil {
		return f, nil
	}
	tags := r.Tags && p != nil && p.Spec.Images.Tags == v1alpha1.TagsResolved
	stored := &admissionv1.MutatingWebhookConfiguration{}
	if err := r.Client.Get(ctx, client.ObjectKey{Name: FillName}, stored); apierrors.IsNotFound(err) {
		stored = nil
	} else if err != nil {
		return f, fmt.Errorf("read the registration of what is filled in: %w", err)
	}
	fills := stored != nil
	if p != nil {
		if fills, err = r.Fills(p); err != nil {
			return f, err
		}
	}
	if !fills && !tags {
		r.filling.Store(nil)
		if stored != nil {
			err = client.IgnoreNotFound(r.Client.Delete(ctx, stored))
		}
		return f, err
	}
	if stored == nil && r.filling.Load() == nil {
		if f.waits, err = r.fillsEarly(ctx, ca); f.waits || err != nil {
			return f, err
		}
	}
	if ca == nil {
		if ca, err = r.authorities(ctx); err != nil {
			return f, err
		}
	}
	want := stored.DeepCopy()
	if p != nil {
		want = FillRegistration(&p.Spec, r.At, ca, fills, tags)
	}
	for i := range want.Webhooks {
		want.Webhooks[i].ClientConfig.CABundle = ca
	}
	return fillState{trusts: ca, fresh: stored == nil}, r.putFill(ctx, want, stored)
}

// fillsEarly reports whether the door cannot decide yet or is not reached: each request would wait for it in vain.
func (r *Reconciler) fillsEarly(ctx context.Context, ca []byte) (bool, error) {
	if r.Able != nil && r.Able() != nil {
		return true, nil
	}
	if ca != nil { // the other registration was made, so it was reached
		return false, nil
	}
	reached, err := r.reached(ctx)
	return !reached, err
}

// putFill writes the registration where the stored one differs. What this process had put in place and somebody changed or took
// away is a gap.
func (r *Reconciler) putFill(ctx context.Context, want, stored *admissionv1.MutatingWebhookConfiguration) error {
	noticed, cause, placed := r.Now(), "", r.filling.Load()
	differs := func(a *admissionv1.MutatingWebhookConfiguration) bool {
		return stored.DeletionTimestamp != nil || stored.Labels[v1alpha1.LabelManagedBy] != v1alpha1.ManagedBy || !equality.Semantic.DeepEqual(a.Webhooks, stored.Webhooks)
	}
	write := want.DeepCopy()
	var err error
	switch {
	case stored == nil:
		cause = "missing"
		err = r.Client.Create(ctx, write)
	case !differs(want):
		r.filling.Store(want)
		return nil
	default:
		if placed != nil && differs(placed) {
			if cause = "changed"; r.quarrels(noticed) {
				return errQuarrel
			}
		}
		write.ResourceVersion = stored.ResourceVersion
		err = r.Client.Update(ctx, write)
	}
	if err != nil {
		return fmt.Errorf("register what is filled in: %w", err)
	}
	if placed != nil && cause != "" {
		r.closed("MutatingWebhookConfiguration", FillName, cause, noticed)
	}
	r.filling.Store(want)
	return nil
}

// Filling reports whether this process had the API server ask what is filled in when it last looked.
func (r *Reconciler) Filling() bool {
	placed := r.filling.Load()
	return placed != nil && slices.ContainsFunc(placed.Webhooks, func(w admissionv1.MutatingWebhook) bool { return w.Name == fillWebhookName })
}
