package scanner

import (
	"slices"
	"strings"

	"ringfence.dev/ringfence/image"
)

// tellHarbor knows the envelope by its media type, and the bare report of Harbor's API by its fields.
func tellHarbor(s sketch) bool {
	for path := range s {
		if strings.HasPrefix(path, "application/vnd.security.vulnerability.report") || strings.HasPrefix(path, "application/vnd.scanner.adapter.vuln.report") {
			return true
		}
	}
	return s.has("generated_at") && s.has("scanner")
}

// harbor reads reports of Harbor's pluggable scanners. They have no date of publication.
func harbor(p *reading) shape {
	h := &harborReport{p: p}
	return shape{
		skip: []string{"description", "links", "vendor_attributes", "preferred_cvss"},
		folds: map[string]func(string, *node) error{
			"vulnerabilities/[]":    h.vulnerability,
			"{}/vulnerabilities/[]": h.vulnerability,
			"{}":                    h.end,
		},
		end: func(n *node) error { return h.end("", n) },
	}
}

type harborReport struct {
	p     *reading
	found []image.Vulnerability
	of    []string                         // digests that vulnerabilities name, in order
	by    map[string][]image.Vulnerability // by such a digest: the children of an index
}

func (h *harborReport) vulnerability(_ string, n *node) error {
	v := image.Vulnerability{ID: n.str("id"), Package: n.str("package"), Version: n.str("version"), FixedIn: n.str("fix_version")}
	if v.ID == "" {
		return errUnnamed
	}
	v.Severity, v.Scale = worded(n.str("severity"))
	if err := h.p.vulnerability(&h.found, v); err != nil {
		return err
	}
	for i, text := range n.strs("artifact_digests") {
		if i > 0 { // it stands in more lists than one
			if h.p.count++; h.p.count > h.p.limits.Vulnerabilities {
				return n.fault("more than %d vulnerabilities; split the report by image", h.p.limits.Vulnerabilities)
			}
		}
		digest, err := asDigest(text)
		if err != nil {
			return n.about("artifact_digests", err)
		}
		if h.by == nil {
			h.by = map[string][]image.Vulnerability{}
		}
		if _, known := h.by[digest]; !known {
			h.of = append(h.of, digest)
		}
		h.by[digest] = append(h.by[digest], h.found[len(h.found)-1])
	}
	return nil
}

// end takes one report. Those of an index name the digests of its children at each vulnerability.
func (h *harborReport) end(_ string, n *node) error {
	if n.kind != isObject || n.at("scanner").kind != isObject {
		return nil
	}
	at, err := n.time("generated_at")
	if err != nil {
		return err
	}
	scan := image.Scan{Scanner: scannerName(n.str("scanner", "name")), Version: n.str("scanner", "version"), At: at}
	var s subject
	s.digest(n.at("artifact"), "digest")
	s.repository(n.str("artifact", "repository"))
	unnamed := len(s.digests) == 0
	children, all := h.of, h.found
	by := h.by
	h.of, h.found, h.by = nil, nil, nil
	for _, child := range children {
		if slices.Contains(s.digests, child) {
			continue
		}
		scan.Vulnerabilities = by[child]
		if err := h.p.take(&subject{digests: []string{child}, repositories: s.repositories}, scan); err != nil {
			return err
		}
	}
	if unnamed && len(children) > 0 {
		return nil
	}
	scan.Vulnerabilities = all
	return h.p.take(&s, scan)
}

// scannerName is how Ringfence calls a scanner: the first word of its name in lower case.
func scannerName(name string) string {
	name, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(name)), " ")
	if name == "" {
		return "unknown"
	}
	return name
}
