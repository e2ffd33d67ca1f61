package auditlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"ringfence.dev/ringfence/record"
)

// wrote is an event of a write that was answered with an object.
func wrote(n int, verb, kind, resource, object string) string {
	code := 200
	if verb == "create" {
		code = 201
	}
	return fmt.Sprintf(`{"auditID":"%d","stage":"ResponseComplete","stageTimestamp":"%s","verb":"%s","user":{"username":"jane"},"responseStatus":{"code":%d},`+
		`"objectRef":{"resource":"%s","name":"a","apiGroup":"ringfence.dev","apiVersion":"v1alpha1"},"responseObject":{"kind":"%s",%s}}`, n, noon, verb, code, resource, kind, object)
}

// object is the rest of an object.
func object(uid string, generation int, spec string) string {
	return fmt.Sprintf(`"metadata":{"uid":"%s","generation":%d,"annotations":{"a":"%d"}},"spec":%s,"status":{"b":%d}`, uid, generation, generation, spec, generation)
}

// said is what a change tells of contents, in one line.
func said(c *record.Contents) string {
	if c == nil {
		return "nothing"
	}
	var out []string
	for _, f := range c.Fields {
		line := f.Path
		if f.From != nil {
			line += " -" + *f.From
		}
		if f.To != nil {
			line += " +" + *f.To
		}
		if f.Personal {
			line += " personal"
		}
		out = append(out, line)
	}
	switch {
	case c.FirstSeen:
		out = append(out, "first seen")
	case c.Before != "" && c.Before == c.After:
		out = append(out, "unchanged")
	}
	if c.More > 0 {
		out = append(out, fmt.Sprint("more ", c.More))
	}
	return strings.Join(out, "; ")
}

// TestContents: what a write changed is told where the write before it was seen, and laid to no other write.
func TestContents(t *testing.T) {
	const p, r = "Platform", "platforms"
	first := wrote(1, "patch", p, r, object("u", 4, `{"profile":"mvp","exemptNamespaces":["a","b"]}`))
	long := strings.Repeat("é", 200)
	many := func(value string) string {
		labels := map[string]string{}
		for i := range 70 {
			labels[fmt.Sprint("k", i)] = value
		}
		text, _ := json.Marshal(map[string]any{"labels": labels})
		return string(text)
	}
	for name, test := range map[string]struct {
		events []string
		want   string
	}{
		"first":         {[]string{first}, "first seen"},
		"created":       {[]string{wrote(2, "create", p, r, object("u", 1, `{"profile":"mvp"}`))}, ""},
		"no contents":   {[]string{strings.Replace(first, `"responseObject"`, `"requestObject"`, 1)}, "nothing"},
		"another kind":  {[]string{strings.Replace(first, `{"kind":"Platform"`, `{"kind":"Secret"`, 1)}, "nothing"},
		"cut by server": {[]string{strings.Replace(first, `"spec"`, `"speck"`, 1)}, "nothing"},
		"unchanged":     {[]string{first, wrote(2, "update", p, r, object("u", 4, `{"exemptNamespaces":["a","b"],"profile":"mvp"}`))}, "unchanged"},
		"fields": {[]string{first, wrote(2, "update", p, r, object("u", 5, `{"profile":"full","exemptNamespaces":["x","a"],"network":{"proxy":{"ports":[1]}},"a/b~":1}`))},
			"/spec/a~1b~0 +1; /spec/exemptNamespaces -b; /spec/exemptNamespaces +x; /spec/network/proxy/ports +1; /spec/profile -mvp +full"},
		"order":   {[]string{first, wrote(2, "update", p, r, object("u", 5, `{"profile":"mvp","exemptNamespaces":["b","a"]}`))}, `/spec/exemptNamespaces -["a","b"] +["b","a"]`},
		"gone":    {[]string{first, wrote(2, "update", p, r, object("u", 5, `{"profile":"mvp"}`))}, "/spec/exemptNamespaces -a; /spec/exemptNamespaces -b"},
		"a list":  {[]string{wrote(1, "create", p, r, object("u", 1, `{"e":[{"n":1},{"n":2}]}`)), wrote(2, "update", p, r, object("u", 2, `{"e":[{"n":1,"m":true}]}`))}, "/spec/e/0/m +true; /spec/e/1/n -2"},
		"missed":  {[]string{first, wrote(2, "update", p, r, object("u", 6, `{"profile":"full"}`))}, "first seen"},
		"late":    {[]string{first, wrote(2, "update", p, r, object("u", 3, `{"profile":"full"}`))}, "first seen"},
		"another": {[]string{first, wrote(2, "update", p, r, object("v", 5, `{"profile":"full"}`))}, "first seen"},
		"deleted": {[]string{first, wrote(2, "delete", p, r, object("u", 5, `{"profile":"full"}`)), wrote(3, "update", p, r, object("u", 5, `{"profile":"full"}`))}, "first seen"},
		"an owner": {[]string{wrote(1, "create", "Tenant", "tenants", object("u", 1, `{"owner":"joe@bank.example"}`)), wrote(2, "update", "Tenant", "tenants", object("u", 2, `{"owner":"jane"}`))},
			"/spec/owner -joe@bank.example +jane personal"},
		"a mail in a text": {[]string{first, wrote(2, "update", p, r, object("u", 5, `{"profile":"mvp","exemptNamespaces":["a","b"],"ticket":"by joe@bank.example, see CHG1"}`))},
			"/spec/ticket +by joe@bank.example, see CHG1 personal"},
		"an image": {[]string{first, wrote(2, "update", p, r, object("u", 5, `{"profile":"mvp","exemptNamespaces":["a","b"],"image":"r.bank.example/a@sha256:00"}`))}, "/spec/image +r.bank.example/a@sha256:00"},
		"many":     {[]string{wrote(1, "create", p, r, object("u", 1, many("a"))), wrote(2, "update", p, r, object("u", 2, many(long)))}, "more 6"},
	} {
		for _, batches := range []bool{false, true} { // in one batch, and each in its own
			h, s := handler(t)
			if batches {
				for _, e := range test.events {
					post(h, []byte(listOf(e)))
				}
			} else {
				post(h, []byte(listOf(test.events...)))
			}
			if len(s.changes) != len(test.events) {
				t.Fatalf("%s: %d changes, want %d", name, len(s.changes), len(test.events))
			}
			last := s.changes[len(s.changes)-1].Contents
			if got := said(last); got != test.want && !(name == "many" && strings.HasSuffix(got, test.want) && len(last.Fields) == 64) {
				t.Errorf("%s: %s\nwant %s", name, got, test.want)
			}
			if name == "many" && utf8.RuneCountInString(*last.Fields[0].To) > 64 {
				t.Errorf("a value has %d runes", utf8.RuneCountInString(*last.Fields[0].To))
			}
		}
	}
}

// TestContentsComeAgain: a batch that could not be kept tells the same when it comes again.
func TestContentsComeAgain(t *testing.T) {
	h, s := handler(t)
	post(h, []byte(listOf(wrote(1, "create", "Platform", "platforms", object("u", 1, `{"profile":"mvp"}`)))))
	next := []byte(listOf(wrote(2, "update", "Platform", "platforms", object("u", 2, `{"profile":"full"}`))))
	s.fails = errors.New("disk full")
	post(h, next)
	s.fails = nil
	post(h, next)
	if got := said(s.changes[len(s.changes)-1].Contents); got != "/spec/profile -mvp +full" {
		t.Errorf("the second time it tells %q", got)
	}
}

// FuzzContents: specs that anybody wrote compare without a panic, within the bounds, and with themselves as equal.
func FuzzContents(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":null}],"c":"x@y.z"}`), []byte(`{"a":["é",2],"c":[[]]}`))
	f.Add([]byte(strings.Repeat(`{"a":[`, 50)+strings.Repeat(`]}`, 50)), []byte(`[]`))
	f.Fuzz(func(t *testing.T, was, is []byte) {
		fields, _ := compare(was, is)
		if len(fields) > maxFields {
			t.Errorf("%d fields", len(fields))
		}
		for _, c := range fields {
			for _, v := range []*string{c.From, c.To} {
				if v != nil && !c.Personal && utf8.RuneCountInString(*v) > maxValue || len(c.Path) > maxPointer {
					t.Errorf("found %+v", c)
				}
			}
		}
		if same, more := compare(was, was); len(same)+more > 0 {
			t.Errorf("compared with itself: %+v", same)
		}
	})
}
