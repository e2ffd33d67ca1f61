package scanner

import (
	"strings"

	"ringfence.dev/ringfence/image"
)

// spdx reads a bill of materials of version 2. It is never a scan.
func spdx(p *reading) shape {
	var s subject
	var parts []image.Component
	return shape{
		skip: []string{"files", "relationships", "snippets", "hasExtractedLicensingInfos", "annotations", "licenseInfoFromFiles", "hasFiles", "comment", "copyrightText", "attributionTexts"},
		folds: map[string]func(string, *node) error{"packages/[]": func(_ string, n *node) error {
			c := image.Component{Name: n.str("name"), Version: n.str("versionInfo")}
			for _, ref := range n.list("externalRefs") {
				if ref.str("referenceType") == "purl" {
					c.PURL = ref.str("referenceLocator")
				}
			}
			if n.str("primaryPackagePurpose") == "CONTAINER" || isImage(c.PURL) {
				return s.spdx(n, c)
			}
			return p.component(&parts, c)
		}},
		end: func(*node) error { return p.bill(&s, parts) },
	}
}

func isImage(purl string) bool {
	return strings.HasPrefix(purl, "pkg:oci/") || strings.HasPrefix(purl, "pkg:docker/")
}

// spdx reads the package that is the image itself.
func (s *subject) spdx(n *node, c image.Component) error {
	if err := s.purl(c.PURL); err != nil {
		return n.about("externalRefs", err)
	}
	if strings.HasPrefix(c.Version, "sha256:") {
		d, err := asDigest(c.Version)
		if err != nil {
			return n.about("versionInfo", err)
		}
		s.add(d)
	}
	if len(s.repositories) > 0 {
		return nil
	}
	return n.about("name", s.reference(c.Name, true))
}

// spdx3 reads a bill of materials of version 3: a graph of elements.
func spdx3(p *reading) shape {
	var s subject
	var parts []image.Component
	return shape{
		skip: []string{"@context", "summary", "description", "comment"},
		folds: map[string]func(string, *node) error{"@graph/[]": func(_ string, n *node) error {
			if n.first("type", "@type") != "software_Package" {
				return nil
			}
			c := image.Component{Name: n.str("name"), Version: n.str("software_packageVersion"), PURL: n.str("software_packageUrl")}
			if n.str("software_primaryPurpose") == "container" || isImage(c.PURL) {
				return s.spdx(n, c)
			}
			return p.component(&parts, c)
		}},
		end: func(*node) error { return p.bill(&s, parts) },
	}
}

// bill takes the components of one image.
func (p *reading) bill(s *subject, parts []image.Component) error {
	if err := p.take(s, image.Scan{}); err != nil {
		return err
	}
	p.facts[len(p.facts)-1].Components = parts
	return nil
}
