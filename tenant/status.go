package tenant

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// ConditionReady is True when every environment is as the tenant asks.
const ConditionReady = "Ready"

// The reasons of ConditionReady, the one that most needs a person first. Where several hold, the first is shown and the
// messages of all environments follow each other.
//
//	reason               status  what the message tells the user to do
//	NoPlatform           False   apply a Platform object
//	ApplyFailed          False   the error of the API server, and that it is tried again
//	NetworkModelMissing  False   install Cilium or choose the other model
//	EgressTooLarge       False   shorten spec.egress
//	Refused              False   choose another namespace, or take it over explicitly
//	Mistaken             False   what each text says: another group, a larger total, a right name
//	Offboarding          False   nothing: wait; it says when the namespaces go
//	Cordoned             False   empty the namespace, or set deletionPolicy, or bring the environment back; or uncordon the tenant
//	Deleting             False   nothing: wait
//	Active               True    nothing
const (
	ReasonNoPlatform          = "NoPlatform"
	ReasonApplyFailed         = "ApplyFailed"
	ReasonNetworkModelMissing = "NetworkModelMissing"
	ReasonEgressTooLarge      = "EgressTooLarge"
	ReasonRefused             = "Refused"
	ReasonMistaken            = "Mistaken"
	ReasonOffboarding         = "Offboarding"
	ReasonMoving              = "Moving"
	ReasonCordoned            = "Cordoned"
	ReasonDeleting            = "Deleting"
	ReasonActive              = "Active"
)

var reasonOrder = []string{ReasonNoPlatform, ReasonApplyFailed, ReasonNetworkModelMissing, ReasonEgressTooLarge, ReasonRefused, ReasonMistaken, ReasonOffboarding, ReasonMoving, ReasonCordoned, ReasonDeleting}

// maxMessage is the longest message of a condition, in bytes (metav1.Condition allows 32,768; a table cell takes less).
const maxMessage = 4096

// outcome is an EnvironmentPlan and what came of it; err is nil where every change was made.
type outcome struct {
	EnvironmentPlan
	err error
}

// statusOf is the status of a tenant after its outcomes. Of an environment that could not be written the old phase stays,
// with the error; one that never was there is left out.
func statusOf(t *v1alpha1.Tenant, outcomes []outcome, now time.Time) v1alpha1.TenantStatus {
	status := v1alpha1.TenantStatus{ObservedGeneration: t.Generation, Findings: t.Status.Findings, Conditions: slices.Clone(t.Status.Conditions)}
	reasons, messages, names := map[string]bool{}, []string{}, []string{}
	for _, o := range outcomes {
		entry, reason := o.Status, o.Reason
		if o.err != nil {
			reason = ReasonApplyFailed
			entry.Message = fmt.Sprintf("%v; it is tried again", o.err)
		}
		if reason != "" {
			reasons[reason] = true
			messages = append(messages, entry.Namespace+": "+entry.Message)
		}
		if o.err != nil {
			old := slices.IndexFunc(t.Status.Environments, func(e v1alpha1.EnvironmentStatus) bool { return e.Namespace == entry.Namespace })
			if old < 0 {
				continue
			}
			entry.Phase = t.Status.Environments[old].Phase
		}
		status.Environments = append(status.Environments, entry)
		names = append(names, entry.Namespace)
	}
	status.Namespaces = strings.Join(names, ",")
	elevated := slices.ContainsFunc(outcomes, func(o outcome) bool { return o.elevated })
	status.Offboarding = offboardingOf(t, errorsOf(outcomes) == nil && !elevated, now)
	for _, reason := range reasonOrder {
		if reasons[reason] {
			setReady(&status, metav1.ConditionFalse, reason, strings.Join(messages, " | "), now)
			return status
		}
	}
	if ends(t) {
		setReady(&status, metav1.ConditionFalse, ReasonOffboarding, "the tenant is offboarded and its namespaces are gone; fix: delete the Tenant", now)
		return status
	}
	setReady(&status, metav1.ConditionTrue, ReasonActive, activeMessage(len(outcomes)), now)
	return status
}

func activeMessage(environments int) string {
	if environments == 0 {
		return "the tenant asks for no environment"
	}
	return fmt.Sprintf("%d of %d environments are as asked", environments, environments)
}

// statusWithoutPlatform keeps what was known and says what is missing.
func statusWithoutPlatform(t *v1alpha1.Tenant, now time.Time) v1alpha1.TenantStatus {
	status := *t.Status.DeepCopy()
	status.ObservedGeneration = t.Generation
	setReady(&status, metav1.ConditionFalse, ReasonNoPlatform,
		"there is no Platform object; apply one named "+v1alpha1.PlatformName+"; until then nothing of this tenant is created, changed or deleted", now)
	return status
}

func setReady(status *v1alpha1.TenantStatus, value metav1.ConditionStatus, reason, message string, now time.Time) {
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage-3], "") + "..."
	}
	apimeta.SetStatusCondition(&status.Conditions, metav1.Condition{
		Type: ConditionReady, Status: value, Reason: reason, Message: message,
		ObservedGeneration: status.ObservedGeneration, LastTransitionTime: metav1.NewTime(now),
	})
}

// errorsOf joins the errors of all outcomes, nil if there is none.
func errorsOf(outcomes []outcome) error {
	var all []error
	for _, o := range outcomes {
		all = append(all, o.err)
	}
	return errors.Join(all...)
}
