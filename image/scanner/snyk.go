package scanner

import (
	"strings"

	"ringfence.dev/ringfence/image"
)

// snyk reads projects and images, one or a list. It has an entry for each way by which a package came in, and no time of the scan.
func snyk(p *reading) shape {
	var found []image.Vulnerability
	weakness := func(_ string, n *node) error {
		if n.str("type") == "license" || strings.HasPrefix(n.str("id"), "snyk:lic:") {
			return nil // a licence is no weakness
		}
		id := n.str("id")
		if id == "" {
			return errUnnamed
		}
		v := image.Vulnerability{ID: id, Package: n.first("packageName", "moduleName", "name"), Version: n.str("version"), FixedIn: n.str("nearestFixedInVersion")}
		v.Aliases = aliases(id, append(n.strs("identifiers", "CVE"), n.strs("identifiers", "GHSA")...)...)
		if fixed := n.strs("fixedIn"); v.FixedIn == "" && len(fixed) > 0 {
			v.FixedIn = fixed[0]
		}
		v.Severity, v.Scale = worded(n.first("severityWithCritical", "severity"), n.str("cvssScore"))
		if err := published(&v, n, "snyk", "publicationTime"); err != nil {
			return err
		}
		return p.vulnerability(&found, v)
	}
	project := func(_ string, n *node) error {
		scan := image.Scan{Scanner: "snyk", Vulnerabilities: found}
		found = nil
		var s subject
		name, isImage := strings.CutPrefix(n.str("projectName"), "docker-image|")
		if isImage || n.at("docker").kind == isObject {
			if err := s.snyk(n, name); err != nil {
				return err
			}
		}
		return p.take(&s, scan)
	}
	folds := map[string]func(string, *node) error{"[]": project}
	for _, at := range []string{"", "[]/"} {
		folds[at+"vulnerabilities/[]"] = weakness
		folds[at+"applications/[]/vulnerabilities/[]"] = weakness
	}
	return shape{
		skip:  []string{"description", "policy", "licensesPolicy", "references", "remediation", "cvssDetails", "filtered", "credit", "from", "upgradePath", "binariesVulns"},
		folds: folds,
		end: func(n *node) error {
			if n.kind == isObject {
				return project("", n)
			}
			return nil
		},
	}
}

// snyk reads the image's name: path is the reference as it was asked for, and sometimes more behind it.
func (s *subject) snyk(n *node, name string) error {
	if repository, digest, ok := strings.Cut(n.str("path"), "@sha256:"); ok {
		digest, _, _ = strings.Cut(digest, "/")
		return n.about("path", s.reference(repository+"@sha256:"+digest, true))
	}
	return n.about("projectName", s.reference(name, true))
}
