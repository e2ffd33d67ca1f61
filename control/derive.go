package control

import (
	"regexp"
	"slices"
	"strings"
)

// FoundVariable is the variable that every policy.yaml defines: a list of strings "<value> at <RFC 6901 pointer>", one for
// each place that breaks the rule, empty where the object satisfies it.
const FoundVariable = "found"

// SuspiciousVariable is a variable that a policy.yaml may define where its rule is long: a bool that is true wherever
// something is found, and cheap. Package clean asks it in the place of the rule.
const SuspiciousVariable = "suspicious"

// ViolationsVariable is the derived variable that a validation reads: what was found and is not excused, because an
// UPDATE leaves it as it was.
const ViolationsVariable = "violations"

// ClockVariable is a variable that a policy.yaml may define to know when the request is made, as Clock and in no other
// words. It is the request's and not an object's, so that it has no twin; who judges with a clock of his own puts that in its place.
const ClockVariable = "clock"

// Clock is the expression of ClockVariable: instants, RFC 3339 in whole seconds of UTC, of which the latest is when the
// request came. At CREATE the API server has just stamped the object. At UPDATE it has stamped the fields of whoever set
// one; a change that only removes fields is not stamped, and brings nothing in. A rule takes no instants for a time at
// which all has ended.
const Clock = `request.operation == 'CREATE' ? [string(object.metadata.?creationTimestamp.orValue('~'))]
  : object.metadata.?managedFields.orValue([]).filter(m, has(m.time)).map(m, string(m.time))`

// Before is the name of a variable's twin, which says the same of oldObject.
func Before(name string) string {
	if name == ClockVariable {
		return name
	}
	return name + "Before"
}

var (
	objectWord   = regexp.MustCompile(`\bobject\b`)
	variableWord = regexp.MustCompile(`\bvariables\.([A-Za-z_][A-Za-z0-9_]*)`)
)

// before rewrites an expression over object into the same over oldObject.
func before(expression string) string {
	expression = objectWord.ReplaceAllString(expression, "oldObject")
	return variableWord.ReplaceAllStringFunc(expression, func(use string) string {
		const of = "variables."
		return of + Before(strings.TrimPrefix(use, of))
	})
}

// twins adds to each variable its twin.
func twins(vars []Variable) []Variable {
	out := slices.Clone(vars)
	for _, v := range vars {
		if v.Name != ClockVariable {
			out = append(out, Variable{Name: Before(v.Name), Expression: before(v.Expression), Late: v.Late})
		}
	}
	return out
}

// Twins are the group's variables and their twins.
func (g Group) Twins() []Variable { return twins(g.Variables) }

// Shared are the variables that all controls of the named groups may use, twins included. Where groups mean different
// things by one name, the object's kind decides; names that two groups share must stand in the same order in both.
func Shared(groups []string) (vars []Variable) {
	for _, g := range Groups() {
		at := 0 // behind the last name that vars had already
		for _, v := range g.Variables {
			if !slices.Contains(groups, g.Name) {
				continue
			}
			i := slices.IndexFunc(vars, func(have Variable) bool { return have.Name == v.Name })
			if i < 0 {
				i, vars = at, slices.Insert(vars, at, v)
			} else if vars[i] != v {
				vars[i].Expression = unlessKind(g.kindNames(), "("+vars[i].Expression+")") + v.Expression
			}
			at = i + 1
		}
	}
	return twins(vars)
}

// Derived are the variables of one control in full: its own, their twins, and violations. An UPDATE passes where each
// thing found was found in the old object too: a rule that is switched to Deny must not stop finalizers, scaling or
// label changes of what already runs. An object that is being deleted is no exception: its finalizers can be removed
// without changing what a rule looks at, and whoever set them could keep a changed one alive. A rule that runs over each
// is broken by what it does not look at, tooMany. Where only is not empty, objects of other kinds have no violations.
func Derived(own []Variable, only []string) []Variable {
	found, foundBefore := "variables.found", "variables.foundBefore"
	if Counts(own) {
		found, foundBefore = "(variables.found + variables.tooMany)", "(variables.foundBefore + variables.tooManyBefore)"
	}
	return append(twins(own), Variable{Name: ViolationsVariable, Expression: unlessKind(only, "[]") + "request.operation != 'UPDATE' ? " + found +
		" : " + found + ".filter(f, !(f in " + foundBefore + "))"})
}

// Counts reports whether a rule runs over the indices of a list, so that what is beyond them breaks it.
func Counts(own []Variable) bool {
	return slices.ContainsFunc(own, func(v Variable) bool { return strings.Contains(v.Expression, "variables.each") })
}

// unlessKind is the beginning of a CEL conditional that answers for objects of kinds that are not listed; "" for no list.
func unlessKind(only []string, otherwise string) string {
	if len(only) == 0 {
		return ""
	}
	return "!(object.kind in ['" + strings.Join(only, "', '") + "']) ? " + otherwise + " : "
}

// Rename gives every variable that the map names its new name within an expression.
func Rename(expression string, names map[string]string) string {
	return variableWord.ReplaceAllStringFunc(expression, func(use string) string {
		if to, ok := names[strings.TrimPrefix(use, "variables.")]; ok {
			return "variables." + to
		}
		return use
	})
}

// quote writes a CEL string literal.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", " ").Replace(s) + "'"
}

// Message is the CEL expression of a refusal line (design.md) over violations: the first place, how many more, what is
// wanted, how to fix it, who changed the action. A value with control or formatting characters is named, never repeated; a long one is cut.
func (c Control) Message() string {
	const first = `variables.violations[0]`
	const at = first + `.lastIndexOf(' at /')`
	value := first + `.substring(0, ` + at + `)`
	return `variables.violations.size() == 0 ? '' : ` + quote(c.ID+" "+c.Title+": found ") +
		` + (` + value + `.matches('[\\p{Cc}\\p{Cf}]') ? 'a value with control characters' : ` + at + ` > 64 ? ` + first + `.substring(0, 63) + '…' : ` + value + `)` +
		` + ` + first + `.substring(` + at + `)` +
		` + (variables.violations.size() > 1 ? ' and at ' + string(variables.violations.size() - 1) + ' more' : '')` +
		` + ` + quote("; want "+c.Wanted+"; fix: "+c.Fix) +
		` + params.spec.?changes[?'` + c.ID + `'].optMap(c, '; ' + c).orValue('')` +
		` + ` + quote(More+c.ID)
}

// More is how a refusal line goes on behind what it says of the fix.
const More = "; more: ringfence explain "

// PlainMessage is the refusal line where the server cannot evaluate Message.
func (c Control) PlainMessage() string {
	return c.ID + " " + c.Title + ": want " + c.Wanted + "; fix: " + c.Fix + More + c.ID
}
