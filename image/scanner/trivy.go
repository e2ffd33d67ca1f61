package scanner

import (
	"strings"
	"time"

	"ringfence.dev/ringfence/image"
)

// trivySkip are long texts of Trivy's reports that nothing here needs.
func trivySkip() []string {
	return []string{"Description", "References", "CVSS", "Packages", "Misconfigurations", "history", "rootfs", "Env", "Layers", "VendorSeverity", "Licenses", "Secrets",
		"description", "links", "cvss", "managedFields", "CauseMetadata", "ExperimentalModifiedFindings"}
}

// target is what is gathered of one artifact of Trivy: of one report, or of one workload's container in a cluster.
type target struct {
	p       *reading
	found   []image.Vulnerability
	scanned bool // packages were looked at: a report on secrets, licences or configuration alone is no scan
	name    string
}

// vulnerability reads an element of Results[].Vulnerabilities[].
func (t *target) vulnerability(_ string, n *node) error {
	id := n.str("VulnerabilityID")
	if id == "" {
		return nil // Trivy writes such a stub where it knows a package and no weakness of it
	}
	v := image.Vulnerability{ID: id, Aliases: aliases(id, n.strs("VendorIDs")...), Package: n.str("PkgName"), Version: n.str("InstalledVersion"), FixedIn: n.str("FixedVersion")}
	v.Severity, v.Scale = worded(n.str("Severity"))
	if err := published(&v, n, "trivy", "PublishedDate"); err != nil {
		return err
	}
	t.scanned = true
	return t.p.vulnerability(&t.found, v)
}

// result reads what is left of an element of Results[].
func (t *target) result(_ string, n *node) error {
	switch n.str("Class") {
	case "os-pkgs":
		t.scanned = true
		if t.name == "" { // "registry.bank.example/api:1 (debian 12.5)"
			t.name, _, _ = strings.Cut(n.str("Target"), " (")
		}
	case "lang-pkgs":
		t.scanned = true
	}
	return nil
}

// image ends the artifact: n has its Metadata.
func (t *target) image(n *node, name string, at time.Time, version string) error {
	found, scanned, target := t.found, t.scanned, t.name
	t.found, t.scanned, t.name = nil, false, ""
	var s subject
	for _, meta := range n.list("Metadata") { // a list in some versions of trivy k8s
		s.digest(&meta, "ImageID")
		for _, refs := range []string{"RepoDigests", "RepoTags"} {
			if err := s.references(&meta, refs); err != nil {
				return err
			}
		}
		s.system(meta.str("OS", "Family"), meta.str("OS", "Name"))
		s.base(meta.at("ImageConfig", "config", "Labels"))
		for _, layer := range meta.strs("DiffIDs") {
			s.layer(layer)
		}
	}
	if name == "" && len(s.repositories) == 0 {
		name = target
	}
	if err := s.reference(name, true); err != nil {
		return n.about("ArtifactName", err)
	}
	scan := image.Scan{}
	if scanned {
		scan = image.Scan{Scanner: "trivy", Version: version, At: at, Vulnerabilities: found}
	}
	return t.p.take(&s, scan)
}

func trivy(p *reading) shape {
	t := &target{p: p}
	return shape{
		skip:  trivySkip(),
		folds: map[string]func(string, *node) error{"Results/[]/Vulnerabilities/[]": t.vulnerability, "Results/[]": t.result},
		end: func(n *node) error {
			at, err := n.time("CreatedAt")
			if err != nil {
				return err
			}
			name := n.str("ArtifactName")
			if kind := n.str("ArtifactType"); kind != "container_image" && kind != "image" && kind != "" {
				t.name = "" // a folder or a file has no repository
				if !t.scanned {
					return nil // configuration, secrets or licences of files say nothing of an image
				}
				return t.image(nothing(), "", at, n.str("Trivy", "Version"))
			}
			return t.image(n, name, at, n.str("Trivy", "Version"))
		},
	}
}

// trivyLegacy reads schema 1: a list of targets without a word on the artifact.
func trivyLegacy(p *reading) shape {
	t := &target{p: p, scanned: true}
	return shape{
		skip: trivySkip(),
		folds: map[string]func(string, *node) error{"[]/Vulnerabilities/[]": t.vulnerability, "[]": func(_ string, n *node) error {
			if name, _, os := strings.Cut(n.str("Target"), " ("); os && t.name == "" {
				t.name = name
			}
			return nil
		}},
		end: func(*node) error { return t.image(nothing(), "", time.Time{}, "") },
	}
}

// trivyCluster reads what trivy k8s writes: a list of workloads in Resources, or in Vulnerabilities before version 0.45.
func trivyCluster(p *reading) shape {
	t := &target{p: p}
	workload := func(_ string, n *node) error {
		if !t.scanned {
			t.found, t.name = nil, ""
			return nil // of a Service or a Role there is only configuration
		}
		return t.image(n, "", time.Time{}, "")
	}
	folds := map[string]func(string, *node) error{}
	for _, list := range []string{"Resources", "Vulnerabilities", "Findings"} {
		folds[list+"/[]/Results/[]/Vulnerabilities/[]"] = t.vulnerability
		folds[list+"/[]/Results/[]"] = t.result
		folds[list+"/[]"] = workload
	}
	return shape{skip: trivySkip(), folds: folds, end: func(*node) error { return nil }}
}

func tellOperator(s sketch) bool {
	for path, value := range s {
		if strings.HasSuffix(path, "apiVersion") && strings.HasPrefix(value, "aquasecurity.github.io/") || strings.HasSuffix(path, ".aquasecurity.github.io") {
			return true
		}
	}
	return false
}

// operator reads objects of the trivy-operator: one, a List of them, a list, or lists by the name of their kind.
func operator(p *reading) shape {
	t := &target{p: p}
	vulnerability := func(_ string, n *node) error {
		id := n.str("vulnerabilityID")
		if id == "" {
			return errUnnamed
		}
		v := image.Vulnerability{ID: id, Package: n.first("resource", "packagePURL"), Version: n.str("installedVersion"), FixedIn: n.str("fixedVersion")}
		v.Severity, v.Scale = worded(n.str("severity"), n.str("score"))
		if err := published(&v, n, "trivy", "publishedDate"); err != nil {
			return err
		}
		return t.p.vulnerability(&t.found, v)
	}
	object := func(_ string, n *node) error {
		err := t.object(n)
		t.found = nil
		return err
	}
	folds := map[string]func(string, *node) error{}
	for _, at := range []string{"", "items/[]/", "[]/", "{}/[]/", "{}/items/[]/"} {
		folds[at+"report/vulnerabilities/[]"] = vulnerability
		if at != "" {
			folds[strings.TrimSuffix(at, "/")] = object
		}
	}
	return shape{skip: trivySkip(), folds: folds, end: func(n *node) error {
		if strings.HasPrefix(n.str("apiVersion"), "aquasecurity.github.io/") && !strings.HasSuffix(n.str("kind"), "List") {
			return object("", n)
		}
		return nil
	}}
}

// object reads what is left of one object. Reports on configuration, secrets, roles and compliance say nothing of
// vulnerabilities, and are read as saying nothing.
func (t *target) object(n *node) error {
	kind := n.str("kind")
	if kind != "VulnerabilityReport" && kind != "ClusterVulnerabilityReport" && kind != "SbomReport" && kind != "ClusterSbomReport" {
		return nil
	}
	report := n.at("report")
	var s subject
	artifact := report.at("artifact")
	s.digest(artifact, "digest")
	s.system(report.str("os", "family"), report.str("os", "name"))
	name := artifact.str("repository")
	if server := report.str("registry", "server"); server != "" && name != "" {
		name = server + "/" + name
	}
	if err := s.reference(name, true); err != nil {
		return artifact.about("repository", err)
	}
	if strings.HasSuffix(kind, "SbomReport") {
		return t.p.sbom(&s, report.at("components"))
	}
	at, err := report.time("updateTimestamp")
	if err != nil {
		return err
	}
	return t.p.take(&s, image.Scan{Scanner: "trivy", Version: report.str("scanner", "version"), At: at, Vulnerabilities: t.found})
}
