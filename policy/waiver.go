package policy

import (
	"slices"
	"strings"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
)

// waived are the live waivers of the object that is judged, those of each of its names by control; none without a clock. It
// says in Go what policy/bundle says in CEL.
//
// At UPDATE a waiver counts for the kinds with a pod template alone: the pods behind it are judged when they are created.
// Natively there is no clock at UPDATE, and what one door lets through another must not refuse.
func waived(in Input, kind control.Kind) (live []v1alpha1.SubjectWaivers) {
	if in.Guard == nil || len(in.Guard.spec.Waivers) == 0 || in.Now.IsZero() || kind.ClusterScoped || in.Operation != "CREATE" && !kind.Template {
		return nil
	}
	for _, name := range names(in, kind) {
		if w := in.Guard.spec.Waivers[name]; w != nil {
			live = append(live, w)
		}
	}
	return live
}

// waiver is the live waiver of a control among those of an object, nil if there is none.
func waiver(of []v1alpha1.SubjectWaivers, id string, now time.Time) *finding.Waiver {
	for _, w := range of {
		one, ok := w[id]
		if end, err := time.Parse(time.RFC3339, one.Expires); ok && err == nil && now.Before(end) {
			return &finding.Waiver{Name: one.Name, Expires: one.Expires, Ticket: one.Ticket, Approver: one.Approver}
		}
	}
	return nil
}

// DebtName is the name of the waiver that a finding has which is a debt: no person gave it.
const DebtName = "debt"

// debt is the waiver of what Kubernetes' own controllers make of a workload while a control that was promoted lets it come back; nil for
// none. It says in Go what policy/bundle says in CEL.
func debt(in Input, kind control.Kind, id string) *finding.Waiver {
	if in.Guard == nil || in.Operation != "CREATE" || in.Now.IsZero() || kind.Resource != "pods" && !kind.Template || !slices.Contains(control.WorkloadControllers(), in.Username) {
		return nil
	}
	until, ok := in.Guard.spec.Debts[id]
	if end, err := time.Parse(time.RFC3339, string(until)); !ok || err != nil || !in.Now.Before(end) {
		return nil
	}
	return &finding.Waiver{Name: DebtName, Expires: string(until)}
}

// names are the keys under which an object may be waived: its own, and those of the workload that it was made of, where one
// of Kubernetes' own controllers made it.
func names(in Input, kind control.Kind) (all []string) {
	metadata, _ := in.Object["metadata"].(map[string]any)
	if name, _ := metadata["name"].(string); name != "" {
		all = append(all, v1alpha1.WaiverKey(kind.APIGroup, kind.Kind, name))
	}
	if kind.Resource != "pods" && !kind.Template || !slices.Contains(control.WorkloadControllers(), in.Username) {
		return all
	}
	labels, _ := metadata["labels"].(map[string]any)
	hash, _ := labels["pod-template-hash"].(string)
	owners, _ := metadata["ownerReferences"].([]any)
	for _, o := range owners {
		owner, _ := o.(map[string]any)
		if owner["controller"] != true {
			continue
		}
		apiVersion, _ := owner["apiVersion"].(string)
		ownerKind, _ := owner["kind"].(string)
		name, _ := owner["name"].(string)
		group, _, grouped := strings.Cut(apiVersion, "/")
		if !grouped {
			group = ""
		}
		all = append(all, v1alpha1.WaiverKey(group, ownerKind, name))
		at := strings.LastIndexByte(name, '-')
		if at <= 0 {
			continue
		}
		switch begin, end := name[:at], name[at+1:]; {
		case ownerKind == "ReplicaSet" && end == hash:
			all = append(all, v1alpha1.WaiverKey("apps", "Deployment", begin))
		case ownerKind == "Job" && end != "" && strings.Trim(end, "0123456789") == "":
			all = append(all, v1alpha1.WaiverKey("batch", "CronJob", begin))
		}
	}
	return all
}
