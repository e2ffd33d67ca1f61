package manifest

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"ringfence.dev/ringfence/finding"
)

// maxDepth bounds nesting: Kubernetes' own deepest schema (a CRD of CRDs) stays under 60.
const maxDepth = 200

// maxExpanded bounds what aliases add to a document, in values. A hand-written file uses a few hundred.
const maxExpanded = 100_000

// nodeError is a fault at a node.
type nodeError struct {
	node    *yaml.Node
	message string
}

func (e *nodeError) Error() string { return e.message }

// converter turns nodes into the values that sigs.k8s.io/yaml, and so kubectl, would decode.
type converter struct {
	inAlias  int // nesting of aliases at this point
	expanded int // values made while inside one
}

func (c *converter) value(n *yaml.Node, depth int) (any, error) { return c.named("", n, depth) }

// named is the value of a field with a name, or of what has none.
func (c *converter) named(name string, n *yaml.Node, depth int) (any, error) {
	if err := c.count(n, depth); err != nil {
		return nil, err
	}
	switch n.Kind {
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		if err := c.mapping(n, m, depth); err != nil {
			return nil, err
		}
		return m, settleNull(name, n, m)
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			v, err := c.value(item, depth+1)
			if err != nil {
				return nil, err
			}
			if v == nil {
				return nil, &nodeError{item, "an item of a list is null, which the API server takes for an empty one; remove it or give it a value"}
			}
			list[i] = v
		}
		return list, nil
	case yaml.AliasNode:
		c.inAlias++
		defer func() { c.inAlias-- }()
		return c.named(name, n.Alias, depth+1)
	default:
		v, err := scalar(n)
		return number(v), err
	}
}

// count refuses what is too deep or has been made too often.
func (c *converter) count(n *yaml.Node, depth int) error {
	if depth > maxDepth {
		return &nodeError{n, fmt.Sprintf("nested deeper than %d levels; no Kubernetes object is", maxDepth)}
	}
	if c.inAlias > 0 {
		if c.expanded++; c.expanded > maxExpanded {
			return &nodeError{n, fmt.Sprintf("aliases expand to more than %d values; write the values out", maxExpanded)}
		}
	}
	return nil
}

// mapping fills m with the fields of n. A merge key takes effect where it stands and overwrites what is before it: so does
// the decoder of kubectl, and what kubectl sends is what must be judged. Nulls are dropped last, as they overwrite too.
func (c *converter) mapping(n *yaml.Node, m map[string]any, depth int) error {
	var own map[string]bool // the fields of n itself, once a merge key has put others into m
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if isMerge(k) {
			if own == nil {
				own = make(map[string]bool, len(m))
				for name := range m {
					own[name] = true
				}
			}
			if err := c.merge(v, m, depth+1); err != nil {
				return err
			}
			continue
		}
		name, err := keyName(k)
		if err != nil {
			return err
		}
		if _, there := m[name]; there && (own == nil || own[name]) {
			return &nodeError{k, fmt.Sprintf("the key %s appears twice in one map; keep one", strconv.Quote(finding.Value(name)))}
		}
		if own != nil {
			own[name] = true
		}
		if m[name], err = c.named(name, v, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// merge overlays m with the map, or the list of maps in which the earlier wins, that a merge key holds.
func (c *converter) merge(n *yaml.Node, m map[string]any, depth int) error {
	sources := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		sources = n.Content
	}
	for _, source := range slices.Backward(sources) {
		target := source
		if c.inAlias++; target.Kind == yaml.AliasNode {
			target = target.Alias
		}
		if target.Kind != yaml.MappingNode {
			return &nodeError{source, "the merge key << wants a map or a list of maps"}
		}
		if err := c.count(source, depth); err != nil {
			return err
		}
		other := map[string]any{}
		if err := c.mapping(target, other, depth); err != nil {
			return err
		}
		maps.Copy(m, other)
		c.inAlias--
	}
	return nil
}

// settleNull removes the fields of m that are null: the API server takes them for absent. It does not where the map, which
// n is, holds amounts or labels: there null is 0 or an empty value, which is another thing than none.
func settleNull(name string, n *yaml.Node, m map[string]any) error {
	var null []string
	for key, v := range m {
		if v == nil {
			null = append(null, key)
		}
	}
	slices.Sort(null)
	for _, key := range null {
		at, _ := field(n, key)
		switch name {
		case "requests", "limits":
			return &nodeError{at, "an amount is null, which the API server takes for 0; remove it or give an amount"}
		case "nodeSelector", "matchLabels": // custom kinds take it for absent after all
			return &nodeError{at, "the value of a label is null, which the API server takes for an empty one; remove it or give a value"}
		case "labels", "annotations":
			m[key] = ""
		default:
			delete(m, key)
		}
	}
	return nil
}

// isMerge reports whether a key is <<, plain and without another tag.
func isMerge(k *yaml.Node) bool {
	return k.Kind == yaml.ScalarNode && k.Value == "<<" && plain(k) && (k.Style&yaml.TaggedStyle == 0 || k.ShortTag() == "!!merge")
}

// keyName is the string that a key becomes in JSON.
func keyName(k *yaml.Node) (string, error) {
	if k.Kind == yaml.AliasNode {
		k = k.Alias
	}
	if k.Kind != yaml.ScalarNode {
		return "", &nodeError{k, "a key is a map or a list; want a string"}
	}
	if k.Style&yaml.TaggedStyle == 0 && surelyText(k.Value) {
		return k.Value, nil
	}
	v, err := scalar(k)
	if err != nil {
		return "", err
	}
	switch v := v.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64: // as sigs.k8s.io/yaml writes it, in 32 bits
		return strings.NewReplacer("+Inf", ".inf", "-Inf", "-.inf").Replace(strconv.FormatFloat(v, 'g', -1, 32)), nil
	default:
		return "", &nodeError{k, "a key is null or a number beyond 64 bits; want a string"}
	}
}

// plain reports whether a scalar was written without quotes or block style.
func plain(n *yaml.Node) bool {
	return n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
}

// words are the plain scalars with a meaning of their own in YAML 1.1, as go-yaml v2 (which Kubernetes uses) reads them.
var words = map[string]any{
	"": nil, "~": nil, "null": nil, "Null": nil, "NULL": nil,
	"y": true, "Y": true, "yes": true, "Yes": true, "YES": true, "true": true, "True": true, "TRUE": true, "on": true, "On": true, "ON": true,
	"n": false, "N": false, "no": false, "No": false, "NO": false, "false": false, "False": false, "FALSE": false, "off": false, "Off": false, "OFF": false,
}

var decimal = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)

// surelyText reports whether a scalar without a tag is a string however it is written, as nearly all are: it begins with
// a letter, and is no word of words.
func surelyText(s string) bool {
	if s == "" {
		return false
	}
	switch c := s[0] | 0x20; c { // in lower case
	case 'y', 'n', 't', 'f', 'o':
		_, word := words[s]
		return !word
	default:
		return c >= 'a' && c <= 'z'
	}
}

// scalar is the value of a scalar node: nil, bool, int64, uint64 beyond it, float64 or string.
func scalar(n *yaml.Node) (any, error) {
	if n.Style&yaml.TaggedStyle == 0 && surelyText(n.Value) {
		return n.Value, nil
	}
	tag := ""
	if n.Style&yaml.TaggedStyle != 0 {
		tag = n.ShortTag()
	}
	if tag == "!!str" || tag == "" && !plain(n) {
		return n.Value, nil
	}
	if tag != "" && tag != "!!int" && tag != "!!float" && tag != "!!bool" && tag != "!!null" {
		return nil, &nodeError{n, fmt.Sprintf("the tag %s is not used in Kubernetes objects; remove it", finding.Value(tag))}
	}
	v := resolve(n.Value)
	if f, ok := v.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
		return nil, &nodeError{n, "JSON has no such number as " + n.Value + "; quote it if a string is meant"}
	}
	if want := kindOfTag(v); tag != "" && want != tag && !(tag == "!!float" && want == "!!int") {
		return nil, &nodeError{n, fmt.Sprintf("the value is no %s as its tag says; remove the tag", strings.TrimPrefix(tag, "!!"))}
	}
	if i, ok := v.(int64); ok && tag == "!!float" {
		return float64(i), nil
	}
	return v, nil
}

func kindOfTag(v any) string {
	switch v.(type) {
	case nil:
		return "!!null"
	case bool:
		return "!!bool"
	case int64, uint64:
		return "!!int"
	case float64:
		return "!!float"
	default:
		return "!!str"
	}
}

// resolve gives a plain scalar its YAML 1.1 meaning, as go-yaml v2 does.
func resolve(in string) any {
	if v, ok := words[in]; ok {
		return v
	}
	switch c := in[0]; {
	case c == '.':
		if f, err := strconv.ParseFloat(in, 64); err == nil {
			return f
		}
	case c == '-' || c == '+' || c >= '0' && c <= '9':
		return signed(in)
	}
	switch in {
	case ".nan", ".NaN", ".NAN":
		return math.NaN()
	case ".inf", ".Inf", ".INF":
		return math.Inf(1)
	}
	return in
}

// neverInNumber reports whether no number has such a character: none of 0x1F, 0o17, 0b1, 1e3, -.5 and 1_000.
func neverInNumber(r rune) bool {
	return r > 'z' || r > 'F' && r < 'X' && r != 'O' || r > 'f' && r != 'o' && r != 'x' || r == ':' || r == '/'
}

func signed(in string) any {
	switch in {
	case "+.inf", "+.Inf", "+.INF":
		return math.Inf(1)
	case "-.inf", "-.Inf", "-.INF":
		return math.Inf(-1)
	}
	if strings.ContainsFunc(in, neverInNumber) { // an amount, for instance: ParseInt would say so too, in an error
		return in
	}
	digits := strings.ReplaceAll(in, "_", "")
	if i, err := strconv.ParseInt(digits, 0, 64); err == nil {
		return i
	}
	if u, err := strconv.ParseUint(digits, 0, 64); err == nil {
		return u
	}
	if decimal.MatchString(digits) {
		if f, err := strconv.ParseFloat(digits, 64); err == nil {
			return f
		}
	}
	if bits, ok := strings.CutPrefix(digits, "0b"); ok { // a sign after the prefix: 0b+1, 0b-1
		if i, err := strconv.ParseInt(bits, 2, 64); err == nil {
			return i
		}
	}
	return in
}

// number makes of a number what it is after a trip through JSON text, as the API server reads it: an int64 where it is
// whole and fits, else a float64. Other values stay as they are.
func number(v any) any {
	switch v := v.(type) {
	case uint64:
		return float64(v)
	case float64:
		text, err := json.Marshal(v)
		if err != nil {
			return v
		}
		if i, err := strconv.ParseInt(string(text), 10, 64); err == nil {
			return i
		}
	}
	return v
}
