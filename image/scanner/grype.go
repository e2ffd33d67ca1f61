package scanner

import (
	"ringfence.dev/ringfence/image"
)

// grype reads Grype's JSON. It has no date of publication: dates of exploitation and of fixes are others.
func grype(p *reading) shape {
	var found []image.Vulnerability
	match := func(_ string, n *node) error {
		weakness, artifact := n.at("vulnerability"), n.at("artifact")
		id := weakness.str("id")
		if id == "" {
			return errUnnamed
		}
		v := image.Vulnerability{ID: id, Package: artifact.first("name", "purl"), Version: artifact.str("version"), Exploited: len(weakness.list("knownExploited")) > 0}
		var others []string
		for _, related := range n.list("relatedVulnerabilities") {
			others = append(others, related.str("id"))
			v.Exploited = v.Exploited || len(related.list("knownExploited")) > 0
		}
		v.Aliases = aliases(id, others...)
		v.Severity, v.Scale = worded(weakness.str("severity"))
		if fixed := weakness.strs("fix", "versions"); len(fixed) > 0 {
			v.FixedIn = fixed[0]
		}
		return p.vulnerability(&found, v)
	}
	return shape{
		skip:  []string{"description", "urls", "cpes", "matchDetails", "manifest", "config", "configuration", "ignoredMatches", "cvss", "locations", "metadata", "licenses"},
		folds: map[string]func(string, *node) error{"matches/[]": match},
		end: func(n *node) error {
			var s subject
			tool := n.at("descriptor")
			at, err := tool.time("timestamp")
			if err != nil {
				return err
			}
			scan := image.Scan{Scanner: "grype", Version: tool.str("version"), At: at, Vulnerabilities: found}
			for _, db := range []*node{tool.at("db"), tool.at("db", "status")} {
				if built, err := db.time("built"); err != nil {
					return err
				} else if !built.IsZero() {
					scan.Database = built
				}
			}
			if n.str("source", "type") == "image" {
				target := n.at("source", "target")
				if err := s.grype(target); err != nil {
					return err
				}
				s.system(n.str("distro", "name"), n.str("distro", "version"))
			}
			return p.take(&s, scan)
		},
	}
}

// grype reads which image was scanned.
func (s *subject) grype(target *node) error {
	for _, key := range []string{"imageID", "manifestDigest"} {
		s.digest(target, key)
	}
	for _, key := range []string{"repoDigests", "tags"} {
		if err := s.references(target, key); err != nil {
			return err
		}
	}
	s.base(target.at("labels"))
	for _, layer := range target.list("layers") {
		s.layer(layer.str("digest"))
	}
	return target.about("userInput", s.reference(target.str("userInput"), true))
}
