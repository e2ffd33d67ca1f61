package scan

import (
	"cmp"
	"slices"
	"strings"
	"time"
	"unique"

	"ringfence.dev/ringfence/cluster"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
)

// object is what is held of one.
type object struct {
	ref
	apiVersion string
	// told is the apiVersion under which its findings were told of, and close; "" where none stands.
	told string
	// self and makers tell what was made of what.
	self   cluster.Identity
	makers []cluster.Identity
	// packed is what rules read; nil of an object that is only known of from before.
	packed []byte
	sum    [16]byte
	stands []standing
	run    uint64 // the list that had it last
	waits  bool   // to be judged
	// hurried says that it stands in the urgent queue.
	hurried bool
	// early says that it was seen before the one that it says made it, and waits for that.
	early bool
	since time.Time // since when it waits
	first time.Time // when it was first seen
	// changed says that it changed since it was judged, seen that this process judged it, unjudged that it could not be.
	changed, seen, unjudged, gone bool
}

// standing is a finding that stands: equal texts are held once.
type standing struct {
	at    unique.Handle[place]
	is    unique.Handle[details]
	since int64 // nanoseconds since 1970
}

// place is what tells the findings of an object apart.
type place struct{ control, path string }

// details are what may change of a finding while it stands.
type details struct {
	outcome         finding.Outcome
	action          finding.Action
	value           string
	waiver, expires string
}

func newStanding(id, path string, d details, since time.Time) standing {
	return standing{unique.Make(place{strings.Clone(id), strings.Clone(path)}), unique.Make(d), since.UnixNano()}
}

// group is the API group of an apiVersion.
func group(apiVersion string) string {
	before, _, grouped := strings.Cut(apiVersion, "/")
	if !grouped {
		return ""
	}
	return before
}

// queue is what waits, the first first. An object may stand in it that no longer waits.
type queue []*object

// head drops what no longer waits and is the first that does, nil for none.
func (q *queue) head() *object {
	for len(*q) > 0 && !(*q)[0].waits {
		(*q)[0] = nil
		*q = (*q)[1:]
	}
	if len(*q) == 0 {
		*q = nil // what was used is freed
		return nil
	}
	return (*q)[0]
}

// object is that of a name, made where it is new. s.mu is held, or nobody knows s yet.
func (s *Scan) object(r ref) *object {
	o := s.objects[r]
	if o == nil {
		o = &object{ref: r, first: s.cfg.Now()}
		s.objects[r] = o
		in := s.space(r.namespace)
		in.objects[r] = o
	}
	return o
}

// space is a namespace's. s.mu is held, or nobody knows s yet.
func (s *Scan) space(namespace string) *space {
	in := s.spaces[namespace]
	if in == nil {
		in = &space{objects: map[ref]*object{}}
		s.spaces[namespace] = in
	}
	return in
}

// subject names an object as it is. s.mu is held.
func (s *Scan) subject(o *object) finding.Subject {
	return finding.Subject{APIVersion: o.apiVersion, Kind: s.kinds[o.kind].Kind.Kind, Namespace: o.namespace, Name: o.name}
}

// named is an object as its findings name it: a cluster that serves its kind at another version now holds the same object. s.mu is held.
func (s *Scan) named(o *object) finding.Subject {
	subject := s.subject(o)
	subject.APIVersion = cmp.Or(o.told, o.apiVersion)
	return subject
}

// set takes an object as it is now.
func (s *Scan) set(k int, value map[string]any) error {
	if cluster.OfKubernetes(value) {
		return nil
	}
	meta, _ := value["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	namespace, _ := meta["namespace"].(string)
	if name == "" {
		return nil
	}
	var self cluster.Identity
	var makers []cluster.Identity
	if s.kinds[k].workload {
		self, makers = cluster.Makers(value)
	}
	s.packing.Lock()
	packed, sum, err := s.packer.Pack(value)
	s.packing.Unlock()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.object(ref{k, strings.Clone(namespace), strings.Clone(name)})
	o.run = s.kinds[k].run
	if o.packed != nil && o.sum == sum {
		return nil
	}
	if o.self != self {
		s.orphan(o)
	}
	if o.self, o.makers = self, makers; self != (cluster.Identity{}) {
		s.makers[self] = true
	}
	apiVersion, _ := value["apiVersion"].(string)
	o.apiVersion, o.packed, o.sum, o.changed = s.kinds[k].version(apiVersion), packed, sum, true
	s.enqueue(&s.urgent, o)
	return nil
}

// version is an apiVersion that is held once for all objects of the kind. s.mu is held.
func (k *kind) version(found string) string {
	if k.served != nil && k.served.APIVersion() == found {
		return k.served.APIVersion()
	}
	return strings.Clone(found)
}

// enqueue has an object judged. s.mu is held.
func (s *Scan) enqueue(q *queue, o *object) {
	hurry := q == &s.urgent
	if o.packed == nil || o.gone || o.waits && (o.hurried || !hurry) {
		return
	}
	if !o.waits {
		o.since = s.cfg.Now()
	}
	o.waits, o.hurried = true, hurry
	*q = append(*q, o)
	nudge(s.wake)
}

// orphan forgets that an object makes others, and has these judged. s.mu is held.
func (s *Scan) orphan(o *object) {
	if o.self == (cluster.Identity{}) {
		return
	}
	delete(s.makers, o.self)
	for _, child := range s.space(o.namespace).objects {
		if slices.Contains(child.makers, o.self) {
			s.enqueue(&s.slow, child)
		}
	}
}

// remove closes what stood of an object that is no more.
func (s *Scan) remove(r ref, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.objects[r]
	if o == nil {
		return
	}
	delete(s.objects, r)
	in := s.space(r.namespace)
	delete(in.objects, r)
	if len(in.objects) == 0 {
		delete(s.spaces, r.namespace)
	}
	o.gone, o.waits, o.early, o.packed = true, false, false, nil
	s.orphan(o)
	for _, f := range o.stands {
		s.closed(o, f, why)
	}
	o.stands = nil
}

// closed tells that a finding is no more. s.mu is held.
func (s *Scan) closed(o *object, f standing, why string) {
	at, is := f.at.Value(), f.is.Value()
	s.say(o, record.ScanChange{What: "closed", Control: at.control, Path: at.path, Outcome: is.outcome, Action: is.action, Value: is.value, Why: why})
}
