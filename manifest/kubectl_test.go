package manifest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	goyaml "go.yaml.in/yaml/v2"
	"go.yaml.in/yaml/v3"
)

// scalars are texts whose meaning differs between versions and readers of YAML.
var scalars = strings.Fields(`~ null Null NULL nULL y Y n N yes Yes yEs no No NO on On off OFF true True tRUE false <<
	0 00 -0 +0 0.0 1 -1 +1 007 08 0o7 0O7 0x1f 0X1F -0x1F 0b11 -0b11 0b 1_000 _1 1_ 1__0 0x_1
	9223372036854775807 9223372036854775808 -9223372036854775808 -9223372036854775809 18446744073709551615 18446744073709551616
	1.5 1. .5 -.5 +.5 . .. 1e3 1E3 1e+3 1e-3 1e400 1e-400 1.e3 .5e1 .e1 .1_0 0x1p4 .0x1p4 1.7976931348623157e308 1e20 1e21 1e10 123456789.5
	.inf -.inf +.inf .Inf .nan .NaN inf nan NaN Infinity .infinity
	2001-01-01 2001-1-1 2001-01-01T00:00:00Z 12:30:45 190:20:30 1:2 a a-b a:b a/b @a -a -- --- ... = % 100% 1Gi 500m 1e3Mi
	'' "" 'a' "a" 'no' "1" '<<' "\u00e9" "\x41" "\n" 'it''s' "a\
	b" !!str !!str§1 !!str§<< !!int§1 !!int§"1" !!int§a !!float§1 !!float§9007199254740993 !!float§0x10 !!bool§yes !!null§~ !!null§'' !a§1 !!merge§<< !§1 !§true !§ !!map§{} !!seq§[]`)

// generator writes random documents that use every feature of YAML that Kubernetes files use, and a few more.
type generator struct {
	*rand.Rand
	anchors int
}

func (g *generator) scalar() string {
	return strings.ReplaceAll(scalars[g.IntN(len(scalars))], "§", " ")
}

func (g *generator) key() string {
	if g.IntN(3) > 0 {
		return string(rune('a' + g.IntN(5)))
	}
	return g.scalar()
}

// flow writes a value in flow style.
func (g *generator) flow(depth int) string {
	switch k := g.IntN(8); {
	case depth == 0 || k < 4:
		return g.reference(g.scalar())
	case k < 6:
		var fields []string
		for range g.IntN(4) {
			fields = append(fields, g.key()+": "+g.flow(depth-1))
		}
		if g.IntN(4) == 0 && g.anchors > 0 {
			fields = append(fields, fmt.Sprintf("<<: *x%d", g.IntN(g.anchors)))
		}
		return g.reference("{" + strings.Join(fields, ", ") + "}")
	default:
		var items []string
		for range g.IntN(4) {
			items = append(items, g.flow(depth-1))
		}
		return g.reference("[" + strings.Join(items, ", ") + "]")
	}
}

// reference now and then puts an anchor before a value or an alias in its place.
func (g *generator) reference(value string) string {
	switch k := g.IntN(10); {
	case k == 0 && g.anchors > 0:
		return fmt.Sprintf("*x%d ", g.IntN(g.anchors))
	case k == 1:
		g.anchors++
		return fmt.Sprintf("&x%d %s", g.anchors-1, value)
	default:
		return value
	}
}

// block writes a map in block style.
func (g *generator) block(indent string, depth int) string {
	var b strings.Builder
	for range 1 + g.IntN(4) {
		switch k := g.IntN(10); {
		case k == 0 && g.anchors > 0:
			fmt.Fprintf(&b, "%s<<: *x%d\n", indent, g.IntN(g.anchors))
		case k == 1 && g.anchors > 1:
			fmt.Fprintf(&b, "%s<<: [*x%d, *x%d, {a: 9}]\n", indent, g.IntN(g.anchors), g.IntN(g.anchors))
		case k < 5 && depth > 0:
			head := ""
			if g.IntN(2) == 0 {
				head = fmt.Sprintf(" &x%d", g.anchors)
			}
			body := g.block(indent+"  ", depth-1)
			if head != "" {
				head = fmt.Sprintf(" &x%d", g.anchors)
				g.anchors++
			}
			fmt.Fprintf(&b, "%s%s:%s\n%s", indent, g.key(), head, body)
		case k == 5 && depth > 0:
			fmt.Fprintf(&b, "%s%s:\n", indent, g.key())
			for range 1 + g.IntN(3) {
				fmt.Fprintf(&b, "%s- %s\n", indent, g.flow(1))
			}
		case k == 6:
			fmt.Fprintf(&b, "%s%s: %s # %s\n", indent, g.key(), []string{"|", "|-", "|+", ">", ">-", "|2", ">2-"}[g.IntN(7)], g.scalar())
			for range g.IntN(3) {
				fmt.Fprintf(&b, "%s  %s\n", indent, g.scalar())
			}
		default:
			fmt.Fprintf(&b, "%s%s: %s\n", indent, g.key(), g.flow(2))
		}
	}
	return b.String()
}

// TestReadAsKubectl compares the meaning of random documents with kubectl's. The counts keep the test honest: most of
// what it makes must be documents that both take.
func TestReadAsKubectl(t *testing.T) {
	taken := 0
	for seed := range uint64(40_000) {
		g := &generator{Rand: rand.New(rand.NewPCG(seed, 7))}
		if compare(t, []byte(g.block("", 3))) {
			taken++
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d documents taken", taken)
	if taken < 4000 {
		t.Errorf("only %d documents were taken by both", taken)
	}
}

// TestEveryShortScalar compares the meaning of every plain scalar of up to five characters out of those that numbers and
// words are made of.
func TestEveryShortScalar(t *testing.T) {
	const alphabet = "018.+-_bxoeE"
	compared := 0
	var try func(scalar string)
	try = func(scalar string) {
		if scalar != "" {
			var want any
			if err := goyaml.Unmarshal([]byte(scalar), &want); err == nil {
				if i, ok := want.(int); ok {
					want = int64(i)
				}
				if node, ok := only(scalar); ok {
					compared++
					if got := resolve(node); got != want {
						t.Errorf("%s is %T %v to kubectl and %T %v here", scalar, want, want, got, got)
					}
				}
			}
		}
		if len(scalar) == 5 {
			return
		}
		for i := range len(alphabet) {
			try(scalar + alphabet[i:i+1])
		}
	}
	try("")
	t.Logf("%d scalars compared", compared)
	if compared < 200_000 {
		t.Errorf("only %d scalars were compared", compared)
	}
}

// only is the text of a plain scalar that is the whole of its document.
func only(scalar string) (string, bool) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(scalar), &doc); err != nil || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.ScalarNode {
		return "", false
	}
	return doc.Content[0].Value, true
}
