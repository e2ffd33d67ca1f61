package control

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"ringfence.dev/ringfence/manifest"
)

// Catalogue is every control, in order of id. It is immutable.
type Catalogue struct {
	// Controls are the controls, sorted by id.
	Controls []Control
	// Templates are the kinds outside Kubernetes itself that carry a pod template.
	Templates []Template
	// Digest is the sha256, in hex, of every file that the controls were loaded from; a decision names it.
	Digest string
}

// Load reads a catalogue: each folder that holds a control.yaml is one control. It reports every fault it finds.
func Load(tree fs.FS) (*Catalogue, error) {
	var cat Catalogue
	var faults []error
	sum := sha256.New()
	templates, err := loadTemplates(tree)
	if err != nil {
		return nil, fmt.Errorf("read catalogue: %w", err)
	}
	cat.Templates = templates
	dirs, err := folders(tree)
	if err != nil {
		return nil, fmt.Errorf("read catalogue: %w", err)
	}
	// Reading YAML is most of what a short command does: every processor takes its share.
	cat.Controls, faults = make([]Control, len(dirs)), make([]error, len(dirs))
	var work sync.WaitGroup
	for part := range workers {
		work.Go(func() {
			for i := part; i < len(dirs); i += workers {
				cat.Controls[i], faults[i] = load(tree, dirs[i])
			}
		})
	}
	work.Wait()
	if err := errors.Join(faults...); err != nil {
		return &cat, err
	}
	slices.SortFunc(cat.Controls, func(a, b Control) int { return cmp.Compare(a.ID, b.ID) })
	for i, c := range cat.Controls {
		if i > 0 && cat.Controls[i-1].ID == c.ID {
			faults = append(faults, fmt.Errorf("id %s is used by %s and %s; ids are never reused", c.ID, cat.Controls[i-1].Dir, c.Dir))
		}
		for _, file := range []string{"control.yaml", "policy.yaml", "mapping.yaml", "fix.yaml"} {
			text, _ := fs.ReadFile(tree, path.Join(c.Dir, file))
			fmt.Fprintf(sum, "%s/%s %d\n%s", c.Dir, file, len(text), text)
		}
	}
	text, _ := fs.ReadFile(tree, "templates.yaml")
	fmt.Fprintf(sum, "templates.yaml %d\n%s", len(text), text)
	cat.Digest = hex.EncodeToString(sum.Sum(nil))
	return &cat, errors.Join(faults...)
}

// workers is how many goroutines load controls.
const workers = 4

// folders are those that hold a control.
func folders(tree fs.FS) (dirs []string, err error) {
	err = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && path.Base(name) == "control.yaml" {
			dirs = append(dirs, path.Dir(name))
		}
		return err
	})
	return dirs, err
}

func load(tree fs.FS, dir string) (Control, error) {
	c := Control{Dir: dir}
	text, err := fs.ReadFile(tree, path.Join(dir, "control.yaml"))
	if err != nil {
		return c, err
	}
	if err := manifest.Decode(text, path.Join(dir, "control.yaml"), &c); err != nil {
		return c, err
	}
	if faults := c.validate(); len(faults) > 0 {
		return c, errors.Join(faults...)
	}
	for _, g := range c.Groups {
		if !slices.ContainsFunc(Groups(), func(known Group) bool { return known.Name == g }) {
			return c, fmt.Errorf("%s/control.yaml: groups: found %q; want one of the match groups", dir, g)
		}
	}
	if err := knownKinds(c); err != nil {
		return c, err
	}
	if c.Policy, err = fs.ReadFile(tree, path.Join(dir, "policy.yaml")); err != nil {
		return c, err
	}
	if c.Variables, err = ownVariables(c); err != nil {
		return c, err
	}
	if c.Fixes, err = loadFixes(tree, c); err != nil {
		return c, err
	}
	if text, err = fs.ReadFile(tree, path.Join(dir, "mapping.yaml")); err != nil {
		return c, err
	}
	return c, manifest.Decode(text, path.Join(dir, "mapping.yaml"), &c.Mapping)
}

// knownKinds refuses a kind that is in none of the control's groups, and beside kinds a group that has none of them: of
// that all would be judged.
func knownKinds(c Control) error {
	if len(c.Kinds) == 0 {
		return nil
	}
	known := map[string]bool{}
	for _, g := range Groups() {
		if !g.Holds(c) {
			continue
		}
		listed := false
		for _, k := range g.Kinds {
			known[k.Kind] = true
			listed = listed || slices.Contains(c.Kinds, k.Kind)
		}
		if !listed {
			return fmt.Errorf("%s/control.yaml: groups: found %s, of which kinds lists none; add a kind of it, or remove the group", c.Dir, g.Name)
		}
	}
	for _, name := range c.Kinds {
		if !known[name] {
			return fmt.Errorf("%s/control.yaml: kinds: found %q; want kinds of the control's groups", c.Dir, name)
		}
	}
	return nil
}

// Groups are the match groups of the catalogue: those that are always there, and those of its templates.
func (c *Catalogue) Groups() []Group { return append(Groups(), templateGroups(c.Templates)...) }

// Kinds are the kinds of stored objects that some control of the catalogue judges, each once: those with a pod, and the others.
func (c *Catalogue) Kinds() (workloads, others []Kind) {
	for _, g := range c.Groups() {
		pods := g.Name == "workloads" || g.Of == "workloads"
		for _, k := range g.Kinds {
			judged := func(one Control) bool {
				only := g.Only(one)
				return g.Holds(one) && (only == nil || slices.Contains(only, k.Kind))
			}
			same := func(have Kind) bool { return have.APIGroup == k.APIGroup && have.Kind == k.Kind }
			switch {
			case k.Unstored() || !slices.ContainsFunc(c.Controls, judged) || slices.ContainsFunc(append(workloads, others...), same):
			case pods:
				workloads = append(workloads, k)
			default:
				others = append(others, k)
			}
		}
	}
	return workloads, others
}

// ownVariables are the variables of policy.yaml that the loader does not own.
func ownVariables(c Control) ([]Variable, error) {
	file := path.Join(c.Dir, "policy.yaml")
	var policy struct {
		Spec struct {
			Variables []Variable `json:"variables"`
		} `json:"spec"`
	}
	if err := manifest.DecodePart(c.Policy, file, &policy); err != nil {
		return nil, err
	}
	owned := map[string]bool{ViolationsVariable: true}
	for _, v := range Shared(c.Groups) {
		owned[v.Name] = true
	}
	for _, v := range policy.Spec.Variables {
		if twin := Before(v.Name); twin != v.Name {
			owned[twin] = true
		}
	}
	own := slices.DeleteFunc(policy.Spec.Variables, func(v Variable) bool { return owned[v.Name] })
	if !slices.ContainsFunc(own, func(v Variable) bool { return v.Name == FoundVariable }) {
		return nil, fmt.Errorf("%s: spec.variables: want one named %s, a list of strings \"<value> at <pointer>\"", file, FoundVariable)
	}
	for _, v := range own {
		if v.Name == ClockVariable && v.Expression != Clock {
			return nil, fmt.Errorf("%s: spec.variables: found another %s; want it as docs/spec/catalogue.md has it", file, ClockVariable)
		}
	}
	return own, nil
}

// Find is the control with an id, in any case, and whether there is one.
func (c *Catalogue) Find(id string) (Control, bool) {
	i := slices.IndexFunc(c.Controls, func(known Control) bool { return strings.EqualFold(known.ID, id) })
	if i < 0 {
		return Control{}, false
	}
	return c.Controls[i], true
}
