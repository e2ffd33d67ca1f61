package edit

import (
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"ringfence.dev/ringfence/manifest"
)

// slot is where a value hangs: after which colon, -1 for an item of a list, and whether that is in brackets.
type slot struct {
	colon int
	flow  bool
}

// container makes what is wanted below a map or list.
func (e *editor) container(n *yaml.Node, w *want, at slot) error {
	if n.Kind == yaml.AliasNode {
		return unsafe(n, "it is shared through the alias *%s", n.Value)
	}
	if n.Anchor != "" && e.shared(n.Anchor) {
		return unsafe(n, "it is shared through the anchor &%s", n.Anchor)
	}
	if n.Kind != yaml.MappingNode && n.Kind != yaml.SequenceNode {
		return unsafe(n, "there is a value where a map or list is wanted")
	}
	flow, err := e.isFlow(n)
	if err != nil {
		return err
	}
	entries, err := e.entries(n, w)
	if err != nil {
		return err
	}
	for i := range entries.list {
		if err := e.inside(entries.list[i], flow); err != nil {
			return err
		}
	}
	switch {
	case !entries.changes():
		return nil
	case flow:
		return e.flow(n, entries)
	case n.Kind == yaml.MappingNode:
		return e.blockMap(n, entries, at)
	}
	return e.blockList(n, entries, at)
}

// entry is a field of a map or an item of a list, with what is wanted of it.
type entry struct {
	key, value *yaml.Node // key is nil in a list
	w          *want      // nil where nothing is
}

func (x entry) gone() bool { return x.w != nil && x.w.remove }

// mark is the node that an entry begins with.
func (x entry) mark() *yaml.Node {
	if x.key != nil {
		return x.key
	}
	return x.value
}

// entries are those that there are, and what is to be added.
type entries struct {
	list []entry
	add  fields
}

func (x entries) changes() bool {
	for _, one := range x.list {
		if one.gone() {
			return true
		}
	}
	return len(x.add) > 0
}

// entries matches what is wanted with what there is.
func (e *editor) entries(n *yaml.Node, w *want) (entries, error) {
	var out entries
	if n.Kind == yaml.SequenceNode {
		return e.items(n, w)
	}
	merges := false
	for i := 0; i+1 < len(n.Content); i += 2 {
		out.list = append(out.list, entry{key: n.Content[i], value: n.Content[i+1]})
		merges = merges || n.Content[i].Value == "<<"
	}
	for _, step := range w.steps {
		below := w.below[step]
		key, value := manifest.Field(n, step)
		own := -1
		for i, x := range out.list {
			if x.key == key {
				own = i
			} else if x.key.Value == step && value != nil {
				return out, unsafe(x.key, "a merge key beside it brings the same field")
			}
		}
		fresh, some := below.fresh()
		switch {
		case value == nil && some:
			out.add = append(out.add, field{step, fresh})
		case value == nil: // it is removed and is not there
		case own < 0 && below.set:
			out.add = append(out.add, field{step, fresh})
		case own < 0:
			return out, unsafe(value, "it is shared through a merge key (<<)")
		case merges && below.remove:
			return out, unsafe(key, "a merge key beside it may bring the field back")
		default:
			out.list[own].w = below
		}
	}
	return out, nil
}

// items matches what is wanted with the items of a list. Those of which nothing is wanted are left out where none goes: a
// List may have many thousands, and each object begins at its head.
func (e *editor) items(n *yaml.Node, w *want) (out entries, err error) {
	wanted := make(map[int]*want, len(w.steps))
	goes := false
	for _, step := range w.steps {
		i, err := strconv.Atoi(step)
		if err != nil || i < 0 || i >= len(n.Content) {
			return out, unsafe(n, "the list has no item %s", step)
		}
		wanted[i], goes = w.below[step], goes || w.below[step].remove
		out.list = append(out.list, entry{value: n.Content[i], w: wanted[i]})
	}
	if !goes {
		return out, nil
	}
	out.list = out.list[:0]
	for i, item := range n.Content {
		out.list = append(out.list, entry{value: item, w: wanted[i]})
	}
	return out, nil
}

// inside makes what is wanted inside an entry, and turns a field without a value that is wanted one into a value.
func (e *editor) inside(x entry, flow bool) error {
	if x.w == nil {
		return nil
	}
	if x.w.remove {
		if err := e.removable(x.mark()); err != nil {
			return err
		}
		return e.removable(x.value)
	}
	at := slot{-1, flow}
	if x.key != nil {
		colon, err := e.colon(x.key)
		if err != nil {
			return err
		}
		at.colon = colon
	}
	if x.w.set {
		return e.replace(x, x.w.value, at)
	}
	if null(x.value) {
		if value, ok := x.w.fresh(); ok {
			return e.replace(x, value, at)
		}
		return nil
	}
	return e.container(x.value, x.w, at)
}

// null reports whether a node is null, however it is written.
func null(n *yaml.Node) bool {
	switch n.Value {
	case "", "~", "null", "Null", "NULL":
		return n.Kind == yaml.ScalarNode && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
	}
	return false
}

// replace writes a value where another is.
func (e *editor) replace(x entry, value any, at slot) error {
	if err := e.removable(x.value); err != nil {
		return err
	}
	if empty(x.value) {
		return e.fill(x, value, at)
	}
	if x.value.Kind == yaml.MappingNode || x.value.Kind == yaml.SequenceNode {
		flow, err := e.isFlow(x.value)
		if err != nil {
			return err
		}
		if !flow {
			return e.replaceList(x.value, value)
		}
	}
	from, err := e.start(x.value)
	if err != nil {
		return err
	}
	to, err := e.end(x.value)
	if err != nil {
		return err
	}
	s := yamlStyle
	if e.json || x.value.Style&yaml.DoubleQuotedStyle != 0 {
		s.quoted = true
	}
	text := flow(value, s)
	if word, ok := value.(string); ok && x.value.Style&yaml.SingleQuotedStyle != 0 && plainWord.MatchString(word) {
		text = "'" + word + "'"
	}
	if e.byteAt(to) == '#' {
		text += " " // a comment may stand close to a quote or bracket, and to nothing else
	}
	e.splice(from, to, text)
	return nil
}

// fill writes a value after the colon of a field that has none.
func (e *editor) fill(x entry, value any, at slot) error {
	if at.colon <= 0 || e.text[at.colon-1] != ':' {
		return unsafe(x.mark(), "it has no value")
	}
	if m, ok := value.(fields); ok && !at.flow {
		tail, err := e.lineTail(x.key, at.colon)
		if err != nil {
			return err
		}
		indent := strings.Repeat(" ", x.key.Column-1+e.step)
		e.addLines(tail, indent+block(m, e.newline(tail)+indent, e.step))
		return nil
	}
	e.splice(at.colon, at.colon, " "+flow(value, yamlStyle))
	return nil
}

// addLines puts lines in after the line that ends at an offset.
func (e *editor) addLines(tail int, text string) {
	if next := e.nextLine(tail); next > tail {
		e.splice(next, next, text+e.newline(tail))
		return
	}
	e.splice(tail, tail, e.newline(tail)+text)
}

// replaceList writes the items of a list on the lines of another, and removes the lines that are left.
func (e *editor) replaceList(n *yaml.Node, value any) error {
	list, ok := value.([]any)
	if !ok || len(list) != 1 || n.Kind != yaml.SequenceNode {
		return unsafe(n, "there is a map or list where another value is wanted")
	}
	from, err := e.start(n.Content[0])
	if err != nil {
		return err
	}
	to, err := e.end(n.Content[0])
	if err != nil {
		return err
	}
	if n.Content[0].Kind != yaml.ScalarNode {
		return unsafe(n, "there is a map or list where another value is wanted")
	}
	e.splice(from, to, flow(list[0], yamlStyle))
	for _, item := range n.Content[1:] {
		if err := e.dropItem(n, item); err != nil {
			return err
		}
	}
	return nil
}

// dashes is what may stand before the first key of a map or item of a list on its line.
var dashes = regexp.MustCompile(`^ *(- +)*$`)

// lead is what stands before an offset on its line.
func (e *editor) lead(at int) string { return string(e.text[e.lineStart(at):at]) }

// blockMap removes and adds fields of a map that is written on lines.
func (e *editor) blockMap(n *yaml.Node, x entries, at slot) error {
	first, err := e.start(n.Content[0])
	if err != nil {
		return err
	}
	if lead := e.lead(first); !dashes.MatchString(lead) || len(lead) != n.Content[0].Column-1 {
		return unsafe(n.Content[0], "what stands before it on its line is not plain")
	}
	stay := -1 // the last field that stays and whose end is plain
	var tail int
	for i, one := range x.list {
		if one.gone() {
			continue
		}
		if end, err := e.fieldEnd(one.key, one.value); err == nil {
			if end, err = e.lineTail(one.key, end); err == nil {
				stay, tail = i, end
				continue
			}
		}
		if one.key.Value == "<<" {
			stay = -1 // what is added must stand after it
		}
	}
	indent := strings.Repeat(" ", n.Content[0].Column-1)
	newline := e.newline(first) + indent
	switch {
	case stay >= 0 || len(x.add) == 0 && e.stays(x):
		if len(x.add) > 0 {
			e.addLines(tail, indent+block(x.add, newline, e.step))
		}
		return e.dropFields(x)
	case e.stays(x):
		return unsafe(n, "every field beside it is text over several lines")
	}
	text := "{}"
	if len(x.add) > 0 {
		text = block(x.add, newline, e.step)
	} else if at.colon > 0 && n.Anchor == "" {
		e.splice(at.colon, at.colon, " {}")
		text = ""
	}
	return e.emptied(x, first, text)
}

func (e *editor) stays(x entries) bool {
	for _, one := range x.list {
		if !one.gone() {
			return true
		}
	}
	return false
}

// emptied removes every field of a map and puts a text in the place of the first.
func (e *editor) emptied(x entries, first int, text string) error {
	rest := x.list
	if text != "" {
		end, err := e.fieldEnd(rest[0].key, rest[0].value)
		if err != nil {
			return err
		}
		if end, err = e.lineTail(rest[0].key, end); err != nil {
			return err
		}
		e.splice(first, end, text)
		rest = rest[1:]
	}
	for _, one := range rest {
		if err := e.dropLines(one.key, one.key, one.value); err != nil {
			return err
		}
	}
	return nil
}

// dropFields removes fields of a map of which others stay.
func (e *editor) dropFields(x entries) error {
	for i, one := range x.list {
		if !one.gone() {
			continue
		}
		from, err := e.start(one.key)
		if err != nil {
			return err
		}
		if i > 0 || strings.Trim(e.lead(from), " ") == "" {
			if err := e.dropLines(one.key, one.key, one.value); err != nil {
				return err
			}
			continue
		}
		if err := e.dropFirst(x, from); err != nil {
			return err
		}
	}
	return nil
}

// dropFirst removes the field that stands behind the dash of an item: the first that stays moves up, unless comments are
// between, which stay where they are.
func (e *editor) dropFirst(x entries, from int) error {
	end, err := e.fieldEnd(x.list[0].key, x.list[0].value)
	if err != nil {
		return err
	}
	tail, err := e.lineTail(x.list[0].key, end)
	if err != nil {
		return err
	}
	for _, one := range x.list[1:] {
		start, err := e.start(one.key)
		if err != nil {
			return err
		}
		if e.lineStart(start) != e.nextLine(tail) {
			break
		}
		if !one.gone() {
			e.splice(from, start, "")
			return nil
		}
		if end, err = e.fieldEnd(one.key, one.value); err != nil {
			return err
		}
		if tail, err = e.lineTail(one.key, end); err != nil {
			return err
		}
	}
	end, err = e.fieldEnd(x.list[0].key, x.list[0].value)
	if err != nil {
		return err
	}
	tail, err = e.lineTail(x.list[0].key, end)
	for e.text[from-1] == ' ' {
		from--
	}
	e.splice(from, tail, "")
	return err
}

// dropLines removes the lines of a field or item, which begin with mark.
func (e *editor) dropLines(mark, key, value *yaml.Node) error {
	from, err := e.start(mark)
	if err != nil {
		return err
	}
	if strings.Trim(e.lead(from), " ") != "" {
		return unsafe(mark, "something else stands on its line")
	}
	var end int
	if key != nil {
		end, err = e.fieldEnd(key, value)
	} else {
		end, err = e.end(value)
	}
	if err != nil {
		return err
	}
	return e.dropTo(mark, e.lineStart(from), end)
}

// dropTo removes lines from the beginning of one to the end of that on which something ends.
func (e *editor) dropTo(n *yaml.Node, from, end int) error {
	end, err := e.lineTail(n, end)
	if err != nil {
		return err
	}
	e.splice(from, e.nextLine(end), "")
	return nil
}

// blockList removes items of a list that is written on lines.
func (e *editor) blockList(n *yaml.Node, x entries, at slot) error {
	if !e.stays(x) {
		if at.colon <= 0 || n.Anchor != "" {
			return unsafe(n, "no item would be left of the list")
		}
		e.splice(at.colon, at.colon, " []")
	}
	for _, one := range x.list {
		if one.gone() {
			if err := e.dropItem(n, one.value); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropItem removes the lines of one item, from its dash on.
func (e *editor) dropItem(list, item *yaml.Node) error {
	if item.Anchor != "" && item.Kind != yaml.ScalarNode {
		return unsafe(item, "it has an anchor")
	}
	from, err := e.start(item)
	if err != nil {
		return err
	}
	dash := from - 1
	for dash > 0 && strings.IndexByte(" \r\n", e.text[dash]) >= 0 {
		dash--
	}
	if e.byteAt(dash) != '-' || strings.Trim(e.lead(dash), " ") != "" || dash-e.lineStart(dash) != list.Column-1 {
		return unsafe(item, "its place in the list is not plain")
	}
	end, err := e.end(item)
	if err != nil {
		return err
	}
	return e.dropTo(item, e.lineStart(dash), end)
}
