package control

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
)

// With is the catalogue with another one beside it, for instance a bank's own controls under development. Where both have
// an id, the other's control takes the place of this one's. Neither is changed.
func (c *Catalogue) With(other *Catalogue) *Catalogue {
	joined := &Catalogue{Controls: slices.Clone(c.Controls), Templates: slices.Clone(c.Templates)}
	for _, one := range other.Controls {
		if i := slices.IndexFunc(joined.Controls, func(known Control) bool { return known.ID == one.ID }); i >= 0 {
			joined.Controls[i] = one
		} else {
			joined.Controls = append(joined.Controls, one)
		}
	}
	slices.SortFunc(joined.Controls, func(a, b Control) int { return cmp.Compare(a.ID, b.ID) })
	for _, t := range other.Templates {
		same := func(known Template) bool { return known.APIGroup == t.APIGroup && known.Kind == t.Kind }
		if i := slices.IndexFunc(joined.Templates, same); i >= 0 {
			joined.Templates[i] = t
		} else {
			joined.Templates = append(joined.Templates, t)
		}
	}
	sum := sha256.Sum256([]byte(c.Digest + other.Digest))
	joined.Digest = hex.EncodeToString(sum[:])
	return joined
}
