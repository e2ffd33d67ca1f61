package manifest

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// PointerSteps are the unescaped steps of an RFC 6901 pointer, none for the whole document.
func PointerSteps(pointer string) []string {
	if pointer == "" {
		return nil
	}
	steps := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	for i, s := range steps {
		steps[i] = strings.ReplaceAll(strings.ReplaceAll(s, "~1", "/"), "~0", "~")
	}
	return steps
}

// EscapeStep writes a key as one step of an RFC 6901 pointer.
func EscapeStep(key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}

// child is the node below n that step names, and the node that marks its place: the key in a map, the item in a list.
// Both are nil where there is none.
func child(n *yaml.Node, step string) (mark, value *yaml.Node) {
	for range maxDepth {
		if n == nil || n.Kind != yaml.AliasNode {
			break
		}
		n = n.Alias
	}
	switch {
	case n == nil:
		return nil, nil
	case n.Kind == yaml.SequenceNode:
		i, err := strconv.Atoi(step)
		if err != nil || i < 0 || i >= len(n.Content) {
			return nil, nil
		}
		return n.Content[i], n.Content[i]
	case n.Kind == yaml.MappingNode:
		return field(n, step)
	}
	return nil, nil
}

// Field is the node that sets a field of a map, and its key, as Read reads them: in the map itself or in one that a merge
// key brings. Both are nil where there is none. It is for package edit.
func Field(n *yaml.Node, name string) (key, value *yaml.Node) { return field(n, name) }

// field is the last node that sets a field, as the converter reads it: merge keys take effect where they stand.
func field(n *yaml.Node, name string) (key, value *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if !isMerge(k) {
			if own, err := keyName(k); err == nil && own == name {
				key, value = k, v
			}
			continue
		}
		sources := []*yaml.Node{v}
		if v.Kind == yaml.SequenceNode {
			sources = v.Content
		}
		for _, source := range sources {
			if mk, mv := child(source, name); mv != nil {
				key, value = mk, mv
				break
			}
		}
	}
	return key, value
}

// findKey is the first key of that name anywhere below n, or nil.
func findKey(n *yaml.Node, name string) *yaml.Node {
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			if c.Value == name {
				return c
			}
			continue
		}
		if found := findKey(c, name); found != nil {
			return found
		}
	}
	return nil
}
