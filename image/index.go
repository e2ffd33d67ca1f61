package image

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"hash/maphash"
	"iter"
	"slices"
	"strings"
	"time"
)

// Index is what is known of all digests, a million of them in some 70 MB. It is immutable and safe for many goroutines. Nil is no facts
// at all, which is another thing than none about a digest.
type Index struct {
	entries []entry // of the digest that was scanned last first
	seed    maphash.Seed
	slots   []uint32            // a hash table of places in entries, each one higher; 0 is free
	texts   []string            // of notes and warnings, each once; the first is ""
	odd     map[uint32]string   // digests that are not sha256, by their place in entries
	signed  map[string][]Signed // by digest; few where few have a signature that was asked for
	rule    string              // the name of the rule under which; "" is the bank's own, which has what follows
	rules   map[string]*Index   // what is known under each other rule, by its name
}

// entry is an Admitted in 48 bytes.
type entry struct {
	key            [32]byte
	scanned, clean uint32 // seconds since 1970: 0 is refused, the largest number is never
	note, warn     uint32 // places in texts
}

// NewIndex makes an Index of scans and signatures. Of two scans of one digest under one rule the first counts; of two that say something of its signature
// under one rule that which counts longest, so that it does not matter who wrote first, a pipeline or the control plane.
func NewIndex(all []Admitted, signed ...Signed) *Index {
	signed = Longest(signed)
	named := map[string][]Admitted{}
	own := all
	if first := slices.IndexFunc(all, func(a Admitted) bool { return a.Rule != "" }); first >= 0 {
		own = slices.Clone(all[:first])
		for _, a := range all[first:] {
			if a.Rule == "" {
				own = append(own, a)
			} else if len(named) < maxRules || named[a.Rule] != nil {
				named[a.Rule] = append(named[a.Rule], a)
			}
		}
	}
	x := newIndex("", own, signed)
	for rule, all := range named {
		x.rules[rule] = newIndex(rule, all, signed)
	}
	return x
}

// maxRules is under how many names an index knows anything: five times what a Platform may have. What is said under more counts for nothing.
const maxRules = 100

// newIndex is of what is known under one rule.
func newIndex(rule string, all []Admitted, signed []Signed) *Index {
	x := &Index{rule: rule, entries: make([]entry, 0, len(all)), texts: []string{""}, odd: map[uint32]string{}, seed: maphash.MakeSeed(), signed: map[string][]Signed{},
		rules: map[string]*Index{}}
	all = slices.Clip(all) // what is appended must not be written behind the caller's
	for _, s := range signed {
		if len(x.signed[s.Digest]) == 0 {
			all = append(all, Admitted{Digest: s.Digest})
		}
		x.signed[s.Digest] = append(x.signed[s.Digest], s)
	}
	texts, odd, seen := map[string]uint32{"": 0}, map[[32]byte]string{}, make(map[[32]byte]bool, len(all))
	text := func(s string) uint32 {
		at, known := texts[s]
		if !known {
			at = uint32(len(x.texts))
			x.texts, texts[s] = append(x.texts, s), at
		}
		return at
	}
	for _, a := range all {
		key, usual := keyOf(a.Digest)
		if seen[key] {
			continue
		}
		if seen[key] = true; !usual {
			odd[key] = a.Digest
		}
		x.entries = append(x.entries, entry{key, seconds(a.ScannedUntil), seconds(a.CleanUntil), text(a.Note), text(a.Warn)})
	}
	slices.SortFunc(x.entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(b.scanned, a.scanned), slices.Compare(a.key[:], b.key[:]))
	})
	size := 16
	for size < len(x.entries)+len(x.entries)/2 {
		size *= 2
	}
	x.slots = make([]uint32, size)
	for i, e := range x.entries {
		at := x.first(e.key)
		for x.slots[at] != 0 {
			at = (at + 1) % len(x.slots)
		}
		if x.slots[at] = uint32(i + 1); odd[e.key] != "" {
			x.odd[uint32(i)] = odd[e.key]
		}
	}
	return x
}

// keyOf is what an index finds a digest by, and whether it is the digest itself.
func keyOf(digest string) (key [32]byte, usual bool) {
	if digits, ok := strings.CutPrefix(digest, "sha256:"); ok && len(digits) == 64 && strings.ToLower(digits) == digits {
		if n, err := hex.Decode(key[:], []byte(digits)); err == nil && n == len(key) {
			return key, true
		}
	}
	return sha256.Sum256([]byte(digest)), false
}

// first is where to look for a key first. A report may name digests that nobody hashed, so they are hashed here.
func (x *Index) first(key [32]byte) int {
	return int(maphash.Bytes(x.seed, key[:]) & uint64(len(x.slots)-1))
}

// Under is what is known under the rule of a name, nil where nothing is; "" is the bank's own.
func (x *Index) Under(rule string) *Index {
	if x == nil || rule == "" {
		return x
	}
	return x.rules[rule]
}

// Find is what is known of a digest, and whether anything is.
func (x *Index) Find(digest string) (Admitted, bool) {
	if x == nil {
		return Admitted{}, false
	}
	key, _ := keyOf(digest)
	for at := x.first(key); x.slots[at] != 0; at = (at + 1) % len(x.slots) {
		if i := x.slots[at] - 1; x.entries[i].key == key {
			return x.admitted(i), true
		}
	}
	return Admitted{Digest: digest}, false
}

// Signed is what is known of the signatures of a digest, in the order of the rules' IDs.
func (x *Index) Signed(digest string) []Signed {
	if x == nil {
		return nil
	}
	return x.signed[digest]
}

// Len is of how many digests something is known.
func (x *Index) Len() int {
	if x == nil {
		return 0
	}
	return len(x.entries)
}

// All is what is known, of the digest that was scanned last first.
func (x *Index) All() iter.Seq[Admitted] {
	return func(yield func(Admitted) bool) {
		for i := range x.Len() {
			if !yield(x.admitted(uint32(i))) {
				return
			}
		}
	}
}

func (x *Index) admitted(i uint32) Admitted {
	e := &x.entries[i]
	digest, odd := x.odd[i]
	if !odd {
		digest = "sha256:" + hex.EncodeToString(e.key[:])
	}
	return Admitted{Digest: digest, Rule: x.rule, ScannedUntil: instant(e.scanned), CleanUntil: instant(e.clean), Note: x.texts[e.note], Warn: x.texts[e.warn]}
}

// forever stands for Never.
const forever = ^uint32(0)

// seconds is a time as an entry has it: rounded down, so that nothing lasts longer than was said.
func seconds(t time.Time) uint32 {
	switch s := t.Unix(); {
	case s <= 0:
		return 0
	case s >= int64(forever):
		return forever
	default:
		return uint32(s)
	}
}

func instant(seconds uint32) time.Time {
	switch seconds {
	case 0:
		return time.Time{}
	case forever:
		return Never()
	}
	return time.Unix(int64(seconds), 0).UTC()
}
