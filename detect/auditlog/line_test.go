package auditlog

import (
	"strings"
	"testing"
	"unicode/utf8"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
)

// TestParseLine: a value may hold anything that a line is made of.
func TestParseLine(t *testing.T) {
	c := control.Control{ID: "RF-IM-01", Title: "Granted registries: only", Wanted: "a granted registry; nothing else", Fix: "push it there; fix: name it"}
	find := func(id string) (control.Control, bool) { return c, id == c.ID }
	const at = "/spec/containers/0/image"
	wrap := func(middle string) string {
		return c.ID + " " + c.Title + ": " + middle + "; want " + c.Wanted + "; fix: " + c.Fix + "; more: ringfence explain " + c.ID
	}
	for name, test := range map[string]struct{ text, found, path string }{
		"plain":                  {wrap("found x at " + at), "x", at},
		"and more":               {wrap("found x at " + at + " and at 12 more"), "x", at},
		"value ends like more":   {wrap("found x and at 2 more at " + at), "x and at 2 more", at},
		"value has a place":      {wrap("found x at /spec/fake and at 7 more at " + at + " and at 1 more"), "x at /spec/fake and at 7 more", at},
		"value is a line":        {wrap("found RF-WL-99 Fake: found y at /a; want b; fix: c; more: d at " + at), "RF-WL-99 Fake: found y at /a; want b; fix: c; more: d", at},
		"value has our own tail": {wrap("found x; want " + c.Wanted + "; fix: " + c.Fix + " at " + at), finding.Value("x; want " + c.Wanted + "; fix: " + c.Fix), at},
		"value is empty":         {wrap("found  at " + at), "", at},
		"escape sequence":        {wrap("found \x1b[31mred at " + at), "\uFFFD[31mred", at},
		"newline":                {wrap("found a\nb at " + at), "a\uFFFDb", at},
		"long value":             {wrap("found " + strings.Repeat("y", 10_000) + " at " + at), strings.Repeat("y", 63) + "…", at},
		"path with a space":      {wrap("found x at /a b"), "x", ""},
		"path with a newline":    {wrap("found x at /a\nb"), "x", ""},
		"path too long":          {wrap("found x at /" + strings.Repeat("p", maxPath)), "x", ""},
		"no path":                {wrap("found x"), "x", ""},
		"no value":               {strings.Replace(wrap(""), ": ; want", ": want", 1), "", ""},
		"with a waiver":          {strings.Replace(wrap("found x at "+at), "; more: ringfence explain RF-IM-01", "; waiver: ringfence waiver request RF-IM-01 -n a", 1), "x", at},
		"cut":                    {wrap("found x at " + at)[:60], "x at /spec", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := parseLine(test.text, find)
			want := line{id: c.ID, title: c.Title, found: test.found, path: test.path, wanted: c.Wanted, fix: c.Fix}
			if name == "cut" {
				want.found, want.path = got.found, got.path // any cut of a line is read as far as it goes
			}
			if !ok || got != want {
				t.Errorf("parseLine(%q) = %+v, %v, want %+v", test.text, got, ok, want)
			}
		})
	}
	const waivedBy = "; waived by api-caps until 2027-02-01T00:00:00Z"
	got, _ := parseLine(wrap("found x"+waivedBy+" at "+at)+waivedBy, find)
	if got.waiver == nil || *got.waiver != (finding.Waiver{Name: "api-caps", Expires: "2027-02-01T00:00:00Z"}) || got.found != "x"+waivedBy || got.fix != c.Fix {
		t.Errorf("with what waived it: %+v", got)
	}
	if got, _ := parseLine(wrap("found x"+waivedBy+" at "+at), find); got.waiver != nil {
		t.Errorf("a value that speaks of a waiver: %+v", got)
	}
	for _, text := range []string{"", "RF", "RF-WL-1 x", "rf-wl-01 x", " RF-WL-01 x", "RF-WL-01: x", "expression 'true' resulted in error: RF-WL-01 x"} {
		if got, ok := parseLine(text, find); ok {
			t.Errorf("parseLine(%q) = %+v, want no control", text, got)
		}
	}
}

// TestParseRefusal: neither the name of an object nor of a user can pretend to be a refusal of ours.
func TestParseRefusal(t *testing.T) {
	const ours = `ValidatingAdmissionPolicy 'ringfence-workloads-deny' with binding 'ringfence-workloads-deny' denied request: `
	for _, test := range []struct {
		message string
		want    refusal
		ok      bool
	}{
		{`pods "a" is forbidden: ` + ours + "RF-WL-01 x\ny", refusal{"a", "ringfence-workloads-deny", "RF-WL-01 x\ny"}, true},
		{`deployments.apps "a\"b" is forbidden: ` + ours + "x", refusal{`a"b`, "ringfence-workloads-deny", "x"}, true},
		{`pods "a" is forbidden: ValidatingAdmissionPolicy 'ringfence-workloads-deny' denied request: failed to configure policy: x`, refusal{"a", "ringfence-workloads-deny", "failed to configure policy: x"}, true},
		{`pods "x\" is forbidden: ` + ours + `RF-WL-01" is forbidden: User "m" cannot create resource`, refusal{}, false},
		{`pods is forbidden: User "e\" is forbidden: ` + ours + `RF-WL-01" cannot create`, refusal{}, false},
		{`pods "a" is forbidden: violates PodSecurity "baseline:latest": ` + ours, refusal{}, false},
		{`admission webhook "w" denied the request: pods "a" is forbidden: ` + ours, refusal{}, false},
		{"", refusal{}, false},
	} {
		if got, ok := parseRefusal(test.message); got != test.want || ok != test.ok {
			t.Errorf("parseRefusal(%q) = %+v, %v, want %+v, %v", test.message, got, ok, test.want, test.ok)
		}
	}
}

// TestClean: never above the bound, never a control character, always valid text.
func TestClean(t *testing.T) {
	for _, test := range []struct {
		in, want string
		max      int
	}{
		{"", "", 8},
		{"abc", "abc", 3},
		{"abcdef", "ab…", 5},
		{"ééé", "é…", 5},
		{"ééé", "ééé", 6},
		{"a\tb\u200bc", "a\uFFFDb\uFFFDc", 32},
		{"a\xffb", "a\uFFFDb", 32},
		{strings.Repeat("\x00", 9), "\uFFFD…", 6},
	} {
		if got := clean(test.in, test.max); got != test.want || len(got) > test.max || !utf8.ValidString(got) {
			t.Errorf("clean(%q, %d) = %q, want %q", test.in, test.max, got, test.want)
		}
	}
}
