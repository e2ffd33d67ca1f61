package schema

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"ringfence.dev/ringfence/schema/fault"
)

// manyErrors is how many errors are looked at to tell the first of them.
const manyErrors = 5 * fault.Most

// translator says the server's errors in plain words.
type translator struct {
	kind *kind
	// original is what the user wrote; work is the trimmed copy, with defaults, that the errors speak of.
	original, work map[string]any
	lengths        map[string]int
}

// ruleFaults translates what the CEL rules said.
func (t *translator) ruleFaults(errs field.ErrorList) []fault.Fault {
	var faults []fault.Fault
	for _, e := range errs {
		steps, value, _ := t.find(e.Field)
		message := e.Detail
		if _, own, ok := strings.Cut(message, " evaluating rule: "); ok {
			message = own // the rule could not be asked, for instance of a date that is none
		}
		if len(steps) == 0 && t.aboutName(message) {
			steps = []string{"metadata", "name"}
			value = lookup(t.work, steps)
		}
		switch value.(type) {
		case map[string]any, []any, nil:
		default:
			message = fmt.Sprintf("found %s; %s", fault.Show(value, nil), message)
		}
		faults = append(faults, fault.Fault{Path: t.pointer(steps), Message: message})
	}
	return faults
}

// aboutName reports whether a rule over the whole object judges its name alone; a CRD cannot say so with fieldPath.
func (t *translator) aboutName(message string) bool {
	for _, rule := range t.kind.structural.XValidations {
		if rule.Message == message {
			return strings.Contains(rule.Rule, "self.metadata.name") && !strings.Contains(rule.Rule, "self.spec")
		}
	}
	return false
}

// fault translates what schema, list types and metadata said.
func (t *translator) fault(e *field.Error) fault.Fault {
	steps, value, rest := t.find(e.Field)
	at := t.pointer(steps)
	s := node(t.kind.structural, steps)
	about := ""
	if s != nil {
		about = firstSentence(s.Description)
	}
	length := t.lengthAt(at, value)
	f := fault.Fault{Path: at}
	switch e.Type {
	case field.ErrorTypeRequired:
		name := strings.Trim(rest, ".")
		if missing := node(t.kind.structural, append(slices.Clone(steps), name)); missing != nil {
			about = firstSentence(missing.Description)
		} else if strings.HasPrefix(e.Field, "metadata") {
			about = "every object has a name"
			name = cmp.Or(name, strings.TrimPrefix(e.Field, "metadata."))
		}
		f.Message = fmt.Sprintf("field %s is missing; add it%s", name, then(about))
	case field.ErrorTypeNotSupported:
		var values []string
		if s != nil && s.ValueValidation != nil {
			for _, v := range s.ValueValidation.Enum {
				values = append(values, fmt.Sprint(v.Object))
			}
		}
		text, _ := value.(string)
		f.Message = fmt.Sprintf("found %s; want %s%s", fault.Show(value, nil), fault.OneOf(values), fault.DidYouMean(text, values))
	case field.ErrorTypeTypeInvalid:
		wanted, fix := "another type", ""
		if s != nil {
			wanted, fix = fault.WantType(s.Type, s.XIntOrString, value)
		}
		f.Message = fmt.Sprintf("found %s; want %s%s%s", fault.Show(value, &length), wanted, fix, then(about))
	case field.ErrorTypeTooLong, field.ErrorTypeTooMany:
		most, unit := bound(e.Detail), "items; remove some"
		switch value.(type) {
		case string:
			unit = "characters; shorten it"
		case map[string]any:
			unit = "entries; remove some"
		}
		f.Message = fmt.Sprintf("found %d; want at most %s %s", length, most, unit)
	case field.ErrorTypeDuplicate:
		f.Message = t.duplicate(steps, value)
	default:
		f.General = true
		if bad, ok := e.BadValue.(string); ok && !isText(value) && bad != "" {
			value = bad // a part that has no path of its own, such as the value of a label
		}
		f.Message = fmt.Sprintf("found %s; %s%s", fault.Show(value, &length), want(e.Detail), then(about))
	}
	return f
}

func isText(v any) bool { _, ok := v.(string); return ok }

func (t *translator) duplicate(steps []string, value any) string {
	parent := node(t.kind.structural, steps[:max(0, len(steps)-1)])
	item, isMap := value.(map[string]any)
	if parent != nil && isMap && len(parent.XListMapKeys) > 0 {
		key := parent.XListMapKeys[0]
		return fmt.Sprintf("found a second item with %s %s; want each %s once; rename or remove it", key, fault.Show(item[key], nil), key)
	}
	return fmt.Sprintf("found %s a second time; want each item once; remove it", fault.Show(value, nil))
}

func (t *translator) lengthAt(at string, value any) int {
	if n, ok := t.lengths[at]; ok {
		return n
	}
	switch v := value.(type) {
	case string:
		return utf8.RuneCountInString(v)
	case []any:
		return len(v)
	case map[string]any:
		return len(v)
	}
	return 0
}

// find follows a path as the server writes it (spec.controls.RF-WL-01.action, spec.labels[a/b], spec.ports[0]) into the
// object as far as it exists. Keys may hold dots, so the longest key that fits is taken. rest is what is left of path.
func (t *translator) find(path string) (steps []string, value any, rest string) {
	value, rest = t.work, path
	for rest != "" && len(steps) <= maxDepth {
		step, after, ok := next(value, rest)
		if !ok {
			break
		}
		steps, rest = append(steps, step), after
		value = lookup(value, []string{step})
	}
	return steps, value, rest
}

func next(value any, path string) (step, rest string, ok bool) {
	switch v := value.(type) {
	case []any:
		inner, found := strings.CutPrefix(path, "[")
		number, after, closed := strings.Cut(inner, "]")
		i, err := strconv.Atoi(number)
		return number, after, found && closed && err == nil && i >= 0 && i < len(v)
	case map[string]any:
		plain := strings.TrimPrefix(path, ".")
		for key := range v {
			if ok && len(key) < len(step) {
				continue
			}
			if after, fits := strings.CutPrefix(plain, key); fits && (after == "" || after[0] == '.' || after[0] == '[') {
				step, rest, ok = key, after, true
			} else if after, fits := strings.CutPrefix(path, "["+key+"]"); fits {
				step, rest, ok = key, after, true
			}
		}
	}
	return step, rest, ok
}

// lookup is the value that steps lead to, nil where there is none.
func lookup(value any, steps []string) any {
	for _, step := range steps {
		switch v := value.(type) {
		case map[string]any:
			value = v[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(v) {
				return nil
			}
			value = v[i]
		default:
			return nil
		}
	}
	return value
}

// pointer writes steps as a pointer, as far as the user wrote such a value: a default has no place in a file.
func (t *translator) pointer(steps []string) string {
	var b strings.Builder
	var value any = t.original
	for _, step := range steps {
		if m, ok := value.(map[string]any); ok {
			if _, ok := m[step]; !ok {
				break
			}
		}
		value = lookup(value, []string{step})
		b.WriteString("/" + fault.Escape(step))
	}
	return b.String()
}

var number = regexp.MustCompile(`[0-9]+`)

// bound is the number in an error's text, all that is of use there.
func bound(detail string) string { return number.FindString(detail) }

// want says a schema error's text ("spec.owner in body should match '^x$'") as a wish.
func want(detail string) string {
	_, text, ok := strings.Cut(detail, " in body should ")
	if !ok {
		return detail
	}
	for _, say := range []struct{ theirs, ours string }{
		{"match '", "want text that matches "},
		{"be greater than or equal to ", "want at least "},
		{"be less than or equal to ", "want at most "},
		{"be at least ", "want at least "},
		{"have at least ", "want at least "},
	} {
		if rest, ok := strings.CutPrefix(text, say.theirs); ok {
			rest = strings.Replace(rest, " chars long", " characters", 1)
			if rest == "1 items" {
				rest = "1 item"
			}
			return say.ours + strings.TrimSuffix(rest, "'")
		}
	}
	return "it should " + text
}

// firstSentence is what a field's description says first; the descriptions are the comments of package v1alpha1.
func firstSentence(description string) string {
	description = strings.ReplaceAll(description, "\n", " ")
	if i := strings.Index(description, ". "); i >= 0 {
		description = description[:i]
	}
	return strings.TrimSuffix(description, ".")
}

func then(text string) string {
	if text == "" {
		return ""
	}
	return "; " + text
}
