package image

import (
	"strings"
	"time"
)

// Known is what an Index keeps of a digest, in seconds since 1970; 0 where it is refused now.
type Known struct {
	ScannedUntil, CleanUntil uint32 // the first second at which each no longer holds; the largest number: nothing ends it
}

// Forever is what Known says where the clock ends nothing.
const Forever = ^uint32(0)

// Know is what an Index keeps of a verdict.
func Know(v Verdict) Known {
	return Known{ScannedUntil: end(v.Scan), CleanUntil: end(v.Vulnerabilities)}
}

// end is how long reasons refuse nothing. A reason that warns until a time refuses from then on.
func end(reasons []Reason) uint32 {
	if o := worst(reasons); o != Allow && o != Warn {
		return 0
	}
	first := Forever
	for _, r := range reasons {
		if !r.Until.IsZero() {
			first = min(first, seconds(r.Until))
		}
	}
	return first
}

func seconds(t time.Time) uint32 {
	if s := t.Unix(); s > 0 && s < int64(Forever) {
		return uint32(s)
	}
	return 0
}

// Index answers for a million digests without a store. Its zero value is not to be used; NewIndex makes one.
// It is read by many at once and never changed: who learns something makes a new one.
type Index struct {
	known map[[32]byte]Known
}

// NewIndex is an index of what was judged, one entry for each digest of each image. Later entries win.
func NewIndex(size int, entries func(yield func(digest string, k Known) bool)) *Index {
	x := &Index{known: make(map[[32]byte]Known, size)}
	for digest, k := range entries {
		if key, ok := parseDigest(digest); ok {
			x.known[key] = k
		}
	}
	return x
}

// Find is what is known of a digest such as sha256:<64 hex>.
func (x *Index) Find(digest string) (Known, bool) {
	key, ok := parseDigest(digest)
	if !ok {
		return Known{}, false
	}
	k, found := x.known[key]
	return k, found
}

// parseDigest is the bytes of a digest. Upper case is another spelling, which no runtime takes.
func parseDigest(digest string) (key [32]byte, ok bool) {
	text, found := strings.CutPrefix(digest, "sha256:")
	if !found || len(text) != 64 {
		return key, false
	}
	for i := range key {
		high, low := nibble(text[2*i]), nibble(text[2*i+1])
		if high > 15 || low > 15 {
			return key, false
		}
		key[i] = high<<4 | low
	}
	return key, true
}

func nibble(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}
