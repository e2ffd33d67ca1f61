package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/policy/vap"
)

// loadForeign reads the --policy files and folders, and of the inputs the Namespaces and the definitions of custom kinds,
// which an API server would look up. Each list of faults is one input, document or object that cannot be used.
func loadForeign(ctx context.Context, env Env, paths []string, inputs []input) (*vap.Engine, [][]error, error) {
	l := foreignLoader{config: vap.Config{Now: env.Now}, places: map[string]finding.Location{}}
	for _, in := range inputs {
		l.surroundings(ctx, in)
	}
	for _, in := range expand(paths, nil) {
		l.read(env, in)
	}
	for _, b := range l.config.Astray() {
		if _, there := l.places["ValidatingAdmissionPolicy "+b.Policy]; !there {
			l.refuse(&manifest.Error{Location: l.places["ValidatingAdmissionPolicyBinding "+b.Binding],
				Message: fmt.Sprintf("policy %s of this binding is not among the --policy files; add it, or remove the binding", finding.Value(b.Policy))})
		}
	}
	if l.config.Policies() == 0 && len(l.faults) == 0 {
		return nil, nil, usagef("ringfence check", "--policy: no ValidatingAdmissionPolicy in %s", strings.Join(paths, ", "))
	}
	for _, name := range l.config.Unbound() {
		env.note("policy %s has no binding among the --policy files: judged as if it were bound with Deny everywhere", finding.Value(name))
	}
	engine, err := vap.New(&l.config)
	return engine, l.faults, err
}

type foreignLoader struct {
	config vap.Config
	places map[string]finding.Location // of policies and bindings, by kind and name
	faults [][]error
}

func (l *foreignLoader) refuse(faults ...error) { l.faults = append(l.faults, faults) }

// surroundings adds the Namespaces and definitions of an input. What cannot be read is reported when it is judged.
func (l *foreignLoader) surroundings(ctx context.Context, in input) {
	if in.name == stdinName {
		return
	}
	for doc, err := range in.documents(ctx, nil, func() bool { return true }) {
		if err != nil || !doc.Mentions("Namespace") && !doc.Mentions("CustomResourceDefinition") {
			continue
		}
		for o, err := range doc.Objects() {
			if err == nil && slices.Contains([]string{"Namespace", "CustomResourceDefinition"}, o.Kind()) {
				l.config.Add(o.Value)
			}
		}
	}
}

// read adds every object of a --policy file.
func (l *foreignLoader) read(env Env, in input) {
	file, err := in.open(env.Stdin)
	if err != nil {
		l.refuse(err)
		return
	}
	defer file.Close()
	for o, err := range manifest.Read(file, in.name) {
		if err != nil {
			l.refuse(err)
			continue
		}
		name := o.Kind() + " " + o.Subject().Name
		if first, twice := l.places[name]; twice {
			l.refuse(&manifest.Error{Location: o.Locate("/metadata/name"), Message: fmt.Sprintf("%s was read before, at %s; keep one", finding.Value(name), first)})
			continue
		}
		if strings.HasPrefix(o.Kind(), "ValidatingAdmissionPolicy") {
			l.places[name] = o.Locate("")
		}
		var faults []error
		for _, f := range l.config.Add(o.Value) {
			at := strings.Trim(f.Path, "/")
			if at != "" {
				at += ": "
			}
			faults = append(faults, &manifest.Error{Location: o.Locate(f.Path), Message: at + f.Message})
		}
		if len(faults) > 0 {
			l.refuse(faults...)
		}
	}
}
