package scanner

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"ringfence.dev/ringfence/image"
)

// qualys reads what the Qualys Container Security API answers: /images, /images/list and /images/{sha}, whose sha is the digest
// of the configuration, and /images/{sha}/vuln, which does not name its image. firstFound is when this image was first seen to
// have it, and never a date of publication.
func qualys(p *reading) shape {
	var found []image.Vulnerability
	weakness := func(_ string, n *node) error { return p.qualys(&found, n) }
	img := func(_ string, n *node) error {
		of := found
		found = nil
		return p.qualysImage(n, of)
	}
	folds := map[string]func(string, *node) error{"data/[]": img, "[]": img, "details/[]": weakness}
	for _, at := range []string{"", "data/[]/", "[]/"} {
		folds[at+"vulnerabilities/[]"] = weakness
	}
	return shape{
		skip:  []string{"createdBy", "softwares", "layerSha", "host", "label", "result", "malware", "secrets", "compliance", "summary", "history"},
		folds: folds,
		end: func(n *node) error {
			if n.kind != isObject || n.at("data").kind == isList {
				return nil
			}
			return img("", n)
		},
	}
}

func (p *reading) qualysImage(n *node, found []image.Vulnerability) error {
	var s subject
	s.digest(n, "sha")
	for _, of := range n.list("repoDigests") {
		s.digest(&of, "digest")
	}
	s.system(n.str("operatingSystem"), "")
	for _, of := range n.list("layers") {
		s.layer(of.str("sha"))
	}
	for _, key := range []string{"repo", "repoDigests"} {
		for _, of := range n.list(key) {
			if name := of.str("repository"); name != "" {
				s.repository(strings.TrimPrefix(of.str("registry")+"/"+name, "/"))
			}
		}
	}
	scan := image.Scan{Scanner: "qualys", Vulnerabilities: found}
	var err error
	if scan.At, err = epoch(first(n.str("lastVmScanDate"), n.str("lastScanned")), time.Millisecond); err != nil {
		return n.about("lastVmScanDate", err)
	}
	if status := n.str("scanStatus"); status != "" && status != "SUCCESS" {
		scan.At = time.Time{} // no scan came to an end
	}
	if n.at("vulnerabilities").kind != isList && n.str("sha") != "" {
		scan = image.Scan{} // a list of images tells of them, and not what they have: that is no scan
	}
	return p.take(&s, scan)
}

func first(of ...string) string {
	for _, s := range of {
		if s != "" {
			return s
		}
	}
	return ""
}

// qualys reads one vulnerability. What the bank set as customerSeverity counts before Qualys' own.
func (p *reading) qualys(to *[]image.Vulnerability, n *node) error {
	qid := n.str("qid")
	if qid == "" {
		qid = n.str("vulnerability", "qid")
	}
	if qid == "" {
		return errUnnamed
	}
	v := image.Vulnerability{ID: "QID-" + qid, Aliases: aliases("", n.strs("cveids")...)}
	own, err := n.step("severity")
	if err != nil {
		return err
	}
	bank, err := n.step("customerSeverity")
	if err != nil {
		return err
	}
	v.Severity, v.Scale = own, n.str("severity")
	if bank > 0 && bank != own {
		v.Severity, v.Scale = bank, fmt.Sprintf("%d (customerSeverity; severity %d)", bank, own)
	}
	if v.Published, err = epoch(n.str("published"), time.Millisecond); err != nil {
		return n.about("published", err)
	}
	date(&v, v.Published, "qualys:published")
	if v.Found, err = epoch(n.str("firstFound"), time.Millisecond); err != nil {
		return n.about("firstFound", err)
	}
	v.Exploited = n.str("threatIntel", "cisaKnownExploitedVulns") == "true"
	packages := n.list("software")
	if len(packages) == 0 {
		return p.vulnerability(to, v)
	}
	for _, pkg := range packages {
		v.Package, v.Version, v.FixedIn = pkg.str("name"), pkg.str("version"), pkg.str("fixVersion")
		if err := p.vulnerability(to, v); err != nil {
			return err
		}
	}
	return nil
}

// step is a severity of Qualys below key.
func (n *node) step(key string) (int, error) {
	v, err := qualysStep(n.str(key))
	return v, n.about(key, err)
}

// qualysStep is a severity of Qualys, 1 to 5, 0 where there is none.
func qualysStep(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || v < 0 || v > 5 || v != math.Trunc(v) {
		return 0, fmt.Errorf("the severity %q is not one of Qualys' 1 to 5", cut(s))
	}
	return int(v), nil
}

// qualysHead tells the head of a report on hosts: of the PCI service, or of the console after some lines on the report.
func qualysHead(head []string) bool {
	return columns("QID", "Severity")(head)
}

// qualysRows reads a report on hosts: no image, no digest. The words in PCI's column SEVERITY are PCI's, its Q_SEVERITY is Qualys'.
func qualysRows(p *reading) rows {
	g := grouped{p: p, scanner: "qualys"}
	return rows{
		row: func(r row) error {
			qid := strings.TrimPrefix(r.get("QID"), "QID-")
			if qid == "" {
				return nil // a host without a finding, or the end of the list
			}
			host, err := g.image(first(r.get("IP"), r.get("Asset IPV4"), r.get("Asset Name")), func(*subject) error { return nil })
			if err != nil {
				return err
			}
			if host.scan.At, err = when(r.get("LAST SCAN")); err != nil {
				return fmt.Errorf("column LAST SCAN: %w", err)
			}
			v := image.Vulnerability{ID: "QID-" + qid, Aliases: aliases("", strings.FieldsFunc(first(r.get("CVEID"), r.get("CVE ID")), func(c rune) bool { return c == ',' || c == ' ' || c == ';' })...)}
			v.Scale = first(r.get("Q_SEVERITY"), r.get("KB Severity"), r.get("Severity"))
			if v.Severity = word(v.Scale); v.Severity == 0 {
				if v.Severity, err = qualysStep(v.Scale); err != nil {
					return fmt.Errorf("column Severity: %w", err)
				}
			}
			return p.vulnerability(&host.scan.Vulnerabilities, v)
		},
		end: g.end,
	}
}

// qualysXML reads a report on hosts: what each has by number, and a glossary that says how severe that is.
func qualysXML(p *reading) shape {
	var found []image.Vulnerability
	known := map[string]image.Vulnerability{}
	return shape{
		skip: []string{"HEADER", "RESULT", "THREAT", "IMPACT", "SOLUTION", "RISK_SCORE_PER_HOST", "CORRELATION", "ASSET_GROUPS", "ASSET_GROUP_LIST", "BUGTRAQ_ID_LIST", "VENDOR_REFERENCE_LIST", "PCI_FLAG"},
		folds: map[string]func(string, *node) error{
			"HOST_LIST/[]/VULN_INFO_LIST/[]": func(_ string, n *node) error {
				v := image.Vulnerability{ID: n.value("QID")}
				if v.ID == "" {
					return errUnnamed
				}
				var err error
				if v.Found, err = n.time("FIRST_FOUND"); err != nil {
					return err
				}
				return p.vulnerability(&found, v)
			},
			"HOST_LIST/[]": func(_ string, _ *node) error {
				scan := image.Scan{Scanner: "qualys", Vulnerabilities: found}
				found = nil
				return p.take(&subject{}, scan)
			},
			"GLOSSARY/VULN_DETAILS_LIST/[]": func(_ string, n *node) error {
				v := image.Vulnerability{Scale: n.str("SEVERITY")}
				var err error
				if v.Severity, err = n.step("SEVERITY"); err != nil {
					return err
				}
				for _, cve := range n.list("CVE_ID_LIST") {
					v.Aliases = append(v.Aliases, cve.str("ID"))
				}
				if len(known) < p.limits.Vulnerabilities {
					known[n.value("QID")] = v
				}
				return nil
			},
		},
		end: func(*node) error {
			for _, f := range p.facts {
				for i := range f.Scans[0].Vulnerabilities {
					v := &f.Scans[0].Vulnerabilities[i]
					of := known[v.ID]
					v.ID, v.Severity, v.Scale, v.Aliases = "QID-"+v.ID, of.Severity, of.Scale, of.Aliases
				}
			}
			return nil
		},
	}
}

// value is the text of an XML element that may have attributes beside it.
func (n *node) value(key string) string { return first(n.str(key), n.str(key, "value")) }
