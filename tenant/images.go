package tenant

import (
	"maps"
	"slices"
	"strings"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/image"
)

// Images is what AddImages makes a Guard's images of.
type Images struct {
	// Facts are what is known of digests now, by whichever rule. Nil: nothing can be read at the moment, and what Was says holds on.
	Facts *image.Index
	// Rule is the rule for the namespace. Where no digest was judged by it yet, what Was says holds on; where it says nothing, none is known.
	Rule image.Rule
	// Was is what the Guard says already, nil where it says nothing: it remembers what ran here.
	Was *v1alpha1.GuardImages
	// Runs are the digests of the Pods that are there, in any order.
	Runs []string
	// Trust are the rules about signatures for the namespace.
	Trust []image.Trust
	Now   time.Time
}

// maxImageBytes keeps a Guard under 1 MB together with its egress, and maxImages is what its schema allows.
const (
	maxImageBytes = maxEgressBytes
	maxImages     = 10_000
)

// AddImages writes into a Guard what is known of image digests: first those that run in the namespace or did, then those
// scanned last, as many as there is room for beside the egress. It is pure; with neither Facts nor Was it writes nothing.
//
// Of a digest that runs here the Guard says beforehand until when its Pods may be made again after it is refused: the end of
// what admits it and the grace of the rule. So nobody need be there when it ends. Where it is refused earlier than was known, or was never
// admitted, the grace counts from the first time that this is seen, and is remembered in the Guard.
func AddImages(spec *v1alpha1.GuardSpec, in Images) {
	if in.Facts == nil && in.Was == nil {
		return
	}
	was := in.Was
	if was == nil {
		was = &v1alpha1.GuardImages{}
	}
	facts, rule, kept := in.byRule()
	running := map[string]bool{}
	for _, digest := range in.Runs {
		running[digest] = true
	}
	out := &v1alpha1.GuardImages{Rule: rule, Trust: guardTrust(in.Trust)}
	room := maxImageBytes - egressBytes(*spec) - trustBytes(out.Trust)
	add := func(digest string, e v1alpha1.GuardImage) (fits bool) {
		if room -= imageBytes(digest, e); room < 0 || len(out.Admitted) >= maxImages {
			return false
		}
		if out.Admitted == nil {
			out.Admitted = map[string]v1alpha1.GuardImage{}
		}
		out.Admitted[digest] = e
		return true
	}
	ran := maps.Clone(running)
	for digest, e := range was.Admitted {
		if e.RunsUntil != "" {
			ran[digest] = true
		}
	}
	all := facts.Len()
	for _, digest := range slices.Sorted(maps.Keys(ran)) {
		a, known := facts.Find(digest)
		e := guardImage(a, facts, out.Trust)
		if e.RunsUntil = again(admittedUntil(a, e, out.Trust), was.Admitted[digest].RunsUntil, running[digest], in); !known && e.RunsUntil == "" {
			continue
		}
		if add(digest, e); !known {
			all++
		}
	}
	for a := range facts.All() { // of a million, most are behind the last that fits
		if !ran[a.Digest] && !add(a.Digest, guardImage(a, facts, out.Trust)) {
			break
		}
	}
	out.LeftOut = int32(all - len(out.Admitted))
	if kept {
		out.LeftOut += was.LeftOut
	}
	spec.Images = out
}

// byRule are the facts by the rule for the namespace, its name, and whether they are those that the Guard has already.
func (in Images) byRule() (facts *image.Index, rule string, kept bool) {
	switch facts = in.Facts.Under(in.Rule.Name); {
	case facts != nil:
		return facts, in.Rule.Name, false
	case in.Was != nil:
		return factsOf(in.Was), in.Was.Rule, true
	}
	return image.NewIndex(nil), in.Rule.Name, false
}

// imageBytes is how many bytes a digest takes in a Guard as JSON, at most: some 150 where there is no more to say of it.
func imageBytes(digest string, e v1alpha1.GuardImage) int {
	size := len(digest) + len(`"":{"scannedUntil":"","cleanUntil":""},`) + len(e.ScannedUntil) + len(e.CleanUntil)
	for id, until := range e.Signed {
		size += len(`,"signed":{}`) + len(id) + len(until) + len(`"":"",`)
	}
	for field, text := range map[string]string{"runsUntil": string(e.RunsUntil), "note": e.Note, "warn": e.Warn} {
		if text != "" {
			size += len(field) + len(`,"":""`) + len(text) + 5*strings.Count(text, `"`)
		}
	}
	return size
}

// admittedUntil is the last second at which a digest is admitted; zero where it is refused. Under which rule it was let in its digest
// does not say, so the rule that it meets longest counts.
func admittedUntil(a image.Admitted, e v1alpha1.GuardImage, trust []v1alpha1.GuardTrust) time.Time {
	end := a.Until()
	if len(trust) == 0 {
		return end
	}
	var longest time.Time
	for _, t := range trust {
		signed := instantOf(e.Signed[t.ID])
		if t.AdmitUnknown && e.Signed[t.ID] != v1alpha1.Unsigned {
			signed = image.Never()
		}
		if e.Signed[t.ID] != v1alpha1.Unsigned && signed.After(longest) {
			longest = signed
		}
	}
	if longest.Before(end) {
		return longest
	}
	return end
}

// again is until when Pods of a digest that runs or ran here may be made again, of the last second at which it is admitted; "" for not
// at all.
func again(end time.Time, was v1alpha1.Instant, running bool, in Images) v1alpha1.Instant {
	if in.Rule.RescheduleGrace <= 0 {
		return ""
	}
	now := in.Now.UTC().Truncate(time.Second)
	if !now.After(end) {
		return second(end.Add(in.Rule.RescheduleGrace))
	}
	latest := second(now.Add(in.Rule.RescheduleGrace))
	switch {
	case was == "":
		return latest
	case !running && was < second(now):
		return "" // it is over, and nothing is left of it
	}
	return min(was, latest)
}

// addImages writes into the Guard of a namespace what is known of images, where they are judged by facts, and says how many
// digests have no room.
func (in Input) addImages(spec *v1alpha1.GuardSpec, live *v1alpha1.Guard, runs []string) (left int32) {
	if !in.Gated {
		return 0
	}
	owner := Owner{spec.Tenant, spec.Environment, spec.Production}
	images := Images{Facts: in.Images, Runs: runs, Now: in.Now, Rule: ImageRuleOf(in.Platform, owner),
		Trust: TrustOf(in.Platform, owner)}
	if live != nil {
		images.Was = live.Spec.Images
	}
	if AddImages(spec, images); spec.Images == nil {
		return 0
	}
	return spec.Images.LeftOut
}

// DefaultRescheduleGrace is a Platform's where it names none: the week that its schema fills in.
const DefaultRescheduleGrace = 168 * time.Hour

// rescheduleGrace is a Platform's, which may be nil.
func rescheduleGrace(p *v1alpha1.Platform) time.Duration {
	if p == nil || p.Spec.Images.RescheduleGrace == nil {
		return DefaultRescheduleGrace
	}
	return p.Spec.Images.RescheduleGrace.Duration
}

// guardImage is what is known of a digest as a Guard carries it: of signatures what concerns its rules.
func guardImage(a image.Admitted, facts *image.Index, trust []v1alpha1.GuardTrust) v1alpha1.GuardImage {
	e := v1alpha1.GuardImage{ScannedUntil: second(a.ScannedUntil), CleanUntil: second(a.CleanUntil), Note: image.Brief(a.Note), Warn: image.Brief(a.Warn)}
	for _, s := range facts.Signed(a.Digest) {
		if !slices.ContainsFunc(trust, func(t v1alpha1.GuardTrust) bool { return t.ID == s.Trust }) {
			continue
		}
		if e.Signed == nil {
			e.Signed = map[string]v1alpha1.Instant{}
		}
		if e.Signed[s.Trust] = second(s.Until); s.Until.IsZero() {
			e.Signed[s.Trust] = v1alpha1.Unsigned
		}
	}
	return e
}

// trustBytes is how many bytes rules take in a Guard as JSON, at most.
func trustBytes(rules []v1alpha1.GuardTrust) (n int) {
	for _, r := range rules {
		n += len(`{"id":"","prefixes":[],"admitUnknown":true},`) + len(r.ID)
		for _, p := range r.Prefixes {
			n += len(p) + len(`"",`)
		}
	}
	return n
}

// guardTrust are rules about signatures as a Guard carries them.
func guardTrust(rules []image.Trust) (all []v1alpha1.GuardTrust) {
	for _, r := range rules {
		all = append(all, v1alpha1.GuardTrust{ID: r.ID(), Prefixes: r.Prefixes(), AdmitUnknown: r.AdmitUnknown})
	}
	return all
}

// factsOf are the facts that a Guard was made of.
func factsOf(was *v1alpha1.GuardImages) *image.Index {
	all := make([]image.Admitted, 0, len(was.Admitted))
	var signed []image.Signed
	for digest, e := range was.Admitted {
		for id, until := range e.Signed {
			s := image.Signed{Digest: digest, Trust: id}
			if until != v1alpha1.Unsigned {
				s.Until = instantOf(until)
			}
			signed = append(signed, s)
		}
		if e.ScannedUntil == "" && e.CleanUntil == "" && e.Note == "" {
			continue // it only ran here
		}
		all = append(all, image.Admitted{Digest: digest, ScannedUntil: instantOf(e.ScannedUntil), CleanUntil: instantOf(e.CleanUntil), Note: e.Note, Warn: e.Warn})
	}
	return image.NewIndex(all, signed...)
}

// second writes a time as Guards carry those of images; "" for the zero time, and for one before it.
func second(t time.Time) v1alpha1.Instant {
	switch t = t.UTC(); {
	case t.IsZero() || t.Year() < 1:
		return ""
	case t.After(image.Never()):
		t = image.Never()
	}
	return v1alpha1.Instant(t.Format(time.RFC3339))
}

// instantOf reads what second wrote; what cannot be read is the zero time, which refuses.
func instantOf(s v1alpha1.Instant) time.Time {
	t, err := time.Parse(time.RFC3339, string(s))
	if err != nil {
		return time.Time{}
	}
	return t
}
