package scanner

import (
	"cmp"

	"ringfence.dev/ringfence/image"
)

// clairAt is the key under which package image/pull says when it asked for a report of Clair: it is made anew for whoever asks.
const clairAt = "ringfenceScannedAt"

// clair reads Clair 4's vulnerability report. It does not say itself when the image was scanned.
func clair(p *reading) shape {
	weak := map[string]image.Vulnerability{} // by Clair's number
	pkgs := map[string][2]string{}           // name and version, by Clair's number
	var links [][2]string                    // package and vulnerability
	var s subject
	return shape{
		skip: []string{"description", "links", "environments", "enrichments", "cpe"},
		folds: map[string]func(string, *node) error{
			"vulnerabilities/{}": func(key string, n *node) error {
				var one []image.Vulnerability
				v, err := clairWeakness(n)
				if err := cmp.Or(err, p.vulnerability(&one, v)); err != nil {
					return err
				}
				p.count-- // what is counted is where it was found
				weak[key] = one[0]
				return nil
			},
			"packages/{}": func(key string, n *node) (err error) {
				name, err := p.keep(n.str("name"))
				if err == nil {
					pkgs[key] = [2]string{name, n.str("version")}
				}
				return err
			},
			"distributions/{}": func(_ string, n *node) error {
				s.system(n.str("did"), n.str("version_id"))
				return nil
			},
			"package_vulnerabilities/{}": func(key string, n *node) error {
				for _, id := range n.strs() {
					if links = append(links, [2]string{key, id}); len(links) > p.limits.Vulnerabilities {
						return n.fault("more than %d vulnerabilities; split the report by image", p.limits.Vulnerabilities)
					}
				}
				return nil
			},
		},
		end: func(n *node) error {
			s.digest(n, "manifest_hash")
			at, err := n.time(clairAt)
			if err != nil {
				return err
			}
			scan := image.Scan{Scanner: "clair", At: at}
			for _, link := range links {
				v, ok := weak[link[1]]
				if !ok {
					return n.fault("package_vulnerabilities names the vulnerability %q, which vulnerabilities lacks", cut(link[1]))
				}
				v.Package, v.Version = pkgs[link[0]][0], pkgs[link[0]][1]
				if err := p.vulnerability(&scan.Vulnerabilities, v); err != nil {
					return err
				}
			}
			return p.take(&s, scan)
		},
	}
}

// clairWeakness is one entry of vulnerabilities.
func clairWeakness(n *node) (image.Vulnerability, error) {
	v := image.Vulnerability{ID: n.first("name", "id"), FixedIn: n.str("fixed_in_version")}
	v.Severity, v.Scale = worded(n.str("normalized_severity"), n.str("severity"))
	err := published(&v, n, "clair", "issued")
	return v, err
}

// clairLayer reads the answer of Clair 1 to 3 about a layer and those below it, as Quay still gives it.
func clairLayer(p *reading) shape {
	var found, of []image.Vulnerability
	weakness := func(_ string, n *node) error {
		v := image.Vulnerability{ID: n.str("Name"), FixedIn: n.str("FixedBy")}
		if v.ID == "" {
			return errUnnamed
		}
		v.Severity, v.Scale = worded(n.str("Severity"))
		if err := published(&v, n.at("Metadata", "NVD"), "clair", "PublishedDateTime"); err != nil {
			return err
		}
		return p.vulnerability(&of, v)
	}
	feature := func(_ string, n *node) error {
		for _, v := range of {
			v.Package, v.Version = n.str("Name"), n.str("Version")
			found = append(found, v)
		}
		of = nil
		return nil
	}
	folds := map[string]func(string, *node) error{}
	for _, at := range []string{"", "data/"} {
		folds[at+"Layer/Features/[]/Vulnerabilities/[]"] = weakness
		folds[at+"Layer/Features/[]"] = feature
	}
	return shape{skip: []string{"Description", "Link"}, folds: folds, end: func(*node) error {
		return p.take(&subject{}, image.Scan{Scanner: "clair", Vulnerabilities: found}) // a layer is no image
	}}
}

// clairScanner reads what clair-scanner writes.
func clairScanner(p *reading) shape {
	var found []image.Vulnerability
	return shape{
		skip: []string{"description", "unapproved"},
		folds: map[string]func(string, *node) error{"vulnerabilities/[]": func(_ string, n *node) error {
			v := image.Vulnerability{ID: n.str("vulnerability"), Package: n.str("featurename"), Version: n.str("featureversion"), FixedIn: n.str("fixedby")}
			if v.ID == "" {
				return errUnnamed
			}
			v.Severity, v.Scale = worded(n.str("severity"))
			return p.vulnerability(&found, v)
		}},
		end: func(n *node) error {
			var s subject
			if err := s.reference(n.str("image"), true); err != nil {
				return n.about("image", err)
			}
			return p.take(&s, image.Scan{Scanner: "clair", Vulnerabilities: found})
		},
	}
}

// klar reads what klar writes: lists by severity, and no name of the image.
func klar(p *reading) shape {
	var found []image.Vulnerability
	return shape{
		skip: []string{"Description", "Link", "Metadata"},
		folds: map[string]func(string, *node) error{"Vulnerabilities/{}/[]": func(_ string, n *node) error {
			v := image.Vulnerability{ID: n.str("Name"), Package: n.str("FeatureName"), Version: n.str("FeatureVersion"), FixedIn: n.str("FixedBy")}
			if v.ID == "" {
				return errUnnamed
			}
			v.Severity, v.Scale = worded(n.str("Severity"))
			return p.vulnerability(&found, v)
		}},
		end: func(*node) error {
			return p.take(&subject{}, image.Scan{Scanner: "clair", Vulnerabilities: found})
		},
	}
}
