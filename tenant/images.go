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
	// Facts are what is known of digests now. Nil: nothing can be read at the moment, and what Was says holds on.
	Facts *image.Index
	// Was is what the Guard says already, nil where it says nothing: it remembers what ran here.
	Was *v1alpha1.GuardImages
	// Runs are the digests of the Pods that are there, in any order.
	Runs []string
	// Grace is how long after its refusal what ran here may be scheduled again.
	Grace time.Duration
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
// what admits it and Grace. So nobody need be there when it ends. Where it is refused earlier than was known, or was never
// admitted, Grace counts from the first time that this is seen, and is remembered in the Guard.
func AddImages(spec *v1alpha1.GuardSpec, in Images) {
	if in.Facts == nil && in.Was == nil {
		return
	}
	was := in.Was
	if was == nil {
		was = &v1alpha1.GuardImages{}
	}
	facts := in.Facts
	if facts == nil {
		facts = factsOf(was)
	}
	running := map[string]bool{}
	for _, digest := range in.Runs {
		running[digest] = true
	}
	out := &v1alpha1.GuardImages{}
	room := maxImageBytes - egressBytes(*spec)
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
		e := guardImage(a)
		if e.RunsUntil = again(a, was.Admitted[digest].RunsUntil, running[digest], in); !known && e.RunsUntil == "" {
			continue
		}
		if add(digest, e); !known {
			all++
		}
	}
	for a := range facts.All() { // of a million, most are behind the last that fits
		if !ran[a.Digest] && !add(a.Digest, guardImage(a)) {
			break
		}
	}
	out.LeftOut = int32(all - len(out.Admitted))
	if in.Facts == nil {
		out.LeftOut += was.LeftOut
	}
	spec.Images = out
}

// imageBytes is how many bytes a digest takes in a Guard as JSON, at most: some 150 where there is no more to say of it.
func imageBytes(digest string, e v1alpha1.GuardImage) int {
	size := len(digest) + len(`"":{"scannedUntil":"","cleanUntil":""},`) + len(e.ScannedUntil) + len(e.CleanUntil)
	for field, text := range map[string]string{"runsUntil": string(e.RunsUntil), "note": e.Note, "warn": e.Warn} {
		if text != "" {
			size += len(field) + len(`,"":""`) + len(text) + 5*strings.Count(text, `"`)
		}
	}
	return size
}

// again is until when Pods of a digest that runs or ran here may be made again; "" for not at all.
func again(a image.Admitted, was v1alpha1.Instant, running bool, in Images) v1alpha1.Instant {
	if in.Grace <= 0 {
		return ""
	}
	now := in.Now.UTC().Truncate(time.Second)
	if end := a.Until(); !now.After(end) {
		return second(end.Add(in.Grace))
	}
	latest := second(now.Add(in.Grace))
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
	images := Images{Facts: in.Images, Runs: runs, Now: in.Now, Grace: rescheduleGrace(in.Platform)}
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

// guardImage is what is known of a digest as a Guard carries it.
func guardImage(a image.Admitted) v1alpha1.GuardImage {
	return v1alpha1.GuardImage{ScannedUntil: second(a.ScannedUntil), CleanUntil: second(a.CleanUntil), Note: image.Brief(a.Note), Warn: image.Brief(a.Warn)}
}

// factsOf are the facts that a Guard was made of.
func factsOf(was *v1alpha1.GuardImages) *image.Index {
	all := make([]image.Admitted, 0, len(was.Admitted))
	for digest, e := range was.Admitted {
		if e.ScannedUntil == "" && e.CleanUntil == "" && e.Note == "" {
			continue // it only ran here
		}
		all = append(all, image.Admitted{Digest: digest, ScannedUntil: instantOf(e.ScannedUntil), CleanUntil: instantOf(e.CleanUntil), Note: e.Note, Warn: e.Warn})
	}
	return image.NewIndex(all)
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
