package scanner

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/image"
)

const (
	manifest = "sha256:1d811b3c382893f70f0cc0f2371a12d3671c1d5175bcc67e8c2a5c0bf4c8f976"
	config   = "sha256:c64844065dcbc3d0a90c365c1f56421766a5cebf05f7ecbd3377af410fff09fd"
)

func day(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }

// TestFormats reads small reports after the documentation of their formats, of which nobody sent a sample, and says what each field
// came to.
func TestFormats(t *testing.T) {
	read := func(text string) []image.Facts {
		t.Helper()
		facts, err := Read(t.Context(), "r", strings.NewReader(text))
		if err != nil {
			t.Error(err)
		}
		return facts
	}
	for name, c := range map[string]struct {
		text string
		want []image.Facts
	}{
		"qualys image": {`{"created": "1603477517000", "repo": [{"registry": "docker.io", "tag": "1", "repository": "couchbase"}],
			"repoDigests": [{"registry": "docker.io", "digest": "` + manifest[7:] + `", "repository": "couchbase"}],
			"uuid": "5d48f83b", "sha": "` + config[7:] + `", "lastVmScanDate": "1738800000000", "scanStatus": "SUCCESS",
			"layers": [{"sha": "ec7e9b7a9687c54974be3e2dee312c06f52762c58b670561bd49dcb14c225dfa"}],
			"vulnerabilities": [{"qid": 105961, "severity": 5, "customerSeverity": 3, "firstFound": "1738540800000", "lastFound": "1738827505526", "typeDetected": "CONFIRMED",
				"cveids": ["CVE-2022-40674"], "published": "1664150400000", "threatIntel": {"cisaKnownExploitedVulns": true},
				"software": [{"name": "expat", "version": "2.1.0", "fixVersion": "2.1.1"}, {"name": "expat-devel", "version": "2.1.0", "fixVersion": null}]}]}`,
			[]image.Facts{{Digests: []string{manifest, config}, Repositories: []string{"docker.io/couchbase"},
				Built: image.Built{Layers: []string{"sha256:ec7e9b7a9687c54974be3e2dee312c06f52762c58b670561bd49dcb14c225dfa"}}, Scans: []image.Scan{{Scanner: "qualys", At: day(2025, 2, 6),
					Vulnerabilities: []image.Vulnerability{
						{ID: "QID-105961", Aliases: []string{"CVE-2022-40674"}, Severity: 3, Scale: "3 (customerSeverity; severity 5)", Package: "expat", Version: "2.1.0", FixedIn: "2.1.1",
							Published: day(2022, 9, 26), PublishedBy: "qualys:published", Found: day(2025, 2, 3), Exploited: true},
						{ID: "QID-105961", Aliases: []string{"CVE-2022-40674"}, Severity: 3, Scale: "3 (customerSeverity; severity 5)", Package: "expat-devel", Version: "2.1.0",
							Published: day(2022, 9, 26), PublishedBy: "qualys:published", Found: day(2025, 2, 3), Exploited: true},
					}}}}}},
		"qualys list": { // of images that were scanned, and not what was found: no scan
			`{"data": [{"sha": "` + config[7:] + `", "uuid": "u", "repoDigests": null, "lastVmScanDate": "1738800000000", "scanStatus": "SUCCESS", "vulnerabilities": {"severity5Count": 1}},
				{"sha": "` + manifest[7:] + `", "uuid": "v", "lastVmScanDate": "1738800000000", "scanStatus": "FAILED", "vulnerabilities": []}]}`,
			[]image.Facts{{Digests: []string{config}}, {Digests: []string{manifest}, Scans: []image.Scan{{Scanner: "qualys"}}}}},
		"qualys vuln": { // which does not name its image
			`{"details": [{"vulnerability": null, "qid": 1, "firstFound": "1738540800000", "severity": 5, "typeDetected": "CONFIRMED"}]}`,
			[]image.Facts{{Scans: []image.Scan{{Scanner: "qualys", Vulnerabilities: []image.Vulnerability{{ID: "QID-1", Severity: 5, Scale: "5", Found: day(2025, 2, 3)}}}}}}},
		"clair 4, fetched": {`{"ringfenceScannedAt": "2026-11-21T08:00:00Z", "manifest_hash": "` + manifest + `", "packages": {}, "vulnerabilities": {}, "package_vulnerabilities": {}}`,
			[]image.Facts{{Digests: []string{manifest}, Scans: []image.Scan{{Scanner: "clair", At: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)}}}}},
		"clair 4": {`{"manifest_hash": "` + manifest + `", "packages": {"10": {"id": "10", "name": "openssl", "version": "3.0.1"}, "11": {"id": "11", "name": "zlib", "version": "1"}},
			"environments": {}, "vulnerabilities": {"7": {"id": "7", "name": "CVE-2026-1", "issued": "2026-09-01T00:00:00Z", "severity": "Important", "normalized_severity": "High", "fixed_in_version": "3.0.2"},
				"8": {"id": "8", "name": "CVE-2026-2", "issued": "0001-01-01T00:00:00Z", "severity": "", "normalized_severity": "Unknown", "fixed_in_version": ""}},
			"package_vulnerabilities": {"10": ["7", "8"], "11": ["7"]}}`,
			[]image.Facts{{Digests: []string{manifest}, Scans: []image.Scan{{Scanner: "clair", Vulnerabilities: []image.Vulnerability{
				{ID: "CVE-2026-1", Severity: 4, Scale: "High", Package: "openssl", Version: "3.0.1", FixedIn: "3.0.2", Published: day(2026, 9, 1), PublishedBy: "clair:issued"},
				{ID: "CVE-2026-2", Scale: "Unknown", Package: "openssl", Version: "3.0.1"},
				{ID: "CVE-2026-1", Severity: 4, Scale: "High", Package: "zlib", Version: "1", FixedIn: "3.0.2", Published: day(2026, 9, 1), PublishedBy: "clair:issued"},
			}}}}}},
		"ecr basic": {`{"registryId": "1", "repositoryName": "api", "imageId": {"imageDigest": "` + manifest + `", "imageTag": "1"}, "imageScanStatus": {"status": "COMPLETE"},
			"imageScanFindings": {"imageScanCompletedAt": "2026-11-01T00:00:00+00:00", "vulnerabilitySourceUpdatedAt": 1793404800.5, "findings": [{"name": "CVE-2026-1", "severity": "HIGH",
				"attributes": [{"key": "package_version", "value": "1.2"}, {"key": "package_name", "value": "zlib"}]}]}}`,
			[]image.Facts{{Digests: []string{manifest}, Repositories: []string{"api"}, Scans: []image.Scan{{Scanner: "ecr", At: day(2026, 11, 1), Database: day(2026, 10, 31).Add(500 * time.Millisecond),
				Vulnerabilities: []image.Vulnerability{{ID: "CVE-2026-1", Severity: 4, Scale: "HIGH", Package: "zlib", Version: "1.2"}}}}}}},
		"ecr failed": {`{"imageId": {"imageDigest": "` + manifest + `"}, "imageScanStatus": {"status": "FAILED"}, "imageScanFindings": {"imageScanCompletedAt": "2026-11-01T00:00:00Z"}}`,
			[]image.Facts{{Digests: []string{manifest}, Scans: []image.Scan{{Scanner: "ecr"}}}}},
		"harbor index": { // whose vulnerabilities name the children that have them
			`{"application/vnd.security.vulnerability.report; version=1.1": {"generated_at": "2026-11-01T00:00:00Z", "artifact": {"repository": "library/api", "digest": "` + manifest + `"},
				"scanner": {"name": "Trivy", "version": "1"}, "vulnerabilities": [{"id": "CVE-1", "package": "a", "severity": "Low", "artifact_digests": ["` + config + `"]}]}}`,
			[]image.Facts{
				{Digests: []string{config}, Repositories: []string{"library/api"}, Scans: []image.Scan{{Scanner: "trivy", Version: "1", At: day(2026, 11, 1), Vulnerabilities: []image.Vulnerability{{ID: "CVE-1", Severity: 2, Scale: "Low", Package: "a"}}}}},
				{Digests: []string{manifest}, Repositories: []string{"library/api"}, Scans: []image.Scan{{Scanner: "trivy", Version: "1", At: day(2026, 11, 1), Vulnerabilities: []image.Vulnerability{{ID: "CVE-1", Severity: 2, Scale: "Low", Package: "a"}}}}},
			}},
		"openvex": { // is no scan, and says no time of one
			`{"@context": "https://openvex.dev/ns/v0.2.0", "author": "a", "statements": [
				{"vulnerability": {"name": "CVE-1", "aliases": ["GHSA-1"]}, "products": [{"@id": "pkg:oci/api@` + strings.Replace(manifest, ":", "%3A", 1) + `", "subcomponents": [{"@id": "pkg:apk/alpine/zlib@1"}]}],
				 "status": "not_affected", "justification": "vulnerable_code_not_present"},
				{"vulnerability": "CVE-2", "products": ["pkg:oci/api@` + strings.Replace(manifest, ":", "%3A", 1) + `"], "status": "affected"}]}`,
			[]image.Facts{{Digests: []string{manifest}, Repositories: []string{"api"}, Scans: []image.Scan{{Scanner: "openvex", Vulnerabilities: []image.Vulnerability{
				{ID: "CVE-1", Aliases: []string{"GHSA-1"}, Scale: "not_affected", Package: "pkg:apk/alpine/zlib@1", NotAffected: "vulnerable_code_not_present"},
				{ID: "CVE-2", Scale: "affected"}}}}}}},
		"spdx 3": {`{"@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld", "@graph": [{"type": "CreationInfo"}, {"type": "software_Package", "name": "zlib", "software_packageVersion": "1"},
			{"type": "software_Package", "name": "registry.bank.example/api", "software_primaryPurpose": "container", "software_packageUrl": "pkg:oci/api@` + strings.Replace(manifest, ":", "%3A", 1) + `?repository_url=registry.bank.example/api"}]}`,
			[]image.Facts{{Digests: []string{manifest}, Repositories: []string{"registry.bank.example/api"}, Components: []image.Component{{Name: "zlib", Version: "1"}}}}},
		"sarif of trivy": {`{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "Trivy", "version": "0.69.1", "rules": [
				{"id": "CVE-2026-1", "properties": {"security-severity": "9.8", "tags": ["vulnerability", "security", "CRITICAL"]}}, {"id": "AVD-DS-0002", "properties": {"tags": ["misconfiguration", "HIGH"]}}]}},
			"results": [{"ruleId": "CVE-2026-1", "level": "error", "message": {"text": "Package: zlib\nInstalled Version: 1.2\nVulnerability CVE-2026-1\nSeverity: CRITICAL\nFixed Version: 1.3\nLink: x"}}, {"ruleId": "AVD-DS-0002", "level": "error", "message": {"text": "x"}}],
			"properties": {"imageName": "registry.bank.example/api:1", "repoDigests": ["registry.bank.example/api@` + manifest + `"], "imageID": "` + config + `"}}]}`,
			[]image.Facts{{Digests: []string{manifest, config}, Repositories: []string{"registry.bank.example/api"}, Scans: []image.Scan{{Scanner: "trivy", Version: "0.69.1",
				Vulnerabilities: []image.Vulnerability{{ID: "CVE-2026-1", Severity: 5, Scale: "CRITICAL", Package: "zlib", Version: "1.2", FixedIn: "1.3"}}}}}}},
		"grype": {`{"matches": [{"vulnerability": {"id": "GHSA-1", "severity": "Negligible", "fix": {"versions": ["2"]}, "knownExploited": [{"cve": "CVE-1"}]}, "relatedVulnerabilities": [{"id": "CVE-1"}, {"id": "GHSA-1"}],
				"artifact": {"name": "zlib", "version": "1"}}], "ignoredMatches": [{"vulnerability": {}}],
			"source": {"type": "image", "target": {"userInput": "api:1", "imageID": "` + config + `", "manifestDigest": "` + manifest + `", "tags": [], "repoDigests": []}},
			"descriptor": {"name": "grype", "version": "0.99.0", "timestamp": "2026-11-01T00:00:00Z", "db": {"status": {"built": "2026-10-31T00:00:00Z"}}}}`,
			[]image.Facts{{Digests: []string{manifest, config}, Repositories: []string{"api"}, Scans: []image.Scan{{Scanner: "grype", Version: "0.99.0", At: day(2026, 11, 1), Database: day(2026, 10, 31),
				Vulnerabilities: []image.Vulnerability{{ID: "GHSA-1", Aliases: []string{"CVE-1"}, Severity: 1, Scale: "Negligible", Package: "zlib", Version: "1", FixedIn: "2", Exploited: true}}}}}}},
		"sbom without a scan": {`{"bomFormat": "CycloneDX", "metadata": {"timestamp": "2026-11-01T00:00:00Z", "component": {"type": "container", "name": "api:1", "version": "` + manifest + `"}},
			"components": [{"name": "zlib", "version": "1", "purl": "pkg:apk/zlib@1"}], "vulnerabilities": []}`,
			[]image.Facts{{Digests: []string{manifest}, Repositories: []string{"api"}, Components: []image.Component{{Name: "zlib", Version: "1", PURL: "pkg:apk/zlib@1"}}}}},
		"secrets of an image": {`{"SchemaVersion": 2, "CreatedAt": "2026-11-01T00:00:00Z", "ArtifactName": "api", "ArtifactType": "container_image", "Metadata": {"ImageID": "` + config + `"}, "Results": [{"Class": "secret"}]}`,
			[]image.Facts{{Digests: []string{config}, Repositories: []string{"api"}}}},
		"trivy k8s": { // of two workloads with one image: one record, each weakness once
			`{"ClusterName": "c", "Resources": [` + strings.TrimSuffix(strings.Repeat(`{"Kind": "Deployment", "Metadata": [{"ImageID": "`+config+`", "RepoTags": ["registry.bank.example/api:1"]}], "Results": [
				{"Target": "api (debian 12)", "Class": "os-pkgs", "Vulnerabilities": [{"VulnerabilityID": "CVE-1", "PkgName": "a", "Severity": "LOW"}]}]},`, 2), ",") + `]}`,
			[]image.Facts{{Digests: []string{config}, Repositories: []string{"registry.bank.example/api"}, Scans: []image.Scan{{Scanner: "trivy", Vulnerabilities: []image.Vulnerability{{ID: "CVE-1", Severity: 2, Scale: "LOW", Package: "a"}}}}}}},
		"operator's lists by kind": {`{"vulnerabilityreports.aquasecurity.github.io": [{"kind": "VulnerabilityReport", "apiVersion": "aquasecurity.github.io/v1alpha1", "report": {"updateTimestamp": "2026-11-01T00:00:00Z",
				"artifact": {"repository": "api", "digest": "` + manifest + `"}, "registry": {"server": "registry.bank.example"}, "vulnerabilities": [{"vulnerabilityID": "CVE-1", "severity": "HIGH", "resource": "zlib"}]}}], "configauditreports.aquasecurity.github.io": [{"kind": "ConfigAuditReport"}]}`,
			[]image.Facts{{Digests: []string{manifest}, Repositories: []string{"registry.bank.example/api"}, Scans: []image.Scan{{Scanner: "trivy", At: day(2026, 11, 1), Vulnerabilities: []image.Vulnerability{{ID: "CVE-1", Severity: 4, Scale: "HIGH", Package: "zlib"}}}}}}},
		"clair 2": {`{"Layer": {"Name": "x", "Features": [{"Name": "zlib", "Version": "1", "Vulnerabilities": [{"Name": "CVE-1", "Severity": "Defcon1", "FixedBy": "2", "Metadata": {"NVD": {"PublishedDateTime": "2026-09-01T00:00:00Z"}}}]}]}}`,
			[]image.Facts{{Scans: []image.Scan{{Scanner: "clair", Vulnerabilities: []image.Vulnerability{{ID: "CVE-1", Severity: 5, Scale: "Defcon1", Package: "zlib", Version: "1", FixedIn: "2", Published: day(2026, 9, 1), PublishedBy: "clair:PublishedDateTime"}}}}}}},
		"qualys XML": {`<?xml version="1.0"?><!DOCTYPE ASSET_DATA_REPORT SYSTEM "https://qualysapi.qualys.com/asset_data_report.dtd"><ASSET_DATA_REPORT><HOST_LIST><HOST><IP>10.0.0.1</IP>
			<VULN_INFO_LIST><VULN_INFO><QID id="qid_1">1</QID><FIRST_FOUND>2025-02-03T00:00:00Z</FIRST_FOUND></VULN_INFO></VULN_INFO_LIST></HOST></HOST_LIST>
			<GLOSSARY><VULN_DETAILS_LIST><VULN_DETAILS id="qid_1"><QID id="qid_1">1</QID><SEVERITY>4</SEVERITY><CVE_ID_LIST><CVE_ID><ID>CVE-1</ID></CVE_ID></CVE_ID_LIST></VULN_DETAILS></VULN_DETAILS_LIST></GLOSSARY></ASSET_DATA_REPORT>`,
			[]image.Facts{{Scans: []image.Scan{{Scanner: "qualys", Vulnerabilities: []image.Vulnerability{{ID: "QID-1", Aliases: []string{"CVE-1"}, Severity: 4, Scale: "4", Found: day(2025, 2, 3)}}}}}}},
		"qualys CSV": {"\"Report\",\"x\"\n\n\"IP\",\"QID\",\"Title\",\"Severity\",\"CVE ID\"\n\"10.0.0.1\",\"38170\",\"a, b\",\"2\",\"CVE-1, CVE-2\",\n\"10.0.0.2\",\"\"\n",
			[]image.Facts{{Scans: []image.Scan{{Scanner: "qualys", Vulnerabilities: []image.Vulnerability{{ID: "QID-38170", Aliases: []string{"CVE-1", "CVE-2"}, Severity: 2, Scale: "2"}}}}}}},
		"no finding":              {`{"findings": []}`, nil},
		"configuration of a node": {`{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "aquasecurity.github.io/v1alpha1", "kind": "ConfigAuditReport", "report": {"checks": []}}]}`, nil},
		"a part that is unknown":  {`{"SchemaVersion": 2, "ArtifactType": "container_image", "Results": {"a": 1}, "Metadata": "x"}`, []image.Facts{{}}},
	} {
		got := read(c.text)
		for _, f := range c.want {
			slices.Sort(f.Digests)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}
