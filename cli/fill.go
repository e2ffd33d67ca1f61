package cli

import (
	"cmp"
	"encoding/json"
	"strings"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/mutate"
	"ringfence.dev/ringfence/tenant"
)

// filling is what the API server fills in of objects that are created in a namespace. The zero value is nothing.
type filling struct {
	spec      v1alpha1.GuardSpec
	namespace mutate.Namespace
}

// filling is that of a namespace, as the Platform and the Tenant say; "" is default. Where there is no Platform, or the
// namespace is exempt, nothing is filled in.
func (s *settings) filling(namespace string) filling {
	if namespace == "" {
		namespace = "default"
	}
	if s.platform == nil || s.guarded || tenant.Exempt(s.platform, namespace) {
		return filling{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.fillings[namespace]; ok {
		return f
	}
	owner := tenant.Of(s.tenants, namespace)
	f := filling{spec: tenant.Compile(nil, s.platform, owner, nil, namespace).Spec}
	f.namespace.Labels, f.namespace.Annotations = tenant.Metadata(owner, namespace)
	if s.fillings == nil {
		s.fillings = map[string]filling{}
	}
	s.fillings[namespace] = f
	return f
}

// fill is what the API server would judge in the place of a file's object, and what it refuses of it because it differs
// from the namespace.
func (j *judge) fill(o *manifest.Object, subject finding.Subject) (map[string]any, []finding.Finding) {
	f := j.settings.filling(subject.Namespace)
	r := mutate.Object(o.Value, f.namespace, &f.spec)
	if len(r.Changes) > 0 {
		j.filled.Add(1)
	}
	return r.Apply(o.Value), j.differing(o, subject, f)
}

// differing are the findings of metadata that differs from the namespace's. They deny, whatever the control's action is, as
// the policy in the cluster does.
func (j *judge) differing(o *manifest.Object, subject finding.Subject, f filling) (all []finding.Finding) {
	c, ok := j.catalogue.Labels()
	if !ok {
		return nil
	}
	for _, d := range mutate.Differing(o.Value, f.namespace, &f.spec) {
		const repair = "remove it, the platform copies it from the namespace"
		note := ""
		if f.spec.Contact != "" {
			note = "ask: " + f.spec.Contact
		}
		wanted := "the value of namespace " + subject.Namespace + ", " + finding.Value(d.Wanted)
		all = append(all, finding.Finding{
			Control: c.ID, Rule: c.Rule(), Title: c.Title, Severity: c.Severity, Outcome: finding.Fail, Action: finding.Deny,
			Message: finding.Line(c.ID, c.Title, d.Found, d.Path, wanted, repair, note, 0), Found: d.Found, Wanted: wanted, Fix: repair,
			Subject: subject, Location: o.Locate(d.Path), Path: d.Path, Source: "catalogue", Fingerprint: finding.Fingerprint(c.ID, subject, d.Path),
		})
	}
	return all
}

// defaults are what the platform would fill in of an object's pod, as repairs: a file that is repaired states it, without
// the annotation that lists it.
func (p *repairer) defaults(o *manifest.Object) map[string]control.Fix {
	fixes := map[string]control.Fix{}
	if p.only {
		return fixes
	}
	subject := o.Subject()
	f := p.settings.filling(cmp.Or(subject.Namespace, p.namespace))
	for _, c := range mutate.Defaults(o.Value, &f.spec).Changes {
		if text, err := json.Marshal(c.Value); err == nil && !strings.HasPrefix(c.Pointer, "/metadata/") {
			fixes[c.Pointer] = control.Fix{At: c.Pointer, Set: text}
		}
	}
	return fixes
}

// tellFilled says of how many objects the file is not all that is judged, where the whole catalogue is asked.
func (j *judge) tellFilled(env Env, o checkOptions) {
	if n := int(j.filled.Load()); n > 0 && len(o.only) == 0 {
		env.note("%s judged with what the platform fills in; see it with: ringfence explain-mutations FILE", count(n, "object"))
	}
}
