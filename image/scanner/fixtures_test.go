package scanner

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"ringfence.dev/ringfence/image"
)

// fixtures is the folder of reports that others wrote: RINGFENCE_FIXTURES names it, else it stands beside the repository.
func fixtures(t testing.TB) string {
	t.Helper()
	root := os.Getenv("RINGFENCE_FIXTURES")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared", "fixtures")
	}
	dir := filepath.Join(root, "scanners")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no reports to read in %s; set RINGFENCE_FIXTURES to a folder that has scanners/<tool>/", dir)
	}
	return dir
}

// totals are what a report says, added up.
type totals struct {
	file            string
	images          int
	named           int // images with a digest
	scanned         int // scans with a time
	vulnerabilities int
	dated           int // of them with a date of publication
	severity        [6]int
	components      int
}

// truth was counted without this package. images, vulnerabilities and dated: by a Python script that walks the parsed files for
// marks of their own ("VulnerabilityID" and "PublishedDate" for Trivy, "vulnerabilityID" and a "publishedDate" that is not empty
// for the trivy-operator, the length of "matches" for Grype, "FixedBy" for Clair, "fix_version" for Harbor, the lengths of
// "vulnerabilities", with those of "applications", and "publicationTime" for Snyk, lengths of "vulnerabilities" and "publishedDate"
// for Twistlock, packages of findings and "vendorCreatedAt" for Inspector, the rules that match CVE-, GHSA- or BDSA-, and all of
// dependency-check, for SARIF, targets of "affects" and "published" for CycloneDX, rows of the CSV files). severity: for Trivy,
// trivy-operator, Grype, Clair, Harbor, Snyk and Twistlock by the same script, counting the words. named: by searching sha256: and
// 64 digits outside layers and fingerprints. The other columns were read off the files by eye.
func truth() []totals {
	return []totals{
		{"aws-inspector2/aws_inspector2_many_vul.json", 2, 1, 2, 10, 2, [6]int{2, 0, 2, 4, 2, 0}, 0},
		{"blackduck/blackduck_enhanced_py3_unittest_v2.zip", 1, 0, 0, 11, 11, [6]int{0, 0, 0, 9, 2, 0}, 0},
		{"blackduck/many_vulns.csv", 1, 0, 0, 24, 24, [6]int{0, 0, 3, 18, 3, 0}, 0},
		{"blackduck/no_vuln.csv", 1, 0, 0, 0, 0, [6]int{0, 0, 0, 0, 0, 0}, 0},
		{"clair/clair_empty.json", 1, 0, 0, 0, 0, [6]int{0, 0, 0, 0, 0, 0}, 0},
		{"clair/clair_few_vuln.json", 1, 0, 0, 4, 0, [6]int{0, 0, 0, 4, 0, 0}, 0},
		{"clair/clairklar_empty.json", 1, 0, 0, 0, 0, [6]int{0, 0, 0, 0, 0, 0}, 0},
		{"clair/clairklar_high.json", 1, 0, 0, 6, 0, [6]int{0, 0, 0, 0, 6, 0}, 0},
		{"clair/clairklar_mixed.json", 1, 0, 0, 6, 0, [6]int{1, 0, 1, 1, 1, 2}, 0},
		{"cyclonedx/issue_8022.json", 1, 0, 0, 1, 1, [6]int{0, 0, 0, 0, 0, 1}, 1},
		{"cyclonedx/issue_9277.json", 1, 1, 1, 14, 13, [6]int{0, 0, 2, 7, 5, 0}, 102},
		{"cyclonedx/log4j.xml", 1, 0, 1, 8, 0, [6]int{0, 0, 0, 3, 1, 4}, 1},
		{"cyclonedx/nested-component-log4j.json", 1, 0, 1, 8, 0, [6]int{0, 0, 0, 3, 1, 4}, 2},
		{"cyclonedx/retirejs.latest.xml", 1, 0, 0, 0, 0, [6]int{0, 0, 0, 0, 0, 0}, 6},
		{"cyclonedx/spec1.xml", 1, 0, 0, 1, 0, [6]int{0, 0, 0, 0, 0, 1}, 1},
		{"cyclonedx/spec1_lowfirst.xml", 1, 0, 0, 1, 0, [6]int{0, 0, 0, 0, 0, 1}, 1},
		{"cyclonedx/valid-vulnerability-1.4.json", 1, 0, 0, 1, 1, [6]int{0, 0, 0, 0, 0, 1}, 1},
		{"cyclonedx/valid-vulnerability-1.4.xml", 1, 0, 0, 1, 1, [6]int{0, 0, 0, 0, 0, 1}, 1},
		{"grype/anchore_grype_epss_problem.json", 1, 0, 0, 1, 0, [6]int{0, 0, 0, 0, 1, 0}, 0},
		{"grype/check_all_fields_different_ids_fabricated.json", 1, 1, 0, 1, 0, [6]int{0, 0, 0, 0, 1, 0}, 0},
		{"grype/check_all_fields_no_ids_fabricated.json", 1, 1, 0, 1, 0, [6]int{0, 0, 0, 0, 1, 0}, 0},
		{"grype/check_all_fields_with_ids_fabricated.json", 1, 1, 0, 1, 0, [6]int{0, 0, 0, 0, 1, 0}, 0},
		{"grype/fix_available.json", 1, 1, 1, 1, 0, [6]int{0, 0, 0, 0, 1, 0}, 0},
		{"grype/issue_9942.json", 1, 1, 1, 1, 0, [6]int{0, 0, 0, 0, 1, 0}, 0},
		{"grype/many_vulns_with_epss_values.json", 1, 1, 1, 15, 0, [6]int{0, 0, 2, 2, 10, 1}, 0},
		{"grype/no_vuln.json", 1, 1, 0, 0, 0, [6]int{0, 0, 0, 0, 0, 0}, 0},
		{"harbor/harbor-0-vuln.json", 1, 0, 1, 0, 0, [6]int{0, 0, 0, 0, 0, 0}, 0},
		{"harbor/harbor-1-vuln.json", 1, 0, 1, 1, 0, [6]int{0, 1, 0, 0, 0, 0}, 0},
		{"harbor/harbor-trivy-vuln.json", 1, 1, 1, 3, 0, [6]int{0, 0, 2, 0, 1, 0}, 0},
		{"qualys/monthly_pci_issue6932.csv", 1, 0, 1, 1, 0, [6]int{0, 0, 0, 1, 0, 0}, 0},
		{"sarif/appendix_k1_double.sarif", 0, 0, 0, 0, 0, [6]int{0, 0, 0, 0, 0, 0}, 0},
		{"sarif/appendix_k2.sarif", 0, 0, 0, 0, 0, [6]int{0, 0, 0, 0, 0, 0}, 0},
		{"sarif/bash-report-subset-same-hash-code-same-unique-id.sarif", 0, 0, 0, 0, 0, [6]int{0, 0, 0, 0, 0, 0}, 0},
		{"sarif/bash-report.sarif", 0, 0, 0, 0, 0, [6]int{0, 0, 0, 0, 0, 0}, 0},
		{"sarif/blackduck_nested_fingerprints.sarif", 1, 0, 0, 5, 0, [6]int{0, 0, 1, 1, 2, 1}, 0},
		{"sarif/dependency_check.sarif", 1, 0, 0, 13, 0, [6]int{0, 0, 1, 3, 9, 0}, 0},
		{"sarif/dockle_0_3_15.sarif", 0, 0, 0, 0, 0, [6]int{0, 0, 0, 0, 0, 0}, 0},
		{"sarif/flawfinder.sarif", 0, 0, 0, 0, 0, [6]int{0, 0, 0, 0, 0, 0}, 0},
		{"sarif/issue_10191.json", 0, 0, 0, 0, 0, [6]int{0, 0, 0, 0, 0, 0}, 0},
		{"sarif/njsscan.sarif", 0, 0, 0, 0, 0, [6]int{0, 0, 0, 0, 0, 0}, 0},
		{"snyk/all-projects_no_vulns.json", 3, 0, 0, 0, 0, [6]int{0, 0, 0, 0, 0, 0}, 0},
		{"snyk/all-projects_one_vuln.json", 3, 0, 0, 1, 1, [6]int{0, 0, 0, 1, 0, 0}, 0},
		{"snyk/all_containers_target_output.json", 7, 0, 0, 40, 40, [6]int{0, 0, 3, 8, 28, 1}, 0},
		{"snyk/single_project_None_cvss.json", 1, 0, 0, 1, 1, [6]int{0, 0, 1, 0, 0, 0}, 0},
		{"snyk/single_project_one_vuln_with_ampersands.json", 1, 0, 0, 1, 1, [6]int{0, 0, 0, 0, 0, 1}, 0},
		{"snyk/snykcontainer_issue_9270.json", 1, 0, 0, 37, 37, [6]int{0, 0, 25, 9, 2, 1}, 0},
		{"snyk/snykcontainer_issue_epss.json", 1, 0, 0, 13, 13, [6]int{0, 0, 1, 9, 2, 1}, 0},
		{"trivy/all_statuses.json", 1, 1, 1, 8, 7, [6]int{0, 0, 8, 0, 0, 0}, 0},
		{"trivy/cvss_severity_source.json", 1, 0, 0, 2, 2, [6]int{0, 0, 0, 1, 1, 0}, 0},
		{"trivy/cvssv4_severity_source.json", 1, 0, 1, 3, 3, [6]int{0, 0, 2, 1, 0, 0}, 0},
		{"trivy/issue_10991.json", 0, 0, 0, 0, 0, [6]int{0, 0, 0, 0, 0, 0}, 0},
		{"trivy/issue_14136.json", 0, 0, 0, 0, 0, [6]int{0, 0, 0, 0, 0, 0}, 0},
		{"trivy/issue_9170.json", 0, 0, 0, 0, 0, [6]int{0, 0, 0, 0, 0, 0}, 0},
		{"trivy/issue_9333.json", 1, 1, 1, 13, 12, [6]int{0, 0, 12, 1, 0, 0}, 0},
		{"trivy/kubernetes.json", 2, 0, 0, 10, 10, [6]int{0, 0, 8, 2, 0, 0}, 0},
		{"trivy/kubernetes_fabricated_internal_duplicates.json", 2, 0, 0, 7, 7, [6]int{0, 0, 5, 2, 0, 0}, 0},
		{"trivy/kubernetes_fabricated_internal_duplicates_subset.json", 2, 0, 0, 4, 4, [6]int{0, 0, 2, 2, 0, 0}, 0},
		{"trivy/kubernetes_fabricated_subset.json", 2, 0, 0, 7, 7, [6]int{0, 0, 5, 2, 0, 0}, 0},
		{"trivy/legacy_many_vulns.json", 1, 0, 0, 93, 84, [6]int{1, 0, 65, 9, 18, 0}, 0},
		{"trivy/legacy_trivy_mix.json", 1, 0, 0, 6, 0, [6]int{0, 0, 0, 0, 6, 0}, 0},
		{"trivy/license_scheme.json", 1, 1, 0, 0, 0, [6]int{0, 0, 0, 0, 0, 0}, 0},
		{"trivy/misconfigurations_and_secrets.json", 1, 0, 0, 2, 2, [6]int{0, 0, 0, 1, 1, 0}, 0},
		{"trivy/scheme_2_many_vulns.json", 1, 0, 0, 5, 5, [6]int{0, 0, 0, 3, 1, 1}, 0},
		{"trivy/scheme_2_no_vuln.json", 1, 0, 0, 0, 0, [6]int{0, 0, 0, 0, 0, 0}, 0},
		{"trivy-operator/clustercompliancereport.json", 0, 0, 0, 0, 0, [6]int{0, 0, 0, 0, 0, 0}, 0},
		{"trivy-operator/compliance_severity.json", 0, 0, 0, 0, 0, [6]int{0, 0, 0, 0, 0, 0}, 0},
		{"trivy-operator/configauditreport_many.json", 0, 0, 0, 0, 0, [6]int{0, 0, 0, 0, 0, 0}, 0},
		{"trivy-operator/configauditreport_missing_checkid.json", 0, 0, 0, 0, 0, [6]int{0, 0, 0, 0, 0, 0}, 0},
		{"trivy-operator/configauditreport_no_vuln.json", 0, 0, 0, 0, 0, [6]int{0, 0, 0, 0, 0, 0}, 0},
		{"trivy-operator/configauditreport_single_vuln.json", 0, 0, 0, 0, 0, [6]int{0, 0, 0, 0, 0, 0}, 0},
		{"trivy-operator/exposedsecretreport_single_vuln.json", 0, 0, 0, 0, 0, [6]int{0, 0, 0, 0, 0, 0}, 0},
		{"trivy-operator/findings_in_list.json", 1, 1, 1, 5, 1, [6]int{0, 0, 0, 5, 0, 0}, 0},
		{"trivy-operator/vulnerabilityreport_extended.json", 1, 1, 1, 5, 1, [6]int{0, 0, 0, 5, 0, 0}, 0},
		{"trivy-operator/vulnerabilityreport_many.json", 1, 0, 1, 41, 0, [6]int{0, 0, 11, 25, 3, 2}, 0},
		{"twistlock/findings_include_packages.json", 1, 1, 0, 4, 0, [6]int{0, 0, 1, 0, 2, 1}, 0},
		{"twistlock/no_cvss.json", 1, 1, 1, 2, 1, [6]int{0, 0, 2, 0, 0, 0}, 0},
		{"twistlock/packagename.json", 1, 1, 1, 1, 1, [6]int{0, 0, 0, 0, 0, 1}, 0},
		{"twistlock/scan_report_one_vuln.csv", 1, 1, 0, 1, 0, [6]int{0, 0, 0, 0, 0, 1}, 0},
		{"twistlock/scan_report_prisma_twistlock_images_long_package_name.csv", 1, 1, 0, 1, 1, [6]int{0, 0, 0, 1, 0, 0}, 0},
	}
}

// refused are the files that are not read, and why. At most one in twenty may be.
func refused() map[string]string {
	return map[string]string{
		"aws-inspector2/empty_with_error.json": "{} has no mark of any format",
		"grype/same_cve_different_paths.json":  `names its image "sha256:test", which is no digest`,
		"harbor/harborapipip.json":             "names its image by a digest of 25 digits",
	}
}

func TestFixtures(t *testing.T) {
	dir := fixtures(t)
	known := map[string]bool{}
	for _, want := range truth() {
		known[want.file] = true
		facts, err := readFile(t, filepath.Join(dir, want.file))
		if err != nil {
			t.Errorf("%s: %v", want.file, err)
			continue
		}
		if got := total(want.file, facts); got != want {
			t.Errorf("%s:\n got %+v\nwant %+v", want.file, got, want)
		}
	}
	for file, why := range refused() {
		known[file] = true
		if _, err := readFile(t, filepath.Join(dir, file)); err == nil {
			t.Errorf("%s was read, want it refused: %s", file, why)
		} else {
			t.Logf("refused: %v", err)
		}
	}
	if files := len(known); len(refused())*20 > files {
		t.Errorf("%d of %d files are refused, want at most 5 %%", len(refused()), files)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files { // those that came later are read as well, and must not be missed
		if name, err := filepath.Rel(dir, file); err != nil || !known[filepath.ToSlash(name)] {
			t.Errorf("%s stands in neither table", file)
		}
	}
}

// TestFixturesWithoutNames reads every report a second time as standard input would come, with text before it that editors leave.
func TestFixturesWithoutNames(t *testing.T) {
	dir := fixtures(t)
	for _, want := range truth() {
		text, err := os.ReadFile(filepath.Join(dir, want.file))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(text, []byte("PK")) && !bytes.HasPrefix(text, []byte("\ufeff")) {
			text = append([]byte("\ufeff"), text...)
		}
		facts, err := Read(t.Context(), "<stdin>", bytes.NewReader(text))
		if err != nil {
			t.Errorf("%s: %v", want.file, err)
		} else if got := total(want.file, facts); got != want {
			t.Errorf("%s: got %+v, want %+v", want.file, got, want)
		}
	}
}

// TestCutShort reads every report without its last quarter: an error or, in CSV, rows that are whole; never a panic, never a
// JSON or XML report that passes for whole.
func TestCutShort(t *testing.T) {
	dir := fixtures(t)
	for _, want := range truth() {
		text, err := os.ReadFile(filepath.Join(dir, want.file))
		if err != nil {
			t.Fatal(err)
		}
		_, err = Read(t.Context(), want.file, bytes.NewReader(text[:len(text)*3/4]))
		if err == nil && filepath.Ext(want.file) != ".csv" {
			t.Errorf("%s: three quarters of it were read as a whole report", want.file)
		}
	}
}

func readFile(t *testing.T, path string) ([]image.Facts, error) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		return nil, errors.Join(errors.New("open"), err)
	}
	defer f.Close()
	return Read(t.Context(), path, f)
}

func total(file string, facts []image.Facts) totals {
	sum := totals{file: file, images: len(facts)}
	for _, f := range facts {
		if len(f.Digests) > 0 {
			sum.named++
		}
		sum.components += len(f.Components)
		for _, s := range f.Scans {
			if !s.At.IsZero() {
				sum.scanned++
			}
			sum.vulnerabilities += len(s.Vulnerabilities)
			for _, v := range s.Vulnerabilities {
				sum.severity[v.Severity]++
				if !v.Published.IsZero() {
					sum.dated++
				}
			}
		}
	}
	return sum
}
