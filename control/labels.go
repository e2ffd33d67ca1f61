package control

import (
	"slices"
	"strings"
)

// Labels is the control that wants the Platform's labels on objects: the one whose rule reads them of the Guard. ok is
// false where the catalogue has none.
func (c *Catalogue) Labels() (labels Control, ok bool) {
	i := slices.IndexFunc(c.Controls, func(c Control) bool {
		return slices.ContainsFunc(c.Variables, func(v Variable) bool { return strings.Contains(v.Expression, "spec.?requiredLabels") })
	})
	if i < 0 {
		return Control{}, false
	}
	return c.Controls[i], true
}
