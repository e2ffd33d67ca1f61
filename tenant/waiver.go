package tenant

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/approval"
	"ringfence.dev/ringfence/control"
)

// MaxWaiver is the longest that a waiver may live, from its creation: 90 days.
const MaxWaiver = 2160 * time.Hour

// maxWaived is how many subjects a Guard carries waivers for; its schema allows no more. With some 250 bytes each they leave
// room for the egress.
const maxWaived = 500

// Approved says why an approved waiver counts for nothing, "" where it counts, and when it ends. Who approves is checked by the
// API server when it happens; files, which no server has seen, are held to the same here.
func Approved(w *v1alpha1.Waiver) (end time.Time, why string) {
	given := w.Status.Approval
	if given == nil || given.Approver == "" {
		return end, "nobody has approved it"
	}
	end, err := Expiry(w.Spec.Expires)
	if err != nil || end.IsZero() {
		return end, "its end cannot be read"
	}
	if samePerson(given.Approver, w.Spec.Owner) || !approval.Two(approval.Person{Name: w.Spec.Requester, Object: w.Spec.RequesterObject},
		approval.Person{Name: given.Approver, Object: given.ApproverObject}) {
		return end, "its owner or requester approved it"
	}
	created := w.CreationTimestamp.Time // a file has none
	if created.IsZero() {
		created = given.ApprovedAt.Time
	}
	if end.Sub(created) > MaxWaiver {
		return end, "it ends more than 2,160 h after its creation"
	}
	return end, ""
}

// samePerson reports whether a user of the API server is the person that an owner is written as: the server may put a prefix
// before the names of the identity provider.
func samePerson(user, owner string) bool {
	user, owner = strings.ToLower(user), strings.ToLower(owner)
	return user == owner || strings.HasSuffix(user, ":"+owner) || strings.HasSuffix(user, "#"+owner)
}

// unwaivable are the controls that the Platform lets nobody waive, in the order of the catalogue.
func unwaivable(controls []control.Control, platform *v1alpha1.Platform) (ids []string) {
	for _, c := range controls {
		if platform.Spec.Controls[c.ID].Unwaivable {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// waivers are the approved waivers of a namespace, by subject and control. Of two for the same the later end holds.
func waivers(all []v1alpha1.Waiver, namespace string, unwaivable []string) map[string]v1alpha1.SubjectWaivers {
	type live struct {
		*v1alpha1.Waiver
		end time.Time
	}
	var counted []live
	for i := range all {
		w := &all[i]
		end, why := Approved(w)
		if why == "" && w.Namespace == namespace && w.DeletionTimestamp == nil && !slices.Contains(unwaivable, w.Spec.Control) {
			counted = append(counted, live{w, end})
		}
	}
	slices.SortFunc(counted, func(a, b live) int { return cmp.Or(b.end.Compare(a.end), cmp.Compare(a.Name, b.Name)) })
	var out map[string]v1alpha1.SubjectWaivers
	for _, w := range counted {
		for _, s := range w.Spec.Subjects {
			key := v1alpha1.WaiverKey(cmp.Or(s.APIGroup, GroupOf(s.Kind)), s.Kind, s.Name)
			if out == nil {
				out = map[string]v1alpha1.SubjectWaivers{}
			}
			if out[key] == nil {
				if len(out) >= maxWaived {
					continue
				}
				out[key] = v1alpha1.SubjectWaivers{}
			}
			if _, later := out[key][w.Spec.Control]; !later {
				out[key][w.Spec.Control] = v1alpha1.GuardWaiver{
					Name: w.Name, Expires: instant(w.end), Ticket: w.Spec.Ticket, Approver: w.Status.Approval.Approver,
				}
			}
		}
	}
	return out
}

// GroupOf is the group that Kubernetes has a kind in; "" is the core, and what is not known.
func GroupOf(kind string) string {
	for _, g := range control.Groups() {
		for _, k := range g.Kinds {
			if k.Kind == kind {
				return k.APIGroup
			}
		}
	}
	return ""
}
