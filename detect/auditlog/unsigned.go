package auditlog

import (
	"cmp"
	"slices"
	"strings"

	"ringfence.dev/ringfence/control"
)

// unsignedAnnotation ends the key under which Ringfence's bundles name the images that their control on signatures found fault with, and
// ourBundles begins it.
const (
	unsignedAnnotation = "-warn/" + control.UnsignedImages
	ourBundles         = "ringfence-"
)

// maxUnsigned is of how many images an event tells, and maxReference how long the reference of each may be.
const maxUnsigned, maxReference = 20, 1024

// Unsigned is an image of which no signature is known that counts, and the namespace in which somebody tried to run it.
type Unsigned struct{ Namespace, Reference string }

// UnsignedOf are the images that the control on signatures found fault with in the request of an event, each once; those cut short by
// the API server are left out. Whoever asked wrote the references: they prove nothing.
func UnsignedOf(e Event) (all []Unsigned) {
	if e.Stage != "ResponseComplete" || e.ObjectRef == nil || e.ObjectRef.Namespace == "" {
		return nil
	}
	for key, text := range e.Annotations {
		if !strings.HasPrefix(key, ourBundles) || !strings.HasSuffix(key, unsignedAnnotation) {
			continue
		}
		for line := range strings.Lines(text) {
			at := strings.LastIndex(line, " at /")
			if at < 0 || !strings.HasSuffix(strings.TrimSpace(line), "/image") && !strings.HasSuffix(strings.TrimSpace(line), "/reference") {
				continue
			}
			found := line[:at]
			reference := found[strings.LastIndexByte(found, ' ')+1:]
			if len(reference) <= maxReference && strings.Contains(reference, "@") {
				all = append(all, Unsigned{e.ObjectRef.Namespace, reference})
			}
		}
	}
	slices.SortFunc(all, func(a, b Unsigned) int { return cmp.Compare(a.Reference, b.Reference) })
	all = slices.Compact(all)
	return all[:min(len(all), maxUnsigned)]
}
