package control

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ringfence.dev/ringfence/manifest"
)

// Template is a kind outside Kubernetes itself whose objects carry a pod template: one entry of templates.yaml. The
// controls of the group workloads judge it like any other workload.
type Template struct {
	// APIGroup, Kind and Resource (the plural) name the kind.
	APIGroup string `json:"apiGroup"`
	Kind     string `json:"kind"`
	Resource string `json:"resource"`
	// Each is the RFC 6901 pointer of a list of templates, for instance /spec/replicatedJobs. Empty: there is one template.
	Each string `json:"each,omitempty"`
	// Pod is the pointer of the pod's spec, from the object or from an item of Each. Its metadata is beside it.
	Pod string `json:"pod"`
	// Containers, InitContainers and Resources are the names of the fields that are called containers, initContainers and
	// resources in a pod, where the kind has others.
	Containers     string `json:"containers,omitempty"`
	InitContainers string `json:"initContainers,omitempty"`
	Resources      string `json:"resources,omitempty"`
	// Elsewhere are fields of a pod that the kind cannot carry, with the value, true, false or a word, to be taken for
	// granted here: the Pod that comes of it is judged for them.
	Elsewhere map[string]any `json:"elsewhere,omitempty"`
}

// maxTemplates is how many items of a list of templates are judged; an object with more breaks every rule that looks.
const maxTemplates = 5

var (
	pointerForm = regexp.MustCompile(`^(/[A-Za-z][A-Za-z0-9]*)+$`)
	podForm     = regexp.MustCompile(`^(/[A-Za-z][A-Za-z0-9]*)*/spec$`)
	wordForm    = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*$`)
	groupForm   = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+$`)
)

// loadTemplates reads templates.yaml, which a folder of controls that stands beside the catalogue need not have.
func loadTemplates(tree fs.FS) ([]Template, error) {
	const file = "templates.yaml"
	text, err := fs.ReadFile(tree, file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list struct {
		Templates []Template `json:"templates"`
	}
	if err := manifest.Decode(text, file, &list); err != nil {
		return nil, err
	}
	for i, t := range list.Templates {
		if !groupForm.MatchString(t.APIGroup) || !wordForm.MatchString(t.Kind) || !wordForm.MatchString(t.Resource) || !podForm.MatchString(t.Pod) ||
			t.Each != "" && !pointerForm.MatchString(t.Each) || !allWords(t.Containers, t.InitContainers, t.Resources) {
			return nil, fmt.Errorf("%s: templates[%d]: want apiGroup, kind, resource, and pod as a pointer that ends in /spec", file, i)
		}
		for name, value := range t.Elsewhere {
			if literal(value) == "" {
				return nil, fmt.Errorf("%s: templates[%d]: elsewhere.%s: want true, false or a word", file, i, name)
			}
		}
	}
	return list.Templates, nil
}

func allWords(words ...string) bool {
	for _, w := range words {
		if w != "" && !wordForm.MatchString(w) {
			return false
		}
	}
	return true
}

// literal writes a value of Elsewhere in CEL, "" where it is neither a bool nor a word.
func literal(value any) string {
	switch v := value.(type) {
	case bool:
		return strconv.FormatBool(v)
	case string:
		if wordForm.MatchString(v) {
			return quote(v)
		}
	}
	return ""
}

// pods says where the i-th pod of an object is, and list is the CEL expression of its list of templates, "" without one.
func (t Template) pods(i int) (p pods, list string) {
	beside := strings.TrimSuffix(t.Pod, "/spec") + "/metadata"
	p = pods{path: quote(t.Pod), spec: "object" + optional(t.Pod) + ".orValue({})", metadata: "object" + optional(beside) + ".orValue({})", main: "'containers'", init: "'initContainers'", resources: "'resources'"}
	if t.Each != "" {
		list = "object" + optional(t.Each) + ".orValue([])"
		there := fmt.Sprintf("%s.size() > %d", list, i)
		p.spec = fmt.Sprintf("(%s ? %s[%d]%s.orValue({}) : {})", there, list, i, optional(t.Pod))
		p.metadata = fmt.Sprintf("(%s ? %s[%d]%s.orValue({}) : {})", there, list, i, optional(beside))
		// Where the old object has no such template, its path is none that the new one has: nothing is excused.
		p.path = fmt.Sprintf("(%s ? %s : '/none')", there, quote(t.Each+"/"+strconv.Itoa(i)+t.Pod))
	}
	if t.Containers == "" && t.InitContainers == "" && len(t.Elsewhere) == 0 {
		return p, list
	}
	main, init := cmp.Or(t.Containers, "containers"), cmp.Or(t.InitContainers, "initContainers")
	fields := []string{
		"'containers': " + p.spec + ".?" + main + ".orValue([])",
		"'initContainers': " + p.spec + ".?" + init + ".orValue([])",
		"'volumes': " + p.spec + ".?volumes.orValue([])",
	}
	for _, name := range slices.Sorted(maps.Keys(t.Elsewhere)) {
		fields = append(fields, quote(name)+": dyn("+literal(t.Elsewhere[name])+")")
	}
	fields[0] = strings.Replace(fields[0], ": ", ": dyn(", 1) + ")"
	p.spec = "{" + strings.Join(fields, ", ") + "}"
	p.main, p.init, p.resources = quote(main), quote(init), quote(cmp.Or(t.Resources, "resources"))
	return p, list
}

// optional turns a pointer into optional field selections.
func optional(pointer string) string { return strings.ReplaceAll(pointer, "/", ".?") }

// templateGroups are the match groups for templates: one for the first template of every kind, and one for the second,
// the third and so on of the kinds that have a list of them. A native policy has one pod at a time.
func templateGroups(templates []Template) (groups []Group) {
	for i := range maxTemplates {
		g := Group{Name: "templates", Of: "workloads", Quick: quickPods}
		var p pods
		var tooMany string
		for n, t := range templates {
			if i > 0 && t.Each == "" {
				continue
			}
			one, list := t.pods(i)
			g.Kinds = append(g.Kinds, Kind{APIGroup: t.APIGroup, Kind: t.Kind, Resource: t.Resource, Version: "*", Template: true})
			is := fmt.Sprintf("object.apiVersion.startsWith('%s/') && object.kind == '%s'", t.APIGroup, t.Kind)
			if i > 0 {
				g.When = either(g.When, fmt.Sprintf("%s && %s.size() > %d", is, list, i))
			} else if list != "" {
				tooMany += fmt.Sprintf(" + (%s && %s.size() > %d ? ['more than %d templates at %s'] : [])", is, list, maxTemplates, maxTemplates, t.Each)
			}
			if n == 0 || p == (pods{}) {
				p = one
				continue
			}
			p = pods{is + " ? " + one.path + " : " + p.path, is + " ? " + one.spec + " : " + p.spec, is + " ? " + one.metadata + " : " + p.metadata,
				is + " ? " + one.main + " : " + p.main, is + " ? " + one.init + " : " + p.init, is + " ? " + one.resources + " : " + p.resources}
		}
		if len(g.Kinds) == 0 {
			break
		}
		if i > 0 {
			g.Name += "-" + strconv.Itoa(i)
		}
		for _, field := range []*string{&p.path, &p.spec, &p.metadata, &p.main, &p.init, &p.resources} {
			*field = "(" + *field + ")"
		}
		g.Variables = workloadVariables(p)
		for k := range g.Variables {
			if v := &g.Variables[k]; v.Name == TooManyVariable {
				v.Expression += tooMany
			}
		}
		groups = append(groups, g)
	}
	return groups
}

func either(a, b string) string {
	if a == "" {
		return b
	}
	return a + " || " + b
}
