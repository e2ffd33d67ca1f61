package image

import (
	"slices"
	"strings"
)

// Merge makes one record of all that share a digest, so that the digest of an index, of a platform and of a config of one image lead to the
// same. What names no digest stays alone. A report that came twice counts once. The result is in the order of first digests.
//
// An index of several platforms joins them: what was found in one counts for all, and so does that one was scanned. Each scan keeps the digests
// of its own report, so that a later one of another platform does not take its place.
func Merge(all []Facts) []Facts {
	owner := map[string]int{} // digest to the place in merged
	var merged []Facts
	for _, f := range all {
		f.Scans = slices.Clone(f.Scans)
		of := slices.Compact(slices.Sorted(slices.Values(f.Digests)))
		for i, s := range f.Scans {
			if s.Of == nil {
				f.Scans[i].Of = of
			}
		}
		at := -1
		for _, d := range f.Digests {
			i, seen := owner[d]
			switch {
			case !seen || i == at:
			case at < 0:
				at = i
			default: // f joins two records that were apart
				merged[at] = merged[at].with(merged[i])
				for _, moved := range merged[i].Digests {
					owner[moved] = at
				}
				merged[i] = Facts{}
			}
		}
		if at < 0 {
			at = len(merged)
			merged = append(merged, Facts{})
		}
		merged[at] = merged[at].with(f)
		for _, d := range f.Digests {
			owner[d] = at
		}
	}
	merged = slices.DeleteFunc(merged, func(f Facts) bool { return len(f.Digests)+len(f.Repositories)+len(f.Scans)+len(f.Components) == 0 })
	slices.SortStableFunc(merged, func(a, b Facts) int { return slices.Compare(a.Digests, b.Digests) })
	return merged
}

// with is what two records of one image say together.
func (f Facts) with(g Facts) Facts {
	join := func(a, b []string) []string {
		all := slices.Concat(a, b)
		slices.Sort(all)
		return slices.Compact(all)
	}
	scans := slices.Clone(f.Scans)
	for _, s := range g.Scans {
		i := slices.IndexFunc(scans, func(o Scan) bool {
			return o.Scanner == s.Scanner && o.At.Equal(s.At) && !apart(o.Of, s.Of) && slices.EqualFunc(o.Vulnerabilities, s.Vulnerabilities, same)
		})
		switch {
		case i < 0:
			scans = append(scans, s)
		case len(scans[i].Of) < len(s.Of):
			scans[i].Of = s.Of
		}
	}
	components := f.Components
	if len(components) == 0 {
		components = g.Components
	}
	return Facts{Digests: join(f.Digests, g.Digests), Repositories: join(f.Repositories, g.Repositories), Scans: scans, Components: components, Built: f.Built.with(g.Built)}
}

func same(a, b Vulnerability) bool {
	return a.ID == b.ID && a.Package == b.Package && a.Version == b.Version && a.Severity == b.Severity && a.FixedIn == b.FixedIn && a.Scale == b.Scale &&
		a.Published.Equal(b.Published) && a.Found.Equal(b.Found) && a.PublishedBy == b.PublishedBy && a.Exploited == b.Exploited && a.NotAffected == b.NotAffected && slices.Equal(a.Aliases, b.Aliases)
}

// apart tells of the digests of two reports, each in order, whether they are of two platforms: each names one that the other does not.
func apart(a, b []string) bool {
	var first, second bool
	for len(a) > 0 && len(b) > 0 && !(first && second) {
		switch c := strings.Compare(a[0], b[0]); {
		case c < 0:
			a, first = a[1:], true
		case c > 0:
			b, second = b[1:], true
		default:
			a, b = a[1:], b[1:]
		}
	}
	return (first || len(a) > 0) && (second || len(b) > 0)
}
