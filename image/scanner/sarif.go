package scanner

import (
	"regexp"
	"strings"

	"ringfence.dev/ringfence/image"
)

// advisory is an identifier of a published weakness.
var advisory = regexp.MustCompile(`\b(CVE-\d{4}-\d{4,}|GHSA(-[0-9a-z]{4}){3}|BDSA-\d{4}-\d+|SNYK-[A-Z0-9]+(-[A-Z0-9]+)*-\d+|RH[SBE]A-\d{4}:\d+|ALAS[0-9A-Z]*-\d{4}-\d+|` +
	`(DSA|DLA|USN)-\d+-\d+|EL[SB]A-\d{4}-\d+|GO-\d{4}-\d+|PYSEC-\d{4}-\d+|RUSTSEC-\d{4}-\d+|TEMP-\d+-[0-9A-F]+|OSV-\d{4}-\d+|MAL-\d{4}-\d+|QID-\d+)`)

// sarif reads results of scanners of dependencies and images. A result is a vulnerability where its rule names an advisory, where
// the rule has Trivy's tag for one, or where the tool looks for nothing else. All others are about code and configuration, and a
// run without any of the first kind says nothing of an image, unless its tool is a scanner of images.
func sarif(p *reading) shape {
	r := &sarifRun{p: p}
	return shape{
		skip: []string{"artifacts", "locations", "relatedLocations", "help", "fullDescription", "shortDescription", "markdown", "codeFlows", "fixes", "taxonomies",
			"toolExecutionNotifications", "conversion", "threadFlowLocations", "logicalLocations", "graphs", "addresses"},
		folds: map[string]func(string, *node) error{
			"runs/[]/results/[]":           r.result,
			"runs/[]/tool/driver/rules/[]": r.rule,
			"runs/[]/invocations/[]":       r.invocation,
			"runs/[]":                      r.end,
		},
		end: func(*node) error { return nil },
	}
}

type sarifRun struct {
	p       *reading
	results []sarifResult
	rules   map[string]sarifRule
	ended   string
}

type sarifResult struct {
	rule, level, severity string
	pkg, version, fixed   string
}

type sarifRule struct {
	weakness bool
	severity []string
	level    string
}

func (r *sarifRun) result(_ string, n *node) error {
	props := n.at("properties")
	out := sarifResult{rule: n.first("ruleId"), level: n.str("level"), severity: props.first("security-severity", "securityRisk", "severity", "issue_severity"),
		pkg: props.str("component"), version: props.str("componentVersion")}
	if out.rule == "" {
		out.rule = n.str("rule", "id")
	}
	for line := range strings.Lines(n.str("message", "text")) { // as Trivy writes it
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "Package":
			out.pkg = value
		case "Installed Version":
			out.version = value
		case "Fixed Version":
			out.fixed = value
		case "Severity":
			out.severity = value
		}
	}
	for _, text := range []*string{&out.rule, &out.level, &out.severity, &out.pkg, &out.version, &out.fixed} {
		var err error
		if *text, err = r.p.keep(*text); err != nil {
			return err
		}
	}
	if r.results = append(r.results, out); len(r.results) > r.p.limits.Vulnerabilities {
		return n.fault("more than %d results; split the report by image", r.p.limits.Vulnerabilities)
	}
	return nil
}

func (r *sarifRun) rule(_ string, n *node) error {
	props := n.at("properties")
	rule := sarifRule{severity: []string{props.str("security-severity")}, level: n.str("defaultConfiguration", "level")}
	for _, tag := range props.strs("tags") {
		if tag == "vulnerability" {
			rule.weakness = true
		}
		if word(tag) > 0 {
			rule.severity = append([]string{tag}, rule.severity...)
		}
	}
	if r.rules == nil {
		r.rules = map[string]sarifRule{}
	}
	id, err := r.p.keep(n.str("id"))
	r.rules[id] = rule
	return err
}

func (r *sarifRun) invocation(_ string, n *node) error {
	r.ended = n.str("endTimeUtc")
	return nil
}

// onlyWeaknesses are tools that look for known weaknesses of packages and nothing else, or of images.
func onlyWeaknesses(tool string) bool {
	switch scannerName(tool) {
	case "trivy", "grype", "snyk", "dependency-check", "clair", "docker", "qualys", "osv-scanner", "twistlock", "prisma":
		return true
	}
	return false
}

func (r *sarifRun) end(_ string, n *node) error {
	run := *r
	*r = sarifRun{p: r.p}
	tool := n.str("tool", "driver", "name")
	scan := image.Scan{Scanner: scannerName(tool), Version: n.at("tool", "driver").first("semanticVersion", "version")}
	for _, result := range run.results {
		v, ok := run.weakness(result, scan.Scanner == "dependency-check")
		if !ok {
			continue
		}
		if err := r.p.vulnerability(&scan.Vulnerabilities, v); err != nil {
			return err
		}
	}
	if len(scan.Vulnerabilities) == 0 && !onlyWeaknesses(tool) {
		return nil
	}
	var err error
	if scan.At, err = when(run.ended); err != nil {
		return n.about("invocations", err)
	}
	var s subject
	props := n.at("properties") // as Trivy writes it
	s.digest(props, "imageID")
	for _, key := range []string{"repoDigests", "repoTags"} {
		if err := s.references(props, key); err != nil {
			return err
		}
	}
	if err := s.reference(props.str("imageName"), true); err != nil {
		return props.about("imageName", err)
	}
	return r.p.take(&s, scan)
}

func (r *sarifRun) weakness(of sarifResult, every bool) (image.Vulnerability, bool) {
	names := advisory.FindAllString(of.rule, -1)
	rule := r.rules[of.rule]
	v := image.Vulnerability{ID: of.rule, Package: of.pkg, Version: of.version, FixedIn: of.fixed}
	switch {
	case len(names) > 0:
		v.ID = names[0]
		v.Aliases = aliases(v.ID, names[1:]...)
	case of.rule == "" || !every && !rule.weakness:
		return v, false
	}
	v.Severity, v.Scale = worded(append([]string{of.severity}, rule.severity...)...)
	if v.Severity == 0 {
		v.Scale = first(of.level, rule.level, "warning")
		v.Severity = level(v.Scale)
	}
	return v, true
}
