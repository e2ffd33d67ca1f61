package evidence

import (
	"bytes"
	"cmp"
	_ "embed" // the page's template
	"html/template"
	"slices"
	"strings"
	"unicode"
)

const (
	// maxRows is how many entries the page lists, and maxNames how many namespaces or controls it counts apart.
	maxRows, maxNames = 1000, 500
	// maxPageGaps is how many gaps the page lists.
	maxPageGaps = 1000
)

// pageText is the page of Format: a verifier makes it again, so a change of it is a change of the format.
//
//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// page collects what the manifest and the readable page say. Its memory is bounded.
type page struct {
	filter            Filter
	gaps              Gaps
	entries, matching uint64
	counts            map[string]map[string]uint64
	rows              []row
}

// row is one entry on the page.
type row struct {
	Index                                  uint64
	Time, Kind, About, Controls, Actor, ID string
}

// pageGap is one gap on the page.
type pageGap struct {
	Since, Until, What string
	Entry              uint64
}

// count is one table of counts.
type count struct {
	By   string
	Rows []named
}

type named struct {
	Name string
	N    uint64
}

func newPage(f Filter) *page {
	return &page{filter: f, gaps: Gaps{Filter: f}, counts: map[string]map[string]uint64{"kind": {}, "namespace": {}, "control": {}}}
}

// add takes an entry that is in the bundle.
func (p *page) add(i Item) {
	p.entries++
	p.gaps.Add(i)
	if p.filter.Wants(i) {
		p.matching++
		p.count("kind", i.Kind)
		if ns := i.Where().Namespace; ns != "" {
			p.count("namespace", ns)
		}
		for _, id := range i.Controls() {
			p.count("control", id)
		}
	}
	if len(p.rows) < maxRows {
		p.rows = append(p.rows, row{i.Index, stamp(i.Time), i.Kind, plain(i.Summary()), plain(strings.Join(i.Controls(), " ")), plain(i.About.Actor.Ref), i.ID})
	}
}

func (p *page) count(by, name string) {
	names := p.counts[by]
	name = plain(name)
	if _, known := names[name]; !known && len(names) >= maxNames {
		name = "others"
	}
	names[name]++
}

// plain shortens text and replaces what turns or hides it; markup is escaped by the template.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, cut(s))
}

// Summary is what happened, in some words. It may hold any characters.
func (i Item) Summary() string {
	a, what := i.About, ""
	switch {
	case i.Unreadable:
		return "cannot be read"
	case i.Is("check-run"):
		return i.Run.String()
	case isGap(i):
		return strings.TrimSpace("unknown: " + a.Producer + a.Object.String() + " " + a.Why + a.What)
	case i.Is("posture"):
		return "what is enforced where (" + a.Why + ")"
	case i.Is("quarantine"):
		what = "quarantine " + a.What + " "
	case i.Is("elevation"):
		what = "elevation " + a.What + " "
	case !i.Is("native-refusal") && !i.Is("admission-decision"):
	case a.Refused:
		what = "refused "
	default:
		what = "let through "
	}
	if a.DryRun {
		what = "dry run " + what
	}
	return strings.TrimSpace(what + strings.TrimSpace(a.Operation+" "+strings.TrimSpace(i.Where().String())))
}

// manifest is what the bundle says of itself.
func (p *page) manifest(origin string, size uint64) Manifest {
	gaps := p.gaps.List()
	if gaps == nil {
		gaps = []Gap{}
	}
	return Manifest{Format: Format, Origin: origin, Size: size, Filter: p.filter.manifest(), Entries: p.entries, Matching: p.matching,
		Gaps: gaps, MoreGaps: p.gaps.More}
}

// html is the readable page.
func (p *page) html(m Manifest) []byte {
	var gaps []pageGap
	for _, g := range m.Gaps[:min(len(m.Gaps), maxPageGaps)] {
		until := "no end recorded"
		if !g.Until.IsZero() {
			until = stamp(g.Until)
		}
		gaps = append(gaps, pageGap{stamp(g.Since), until, plain(g.What), g.Entry})
	}
	var counts []count
	for _, by := range []string{"kind", "namespace", "control"} {
		c := count{By: by}
		for name, n := range p.counts[by] {
			c.Rows = append(c.Rows, named{name, n})
		}
		slices.SortFunc(c.Rows, func(a, b named) int { return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Name, b.Name)) })
		if len(c.Rows) > 0 {
			counts = append(counts, c)
		}
	}
	var out bytes.Buffer
	_ = pageTemplate.Execute(&out, map[string]any{ // into memory, of plain values
		"M": m, "Gaps": gaps, "MoreGaps": uint64(len(m.Gaps)-len(gaps)) + m.MoreGaps, "Counts": counts, "Rows": p.rows, "Cut": p.entries - uint64(len(p.rows)),
	})
	return out.Bytes()
}
