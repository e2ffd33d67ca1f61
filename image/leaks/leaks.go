// Package leaks finds secrets in text by the rules of gitleaks.
//
// The rules are gitleaks' own file, unchanged: gitleaks.toml of version 8.30.1, under the MIT licence that stands in LICENSE beside it. Its
// library is not linked: it brings archives, Git and a configuration system of its own. What is here reads the rules as that library does,
// without its decoding of texts within texts. A secret is never given out, only where it stands. Package image/content calls it.
package leaks

import (
	"bytes"
	_ "embed" // gitleaks.toml
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/BurntSushi/toml"
)

//go:embed gitleaks.toml
var gitleaks string

// Leak is a place that looks like a secret.
type Leak struct {
	Rule string // its id, such as aws-access-token
	Line int    // from 1; 0 where the file's name alone says it
}

// Rules look for secrets. They are safe for use by several goroutines.
type Rules struct {
	rules  []rule
	global []allowed
}

type rule struct {
	id         string
	regex      *regexp.Regexp
	path       *regexp.Regexp
	entropy    float64
	group      int
	keywords   [][]byte
	allowlists []allowed
}

// allowed is what is no secret after all.
type allowed struct {
	and            bool // all that it says must hold
	paths, regexes []*regexp.Regexp
	target         string // of the regexes: "" the secret, match, line
	stopwords      []string
}

// file is gitleaks.toml, as far as it is read. An unknown key is a fault: a rule would mean something else.
type file struct {
	Title      string     `toml:"title"`
	MinVersion string     `toml:"minVersion"`
	Allowlist  *allowlist `toml:"allowlist"`
	Rules      []struct {
		ID          string      `toml:"id"`
		Description string      `toml:"description"`
		Regex       string      `toml:"regex"`
		Path        string      `toml:"path"`
		Entropy     float64     `toml:"entropy"`
		SecretGroup int         `toml:"secretGroup"`
		Keywords    []string    `toml:"keywords"`
		Tags        []string    `toml:"tags"`
		Allowlists  []allowlist `toml:"allowlists"`
	} `toml:"rules"`
}

type allowlist struct {
	Description string   `toml:"description"`
	Condition   string   `toml:"condition"`
	Paths       []string `toml:"paths"`
	Regexes     []string `toml:"regexes"`
	RegexTarget string   `toml:"regexTarget"`
	StopWords   []string `toml:"stopwords"`
}

// Load reads the rules, once.
var Load = sync.OnceValues(load)

func load() (*Rules, error) {
	var f file
	meta, err := toml.Decode(gitleaks, &f)
	if err != nil {
		return nil, fmt.Errorf("read gitleaks.toml: %w", err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return nil, fmt.Errorf("read gitleaks.toml: %s is unknown here; want it to be read before it counts", unknown[0])
	}
	r := &Rules{}
	if f.Allowlist != nil {
		global, err := f.Allowlist.compile()
		if err != nil {
			return nil, fmt.Errorf("read gitleaks.toml: %w", err)
		}
		r.global = []allowed{global}
	}
	for _, from := range f.Rules {
		one := rule{id: from.ID, entropy: from.Entropy, group: from.SecretGroup}
		if one.regex, err = compile(from.Regex); err == nil {
			one.path, err = compile(from.Path)
		}
		for _, l := range from.Allowlists {
			a, fault := l.compile()
			err = firstOf(err, fault)
			one.allowlists = append(one.allowlists, a)
		}
		if err != nil {
			return nil, fmt.Errorf("read gitleaks.toml: rule %s: %w", from.ID, err)
		}
		for _, k := range from.Keywords {
			one.keywords = append(one.keywords, []byte(strings.ToLower(k)))
		}
		r.rules = append(r.rules, one)
	}
	return r, nil
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// compile is nil for "".
func compile(text string) (*regexp.Regexp, error) {
	if text == "" {
		return nil, nil
	}
	return regexp.Compile(text)
}

func (l *allowlist) compile() (a allowed, err error) {
	a = allowed{and: strings.EqualFold(l.Condition, "AND"), target: l.RegexTarget}
	for _, list := range []struct {
		from []string
		to   *[]*regexp.Regexp
	}{{l.Paths, &a.paths}, {l.Regexes, &a.regexes}} {
		for _, text := range list.from {
			one, err := regexp.Compile(text)
			if err != nil {
				return a, err
			}
			*list.to = append(*list.to, one)
		}
	}
	for _, w := range l.StopWords {
		a.stopwords = append(a.stopwords, strings.ToLower(w))
	}
	return a, nil
}

// Passes tells whether a file with this path is never looked at.
func (r *Rules) Passes(path string) bool {
	return slices.ContainsFunc(r.global, func(a allowed) bool { return a.path(path) })
}

// Find looks for secrets in a text of a file with this path, at most so many.
func (r *Rules) Find(path string, text []byte, most int) (leaks []Leak) {
	if r.Passes(path) {
		return nil
	}
	lower := bytes.ToLower(text)
	for i := range r.rules {
		one := &r.rules[i]
		switch {
		case len(leaks) >= most:
			return leaks
		case slices.ContainsFunc(one.allowlists, func(a allowed) bool { return a.path(path) }) || one.path != nil && !one.path.MatchString(path):
		case one.regex == nil:
			leaks = append(leaks, Leak{one.id, 0})
		case len(one.keywords) == 0 || slices.ContainsFunc(one.keywords, func(k []byte) bool { return bytes.Contains(lower, k) }):
			leaks = r.find(one, path, text, leaks, most)
		}
	}
	return slices.DeleteFunc(slices.Clone(leaks), func(l Leak) bool { // what a rule for one kind of secret has found needs no general one
		return general(l) && slices.ContainsFunc(leaks, func(other Leak) bool { return other.Line == l.Line && !general(other) })
	})
}

func general(l Leak) bool { return strings.HasPrefix(l.Rule, "generic-") }

func (r *Rules) find(one *rule, path string, text []byte, leaks []Leak, most int) []Leak {
	line, counted := 1, 0
	for _, at := range one.regex.FindAllIndex(text, -1) {
		match := bytes.Trim(text[at[0]:at[1]], "\n")
		secret := one.secret(match)
		line += bytes.Count(text[counted:at[0]], []byte("\n"))
		counted = at[0]
		if one.entropy > 0 && entropy(secret) <= one.entropy {
			continue
		}
		around := whole(text, at[0], at[0]+len(match))
		// "gitleaks:allow" on the line is not heard: a stranger's image does not say what is allowed here.
		excused := func(a allowed) bool { return a.finding(path, secret, match, around) }
		if slices.ContainsFunc(r.global, excused) || slices.ContainsFunc(one.allowlists, excused) {
			continue
		}
		if leaks = append(leaks, Leak{one.id, line}); len(leaks) >= most {
			break
		}
	}
	return leaks
}

// secret is the part of a match that is one: the group that the rule names, else the first that is not empty.
func (one *rule) secret(match []byte) []byte {
	groups := one.regex.FindSubmatch(match)
	if one.group > 0 && one.group < len(groups) {
		return groups[one.group]
	}
	for i := 1; i < len(groups); i++ {
		if len(groups[i]) > 0 {
			return groups[i]
		}
	}
	return match
}

// path tells whether a path alone is excused.
func (a *allowed) path(path string) bool {
	return (!a.and || len(a.regexes) == 0 && len(a.stopwords) == 0) && matches(a.paths, []byte(path))
}

// finding tells whether what was found is excused.
func (a *allowed) finding(path string, secret, match, line []byte) bool {
	target := secret
	switch a.target {
	case "match":
		target = match
	case "line":
		target = line
	}
	lower := strings.ToLower(string(secret))
	regex, word := matches(a.regexes, target), slices.ContainsFunc(a.stopwords, func(w string) bool { return strings.Contains(lower, w) })
	if !a.and {
		return regex || word
	}
	return (len(a.paths) == 0 || matches(a.paths, []byte(path))) && (len(a.regexes) == 0 || regex) && (len(a.stopwords) == 0 || word)
}

func matches(all []*regexp.Regexp, text []byte) bool {
	return slices.ContainsFunc(all, func(one *regexp.Regexp) bool { return one.Match(text) })
}

// whole is the lines around a place.
func whole(text []byte, from, to int) []byte {
	begin := bytes.LastIndexByte(text[:from], '\n') + 1
	if end := bytes.IndexByte(text[to:], '\n'); end >= 0 {
		return text[begin : to+end]
	}
	return text[begin:]
}

// entropy is Shannon's, in bits a character.
func entropy(text []byte) (bits float64) {
	counts := map[rune]int{}
	for _, c := range string(text) {
		counts[c]++
	}
	for _, c := range counts {
		p := float64(c) / float64(len(text))
		bits -= p * math.Log2(p)
	}
	return bits
}
