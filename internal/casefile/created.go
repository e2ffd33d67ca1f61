package casefile

import (
	"io/fs"

	"ringfence.dev/ringfence/control"
)

// Created are the cases of a catalogue that anybody may send to be created, by the control's id: no updates, no connections, and none that
// trips what it does not list.
func Created(cat *control.Catalogue, tree fs.FS) (map[string][]Case, error) {
	all := map[string][]Case{}
	for _, c := range cat.Controls {
		cases, err := Read(tree, c.Dir)
		if err != nil {
			return nil, err
		}
		for _, one := range cases {
			if !one.Update() && !one.Connect() && !one.Asked() && !one.AnyAlso && len(one.Groups) == 0 {
				all[c.ID] = append(all[c.ID], one)
			}
		}
	}
	return all, nil
}
