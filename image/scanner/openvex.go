package scanner

import (
	"ringfence.dev/ringfence/image"
)

// openvex reads statements about products, one Facts for each product. A statement is no scan: the time of one stays empty, and
// whose statements count is not decided here.
func openvex(p *reading) shape {
	g := grouped{p: p, scanner: "openvex"}
	return shape{
		folds: map[string]func(string, *node) error{"statements/[]": func(_ string, n *node) error {
			v, err := statement(n)
			if err != nil {
				return err
			}
			products := n.list("products")
			if len(products) == 0 {
				products = []node{*nothing()}
			}
			for _, product := range products {
				if err := p.product(&g, &product, v); err != nil {
					return err
				}
			}
			return nil
		}},
		end: func(*node) error { return g.end() },
	}
}

// statement is the vulnerability that a statement is about. What it says of a fixed product is that it is not affected.
func statement(n *node) (image.Vulnerability, error) {
	weakness := n.at("vulnerability")
	id := weakness.text // a name alone before version 0.2
	if weakness.kind == isObject {
		id = weakness.first("name", "@id")
	}
	v := image.Vulnerability{ID: id, Aliases: aliases(id, weakness.strs("aliases")...), Scale: n.str("status")}
	if id == "" {
		return v, errUnnamed
	}
	switch n.str("status") {
	case "not_affected":
		if v.NotAffected = first(n.str("justification"), n.str("impact_statement")); v.NotAffected == "" {
			return v, n.about("status", n.fault("not_affected without justification or impact_statement: OpenVEX demands one"))
		}
	case "fixed":
		v.NotAffected = "fixed"
	case "affected", "under_investigation":
	default:
		return v, n.about("status", n.fault("found %q, want not_affected, affected, fixed or under_investigation", cut(n.str("status"))))
	}
	return v, nil
}

// product adds a statement to one product, for each of its parts that it names.
func (p *reading) product(g *grouped, n *node, v image.Vulnerability) error {
	name := n.text // a name alone before version 0.2
	if n.kind == isObject {
		name = first(n.str("@id"), n.str("identifiers", "purl"))
	}
	img, err := g.image(name, func(s *subject) error {
		for _, text := range []string{name, n.str("identifiers", "purl")} {
			if err := s.purl(text); err != nil {
				return n.about("@id", err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	parts := n.list("subcomponents")
	if len(parts) == 0 {
		return p.vulnerability(&img.scan.Vulnerabilities, v)
	}
	for _, part := range parts {
		v.Package = part.text
		if part.kind == isObject {
			v.Package = first(part.str("@id"), part.str("identifiers", "purl"))
		}
		if err := p.vulnerability(&img.scan.Vulnerabilities, v); err != nil {
			return err
		}
	}
	return nil
}
