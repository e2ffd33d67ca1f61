package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/tenant"
)

// settings are what the --platform files say, and the Guards made of it.
type settings struct {
	controls []control.Control
	// platform is nil where none was given.
	platform *v1alpha1.Platform
	tenants  []v1alpha1.Tenant
	waivers  []v1alpha1.Waiver
	// images are the facts about images; nil where none were given. signed are those about their signatures.
	images []image.Admitted
	signed []image.Signed
	// guarded says that guards holds the one Guard that counts, of a cluster's namespace: it knows what a Platform would say.
	guarded bool
	// guardedImages says that this Guard holds facts about images.
	guardedImages bool
	now           time.Time
	// notes are what the user is told of waivers that count for nothing.
	notes []string

	index sync.Once // makes known of images
	known *image.Index

	mu     sync.Mutex
	guards map[string]*policy.Guard // by namespace; under mu
	// fillings are by namespace, too; under mu.
	fillings map[string]filling
}

// guard is the Guard of a namespace; "" is default.
func (s *settings) guard(namespace string) (*policy.Guard, error) {
	if namespace == "" {
		namespace = "default"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if g, ok := s.guards[namespace]; ok {
		return g, nil
	}
	compiled := tenant.Compile(s.controls, s.platform, tenant.Of(s.tenants, namespace), s.waivers, namespace)
	if namespace == v1alpha1.SystemNamespace {
		tenant.NameTenants(&compiled.Spec, s.platform, s.tenants)
	}
	if s.images != nil {
		owner := tenant.Owner{Tenant: compiled.Spec.Tenant, Environment: compiled.Spec.Environment, Production: compiled.Spec.Production}
		tenant.AddImages(&compiled.Spec, tenant.Images{Facts: s.facts(), Rule: tenant.ImageRuleOf(s.platform, owner), Trust: tenant.TrustOf(s.platform, owner), Now: s.now})
	}
	tenant.DropExpired(&compiled.Spec, s.now)
	g, err := policy.NewGuard(compiled.Spec)
	if err != nil {
		return nil, fmt.Errorf("namespace %s: %w", namespace, err)
	}
	s.guards[namespace] = g
	return g, nil
}

// facts are what is known of images; nil where no facts were given.
func (s *settings) facts() *image.Index {
	if s.images == nil {
		return nil
	}
	s.index.Do(func() { s.known = image.NewIndex(s.images, s.signed...) })
	return s.known
}

// newLoader makes a loader of nothing yet.
func newLoader(schemas *schemas, controls []control.Control, now time.Time) *loader {
	return &loader{settings: &settings{controls: controls, now: now, guards: map[string]*policy.Guard{}}, schemas: schemas,
		places: map[string]finding.Location{}, named: map[string]*manifest.Object{}}
}

// loadSettings reads the --platform files and folders. Each list of faults is one input, document or object that cannot
// be used; the others are.
func loadSettings(paths []string, stdin io.Reader, schemas *schemas, controls []control.Control, now time.Time) (*settings, [][]error) {
	l := newLoader(schemas, controls, now)
	s := l.settings
	for _, in := range expand(paths, nil) {
		file, err := in.open(stdin)
		if err != nil {
			l.faults = append(l.faults, []error{err})
			continue
		}
		for o, err := range manifest.Read(file, in.name) {
			if err == nil {
				l.add(o)
			} else {
				l.faults = append(l.faults, []error{err})
			}
		}
		file.Close()
	}
	for _, f := range tenant.Faults(s.platform, s.tenants) {
		l.faults = append(l.faults, []error{&manifest.Error{Location: l.named[f.Tenant].Locate(f.Path), Message: f.Text}})
	}
	return s, l.faults
}

type loader struct {
	*settings
	schemas *schemas
	places  map[string]finding.Location // of what was read, by kind and name
	named   map[string]*manifest.Object // the tenants, by name
	faults  [][]error
}

// add takes one object of a --platform file, or says why not.
func (l *loader) add(o *manifest.Object) {
	refuse := func(faults ...error) { l.faults = append(l.faults, faults) }
	kinds := []string{"Platform", "Tenant", "Waiver"}
	if ownGroup(o) && (o.Kind() == image.KindAdmission || o.Kind() == image.KindSignatures) {
		if err := l.admission(o); err != nil {
			refuse(&manifest.Error{Location: o.Locate(""), Message: err.Error()})
		}
		return
	}
	if !ownGroup(o) || !slices.Contains(kinds, o.Kind()) {
		refuse(&manifest.Error{Location: o.Locate("/kind"),
			Message: fmt.Sprintf("found kind %s of %s; --platform takes Platform, Tenant, Waiver, ImageAdmission and ImageSignatures of %s; name other objects as PATH", finding.Value(o.Kind()), finding.Value(o.APIVersion()), v1alpha1.GroupVersion)})
		return
	}
	if faults := validate(l.schemas, o); len(faults) > 0 {
		refuse(faults...)
		return
	}
	name := o.Kind() + " " + o.Subject().Name
	if o.Kind() == "Waiver" {
		if o.Subject().Namespace == "" {
			refuse(&manifest.Error{Location: o.Locate("/metadata"), Message: "metadata.namespace is missing; a waiver counts in its own namespace alone; add it"})
			return
		}
		name = "Waiver " + o.Subject().Namespace + "/" + o.Subject().Name
	}
	if first, twice := l.places[name]; twice {
		refuse(&manifest.Error{Location: o.Locate("/metadata/name"), Message: fmt.Sprintf("%s was read before, at %s; keep one", name, first)})
		return
	}
	l.places[name] = o.Locate("")
	l.schemas.ringfence.Default(o.Value)
	if err := l.decode(o); err != nil {
		refuse(&manifest.Error{Location: o.Locate(""), Message: err.Error()})
	}
}

func (l *loader) decode(o *manifest.Object) error {
	text, err := json.Marshal(o.Value)
	if err != nil {
		return err
	}
	switch o.Kind() {
	case "Platform":
		l.platform = new(v1alpha1.Platform)
		return json.Unmarshal(text, l.platform)
	case "Waiver":
		return l.waiver(text)
	}
	var t v1alpha1.Tenant
	if err := json.Unmarshal(text, &t); err != nil {
		return err
	}
	l.tenants, l.named[t.Name] = append(l.tenants, t), o
	return nil
}

// admission takes facts about images. They supply facts also where they name no digest.
func (l *loader) admission(o *manifest.Object) error {
	text, err := json.Marshal(o.Value)
	if err != nil {
		return err
	}
	more, signed, err := image.ParseFacts(text)
	l.images, l.signed = append(append([]image.Admitted{}, l.images...), more...), append(l.signed, signed...)
	return err
}

// waiver takes a waiver, or notes why it counts for nothing.
func (l *loader) waiver(text []byte) error {
	var w v1alpha1.Waiver
	if err := json.Unmarshal(text, &w); err != nil {
		return err
	}
	end, why := tenant.Approved(&w)
	if why == "" && !l.now.Before(end) {
		why = "it ended at " + end.Format(time.RFC3339)
	}
	if why != "" {
		l.notes = append(l.notes, fmt.Sprintf("waiver %s/%s of %s counts for nothing: %s", w.Namespace, w.Name, w.Spec.Control, why))
		return nil
	}
	l.waivers = append(l.waivers, w)
	return nil
}

// tell says what there is to say of waivers.
func (s *settings) tell(env Env) {
	for _, note := range s.notes {
		env.note("%s", note)
	}
}
