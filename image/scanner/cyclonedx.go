package scanner

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"ringfence.dev/ringfence/image"
)

// cyclonedx reads a bill of materials and what it says of vulnerabilities. Without any it is no scan: Trivy writes an empty list
// also where it did not look. Without components it is a VEX document, and no scan either.
func cyclonedx(p *reading) shape {
	b := &bom{p: p, parts: map[string]int{}}
	return shape{
		skip: []string{"dependencies", "licenses", "hashes", "externalReferences", "advisories", "description", "credits", "cwes", "compositions", "services", "evidence", "pedigree", "formulation", "proofOfConcept"},
		folds: map[string]func(string, *node) error{
			"components/[]":                    b.component,
			"vulnerabilities/[]":               b.vulnerability,
			"components/[]/vulnerabilities/[]": b.vulnerability,
		},
		end: b.end,
	}
}

// bom is a bill of materials being read.
type bom struct {
	p          *reading
	components []image.Component
	parts      map[string]int // index in components by reference
	found      []image.Vulnerability
	container  *node // the first component that is an image
}

// component takes one and those inside it.
func (b *bom) component(_ string, n *node) error {
	c := image.Component{Name: n.str("name"), Version: n.str("version"), PURL: n.str("purl")}
	if group := n.str("group"); group != "" {
		c.Name = group + "/" + c.Name
	}
	if n.str("type") == "container" && b.container == nil {
		b.container = &node{kind: isObject, line: n.line, keys: n.keys, kids: n.kids}
	}
	if err := b.p.component(&b.components, c); err != nil {
		return err
	}
	for _, ref := range []string{n.str("bom-ref"), c.PURL} {
		if _, known := b.parts[ref]; ref != "" && !known {
			ref, err := b.p.keep(ref)
			if err != nil {
				return err
			}
			b.parts[ref] = len(b.components) - 1
		}
	}
	for _, inner := range n.list("components") {
		if err := b.component("", &inner); err != nil {
			return err
		}
	}
	return nil
}

// component adds one within the limits.
func (p *reading) component(to *[]image.Component, c image.Component) error {
	if len(*to) >= p.limits.Nodes {
		return fmt.Errorf("more than %d components; split the SBOM", p.limits.Nodes)
	}
	for _, text := range []*string{&c.Name, &c.Version, &c.PURL} {
		var err error
		if *text, err = p.keep(*text); err != nil {
			return err
		}
	}
	*to = append(*to, c)
	return nil
}

// vulnerability takes one for each component that it affects. Package holds the reference until the end.
func (b *bom) vulnerability(_ string, n *node) error {
	id := n.str("id")
	if id == "" {
		return errUnnamed
	}
	v := image.Vulnerability{ID: id, NotAffected: notAffected(n.at("analysis"))}
	var others []string
	for _, ref := range n.list("references") {
		others = append(others, ref.str("id"))
	}
	v.Aliases = aliases(id, others...)
	v.Severity, v.Scale = worst(n.list("ratings"))
	if err := published(&v, n, "cyclonedx", "published"); err != nil {
		return err
	}
	affected := n.list("affects")
	if len(affected) == 0 {
		v.Package = n.str("ref") // the extension for 1.2 and 1.3
		return b.p.vulnerability(&b.found, v)
	}
	for _, target := range affected {
		v.Package = target.str("ref")
		if err := b.p.vulnerability(&b.found, v); err != nil {
			return err
		}
	}
	return nil
}

// worst is the worst of several ratings: none of them is marked as the one that counts. Scores of other methods than CVSS are
// on other scales.
func worst(ratings []node) (int, string) {
	step, said := 0, ""
	for _, r := range ratings {
		severity := r.str("severity")
		one, what := word(severity), severity
		score, ok := r.number("score")
		if !ok {
			score, ok = r.number("score", "base") // in the extension for 1.2 and 1.3
		}
		if method := strings.ToUpper(r.str("method")); one == 0 && ok && (method == "" || strings.HasPrefix(method, "CVSS")) {
			one, what = cvss(score), strconv.FormatFloat(score, 'f', -1, 64)
		}
		if one > step || said == "" {
			step, said = max(one, step), what
		}
	}
	return step, said
}

// notAffected is why an analysis says that a vulnerability does not affect the image. What was resolved by a change is not that.
func notAffected(analysis *node) string {
	state := analysis.str("state")
	if state != "not_affected" && state != "false_positive" {
		return ""
	}
	why := first(analysis.str("justification"), state)
	if detail := analysis.str("detail"); detail != "" {
		why += ": " + detail
	}
	return why
}

func (b *bom) end(n *node) error {
	for i := range b.found {
		v := &b.found[i]
		if at, ok := b.parts[v.Package]; ok {
			v.Package, v.Version = b.components[at].Name, b.components[at].Version
		}
	}
	meta := n.at("metadata")
	root := meta.at("component")
	if root.str("type") != "container" && b.container != nil {
		root = b.container
	}
	var s subject
	if root.str("type") == "container" {
		if err := s.component(root); err != nil {
			return err
		}
	}
	scan := image.Scan{}
	if len(b.found) > 0 {
		tool := nothing()
		for _, list := range [][]node{meta.list("tools", "components"), meta.list("tools")} {
			if len(list) > 0 && tool.kind == isNull {
				tool = &list[0]
			}
		}
		scan = image.Scan{Scanner: scannerName(first(tool.str("name"), "cyclonedx")), Version: tool.str("version"), Vulnerabilities: b.found}
		if len(b.components) > 0 {
			at, err := meta.time("timestamp")
			if err != nil {
				return err
			}
			scan.At = at
		}
	}
	if err := b.p.take(&s, scan); err != nil {
		return err
	}
	b.p.facts[len(b.p.facts)-1].Components = b.components
	return nil
}

// component reads which image a component of type container is: from its package URL, its version where that is a digest (as
// Syft writes it) and Trivy's properties.
func (s *subject) component(n *node) error {
	if err := s.purl(n.str("purl")); err != nil {
		return n.about("purl", err)
	}
	if strings.HasPrefix(n.str("version"), "sha256:") {
		s.digest(n, "version")
	}
	for _, property := range n.list("properties") {
		var err error
		switch value := property.str("value"); property.str("name") {
		case "aquasecurity:trivy:ImageID":
			s.digest(&property, "value")
		case "aquasecurity:trivy:RepoDigest", "aquasecurity:trivy:RepoTag":
			err = s.reference(value, false)
		}
		if err != nil {
			return n.about("properties", err)
		}
	}
	if len(s.repositories) > 0 {
		return nil
	}
	return n.about("name", s.reference(n.str("name"), true))
}

// purl reads a package URL of an image: pkg:oci/api@sha256%3A...?repository_url=registry.bank.example%2Fapi.
func (s *subject) purl(text string) error {
	rest, ok := strings.CutPrefix(text, "pkg:oci/")
	if !ok {
		if rest, ok = strings.CutPrefix(text, "pkg:docker/"); !ok {
			return nil
		}
	}
	rest, query, _ := strings.Cut(rest, "?")
	name, version, _ := strings.Cut(rest, "@")
	if version, err := url.PathUnescape(version); err == nil && strings.HasPrefix(version, "sha256:") {
		d, err := asDigest(version)
		if err != nil {
			return err
		}
		s.add(d)
	}
	qualifiers, err := url.ParseQuery(query)
	if err != nil {
		return fmt.Errorf("the package URL %q cannot be read", cut(text))
	}
	if repository := qualifiers.Get("repository_url"); repository != "" {
		s.repository(repository)
	} else if name, err := url.PathUnescape(name); err == nil {
		s.repository(name)
	}
	return nil
}

// sbom takes the CycloneDX document that an object of the trivy-operator holds; it was read whole.
func (p *reading) sbom(s *subject, doc *node) error {
	b := &bom{p: p, parts: map[string]int{}}
	for _, c := range doc.list("components") {
		if err := b.component("", &c); err != nil {
			return err
		}
	}
	if root := doc.at("metadata", "component"); root.str("type") == "container" {
		if err := s.component(root); err != nil {
			return err
		}
	}
	if err := p.take(s, image.Scan{}); err != nil {
		return err
	}
	p.facts[len(p.facts)-1].Components = b.components
	return nil
}
