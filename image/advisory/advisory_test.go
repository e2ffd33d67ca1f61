package advisory_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"strings"
	"testing"
	"testing/fstest"

	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/image/advisory"
)

const (
	osv = `{"schema_version":"1.7.0","id":"GHSA-jfh8-c2jp-5v3q","modified":"2026-01-01T00:00:00Z","published":"2021-12-10T00:40:56Z","aliases":["CVE-2021-44228"],
		"affected":[{"package":{"ecosystem":"Maven","name":"log4j"}}],"details":"text"}`
	withdrawn = `{"id":"GHSA-0000-0000-0000","published":"2020-01-01T00:00:00Z","withdrawn":"2020-02-01T00:00:00Z"}`
	nvd       = `{"resultsPerPage":2,"format":"NVD_CVE","version":"2.0","vulnerabilities":[
		{"cve":{"id":"CVE-2021-44228","published":"2021-12-10T10:15:09.143","vulnStatus":"Analyzed","descriptions":[{"lang":"en","value":"x"}]}},
		{"cve":{"id":"CVE-2026-1","published":"2026-11-01T00:00:00.000","vulnStatus":"Awaiting Analysis"}},
		{"cve":{"id":"CVE-2026-2","published":"2026-11-01T00:00:00.000","vulnStatus":"Rejected"}}]}`
	kev = `{"title":"CISA Catalog","catalogVersion":"2026.11.20","count":1,"vulnerabilities":[{"cveID":"CVE-2021-44228","vendorProject":"Apache","dateAdded":"2021-12-10","knownRansomwareCampaignUse":"Known"}]}`
)

func packed(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(text))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipped(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range files {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write([]byte(text))
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestRead: the three forms in the three packings become one entry a vulnerability, under all its names, with every date's source.
func TestRead(t *testing.T) {
	x, counts, err := advisory.Read(fstest.MapFS{
		"osv/Maven.zip":    {Data: zipped(t, map[string]string{"GHSA-jfh8-c2jp-5v3q.json": osv, "w.json": withdrawn, "README.txt": "no"})},
		"nvd/2021.json.gz": {Data: packed(t, nvd)},
		"kev.json":         {Data: []byte(kev)},
		"notes.txt":        {Data: []byte("passed over")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := (advisory.Counts{Files: 4, OSV: 1, NVD: 2, KEV: 1, Withdrawn: 2}); counts != want {
		t.Errorf("counts %+v, want %+v", counts, want)
	}
	check := func(x *advisory.Index) {
		t.Helper()
		for _, name := range []string{"CVE-2021-44228", "GHSA-jfh8-c2jp-5v3q"} {
			a, ok := x.Find(name)
			if !ok || a.ID != "CVE-2021-44228" || !a.Exploited || len(a.Published) != 3 || a.Published[0].Source != "kev" || a.Published[1].Source != "osv" || a.Published[2].Source != "nvd" {
				t.Errorf("%s: %+v", name, a)
			}
		}
		if _, ok := x.Find("CVE-2026-2"); ok || x.Len() != 2 || x.Newest().Format("2006-01-02") != "2026-11-01" {
			t.Errorf("rejected is there, or %d entries, newest %v", x.Len(), x.Newest())
		}
	}
	check(x)
	again, err := advisory.Load(bytes.NewReader(x.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	check(again)
	if !bytes.Equal(again.Bytes(), x.Bytes()) {
		t.Error("the same index has other bytes once it was read")
	}
	var _ image.Advisories = x.Find
}

// TestBad: each file is refused whole, by name and place.
func TestBad(t *testing.T) {
	for name, c := range map[string]struct{ file, text, want string }{
		"truncated":      {"a.json", osv[:80], "read advisories of a.json: near byte"},
		"no JSON":        {"a.json", "<html>", "a.json: near byte 0: invalid character"},
		"another form":   {"a.json", `{"name":"x"}`, "without an id"},
		"a list":         {"a.json", `[1]`, `found "["`},
		"date":           {"a.json", `{"id":"CVE-1-1","published":"yesterday"}`, `CVE-1-1: found the date "yesterday"`},
		"tab in a name":  {"a.json", `{"id":"CVE-1\t1"}`, "found the id"},
		"number":         {"a.json", `{"id":7}`, "cannot unmarshal number"},
		"two":            {"a.json", `{"id":"CVE-1-1"}{"id":"CVE-1-2"}`, "want one value in a file"},
		"deep":           {"a.json", `{"x":` + strings.Repeat("[", 5000), "more than 100 levels"},
		"aliases":        {"a.json", `{"id":"CVE-1-1","aliases":["` + strings.Repeat(`x1","`, 300) + `y1"]}`, "at most 200"},
		"no gzip":        {"a.json.gz", "text", "a.json.gz: "},
		"no zip":         {"a.zip", "text", "a.zip: zip: not a valid zip file"},
		"an empty list":  {"a.txt", "", "no file there"},
		"not an element": {"a.json", `{"vulnerabilities":[7]}`, "cannot unmarshal"},
	} {
		_, _, err := advisory.Read(fstest.MapFS{c.file: {Data: []byte(c.text)}})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	x, _, err := advisory.Read(fstest.MapFS{"a.json": {Data: []byte(osv)}})
	if err != nil {
		t.Fatal(err)
	}
	whole := x.Bytes()
	for name, text := range map[string][]byte{"cut": whole[:len(whole)-9], "text": []byte("hello"), "another header": packed(t, "hello\n"), "a bad line": packed(t, "ringfence.dev/advisories/v1\nCVE-1\n")} {
		if _, err := advisory.Load(bytes.NewReader(text)); err == nil || !strings.Contains(err.Error(), "read the advisory index") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzRead: whatever the bytes, an index that was made is one that can be read again.
func FuzzRead(f *testing.F) {
	for _, text := range []string{osv, nvd, kev, withdrawn, `{"id":"A1","aliases":["B1","A1"]}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		x, _, err := advisory.Read(fstest.MapFS{"a.json": {Data: text}})
		if err != nil {
			return
		}
		again, err := advisory.Load(bytes.NewReader(x.Bytes()))
		if err != nil || !bytes.Equal(again.Bytes(), x.Bytes()) || again.Len() != x.Len() {
			t.Fatalf("%v: %q", err, text)
		}
	})
}
