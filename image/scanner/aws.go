package scanner

import (
	"strings"
	"time"

	"ringfence.dev/ringfence/image"
)

// inspected gathers findings by image: Amazon's answers mix them.
type inspected struct {
	p     *reading
	order []string
	by    map[string]*ecrImage
}

type ecrImage struct {
	subject
	found []image.Vulnerability
	at    time.Time
}

func (i *inspected) image(key string) *ecrImage {
	if i.by == nil {
		i.by = map[string]*ecrImage{}
	}
	if i.by[key] == nil {
		i.order = append(i.order, key)
		i.by[key] = &ecrImage{}
	}
	return i.by[key]
}

// finding reads one finding of Amazon Inspector. What is closed or suppressed counts as it was found: a digest does not
// change, and only the bank's own waivers take anything away.
func (i *inspected) finding(_ string, n *node) error {
	details := n.at("packageVulnerabilityDetails")
	id := details.str("vulnerabilityId")
	if id == "" { // of the network, or of code
		return nil
	}
	v := image.Vulnerability{ID: id, Aliases: aliases(id, details.strs("relatedVulnerabilities")...)}
	v.Severity, v.Scale = worded(n.str("severity"), n.str("inspectorScore"))
	if err := published(&v, details, "inspector", "vendorCreatedAt"); err != nil {
		return err
	}
	var err error
	if v.Found, err = n.time("firstObservedAt"); err != nil {
		return err
	}
	seen, err := n.time("lastObservedAt")
	if err != nil {
		return err
	}
	for _, resource := range n.list("resources") {
		kind := resource.str("type")
		ecr := resource.at("details", "awsEcrContainerImage")
		key := ""
		if kind == "AWS_ECR_CONTAINER_IMAGE" {
			key = resource.str("id")
		}
		img := i.image(key)
		if key != "" {
			if err := img.ecr(&resource, ecr); err != nil {
				return err
			}
		}
		if seen.After(img.at) {
			img.at = seen
		}
		if err := i.packages(img, v, details); err != nil {
			return err
		}
	}
	return nil
}

// ecr reads which image a resource is: its ARN ends in /sha256:<digest>.
func (e *ecrImage) ecr(resource, ecr *node) error {
	e.digest(ecr, "imageHash")
	if _, digest, ok := strings.Cut(resource.str("id"), "/sha256:"); ok && len(e.digests) == 0 {
		d, err := asDigest(digest)
		if err != nil {
			return resource.about("id", err)
		}
		e.add(d)
	}
	name := ecr.str("repositoryName")
	if registry, region := ecr.str("registry"), resource.str("region"); registry != "" && region != "" && name != "" {
		name = registry + ".dkr.ecr." + region + ".amazonaws.com/" + name
	}
	e.repository(name)
	return nil
}

// packages adds a vulnerability once for each package that has it.
func (i *inspected) packages(img *ecrImage, v image.Vulnerability, details *node) error {
	affected := details.list("vulnerablePackages")
	if len(affected) == 0 {
		return i.p.vulnerability(&img.found, v)
	}
	for _, pkg := range affected {
		v.Package, v.Version, v.FixedIn = pkg.str("name"), pkg.str("version"), pkg.str("fixedInVersion")
		if release := pkg.str("release"); release != "" && v.Version != "" {
			v.Version += "-" + release
		}
		if v.FixedIn == "NotAvailable" {
			v.FixedIn = ""
		}
		if err := i.p.vulnerability(&img.found, v); err != nil {
			return err
		}
	}
	return nil
}

// end takes every image.
func (i *inspected) end() error {
	for _, key := range i.order {
		img := i.by[key]
		if err := i.p.take(&img.subject, image.Scan{Scanner: "inspector", At: img.at, Vulnerabilities: img.found}); err != nil {
			return err
		}
	}
	return nil
}

func awsSkip() []string {
	return []string{"description", "referenceUrls", "tags", "remediation", "cvss", "inspectorScoreDetails", "epss"}
}

func inspector(p *reading) shape {
	i := &inspected{p: p}
	return shape{skip: awsSkip(), folds: map[string]func(string, *node) error{"findings/[]": i.finding, "[]": i.finding},
		end: func(n *node) error {
			if err := whole(n); err != nil {
				return err
			}
			return i.end()
		}}
}

// whole refuses a page of an answer that goes on: what the others say of an image would be missing, and nobody could tell.
func whole(n *node) error {
	for _, key := range []string{"nextToken", "NextToken"} { // the second is the command line's, with --max-items
		if n.str(key) != "" {
			return n.about(key, n.fault("this is one page of an answer; want all of it, as aws writes without --no-paginate and --max-items"))
		}
	}
	return nil
}

// ecr reads the answer about one image, with findings of basic scanning, of Inspector, or of both.
func ecr(p *reading) shape {
	i := &inspected{p: p}
	var basic []image.Vulnerability
	return shape{
		skip: awsSkip(),
		folds: map[string]func(string, *node) error{
			"imageScanFindings/enhancedFindings/[]": i.finding,
			"imageScanFindings/findings/[]": func(_ string, n *node) error {
				v := image.Vulnerability{ID: n.str("name")}
				if v.ID == "" {
					return errUnnamed
				}
				for _, a := range n.list("attributes") {
					switch a.str("key") {
					case "package_name":
						v.Package = a.str("value")
					case "package_version":
						v.Version = a.str("value")
					}
				}
				v.Severity, v.Scale = worded(n.str("severity"))
				return p.vulnerability(&basic, v)
			},
		},
		end: func(n *node) error {
			if err := whole(n); err != nil {
				return err
			}
			findings := n.at("imageScanFindings")
			at, err := ecrTime(findings, "imageScanCompletedAt")
			if err != nil {
				return err
			}
			database, err := ecrTime(findings, "vulnerabilitySourceUpdatedAt")
			if err != nil {
				return err
			}
			var s subject
			s.digest(n.at("imageId"), "imageDigest")
			s.repository(n.str("repositoryName"))
			if status := n.str("imageScanStatus", "status"); status != "" && status != "COMPLETE" && status != "ACTIVE" {
				at = time.Time{} // failed, or still going on
			}
			for _, key := range i.order {
				img := i.by[key]
				if len(img.digests) > 0 && len(s.digests) > 0 && img.digests[0] != s.digests[0] {
					return n.fault("the answer is about %s and has a finding of %s: two digests that conflict", s.digests[0], img.digests[0])
				}
				basic = append(basic, img.found...)
			}
			return p.take(&s, image.Scan{Scanner: "ecr", Database: database, At: at, Vulnerabilities: basic})
		},
	}
}

// ecrTime is a time as the command line writes it, or seconds since 1970 as the API does.
func ecrTime(n *node, key string) (time.Time, error) {
	if seconds, ok := n.number(key); ok {
		if seconds < 0 || seconds > 1e11 {
			return time.Time{}, n.about(key, n.fault("the time %q is no number of seconds since 1970", cut(n.str(key))))
		}
		t, err := sane(time.UnixMilli(int64(seconds*1000)).UTC(), n.str(key))
		return t, n.about(key, err)
	}
	return n.time(key)
}
