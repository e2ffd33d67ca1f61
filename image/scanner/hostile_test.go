package scanner

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
)

const digest = "sha256:b5b2b2c507a0944348e0303114d8d93aaaa081732b86451d9bce1f432a537bc7"

// TestHostile has reports that must be refused, and what the error must name.
func TestHostile(t *testing.T) {
	trivy := func(rest string) string {
		return `{"SchemaVersion": 2, "ArtifactType": "container_image", "ArtifactName": "a",` + "\n" + rest + "}"
	}
	other := "sha256:" + strings.Repeat("0", 64)
	for name, c := range map[string]struct{ text, want string }{
		"empty":               {"", "r: the report is empty"},
		"spaces":              {" \n\t", "r: the report is empty"},
		"unknown":             {`{"a": 1}`, "r: not a report of a known format"},
		"a word":              {"hello", "r: not a report of a known format"},
		"broken and unknown":  {"{\n\"a\": }", "r:2: a:"},
		"deep":                {trivy(`"x": ` + strings.Repeat("[", 200) + strings.Repeat("]", 200)), "r:2: x[0][0]"},
		"deep, not needed":    {trivy(`"Layer": 1, "References": ` + strings.Repeat(`{"a":`, 100_000)), "nested deeper than 100 levels"},
		"deep without end":    {strings.Repeat(`[`, 1_000_000), "nested deeper than 100 levels"},
		"key twice":           {trivy(`"Results": [{"Class": "os-pkgs", "Vulnerabilities": [{"VulnerabilityID": "CVE-1"}], "Vulnerabilities": []}]`), `r:2: Results[0]: the key "Vulnerabilities" stands twice`},
		"escaped key twice":   {trivy(`"Results": [{"Class": "os-pkgs", "\u0043lass": "lang-pkgs"}]`), `r:2: Results[0]: the key "Class" stands twice`},
		"key twice of many":   {trivy(`"x": {` + keys(40) + `, "k39": 1}`), `r:2: x: the key "k39" stands twice`},
		"not UTF-8":           {trivy("\"Results\": [{\"Target\": \"\xff\xfe\"}]"), "r:2: Results[0].Target: a text that is not UTF-8"},
		"half a surrogate":    {trivy(`"x": "\ud800"`), "r:2: x: half a surrogate pair"},
		"long number":         {trivy(`"x": 1` + strings.Repeat("0", 100)), "r:2: x: a number of more than 64 digits"},
		"no number":           {trivy(`"x": 01`), `r:2: x: "01" is no JSON value`},
		"long text":           {trivy(`"x": "` + strings.Repeat("a", maxString+1) + `"`), "r:2: x: a text of more than"},
		"two documents":       {trivy(`"x": 1`) + "{}", "r:2: more text follows"},
		"cut off":             {trivy(`"Results": [{"Class": "os`)[:102], "r:2: Results[0].Class: the text ends too early"},
		"far future":          {trivy(`"CreatedAt": "9999-01-01T00:00:00Z"`), "r:2: CreatedAt: the time \"9999-01-01T00:00:00Z\" is after the year 2200"},
		"digest too short":    {trivy(`"Metadata": {"ImageID": "sha256:zz"}`), `r:2: ImageID: "sha256:zz" is no digest`},
		"digest in a list":    {trivy(`"Metadata": {"RepoDigests": ["a@sha256:zz"]}`), `r:2: RepoDigests: "sha256:zz" is no digest`},
		"sha512":              {trivy(`"Metadata": {"ImageID": "sha512:` + strings.Repeat("0", 128) + `"}`), "is no digest; want sha256:"},
		"conflict":            {`{"SchemaVersion": 2, "ArtifactType": "container_image", "ArtifactName": "a/b:1@` + digest + `", "Metadata": {"RepoDigests": ["a/b@` + other + `"]}}`, "two digests that conflict"},
		"ECR conflict":        {`{"imageId": {"imageDigest": "` + other + `"}, "imageScanFindings": {"enhancedFindings": [{"packageVulnerabilityDetails": {"vulnerabilityId": "CVE-1"}, "resources": [{"type": "AWS_ECR_CONTAINER_IMAGE", "id": "x", "details": {"awsEcrContainerImage": {"imageHash": "` + digest + `"}}}]}]}}`, "two digests that conflict"},
		"a page of ECR":       {`{"imageId": {"imageDigest": "` + digest + `"}, "imageScanFindings": {"imageScanCompletedAt": 1700000000, "findings": []}, "nextToken": "t"}`, "nextToken: this is one page of an answer"},
		"a page of Inspector": {`{"findings": [], "NextToken": "t"}`, "NextToken: this is one page of an answer"},
		"severity":            {`{"sha": "` + digest[7:] + `", "uuid": "u", "vulnerabilities": [{"qid": 1, "severity": 9}]}`, `r:1: vulnerabilities[0].severity: the severity "9" is not one of Qualys' 1 to 5`},
		"severity in between": {`{"sha": "` + digest[7:] + `", "uuid": "u", "vulnerabilities": [{"qid": 1, "severity": 4.5}]}`, `the severity "4.5"`},
		"epoch":               {`{"sha": "` + digest[7:] + `", "uuid": "u", "vulnerabilities": [{"qid": 1, "severity": 4, "published": "99999999999999999999"}]}`, `vulnerabilities[0].published: the time "99999999999999999999"`},
		"epoch below 0":       {`{"sha": "` + digest[7:] + `", "uuid": "u", "lastVmScanDate": "-5"}`, `lastVmScanDate: the time "-5"`},
		"no identifier":       {`{"matches": [{"vulnerability": {"severity": "High"}}]}`, "r:1: matches[0]: a vulnerability without an identifier"},
		"VEX without reason":  {`{"@context": "https://openvex.dev/ns", "statements": [{"vulnerability": "CVE-1", "status": "not_affected"}]}`, "statements[0].status: not_affected without justification"},
		"VEX of no status":    {`{"@context": "https://openvex.dev/ns", "statements": [{"vulnerability": "CVE-1", "status": "fine"}]}`, `found "fine", want not_affected`},
		"entity bomb":         {`<!DOCTYPE bom [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><bom xmlns="http://cyclonedx.org/schema/bom/1.4">&b;</bom>`, "a report declares no entities"},
		"entity":              {`<bom xmlns="http://cyclonedx.org/schema/bom/1.4"><components>&b;</components></bom>`, "invalid character entity"},
		"other XML":           {`<html></html>`, "not a report of a known format"},
		"deep XML":            {`<bom xmlns="http://cyclonedx.org/schema/bom/1.4">` + strings.Repeat("<a>", 300), "nested deeper than 100 levels"},
		"XML twice":           {"<bom xmlns=\"http://cyclonedx.org/schema/bom/1.4\">\n<vulnerabilities/>\n<vulnerabilities/></bom>", `r:3: vulnerabilities: the element "vulnerabilities" stands twice`},
		"XML not UTF-8":       {"<bom xmlns=\"http://cyclonedx.org/schema/bom/1.4\"><components>\xff</components></bom>", "invalid UTF-8"},
		"long row":            {"Vulnerability id,Published on,Security Risk\nCVE-1,,\"" + strings.Repeat("a", maxRow+8192), "a row or an element of more than"},
		"too many cells":      {"Vulnerability id,Published on,Security Risk\nCVE-1,,HIGH,b", "r:2: 4 cells, but 3 columns"},
		"CSV not UTF-8":       {"Vulnerability id,Published on,Security Risk\nCVE-1,,\xff", "r:2: a text that is not UTF-8"},
		"CSV digest":          {"Registry,Repository,Id,CVE ID,Severity,Packages\na,b,sha256:zz,CVE-1,high,x", `r:2: column Id: "sha256:zz" is no digest`},
		"no zip":              {"PK\x03\x04 and no more", "zip"},
	} {
		facts, err := Read(t.Context(), "r", strings.NewReader(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
		if facts != nil {
			t.Errorf("%s: facts beside an error: %v", name, facts)
		}
	}
}

// TestManyOfOne has what a report may repeat many times at little cost. What is searched for each that comes is bounded; else
// these take minutes.
func TestManyOfOne(t *testing.T) {
	const n = 120_000
	repeat := func(format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return strings.TrimSuffix(b.String(), ",")
	}
	for name, c := range map[string]struct{ text, want string }{
		"tags":      {`{"SchemaVersion": 2, "Metadata": {"RepoTags": [` + repeat(`"r%d",`) + `]}}`, "more than 1000 digests or repositories of one image"},
		"digests":   {`{"SchemaVersion": 2, "Metadata": {"RepoDigests": [` + repeat(`"r@sha256:%064d",`) + `]}}`, "more than 1000 digests or repositories of one image"},
		"aliases":   {`{"SchemaVersion": 2, "Results": [{"Vulnerabilities": [{"VulnerabilityID": "CVE-1", "VendorIDs": [` + repeat(`"A-%d",`) + `]}]}]}`, "other names, want at most 1000"},
		"elements":  {`<bom><x>` + repeat(`<k%d/>`) + `</x></bom>`, "r:1: x.k1001: an element with more than 1000"},
		"keys":      {`{"matches": [], "x": {` + repeat(`"k%d": 1,`) + `}}`, ""},
		"lists":     {`{"matches": [], "source": {"x": [` + repeat(`{"a": [[%d]]},`) + `]}}`, ""},
		"workloads": {`{"ClusterName": "c", "Resources": [` + strings.ReplaceAll(repeat(`{"Metadata": {"ImageID": "D"}, "Results": [{"Class": "os-pkgs", "Vulnerabilities": [{"VulnerabilityID": "CVE-%d"}]}]},`), "D", digest) + `]}`, "r:1: Resources[100000]: more than 100000 images"},
	} {
		_, err := Read(t.Context(), "r", strings.NewReader(c.text))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}

// keys is n different keys.
func keys(n int) string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf(`"k%d": %d`, i, i))
	}
	return strings.Join(out, ", ")
}

// TestLimits crosses each limit by one.
func TestLimits(t *testing.T) {
	small := Limits{Bytes: 10_000, Vulnerabilities: 10, Kept: 1000, Nodes: 50, Packed: 1000}
	csv := func(n int) string {
		return "Vulnerability id,Published on,Security Risk\n" + strings.Repeat("CVE-1,,HIGH\n", n)
	}
	for name, c := range map[string]struct {
		text, want string
	}{
		"10 vulnerabilities":   {csv(10), ""},
		"11 vulnerabilities":   {csv(11), "r:12: more than 10 vulnerabilities"},
		"JSON vulnerabilities": {report(11), "r:11: Results[0].Vulnerabilities[10]: more than 10 vulnerabilities"},
		"bytes":                {"{" + strings.Repeat(" ", 10_000) + "}", "more than 10000 bytes"},
		"bytes of CSV":         {csv(0) + strings.Repeat("\n", 10_000), "more than 10000 bytes"},
		"kept":                 {"Vulnerability id,Published on,Security Risk\nCVE-" + strings.Repeat("1", 1000) + ",,HIGH", "more than 1000 bytes of names"},
		"nodes":                {`{"SchemaVersion": 2, "x": [` + strings.Repeat("1,", 60) + "1]}", "more than 50 values"},
		"zip":                  {"PK\x03\x04" + strings.Repeat("a", 2000), "a zip file of more than 1000 bytes"},
		"zip bomb":             {bomb(t, csv(0)+strings.Repeat("\n", 100_000)), "more than 10000 bytes"},
	} {
		_, err := read(t.Context(), "r", strings.NewReader(c.text), small)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}

// bomb is a zip file with one member.
func bomb(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	w, err := z.Create("security.csv")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestGivesUp shows that a reader which is told to stop, or whose source breaks, stops.
func TestGivesUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Read(ctx, "r", strings.NewReader(report(3))); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	broken := errors.New("broken")
	if _, err := Read(t.Context(), "r", io.MultiReader(strings.NewReader(report(3)[:300]), failing{broken})); !errors.Is(err, broken) {
		t.Errorf("a broken source: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// report is a report of Trivy with n vulnerabilities of 500 bytes each.
func report(n int) string {
	var b strings.Builder
	_, _ = io.Copy(&b, stream(n))
	return b.String()
}

// stream makes the same as it is read.
func stream(n int) io.Reader {
	head := `{"SchemaVersion": 2, "CreatedAt": "2026-11-01T00:00:00Z", "ArtifactName": "registry.bank.example/api:1", "ArtifactType": "container_image", ` +
		`"Metadata": {"ImageID": "` + digest + `"}, "Results": [{"Target": "api (debian 12.5)", "Class": "os-pkgs", "Vulnerabilities": [`
	return io.MultiReader(strings.NewReader(head), &many{n: n}, strings.NewReader("]}]}"))
}

type many struct {
	i, n int
	left []byte
}

func (m *many) Read(b []byte) (int, error) {
	if len(m.left) == 0 {
		if m.i == m.n {
			return 0, io.EOF
		}
		comma := ","
		if m.i++; m.i == m.n {
			comma = ""
		}
		one := fmt.Sprintf(`{"VulnerabilityID": "CVE-2026-%07d", "PkgName": "pkg%d", "InstalledVersion": "1.%d", "FixedVersion": "2.0", "Severity": "HIGH", "PublishedDate": "2026-10-01T00:00:00Z", "Description": "`, m.i, m.i%1000, m.i%100)
		m.left = []byte(one + strings.Repeat("x", 500-len(one)-4) + `"}` + comma + "\n")
	}
	n := copy(b, m.left)
	m.left = m.left[n:]
	return n, nil
}

// TestMemory reads 100,000 vulnerabilities and holds little more than they take. The largest report that is read, of ten times
// as many, takes ten times this: see BenchmarkLargest.
func TestMemory(t *testing.T) {
	const n, each = 100_000, 1_600 // bytes each: 224 for the struct, twice that while the list grows, its texts, and what waits for the collector
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	facts, err := Read(t.Context(), "r", stream(n))
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := len(facts[0].Scans[0].Vulnerabilities); got != n {
		t.Errorf("%d vulnerabilities, want %d", got, n)
	}
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > n*each {
		t.Errorf("the heap grew by %d bytes, want at most %d", grown, n*each)
	}
}

// BenchmarkImport reads 100,000 vulnerabilities of 500 bytes each: the bar is 60 s.
func BenchmarkImport(b *testing.B) { benchmark(b, 100_000) }

// BenchmarkLargest reads the largest report that is taken: 1,000,000 vulnerabilities, 500 MB.
func BenchmarkLargest(b *testing.B) { benchmark(b, 1_000_000) }

func benchmark(b *testing.B, n int) {
	b.SetBytes(int64(n) * 500)
	for b.Loop() {
		facts, err := Read(b.Context(), "r", stream(n))
		if err != nil {
			b.Fatal(err)
		}
		if len(facts[0].Scans[0].Vulnerabilities) != n {
			b.Fatalf("%d vulnerabilities, want %d", len(facts[0].Scans[0].Vulnerabilities), n)
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapSys)/float64(n), "heap-B/vulnerability")
}
