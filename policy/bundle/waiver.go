package bundle

import (
	"strings"

	"ringfence.dev/ringfence/control"
)

// waiverVariables say which controls are waived for the object now, for groups whose objects lie in a namespace. They are
// evaluated only once a rule found something, and end at once where the Guard holds no waiver of the object.
//
// CEL has no clock. A CREATE has the time that the server has just given the object. An UPDATE has the times of
// managedFields, which are old where the change only removes fields: they count for kinds with a pod template, because each
// pod behind is judged by its own CREATE, and for nothing else.
func waiverVariables(g control.Group) []control.Variable {
	created := "request.operation == 'CREATE' ? [timestamp(object.metadata.creationTimestamp)] : "
	own := "object.kind + (object.apiVersion.contains('/') ? '.' + object.apiVersion.split('/')[0] : '') + '/' + object.metadata.?name.orValue('')"
	times, names := created+"[]", "["+own+"]"
	var owners []control.Variable
	if hasTemplates(g) {
		times = created + "object.kind == 'Pod' ? [] : object.metadata.?managedFields.orValue([]).filter(m, has(m.time)).map(m, timestamp(m.time))"
		names += ` + variables.waiverOwners.map(o, o.kind + (o.apiVersion.contains('/') ? '.' + o.apiVersion.split('/')[0] : '') + '/' + o.name)
+ variables.waiverOwners.filter(o, o.kind == 'ReplicaSet' && o.name.lastIndexOf('-') > 0 && o.name.substring(o.name.lastIndexOf('-') + 1) == object.metadata.?labels[?'pod-template-hash'].orValue(''))
  .map(o, 'Deployment.apps/' + o.name.substring(0, o.name.lastIndexOf('-')))
+ variables.waiverOwners.filter(o, o.kind == 'Job' && o.name.matches('.-[0-9]+$')).map(o, 'CronJob.batch/' + o.name.substring(0, o.name.lastIndexOf('-')))`
		owners = []control.Variable{{Name: "waiverOwners", Expression: "request.userInfo.?username.orValue('') in ['" + strings.Join(control.WorkloadControllers(), "', '") +
			"'] ? object.metadata.?ownerReferences.orValue([]).filter(o, o.?controller.orValue(false)) : []"}}
	}
	return append(owners,
		control.Variable{Name: "waiverTimes", Expression: times},
		control.Variable{Name: "waiverNames", Expression: names},
		control.Variable{Name: "waivers", Expression: "!has(params.spec.waivers) || variables.waiverTimes.size() == 0 ? [] : " +
			"variables.waiverNames.filter(n, n in params.spec.waivers).map(n, params.spec.waivers[n])"},
		// For each name a list of texts, each of which begins with the id of a control.
		control.Variable{Name: "waived", Expression: "variables.waivers.map(w, w.filter(id, variables.waiverTimes.all(t, t < timestamp(w[id].expires)))" +
			".map(id, id + '; waived by ' + w[id].name + ' until ' + w[id].expires))"})
}

// debtVariable lists the controls that what is made is not refused for yet: objects that Kubernetes' own controllers make of workloads, of
// which each was judged itself. Its CREATE has the server's time.
func debtVariable() control.Variable {
	return control.Variable{Name: "debts", Expression: "has(params.spec.debts) && request.operation == 'CREATE' && request.userInfo.?username.orValue('') in ['" +
		strings.Join(control.WorkloadControllers(), "', '") + "'] ? params.spec.debts.filter(id, timestamp(object.metadata.creationTimestamp) < timestamp(params.spec.debts[id])) : []"}
}

// isDebt is a CEL expression that is true where what fails the control is a debt.
func isDebt(id string) string { return "'" + id + "' in variables.debts" }

// hasTemplates reports whether objects of the group carry pod templates, or are pods.
func hasTemplates(g control.Group) bool {
	for _, k := range g.Kinds {
		if k.Template {
			return true
		}
	}
	return false
}

// owed is a CEL expression for the end of a warning, in the form of a waiver's; empty where it is no debt.
func owed(id string) string {
	return "(" + isDebt(id) + " ? '; waived by debt until ' + params.spec.debts['" + id + "'] : '')"
}

// isWaived is a CEL expression that is true where the control is waived for the object.
func isWaived(id string) string {
	return "variables.waived.exists(w, w.exists(t, t.startsWith('" + id + ";')))"
}

// waivedBy is a CEL expression for the end of a warning: which waiver, until when; empty where there is none.
func waivedBy(id string) string {
	return "(" + isWaived(id) + " ? variables.waived.filter(w, w.exists(t, t.startsWith('" + id + ";')))[0].filter(t, t.startsWith('" + id + ";'))[0].substring(" +
		"'" + id + "'.size()) : '')"
}
