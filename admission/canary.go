package admission

import (
	"context"
	"net/http"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
)

const (
	// CanaryPath is where the API server is made to ask before anything is registered that could refuse a tenant.
	CanaryPath = "/canary"
	// canaryName is the name of the registration for it and of the ConfigMap that is never made, and canaryLabel is on that.
	canaryName, canaryLabel = "ringfence-canary", "ringfence.dev/canary"
	// canarySays is the answer.
	canarySays = "the API server reaches Ringfence's webhook"
)

// Canary answers the question that is asked to be asked: with a refusal, which no API server that was not here can know.
func (h *Handler) Canary(w http.ResponseWriter, r *http.Request) {
	text, release, fault := h.read(w, r)
	defer release()
	if fault != nil {
		http.Error(w, fault.text, fault.code)
		return
	}
	q, err := decode(text)
	if err != nil {
		http.Error(w, malformed(nil, err).text, http.StatusBadRequest)
		return
	}
	refuse(q.UID, http.StatusForbidden, metav1.StatusReasonForbidden, canarySays).write(w)
}

// canary is a registration that asks about nothing but a ConfigMap with our label in our own namespace.
func canary(at Client, ca []byte) *admissionv1.ValidatingWebhookConfiguration {
	where := at.config(ca)
	if where.URL != nil {
		where.URL = new(at.URL + CanaryPath)
	} else {
		where.Service.Path = new(CanaryPath)
	}
	return &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: canaryName, Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name: "canary" + WebhookSuffix, ClientConfig: where,
			Rules: []admissionv1.RuleWithOperations{{Operations: []admissionv1.OperationType{admissionv1.Create},
				Rule: admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}, Scope: new(admissionv1.NamespacedScope)}}},
			FailurePolicy:  new(admissionv1.Fail),
			MatchPolicy:    new(admissionv1.Equivalent),
			ObjectSelector: &metav1.LabelSelector{MatchLabels: map[string]string{canaryLabel: "true"}},
			NamespaceSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
				Key: "kubernetes.io/metadata.name", Operator: metav1.LabelSelectorOpIn, Values: []string{v1alpha1.SystemNamespace},
			}}},
			SideEffects: new(admissionv1.SideEffectClassNone), TimeoutSeconds: new(int32(timeoutSeconds)), AdmissionReviewVersions: []string{"v1"},
		}},
	}
}

// reached reports whether the API server finds the door and trusts it. Until it does nothing is registered: a Service that leads
// nowhere must not refuse a bank's work.
func (r *Reconciler) reached(ctx context.Context) (bool, error) {
	ca, err := r.authorities(ctx)
	if err != nil {
		return false, err
	}
	want, stored := canary(r.At, ca), &admissionv1.ValidatingWebhookConfiguration{}
	err = r.Live.Get(ctx, client.ObjectKeyFromObject(want), stored)
	switch {
	case apierrors.IsNotFound(err):
		return false, r.Client.Create(ctx, want)
	case err != nil:
		return false, err
	case !equality.Semantic.DeepEqual(want.Webhooks, stored.Webhooks):
		want.ResourceVersion = stored.ResourceVersion
		return false, r.Client.Update(ctx, want)
	}
	probe := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: canaryName, Labels: map[string]string{canaryLabel: "true"}}}
	err = r.Client.Create(ctx, probe, client.DryRunAll)
	switch {
	case err == nil: // the API server does not know the registration yet
		return false, nil
	case strings.HasSuffix(err.Error(), canarySays):
		return true, client.IgnoreNotFound(r.Client.Delete(ctx, stored))
	}
	if why := err.Error(); why != r.unreached {
		r.unreached = why
		r.Log.Warn("the API server does not reach the webhook; nothing is registered until it does", "err", err)
	}
	return false, nil
}
