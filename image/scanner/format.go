package scanner

// Format is one kind of report that Read takes.
type Format struct {
	Name  string // as the documentation calls it
	About string // one line: which answers, files or objects

	tell func(sketch) bool    // whether a JSON text is in it; nil for others
	read func(*reading) shape // how such a text, or an XML one, is read
	root string               // the root element of an XML text; "" for others
	rows func(*reading) rows  // how a CSV file is read; nil for others
	head func([]string) bool  // whether a row is the head of such a file
}

// Formats are all formats, in the order in which they are tried.
func Formats() []Format { return formats() }

// formats is the list of plug-ins: a format is one file and one row here. Those whose marks are surest come first.
func formats() []Format {
	return []Format{
		{Name: "trivy-operator", About: "VulnerabilityReport, ClusterVulnerabilityReport and SbomReport, alone or in a list; its other reports say nothing of vulnerabilities", tell: tellOperator, read: operator},
		{Name: "trivy", About: "JSON of schema 2", tell: func(s sketch) bool { return s.has("SchemaVersion") || s.has("ArtifactName") }, read: trivy},
		{Name: "trivy-kubernetes", About: "JSON of trivy k8s, with Resources or with Vulnerabilities", tell: func(s sketch) bool { return s.has("ClusterName") }, read: trivyCluster},
		{Name: "trivy-legacy", About: "JSON of schema 1: a list of targets", tell: func(s sketch) bool { return s.has("[]/Target") }, read: trivyLegacy},
		{Name: "grype", About: "JSON", tell: func(s sketch) bool { return s.has("matches") }, read: grype},
		{Name: "cyclonedx", About: "SBOM and its vulnerabilities, JSON and XML", root: "bom", tell: func(s sketch) bool { return s["bomFormat"] == "CycloneDX" }, read: cyclonedx},
		{Name: "spdx", About: "SBOM 2.2 and 2.3, JSON", tell: func(s sketch) bool { return s.has("spdxVersion") }, read: spdx},
		{Name: "spdx-3", About: "SBOM 3.0, JSON-LD", tell: func(s sketch) bool { return s.has("@graph") && s.has("@context") }, read: spdx3},
		{Name: "openvex", About: "statements about vulnerabilities of products", tell: tellVEX, read: openvex},
		{Name: "sarif", About: "2.1.0; results that name an advisory, and all of a scanner of dependencies", tell: func(s sketch) bool { return s.has("runs") }, read: sarif},
		{Name: "clair", About: "vulnerability report of Clair 4", tell: func(s sketch) bool { return s.has("manifest_hash") || s.has("package_vulnerabilities") }, read: clair},
		{Name: "clair-layer", About: "answer of Clair 1 to 3, and of Quay", tell: func(s sketch) bool { return s.has("Layer") || s.has("data/Layer") }, read: clairLayer},
		{Name: "clair-scanner", About: "JSON of clair-scanner", tell: func(s sketch) bool { return s.has("unapproved") || s.has("vulnerabilities/[]/featurename") }, read: clairScanner},
		{Name: "klar", About: "JSON of klar", tell: func(s sketch) bool { return s.has("LayerCount") }, read: klar},
		{Name: "aws-inspector2", About: "findings of Amazon Inspector, for instance of list-findings", tell: tellInspector, read: inspector},
		{Name: "aws-ecr", About: "answer of Amazon ECR's describe-image-scan-findings, basic and enhanced", tell: func(s sketch) bool { return s.has("imageScanFindings") }, read: ecr},
		{Name: "harbor", About: "report of Harbor's scanner adapters and of its API, by media type", tell: tellHarbor, read: harbor},
		{Name: "twistlock", About: "JSON of twistcli and of the Prisma Cloud API", tell: tellTwistlock, read: twistlock},
		{Name: "snyk", About: "JSON of snyk test and snyk container test", tell: tellSnyk, read: snyk},
		{Name: "qualys", About: "answers of the Qualys Container Security API about images", tell: tellQualys, read: qualys},
		{Name: "qualys-xml", About: "XML of Qualys scans of hosts (ASSET_DATA_REPORT), without a digest", root: "ASSET_DATA_REPORT", read: qualysXML},
		{Name: "twistlock-csv", About: "CSV of twistcli and of the Prisma Cloud console", head: columns("CVE ID", "Packages", "Severity"), rows: twistlockRows},
		{Name: "blackduck-csv", About: "CSV of Black Duck, and the zip of its report", head: columns("Vulnerability id", "Published on", "Security Risk"), rows: blackduckRows},
		{Name: "qualys-csv", About: "CSV of Qualys scans of hosts, without a digest", head: qualysHead, rows: qualysRows},
	}
}

func tellInspector(s sketch) bool {
	return s.has("findings/[]/packageVulnerabilityDetails") || s.has("findings/[]/findingArn") || s.has("[]/findingArn") ||
		s.has("findings") && (len(s) == 1 || s.has("nextToken") || s.has("NextToken")) // an answer without a finding
}

func tellVEX(s sketch) bool {
	return s.has("statements") && (s.has("@context") || s.has("statements/[]/vulnerability"))
}

func tellSnyk(s sketch) bool {
	for _, at := range []string{"", "[]/"} {
		if s.has(at+"dependencyCount") || s.has(at+"packageManager") || s.has(at+"vulnerabilities/[]/packageManager") ||
			s.has(at+"vulnerabilities/[]/semver") || s.has(at+"vulnerabilities/[]/publicationTime") {
			return true
		}
	}
	return false
}

func tellTwistlock(s sketch) bool {
	for _, at := range []string{"results/[]/", "[]/", ""} {
		if s.has(at+"vulnerabilityDistribution") || s.has(at+"complianceDistribution") || s.has(at+"vulnerabilitiesCount") && s.has(at+"complianceIssuesCount") {
			return true
		}
	}
	return s.has("results/[]/vulnerabilities") && s.has("results/[]/distro") || s.has("consoleURL")
}

func tellQualys(s sketch) bool {
	for _, at := range []string{"", "data/[]/", "[]/"} {
		if s.has(at+"sha") && (s.has(at+"imageId") || s.has(at+"uuid") || s.has(at+"repoDigests") || s.has(at+"repo")) {
			return true
		}
	}
	return s.has("details/[]/qid") || s.has("vulnerabilities/[]/qid") || s.has("details/[]/typeDetected")
}
