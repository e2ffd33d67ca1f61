package scanner

import (
	"fmt"
	"strings"
	"time"

	"ringfence.dev/ringfence/image"
)

// twistlock reads what twistcli writes, and lists of images of the Prisma Cloud API.
func twistlock(p *reading) shape {
	r := &twistlockReport{p: p}
	folds := map[string]func(string, *node) error{"results/[]": r.result, "[]": r.result}
	for _, at := range []string{"", "results/[]/", "[]/"} {
		folds[at+"vulnerabilities/[]"] = r.vulnerability
	}
	return shape{
		skip:  []string{"description", "compliances", "complianceIssues", "packages", "history", "collections", "applications", "vecStr", "layerInstruction", "layers", "binaries", "files"},
		folds: folds,
		end: func(n *node) error {
			if n.kind == isObject && n.at("results").kind != isList {
				return r.result("", n)
			}
			return nil
		},
	}
}

type twistlockReport struct {
	p     *reading
	found []image.Vulnerability
}

func (r *twistlockReport) vulnerability(_ string, n *node) error {
	// Where there is a cve, id is a number.
	v := image.Vulnerability{ID: n.first("cve", "id"), Package: n.str("packageName"), Version: n.str("packageVersion"), FixedIn: fixedIn(n.str("status"))}
	if v.ID == "" {
		return errUnnamed
	}
	v.Severity, v.Scale = worded(n.str("severity"), n.str("cvss"))
	if err := published(&v, n, "twistlock", "publishedDate"); err != nil {
		return err
	}
	if v.Published.IsZero() { // the API writes seconds
		t, err := epoch(n.str("published"), time.Second)
		if err != nil {
			return n.about("published", err)
		}
		date(&v, t, "twistlock:published")
	}
	var err error
	if v.Found, err = n.time("discoveredDate"); err != nil {
		return err
	}
	v.Exploited = inTheWild(n.at("riskFactors"))
	return r.p.vulnerability(&r.found, v)
}

// result reads what is left of one image. Its id is the digest of the configuration, its digest that of the manifest.
func (r *twistlockReport) result(_ string, n *node) error {
	at, err := n.time("scanTime")
	if err != nil {
		return err
	}
	scan := image.Scan{Scanner: "twistlock", At: at, Vulnerabilities: r.found}
	r.found = nil
	var s subject
	if strings.HasPrefix(n.str("id"), "sha256:") { // else it is of a host, a function or a folder
		s.digest(n, "id")
	}
	s.digest(n, "digest")
	if err := s.references(n, "repoDigests"); err != nil {
		return err
	}
	name := n.str("name")
	if tag := n.at("repoTag"); tag.str("repo") != "" {
		name = strings.TrimPrefix(tag.str("registry")+"/"+tag.str("repo"), "/")
	}
	if err := s.reference(name, true); err != nil {
		return n.about("name", err)
	}
	return r.p.take(&s, scan)
}

// fixedIn is the first version of "fixed in 4.1.3, 4.0.9".
func fixedIn(status string) string {
	versions, ok := strings.CutPrefix(status, "fixed in ")
	if !ok {
		return ""
	}
	first, _, _ := strings.Cut(versions, ",")
	return strings.TrimSpace(first)
}

// inTheWild looks for Prisma's risk factor "Exploit exists - in the wild", in a list or as the keys of an object.
func inTheWild(n *node) bool {
	for _, factor := range append(n.strs(), n.keys...) {
		if f := strings.ToLower(factor); strings.Contains(f, "exploit") && strings.Contains(f, "in the wild") {
			return true
		}
	}
	return false
}

// twistlockRows reads a CSV file of twistcli or of the console: a line for each vulnerability, or compliance fault, of each image.
func twistlockRows(p *reading) rows {
	g := grouped{p: p, scanner: "twistlock"}
	return rows{
		row: func(r row) error {
			img, err := g.image(r.get("Registry")+"/"+r.get("Repository")+" "+r.get("Id"), func(s *subject) error {
				id, err := asDigest(r.get("Id"))
				if err != nil {
					return fmt.Errorf("column Id: %w", err)
				}
				s.add(id)
				s.repository(strings.Trim(r.get("Registry")+"/"+r.get("Repository"), "/"))
				return nil
			})
			if err != nil {
				return err
			}
			if img.scan.At, err = when(r.get("Scan Time")); err != nil {
				return fmt.Errorf("column Scan Time: %w", err)
			}
			if r.get("CVE ID") == "" {
				return nil // of compliance
			}
			v := image.Vulnerability{ID: r.get("CVE ID"), Package: r.get("Packages"), Version: r.get("Package Version"), FixedIn: fixedIn(r.get("Fix Status"))}
			v.Severity, v.Scale = worded(r.get("Severity"), r.get("CVSS"))
			t, err := when(r.get("Published"))
			if err != nil {
				return fmt.Errorf("column Published: %w", err)
			}
			date(&v, t, "twistlock:Published")
			if v.Found, err = when(r.get("Discovered")); err != nil {
				return fmt.Errorf("column Discovered: %w", err)
			}
			v.Exploited = strings.Contains(strings.ToLower(r.get("Risk Factors")), "in the wild")
			return p.vulnerability(&img.scan.Vulnerabilities, v)
		},
		end: g.end,
	}
}
