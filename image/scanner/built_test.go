package scanner

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ringfence.dev/ringfence/image"
)

// TestBuilt: each format's words for what an image is made of; layers that are no digests are none, and no report has layers without end.
func TestBuilt(t *testing.T) {
	one, two := "sha256:"+strings.Repeat("1", 64), "sha256:"+strings.Repeat("2", 64)
	labels := `{"org.opencontainers.image.base.name":"docker.io/library/debian:12","org.opencontainers.image.base.digest":"` + two + `"}`
	whole := image.Built{System: "debian 12.5", Base: "docker.io/library/debian:12@" + two, Layers: []string{one, two}}
	for name, c := range map[string]struct {
		report string
		want   image.Built
	}{
		"trivy": {`{"SchemaVersion":2,"ArtifactName":"r/a","ArtifactType":"container_image","Metadata":{"OS":{"Family":"debian","Name":"12.5"},"DiffIDs":["` + one + `","` + two + `"],
			"ImageConfig":{"history":[{"created_by":"x"}],"config":{"Env":["A=b"],"Labels":` + labels + `}}},"Results":[]}`, whole},
		"grype": {`{"matches":[],"source":{"type":"image","target":{"userInput":"r/a","layers":[{"digest":"` + one + `"},{"digest":"` + two + `"}],"labels":` + labels + `}},
			"distro":{"name":"debian","version":"12.5"},"descriptor":{"name":"grype","version":"0.1"}}`, whole},
		"grype, a base without a name": {`{"matches":[],"source":{"type":"image","target":{"userInput":"r/a","labels":{"org.opencontainers.image.base.digest":"` + two + `"}}},"descriptor":{"name":"grype"}}`,
			image.Built{Base: two}},
		"grype without": {`{"matches":[],"source":{"type":"image","target":{"userInput":"r/a","layers":[{"digest":"none"}]}},"descriptor":{"name":"grype"}}`, image.Built{}},
		"trivy-operator": {`{"apiVersion":"aquasecurity.github.io/v1alpha1","kind":"VulnerabilityReport","report":{"os":{"family":"debian","name":"12.5"},"artifact":{"repository":"a"},"vulnerabilities":[]}}`,
			image.Built{System: "debian 12.5"}},
		"clair": {`{"manifest_hash":"` + one + `","packages":{},"distributions":{"1":{"id":"1","did":"debian","version_id":"12.5"}},"vulnerabilities":{},"package_vulnerabilities":{}}`, image.Built{System: "debian 12.5"}},
		"qualys": {`{"sha":"` + one[7:] + `","repoDigests":[],"operatingSystem":"Debian Linux 12.5","layers":[{"sha":null},{"sha":"` + two[7:] + `"}],"lastVmScanDate":"1603477517000","vulnerabilities":[]}`,
			image.Built{System: "Debian Linux 12.5", Layers: []string{two}}},
	} {
		facts, err := Read(t.Context(), name, strings.NewReader(c.report))
		if err != nil || len(facts) != 1 {
			t.Errorf("%s: %v, %v", name, facts, err)
			continue
		}
		if diff := cmp.Diff(c.want, facts[0].Built); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	var many []string
	for i := range 100_000 {
		many = append(many, fmt.Sprintf(`"sha256:%064x"`, i))
	}
	facts, err := Read(t.Context(), "many", strings.NewReader(`{"SchemaVersion":2,"ArtifactType":"container_image","Metadata":{"DiffIDs":[`+strings.Join(many, ",")+`]},"Results":[]}`))
	if err != nil || len(facts[0].Built.Layers) != maxLayers {
		t.Errorf("of 100,000 layers %d are kept, %v; want %d", len(facts[0].Built.Layers), err, maxLayers)
	}
}

// TestBuiltFixtures: what reports of others say, as it was read off them by eye.
func TestBuiltFixtures(t *testing.T) {
	dir := fixtures(t)
	for file, want := range map[string]image.Built{
		"trivy/all_statuses.json":                  {System: "debian 10.13", Layers: make([]string, 12)},
		"trivy/license_scheme.json":                {System: "alpine 3.11.13", Layers: make([]string, 1)},
		"grype/issue_9942.json":                    {System: "ubuntu 20.04", Layers: make([]string, 20)},
		"grype/many_vulns_with_epss_values.json":   {System: "busybox 1.32.1", Layers: make([]string, 1)},
		"trivy/misconfigurations_and_secrets.json": {},
	} {
		facts, err := readFile(t, filepath.Join(dir, file))
		if err != nil || len(facts) == 0 {
			t.Errorf("%s: %v, %v", file, facts, err)
			continue
		}
		if got := facts[0].Built; got.System != want.System || len(got.Layers) != len(want.Layers) || got.Base != want.Base {
			t.Errorf("%s: %+v; want %q and %d layers", file, got, want.System, len(want.Layers))
		}
	}
}
