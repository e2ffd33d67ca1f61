package scanner

import (
	"fmt"
	"strings"

	"ringfence.dev/ringfence/image"
)

// blackduckRows reads the vulnerabilities of one version of one project. Black Duck names no image and no time of the scan.
func blackduckRows(p *reading) rows {
	scan := image.Scan{Scanner: "blackduck"}
	return rows{
		row: func(r row) error {
			id := r.get("Vulnerability id")
			if id == "" {
				return errUnnamed
			}
			if source := r.get("Vulnerability source"); source != "" && strings.Trim(id, "0123456789") == "" {
				id = source + "-" + id // VulnDB's are numbers alone
			}
			v := image.Vulnerability{ID: id, Version: first(r.get("Version"), r.get("Component version name"))}
			v.Package = first(r.get("Channel version origin id"), r.get("Component origin id"), r.get("Project name"), r.get("Component name"))
			v.Severity, v.Scale = worded(r.get("Security Risk"), r.get("Base score"))
			t, err := when(r.get("Published on"))
			if err != nil {
				return fmt.Errorf("column Published on: %w", err)
			}
			date(&v, t, "blackduck:Published on")
			return p.vulnerability(&scan.Vulnerabilities, v)
		},
		end: func() error { return p.take(&subject{}, scan) },
	}
}
