package adopt

import (
	"fmt"
	"slices"
)

// tree is the hierarchy of namespaces that HNC keeps.
type tree struct {
	estate   *Estate
	children map[string][]*namespace
	height   map[string]int
	size     map[string]int
}

// claimTrees gives the namespaces of HNC's trees their tenants. Nothing in HNC says which level is a team's: a tree of one
// level, or one small enough whose branches are environments, is one team; above that each branch is looked at by itself, and
// a namespace above teams is a tenant of its own.
func (e *Estate) claimTrees() {
	t := tree{estate: e, children: map[string][]*namespace{}, height: map[string]int{}, size: map[string]int{}}
	var roots []*namespace
	for _, n := range e.sorted() {
		switch {
		case n.system != "" || n.ending:
		case n.parent == "" || n.parent == n.Name || e.namespaces[n.parent] == nil || e.namespaces[n.parent].system != "":
			roots = append(roots, n)
		default:
			t.children[n.parent] = append(t.children[n.parent], n)
		}
	}
	order := slices.Clone(roots) // parents before children
	for i := 0; i < len(order); i++ {
		order = append(order, t.children[order[i].Name]...)
	}
	for _, n := range slices.Backward(order) {
		t.size[n.Name] = 1
		for _, c := range t.children[n.Name] {
			t.size[n.Name] += t.size[c.Name]
			t.height[n.Name] = max(t.height[n.Name], t.height[c.Name]+1)
		}
	}
	for _, n := range e.sorted() {
		if t.size[n.Name] == 0 && n.system == "" && !n.ending {
			e.decide("tree-without-a-root", "", n.Object, "these namespaces are each other's parents, or below such: correct their HierarchyConfiguration", "they are mapped by what else is known of them")
		}
	}
	for queue := roots; len(queue) > 0; queue = queue[1:] {
		if n := queue[0]; t.height[n.Name] > 0 {
			queue = append(queue, t.claim(n)...)
		}
	}
}

// claim makes one team of a namespace and all below it, or gives the branches that must be looked at by themselves.
func (t *tree) claim(n *namespace) (branches []*namespace) {
	below := t.children[n.Name]
	named, names, teams := 0, map[string]bool{}, map[string]bool{}
	for _, c := range below {
		if tenant, _, short, ok := split(c.Name); ok && !short {
			named++
			names[tenant] = true
		}
		if own := c.direct(); own != "" {
			teams[own] = true
		}
	}
	environments := named == len(below) && len(names) == 1
	distinct := len(below) > 1 && len(teams) == len(below) && !environments // each branch has people of its own
	height := t.height[n.Name]
	if t.size[n.Name] <= maxEnvironments && !distinct && len(names) < 2 && (height == 1 || environments) {
		sure := High
		if environments {
			sure = Certain
		}
		t.join(n, n, sure)
		return nil
	}
	if n.claim.tenant == "" {
		n.claim = claim{tenant: n.Name, by: fmt.Sprintf("HNC: it stands above %s", plural(len(below), "branch")), sure: Medium}
		t.estate.decide("above-teams", "", n.Object, "these namespaces stand above those of several teams in HNC's tree; each became a tenant of its own: join it with the platform's, or give it up", "it is a tenant of its own")
	}
	for _, c := range below {
		if _, _, _, ok := split(c.Name); !ok && t.height[c.Name] == 0 && c.claim.tenant == "" { // else its name says more than the tree
			c.claim = claim{tenant: c.Name, by: "HNC: a branch of its own below namespace " + show(n.Name), sure: Medium}
		}
	}
	return below
}

// join claims a whole branch for the team of its top.
func (t *tree) join(n, top *namespace, sure Sure) {
	for queue := []*namespace{n}; len(queue) > 0; queue = queue[1:] {
		n := queue[0]
		if n.claim.tenant == "" {
			by := "HNC: the top of its tree"
			if n != top {
				by = "HNC: below namespace " + show(top.Name)
			}
			n.claim = claim{tenant: top.Name, by: by, sure: sure}
		}
		queue = append(queue, t.children[n.Name]...)
	}
}

// direct is the first group with admin rights that were given in the namespace itself, not passed down by HNC.
func (n *namespace) direct() string {
	for _, a := range n.access {
		if a.level == levelAdmin && a.via != "" && !n.inherited(a) {
			return a.group
		}
	}
	return ""
}

// inherited reports whether HNC copied the binding from a namespace above.
func (n *namespace) inherited(a access) bool { return a.from != nil && a.from.inherited }
