package scanner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// shape is how a format wants a JSON text: what to do with each element of its long lists, and what to do at the end.
type shape struct {
	// folds are called for each element, which is not kept: "Results/[]/Vulnerabilities/[]" for the elements of lists,
	// "vulnerabilities/{}" for the values of an object. Inner ones are called before those around them.
	folds map[string]func(key string, n *node) error
	skip  []string          // keys whose values are long and not needed, wherever they stand
	end   func(*node) error // called with all that was not folded
}

// trie is shape.folds by path.
type trie struct {
	kids map[string]*trie
	fold func(string, *node) error
}

func (s shape) trie() *trie {
	root := &trie{}
	for path, fold := range s.folds {
		t := root
		for _, step := range strings.Split(path, "/") {
			if t.kids == nil {
				t.kids = map[string]*trie{}
			}
			if t.kids[step] == nil {
				t.kids[step] = &trie{}
			}
			t = t.kids[step]
		}
		t.fold = fold
	}
	return root
}

// child is the trie below one step; nil has none.
func (t *trie) child(step string) *trie {
	if t == nil {
		return nil
	}
	return t.kids[step]
}

// builder makes nodes of a JSON text.
type builder struct {
	lexer
	skip  []string
	path  []string // to what is being read
	nodes int      // that are held
}

// document reads one text to its end.
func (b *builder) document(t *trie) (node, error) {
	root, err := b.value(t)
	if err == nil {
		if _, err = b.next(); err == nil {
			err = errors.New("more text follows the report; want one document")
		} else if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	if err == nil {
		return root, nil
	}
	if f := (*fault)(nil); !errors.As(err, &f) { // those of a fold know their line better
		err = &fault{line: b.line, err: ended(err)}
	}
	return node{}, b.p.where(err, pathText(b.path))
}

// pathText writes a path as in Results[0].Vulnerabilities[3].
func pathText(path []string) string {
	var out strings.Builder
	for _, step := range path {
		if !strings.HasPrefix(step, "[") && out.Len() > 0 {
			out.WriteByte('.')
		}
		out.WriteString(step)
	}
	return out.String()
}

func (b *builder) value(t *trie) (node, error) {
	c, err := b.next()
	if err != nil {
		return node{}, ended(err)
	}
	n := node{line: b.line}
	if b.nodes++; b.nodes > b.p.limits.Nodes {
		return n, fmt.Errorf("more than %d values beside its vulnerabilities", b.p.limits.Nodes)
	}
	switch c {
	case '"':
		err = b.text()
		n.kind, n.text = isText, string(b.scratch)
	case '{':
		n.kind = isObject
		err = b.object(&n, t)
	case '[':
		n.kind = isList
		err = b.list(&n, t)
	default:
		err = b.word()
		n.kind, n.text = isWord, string(b.scratch)
		if n.text == "null" {
			n.kind, n.text = isNull, ""
		}
	}
	return n, err
}

func (b *builder) object(n *node, t *trie) error {
	var many map[string]bool // keys, where there are too many to search
	var keys []string
	return b.each('{', '}', func() error {
		if c, err := b.next(); err == nil && c != '"' {
			return fmt.Errorf("found %q, want a key", string(rune(c)))
		}
		if err := b.text(); err != nil {
			return err
		}
		key := string(b.scratch)
		if many == nil && len(keys) == 32 {
			many = make(map[string]bool, 64)
			for _, k := range keys {
				many[k] = true
			}
		}
		if many != nil && many[key] || many == nil && slices.Contains(keys, key) {
			return fmt.Errorf("the key %q stands twice in one object; which is meant?", cut(key))
		}
		if many != nil {
			if many[key] = true; len(many) > b.p.limits.Vulnerabilities {
				return fmt.Errorf("an object of more than %d keys", b.p.limits.Vulnerabilities)
			}
		} else {
			keys = append(keys, key)
		}
		if err := b.want(':'); err != nil {
			return err
		}
		return b.member(n, key, t)
	})
}

// member reads the value of one key.
func (b *builder) member(n *node, key string, t *trie) error {
	below := t.child(key)
	if below == nil && slices.Contains(b.skip, key) {
		return b.lexer.skip()
	}
	b.path = append(b.path, cut(key))
	if below == nil {
		below = t.child("{}")
		if below != nil && below.fold != nil {
			return b.fold(key, below)
		}
	}
	v, err := b.value(below)
	if err != nil {
		return err
	}
	n.keys, n.kids = append(n.keys, key), append(n.kids, v)
	b.path = b.path[:len(b.path)-1]
	return nil
}

func (b *builder) list(n *node, t *trie) error {
	below, i := t.child("[]"), 0
	return b.each('[', ']', func() error {
		b.path = append(b.path, "["+strconv.Itoa(i)+"]")
		i++
		if below != nil && below.fold != nil {
			return b.fold("", below)
		}
		v, err := b.value(below)
		if err != nil {
			return err
		}
		n.kids = append(n.kids, v)
		b.path = b.path[:len(b.path)-1]
		return nil
	})
}

// fold reads one element and hands it on; nothing of it is kept here. An error leaves the path to the place.
func (b *builder) fold(key string, t *trie) error {
	held := b.nodes
	v, err := b.value(t)
	if err != nil {
		return err
	}
	b.nodes = held
	if err := t.fold(key, &v); err != nil {
		if f := (*fault)(nil); !errors.As(err, &f) {
			err = &fault{line: v.line, err: err}
		}
		return err
	}
	b.path = b.path[:len(b.path)-1]
	return nil
}

// cut shortens what is shown of a foreign text.
func cut(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:61], "") + "…"
	}
	return s
}

// sketch is what the head of a JSON text shows: for each path the first value found there, "" for lists and objects.
type sketch map[string]string

func (s sketch) has(path string) bool {
	_, ok := s[path]
	return ok
}

// look makes the sketch of a head, which may end anywhere.
func look(head []byte) sketch {
	s := sketch{}
	p := &reading{ctx: context.Background(), limits: defaults(), left: headBytes + 1}
	l := &lexer{p: p, r: strings.NewReader(string(head)), line: 1, buf: make([]byte, 4<<10)}
	_ = l.sketch(s, "", 0) // ends at the first thing that cannot be read
	return s
}

// sketchDepth is 4: no format is told by what stands deeper.
const sketchDepth = 4

func (l *lexer) sketch(s sketch, path string, depth int) error {
	c, err := l.next()
	if err != nil || depth > sketchDepth {
		return errors.Join(err, l.skip())
	}
	note := func(path, value string) {
		if _, ok := s[path]; !ok && path != "" && len(s) < 10_000 {
			s[path] = cut(value)
		}
	}
	below := func(step string) string { return strings.TrimPrefix(path+"/"+step, "/") }
	switch c {
	case '{':
		note(path, "")
		return l.each('{', '}', func() error {
			if err := l.text(); err != nil {
				return err
			}
			at := below(string(l.scratch))
			if err := l.want(':'); err != nil {
				return err
			}
			if err := l.sketch(s, at, depth+1); err != nil {
				note(at, "")
				return err
			}
			return nil
		})
	case '[':
		note(path, "")
		return l.each('[', ']', func() error { return l.sketch(s, below("[]"), depth+1) })
	case '"':
		err = l.text()
	default:
		err = l.word()
	}
	note(path, string(l.scratch))
	return err
}
