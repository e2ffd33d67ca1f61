package cli

import (
	"context"
	"encoding/json"
	"fmt"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/cluster"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/tenant"
)

// guardKind is the kind of what Ringfence compiled of Platform and Tenant for a namespace. Its people may read it.
const guardKind = "Guard"

// settings are those of the --platform files where there are any, else the cluster's own, and it says which. own are the
// kinds that hold them, as far as they are served.
func (s *survey) settings(ctx context.Context, o checkOptions, own []cluster.Resource, schemas *schemas, cat *control.Catalogue) (*settings, [][]error, error) {
	if len(o.platform) > 0 {
		s.env.note("settings: Platform and Tenants of the --platform files; those of the cluster do not count")
		from, invalid := loadSettings(o.platform, s.env.Stdin, schemas, cat.Controls, s.env.Now())
		from.tell(s.env)
		return from, invalid, nil
	}
	l := newLoader(schemas, cat.Controls, s.env.Now())
	var unread [][]error
	for _, r := range own {
		if r.Kind.Kind == guardKind {
			continue
		}
		where := ""
		if r.Namespaced {
			where = o.namespace
		}
		for value, err := range s.cluster.List(ctx, r, where) {
			if ctx.Err() != nil {
				return nil, nil, ctx.Err()
			}
			if err != nil {
				unread = append(unread, []error{fmt.Errorf("settings: %w", err)})
				continue
			}
			l.addLive(value)
		}
	}
	guarded := len(unread) > 0 && o.namespace != "" && s.guard(ctx, l.settings, o.namespace, own)
	switch {
	case guarded:
		s.env.note("settings: the Guard of namespace %s; Platform and Tenants cannot be read", o.namespace)
		return l.settings, nil, nil
	case len(unread) > 0 || len(l.faults) > 0 && l.platform == nil:
		s.env.note("settings: not all of cluster %s could be read; what is missing counts as not there", s.cluster.Name())
	case l.platform != nil:
		s.env.note("settings: Platform and Tenants (%d) of cluster %s", len(l.tenants), s.cluster.Name())
		l.tell(s.env)
	default:
		s.env.note("settings: cluster %s has no Platform; it is judged as without one", s.cluster.Name())
	}
	return l.settings, append(unread, l.faults...), nil
}

// guard makes the Guard that lies in a namespace the settings there, and tells whether there is one to be read.
func (s *survey) guard(ctx context.Context, into *settings, namespace string, own []cluster.Resource) bool {
	for _, r := range own {
		if r.Kind.Kind != guardKind {
			continue
		}
		for value, err := range s.cluster.List(ctx, r, namespace) {
			if err != nil || manifest.NewObject(value).Subject().Name != v1alpha1.GuardName {
				continue
			}
			var guard v1alpha1.Guard
			text, err := json.Marshal(value)
			if err != nil || json.Unmarshal(text, &guard) != nil {
				continue
			}
			tenant.DropExpired(&guard.Spec, into.now)
			compiled, err := policy.NewGuard(guard.Spec)
			if err != nil {
				continue
			}
			into.guards[namespace], into.guarded, into.guardedImages = compiled, true, guard.Spec.Images != nil
			return true
		}
	}
	return false
}

// addLive takes a Platform, Tenant or Waiver of the cluster. Its faults name it, as there is no place to point at.
func (l *loader) addLive(value map[string]any) {
	before := len(l.faults)
	o := manifest.NewObject(value)
	l.add(o)
	for _, faults := range l.faults[before:] {
		for i, fault := range faults {
			faults[i] = fmt.Errorf("%s in the cluster cannot be used: %s", o.Subject(), fault)
		}
	}
}
