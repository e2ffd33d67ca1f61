// Package intake decides whether an image of outside may come into the bank's registry, as far as no person must: who scanned it, what they
// found, who signed it, what is in it.
//
// It is a pure function of what others saw and asks nobody. What it refuses stays outside; what it finds and does not refuse another
// person reads and approves. The command line calls it.
package intake

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/image/content"
)

// MaxFindings is how many findings a person is asked to read at most.
const MaxFindings = 200

// Case is what is known of an image that is to be taken in.
type Case struct {
	// Digest is the image's, Platforms what can run of it.
	Digest    string
	Platforms []Platform
	// Reports are what scanners say, each report by itself; SBOMs are bills of materials.
	Reports, SBOMs []image.Facts
	// Rule and Known are as for admission.
	Rule  image.Rule
	Known image.Advisories
	// Scanners are those that must have scanned it; none are those of the rule. Quorum is how many of them; zero is each.
	Scanners []string
	Quorum   int
	Now      time.Time
	// Signers are those upstream whose signatures count. Unsigned says that the requester accepts that there are none.
	Signers  []string
	Unsigned bool
	// Accepted are secrets that the requester says are none, as RULE:PATH.
	Accepted []string
	// Moves is the digest that the destination's tag means now, where it is another one.
	Moves string
}

// Platform is one image that can run.
type Platform struct {
	Name, Manifest, Config string
	Content                content.Content
}

// Outcome is what follows. Without Refused it may be taken in once another person approves the Findings.
type Outcome struct {
	// Checked is what was looked at, Findings what a person must accept, Refused why it stays outside; one line each.
	Checked, Findings, Refused []string
}

// Decide decides.
func Decide(c Case) (o Outcome) {
	switch {
	case len(c.Signers) > 0:
		o.checked("signed upstream by %s", shown(c.Signers))
	case c.Unsigned:
		o.found("nobody whom the bank trusts signed it upstream")
	default:
		o.refuse("nobody whom the bank trusts signed it upstream; want a signature by --upstream-key or --upstream-identity, or --upstream-unsigned for the approver to accept")
	}
	if c.Moves != "" {
		o.found("the destination's tag means %s now, and is moved", c.Moves)
	}
	if len(c.Platforms) == 0 {
		o.refuse("it has nothing that can run")
	}
	for _, p := range c.Platforms {
		o.scans(c, p)
		o.sbom(c, p)
		o.inside(c, p)
	}
	if n := len(o.Findings); n > MaxFindings {
		o.refuse("%d findings; nobody reads more than %d", n, MaxFindings)
		o.Findings = o.Findings[:MaxFindings]
	}
	return o
}

// maxLine is what a line of an ImageImport has room for, in runes.
const maxLine = 400

func line(format string, args ...any) string {
	text := []rune(finding.Clean(fmt.Sprintf(format, args...)))
	return string(text[:min(len(text), maxLine)])
}

func (o *Outcome) checked(format string, args ...any) {
	o.Checked = append(o.Checked, line(format, args...))
}
func (o *Outcome) found(format string, args ...any) {
	o.Findings = append(o.Findings, line(format, args...))
}
func (o *Outcome) refuse(format string, args ...any) {
	o.Refused = append(o.Refused, line(format, args...))
}

// shown is at most three of a list.
func shown(all []string) string {
	var out []string
	for _, s := range all[:min(3, len(all))] {
		out = append(out, finding.Value(s))
	}
	if more := len(all) - len(out); more > 0 {
		out = append(out, fmt.Sprintf("%d more", more))
	}
	return strings.Join(out, ", ")
}

// of are the facts about a platform: by its own digests, and by the image's where it is the only one. A digest of the image says
// nothing of one platform among others.
func (c *Case) of(p Platform, all []image.Facts) (facts []image.Facts) {
	for _, f := range all {
		if slices.Contains(f.Digests, p.Manifest) || slices.Contains(f.Digests, p.Config) || len(c.Platforms) == 1 && slices.Contains(f.Digests, c.Digest) {
			f.Digests = []string{p.Manifest} // so that all are of one image
			facts = append(facts, f)
		}
	}
	return facts
}

// name is what a platform is called in a line.
func (p Platform) name() string {
	if p.Name == "" {
		return "image"
	}
	return p.Name
}

// Scanners are those of which a quorum must have scanned an image: those that are named, else those of the rule, where openvex is a statement
// and no scan. None is whichever.
func Scanners(named []string, rule image.Rule) []string {
	if len(named) > 0 {
		return slices.Clone(named)
	}
	return slices.DeleteFunc(slices.Clone(rule.Scanners), func(s string) bool { return s == "openvex" })
}

// scans demands the quorum of scanners, and a verdict that refuses nothing.
func (o *Outcome) scans(c Case, p Platform) {
	facts := image.Merge(c.of(p, c.Reports))
	if len(facts) == 0 {
		o.refuse("%s: no report names %s or %s", p.name(), p.Manifest, p.Config)
		return
	}
	f := facts[0]
	from := Scanners(c.Scanners, c.Rule)
	want := c.Quorum
	if want == 0 {
		want = max(1, len(from))
	}
	if len(from) == 0 {
		for _, s := range f.Scans {
			from = append(from, s.Scanner)
		}
	}
	slices.Sort(from)
	var scanned, missing []string
	for _, s := range slices.Compact(from) {
		alone := c.Rule
		alone.Scanners = []string{s}
		if v := image.Judge(f, alone, c.Known, c.Now); v.Scan[0].Outcome == image.Allow {
			scanned = append(scanned, s)
		} else {
			missing = append(missing, v.Scan[0].Text)
		}
	}
	if len(scanned) < want {
		o.refuse("%s: %d of %d scanners that must: %s", p.name(), len(scanned), want, shown(append(missing, "no report of another")))
		return
	}
	v := image.Judge(f, c.Rule, c.Known, c.Now)
	o.checked("%s: scanned by %s: %s", p.name(), shown(scanned), v.Outcome())
	for _, r := range v.Vulnerabilities {
		if r.Outcome == image.Warn || r.Outcome == image.Allow {
			o.found("%s: %s warns", p.name(), finding.Value(r.Vulnerability))
		} else {
			o.refuse("%s: %s", p.name(), r.Text)
		}
	}
	if r := v.Scan[0]; r.Outcome != image.Allow && r.Outcome != image.Warn {
		o.refuse("%s: %s", p.name(), r.Text)
	}
}

// sbom demands a bill of materials.
func (o *Outcome) sbom(c Case, p Platform) {
	components := 0
	for _, f := range c.of(p, c.SBOMs) {
		components = max(components, len(f.Components))
	}
	if components == 0 {
		o.refuse("%s: no bill of materials names it; want --sbom with a CycloneDX or SPDX document of %s", p.name(), p.Config)
		return
	}
	o.checked("%s: bill of materials of %d components", p.name(), components)
}

// inside says what is in it: secrets refuse, the rest a person accepts.
func (o *Outcome) inside(c Case, p Platform) {
	in := p.Content
	o.checked("%s: %d files and %d bytes looked at in its layers", p.name(), in.Files, in.Bytes)
	for _, l := range Lines(in) {
		o.found("%s: %s", p.name(), l)
	}
	for _, s := range in.Secrets {
		if slices.Contains(c.Accepted, s.Rule+":"+s.Path) {
			o.found("%s: %s in %s of %.19s looks like a secret and is said to be none", p.name(), s.Rule, finding.Value(s.Path), s.Layer)
			continue
		}
		o.refuse("%s: %s in line %d of %s looks like a secret, in %.19s; where it is none: --accept-secret %s", p.name(), s.Rule, s.Line, finding.Value(s.Path), s.Layer,
			finding.Value(s.Rule+":"+s.Path))
	}
	if in.More {
		o.refuse("%s: more looks like secrets than is told of", p.name())
	}
}

// Lines are what a person should know of what is in an image, worst first.
func Lines(in content.Content) (all []string) {
	if in.Root {
		all = append(all, "it runs as root")
	}
	if len(in.PackageManagers) > 0 {
		all = append(all, "it has package managers: "+shown(in.PackageManagers))
	}
	if len(in.Shells) > 0 {
		all = append(all, "it has shells: "+shown(in.Shells))
	}
	return all
}

// Unapproved are the findings of an outcome that stand in no approval.
func Unapproved(o Outcome, approved []string) []string {
	return slices.DeleteFunc(slices.Clone(o.Findings), func(l string) bool { return slices.Contains(approved, l) })
}
