package builtin

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/version"

	"ringfence.dev/ringfence/schema/fault"
)

// removal is what became of a kind before the oldest server that is known.
type removal struct{ in, use string }

func (s *Set) readRemoved() error {
	s.removed = map[id]removal{}
	for line := range strings.Lines(removedText) {
		words := strings.Fields(line)
		if strings.HasPrefix(line, "#") || len(words) == 0 {
			continue
		}
		if len(words) != 4 {
			return errors.New("removed.txt: want an API version, a kind, a version and a replacement: " + line)
		}
		name := id{words[0], words[1]}
		s.removed[name], s.groups[name.group()] = removal{words[2], words[3]}, true
	}
	return nil
}

// notServed says why no server serves a kind of one of Kubernetes' groups.
func (s *Set) notServed(name id) fault.Fault {
	if gone, ok := s.removed[name]; ok {
		use := "use apiVersion: " + gone.use
		if gone.use == "-" {
			use = "remove it; the labels of Pod Security Admission on namespaces took its place"
		}
		return fault.Fault{Path: "/apiVersion", Message: fmt.Sprintf("%s of %s was removed in Kubernetes %s; %s", fault.Show(name.apiVersion, nil), name.kind, gone.in, use)}
	}
	if use := s.replacement(name, 0); use != "" {
		return fault.Fault{Path: "/apiVersion", Message: fmt.Sprintf("found %s; no server from %s serves %s in it; use apiVersion: %s",
			fault.Show(name.apiVersion, nil), s.Span(), name.kind, use)}
	}
	var same, others []string
	for known := range s.kinds {
		if strings.HasSuffix(known.kind, "List") {
			continue
		}
		if known.apiVersion == name.apiVersion {
			same = append(same, known.kind)
		} else {
			others = append(others, known.kind)
		}
	}
	slices.Sort(same)
	slices.Sort(others)
	hint := fault.DidYouMean(name.kind, same)
	if hint == "" {
		hint = fault.DidYouMean(name.kind, slices.Compact(others))
	}
	if hint == "" {
		hint = "; correct kind or apiVersion"
	}
	return fault.Fault{Path: "/kind", Message: fmt.Sprintf("found %s of %s; no server from %s serves such a kind%s",
		fault.Show(name.kind, nil), fault.Show(name.apiVersion, nil), s.Span(), hint)}
}

// notEverywhere says where a kind is not served, and what is served there instead.
func (s *Set) notEverywhere(name id, in, asked mask) fault.Fault {
	lacking := asked &^ in
	why := "Kubernetes " + s.say(lacking) + " does not serve it"
	if newest := bits.Len32(uint32(in)); lacking>>newest == asked>>newest && lacking>>newest != 0 {
		why = "it was removed in Kubernetes " + s.minor(newest)
	} else if oldest := bits.TrailingZeros32(uint32(in)); lacking>>oldest == 0 {
		why = "it is served from Kubernetes " + s.minor(oldest) + " on"
	}
	use := "remove the object for these servers"
	if better := s.replacement(name, lacking); better != "" {
		use = "use apiVersion: " + better
	}
	return fault.Fault{Path: "/apiVersion", Message: fmt.Sprintf("found %s of %s; %s; %s", fault.Show(name.apiVersion, nil), name.kind, why, use)}
}

// replacement is the best API version of a kind that all the servers in need serve: the same group before others, stable
// before beta, then the newest. It is "" where there is none.
func (s *Set) replacement(name id, need mask) string {
	best := ""
	better := func(candidate string) bool {
		if best == "" {
			return true
		}
		a, b := id{apiVersion: candidate}, id{apiVersion: best}
		if own, its := a.group() == name.group(), b.group() == name.group(); own != its {
			return own
		}
		if c := version.CompareKubeAwareVersionStrings(last(candidate), last(best)); c != 0 {
			return c > 0
		}
		return candidate < best
	}
	for known, k := range s.kinds {
		if known.kind == name.kind && known.apiVersion != name.apiVersion && need&^k.in == 0 && better(known.apiVersion) {
			best = known.apiVersion
		}
	}
	return best
}

func last(apiVersion string) string { return apiVersion[strings.LastIndexByte(apiVersion, '/')+1:] }
