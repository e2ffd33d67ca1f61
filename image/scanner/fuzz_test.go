package scanner

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// check reads what a fuzzer made and holds what is read to what every report must keep to.
func check(t *testing.T, text []byte) {
	t.Helper()
	start := time.Now()
	limits := Limits{Bytes: 1 << 20, Vulnerabilities: 1000, Kept: 1 << 20, Nodes: 10_000, Packed: 1 << 20}
	facts, err := read(t.Context(), "r", bytes.NewReader(text), limits)
	if err != nil && facts != nil {
		t.Errorf("facts beside the error %v", err)
	}
	if err != nil && !strings.HasPrefix(err.Error(), "r") {
		t.Errorf("the error %q does not name the file", err)
	}
	for _, f := range facts {
		for _, d := range f.Digests {
			if again, err := asDigest(d); err != nil || again != d {
				t.Errorf("digest %q: %v", d, err)
			}
		}
		for _, s := range f.Scans {
			if s.Scanner == "" || s.At.Year() > lastYear {
				t.Errorf("scan by %q at %s", s.Scanner, s.At)
			}
			for _, v := range s.Vulnerabilities {
				if v.ID == "" || v.Severity < 0 || v.Severity > 5 || v.Published.IsZero() != (v.PublishedBy == "") || !utf8.ValidString(v.ID+v.Package) {
					t.Errorf("vulnerability %+v", v)
				}
			}
		}
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("%d bytes took %s", len(text), took)
	}
}

// FuzzJSON reads every JSON format; the seeds are one report of each.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		report(2),
		`[{"Target": "a (b)", "Vulnerabilities": [{"VulnerabilityID": "CVE-1", "Severity": "HIGH"}]}]`,
		`{"ClusterName": "c", "Resources": [{"Metadata": [{}], "Results": [{"Class": "os-pkgs", "Vulnerabilities": [{"VulnerabilityID": "C"}]}]}]}`,
		`{"kind": "List", "items": [{"apiVersion": "aquasecurity.github.io/v1alpha1", "kind": "VulnerabilityReport", "report": {"vulnerabilities": [{"vulnerabilityID": "C"}]}}]}`,
		`{"matches": [{"vulnerability": {"id": "C"}, "artifact": {"name": "a"}}], "source": {"type": "image", "target": {"imageID": "` + digest + `"}}}`,
		`{"manifest_hash": "` + digest + `", "packages": {"1": {"name": "a"}}, "vulnerabilities": {"2": {"name": "C"}}, "package_vulnerabilities": {"1": ["2"]}}`,
		`{"LayerCount": 1, "Vulnerabilities": {"High": [{"Name": "C"}]}}`,
		`{"image": "a", "unapproved": [], "vulnerabilities": [{"vulnerability": "C"}]}`,
		`{"sha": "` + digest[7:] + `", "uuid": "u", "vulnerabilities": [{"qid": 1, "severity": 4, "published": "1738800000000"}]}`,
		`{"findings": [{"packageVulnerabilityDetails": {"vulnerabilityId": "C", "vulnerablePackages": [{"name": "a"}]}, "resources": [{"type": "AWS_ECR_CONTAINER_IMAGE", "id": "x"}]}]}`,
		`{"imageId": {}, "imageScanFindings": {"imageScanCompletedAt": 1.7e9, "findings": [{"name": "C"}]}}`,
		`{"dependencyCount": 1, "vulnerabilities": [{"id": "S"}], "docker": {}, "path": "a@` + digest + `/b"}`,
		`{"application/vnd.security.vulnerability.report; version=1.1": {"scanner": {}, "vulnerabilities": [{"id": "C", "artifact_digests": ["` + digest + `"]}]}}`,
		`{"results": [{"id": "` + digest + `", "complianceDistribution": {}, "vulnerabilities": [{"id": "C", "cvss": 9.8, "status": "fixed in 1, 2"}]}]}`,
		`{"runs": [{"tool": {"driver": {"name": "Trivy", "rules": [{"id": "CVE-2020-1111"}]}}, "results": [{"ruleId": "CVE-2020-1111"}]}]}`,
		`{"bomFormat": "CycloneDX", "components": [{"bom-ref": "a", "name": "b", "components": [{"name": "c"}]}], "vulnerabilities": [{"id": "C", "ratings": [{"score": 9.8}], "affects": [{"ref": "a"}]}]}`,
		`{"spdxVersion": "SPDX-2.3", "packages": [{"name": "a", "externalRefs": [{"referenceType": "purl", "referenceLocator": "pkg:oci/a@` + digest + `"}]}]}`,
		`{"@context": "x", "@graph": [{"type": "software_Package", "name": "a"}]}`,
		`{"@context": "x", "statements": [{"vulnerability": {"name": "C"}, "products": [{"@id": "pkg:oci/a"}], "status": "not_affected", "justification": "x"}]}`,
		`{"matches": [], "a\u0041\ud83d\ude00": 1e400}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		check(t, text)
		// What is read must be JSON to others too: a text that two programs read differently hides something from one.
		if _, err := Read(t.Context(), "r", bytes.NewReader(text)); err == nil {
			if trimmed := bytes.TrimLeft(bytes.TrimPrefix(text, []byte("\ufeff")), " \t\r\n"); len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[') && !json.Valid(trimmed) {
				t.Errorf("%q was read and is no JSON", text)
			}
		}
	})
}

// FuzzXML reads CycloneDX and Qualys' reports.
func FuzzXML(f *testing.F) {
	f.Add([]byte(`<bom xmlns="http://cyclonedx.org/schema/bom/1.4"><components><component bom-ref="a"><name>b</name></component></components><vulnerabilities><vulnerability><id>C</id><ratings><rating><score>9.8</score></rating></ratings><affects><target><ref>a</ref></target></affects></vulnerability></vulnerabilities></bom>`))
	f.Add([]byte(`<ASSET_DATA_REPORT><HOST_LIST><HOST><VULN_INFO_LIST><VULN_INFO><QID id="q">1</QID></VULN_INFO></VULN_INFO_LIST></HOST></HOST_LIST></ASSET_DATA_REPORT>`))
	f.Fuzz(check)
}

// FuzzCSV reads the CSV formats, and zip files.
func FuzzCSV(f *testing.F) {
	f.Add([]byte("Vulnerability id,Published on,Security Risk\nCVE-1,4/29/14,HIGH\n"))
	f.Add([]byte("Registry,Repository,Id,CVE ID,Severity,Packages\na,b," + digest + ",CVE-1,high,\"x\"\"y\"\n"))
	f.Add([]byte("IP,QID,Q_SEVERITY,SEVERITY,LAST SCAN\n10.0.0.1,1,3,Medium,22/09/2022 13:01\n"))
	if zip, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "fixtures", "scanners", "blackduck", "blackduck_enhanced_py3_unittest_v2.zip")); err == nil {
		f.Add(zip)
	}
	f.Fuzz(check)
}
