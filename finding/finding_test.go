package finding

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestStronger(t *testing.T) {
	for _, test := range []struct{ a, b, want Action }{
		{Deny, Warn, Deny}, {Warn, Deny, Deny}, {Warn, Audit, Warn}, {Audit, Warn, Warn}, {Audit, Audit, Audit},
		{"", Warn, ""}, {Warn, "", ""}, {"", Deny, ""}, // the zero action is as strong as Deny
		{Audit, "nonsense", "nonsense"},
	} {
		if got := Stronger(test.a, test.b); got != test.want {
			t.Errorf("Stronger(%q, %q) = %q, want %q", test.a, test.b, got, test.want)
		}
	}
}

func TestBlocks(t *testing.T) {
	for _, test := range []struct {
		f    Finding
		want bool
	}{
		{Finding{}, true}, // no outcome at all
		{Finding{Outcome: Fail}, true},
		{Finding{Outcome: Fail, Action: Deny}, true},
		{Finding{Outcome: Fail, Action: "nonsense"}, true},
		{Finding{Outcome: Fail, Action: Warn}, false},
		{Finding{Outcome: Fail, Action: Audit}, false},
		{Finding{Outcome: Fail, Action: Deny, Waiver: &Waiver{}}, false},
		{Finding{Outcome: Pass}, false},
		{Finding{Outcome: Errored}, false},
		{Finding{Outcome: NotApplicable}, false},
	} {
		if got := test.f.Blocks(); got != test.want {
			t.Errorf("%+v.Blocks() = %t, want %t", test.f, got, test.want)
		}
	}
}

func TestValue(t *testing.T) {
	for in, want := range map[string]string{
		"nginx":                        "nginx",
		"":                             "",
		"a\nb\tc\x1b[31m":              "a�b�c�[31m",
		"a\u202eb\u200b\u2028\u2029":   "a�b���", // text direction, zero width, line and paragraph separator
		"a\u0085b":                     "a�b",
		"bad\xffbyte":                  "bad�byte",
		strings.Repeat("é", 64):        strings.Repeat("é", 64),
		strings.Repeat("é", 65):        strings.Repeat("é", 63) + "…",
		strings.Repeat("x", 1_000_000): strings.Repeat("x", 63) + "…",
	} {
		if got := Value(in); got != want {
			t.Errorf("Value(%.80q) = %q, want %q", in, got, want)
		}
	}
}

func TestLine(t *testing.T) {
	got := Line("RF-WL-08", "Drop capabilities", "NET_ADMIN", "/spec/containers/0", "only NET_BIND_SERVICE", "remove it", "", 2)
	want := "RF-WL-08 Drop capabilities: found NET_ADMIN at /spec/containers/0 and at 2 more; want only NET_BIND_SERVICE; fix: remove it; more: ringfence explain RF-WL-08"
	if got != want {
		t.Errorf("Line = %q, want %q", got, want)
	}
	if got := Line("RF-WL-08", "T", "x", "", "w", "f", "", 0); got != "RF-WL-08 T: found x; want w; fix: f; more: ringfence explain RF-WL-08" {
		t.Errorf("Line of a whole object = %q", got)
	}
	if got := Line("RF-WL-08", "T", "x", "", "w", "f", "Deny by Tenant t (profile mvp: Warn)", 0); got != "RF-WL-08 T: found x; want w; fix: f; Deny by Tenant t (profile mvp: Warn); more: ringfence explain RF-WL-08" {
		t.Errorf("Line of a changed action = %q", got)
	}
	path := "/spec/jobTemplate/spec/template/spec/containers/10/securityContext/capabilities/add/12"
	if got := Line("RF-WL-08", "T", "x", path, "w", "f", "", 0); !strings.Contains(got, " at "+path+";") {
		t.Errorf("Line cuts a path that fits: %q", got)
	}
	for _, long := range []string{strings.Repeat("x", 5000), strings.Repeat("é\n", 5000), strings.Repeat("🚀", 5000), "\xff\x1b" + strings.Repeat("\u2028", 400)} {
		got := Line("RF-WL-08", "T", long, "/"+long, strings.Repeat("é", 80), strings.Repeat("f", 240), "", 7)
		if len(got) > 1024 || !utf8.ValidString(got) || strings.ContainsAny(got, "\n\r\x1b\u2028") ||
			!strings.HasPrefix(got, "RF-WL-08 ") || !strings.HasSuffix(got, "; more: ringfence explain RF-WL-08") {
			t.Errorf("Line of %d bytes: %q", len(got), got)
		}
	}
	if got := Line("RF-WL-08", "T", "x", "/y", strings.Repeat("é", 2000), "f", "", 0); len(got) > 1024 || !utf8.ValidString(got) {
		t.Errorf("Line with a long want has %d bytes", len(got))
	}
}

func TestFingerprint(t *testing.T) {
	s := Subject{"v1", "Pod", "payments-dev", "api"}
	base := Fingerprint("RF-WL-01", s, "/spec")
	if len(base) != 32 || base != Fingerprint("RF-WL-01", s, "/spec") {
		t.Errorf("Fingerprint = %q", base)
	}
	seen := map[string]string{base: "base"}
	for name, other := range map[string]string{
		"control":    Fingerprint("RF-WL-02", s, "/spec"),
		"path":       Fingerprint("RF-WL-01", s, "/spec/x"),
		"apiVersion": Fingerprint("RF-WL-01", Subject{"v2", "Pod", "payments-dev", "api"}, "/spec"),
		"kind":       Fingerprint("RF-WL-01", Subject{"v1", "Job", "payments-dev", "api"}, "/spec"),
		"namespace":  Fingerprint("RF-WL-01", Subject{"v1", "Pod", "payments", "api"}, "/spec"),
		"name":       Fingerprint("RF-WL-01", Subject{"v1", "Pod", "payments-dev", "web"}, "/spec"),
		"a moved boundary": Fingerprint("RF-WL-01",
			Subject{"v1", "Pod", "payments-devapi", ""}, "/spec"),
	} {
		if twin, twice := seen[other]; twice {
			t.Errorf("another %s gives the fingerprint of %s", name, twin)
		}
		seen[other] = name
	}
}

func TestSort(t *testing.T) {
	at := func(file string, line, column int, control, path string) *Finding {
		return &Finding{Control: control, Path: path, Location: Location{file, line, column, ""}}
	}
	want := []*Finding{
		at("a", 1, 1, "RF-WL-02", "/z"), at("a", 1, 2, "RF-WL-01", "/z"), at("a", 1, 2, "RF-WL-02", "/a"),
		at("a", 1, 2, "RF-WL-02", "/b"), at("a", 2, 1, "RF-IM-01", ""), at("a", 10, 1, "RF-IM-01", ""), at("b", 1, 1, "RF-IM-01", ""),
	}
	got := slices.Clone(want)
	slices.Reverse(got)
	Sort(got)
	for i := range want {
		if got[i].Location != want[i].Location || got[i].Control != want[i].Control || got[i].Path != want[i].Path {
			t.Errorf("place %d has %v, want %v", i, got[i], want[i])
		}
	}
}

// TestKeys holds the JSON of a finding and of a summary to the keys of the contract.
func TestKeys(t *testing.T) {
	for _, test := range []struct {
		v    any
		want string
	}{
		{Finding{}, "action change control fingerprint fix found location message observed outcome path reason rule severity source subject title waiver wanted"},
		{Summary{}, "errored exit fail files invalid objects pass skipped waived warned"},
		{Waiver{}, "approver expires name ticket"},
		{Location{}, "column file line rendered"},
		{Subject{}, "apiVersion kind name namespace"},
	} {
		text, err := json.Marshal(test.v)
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(text, &fields); err != nil {
			t.Fatal(err)
		}
		var keys []string
		for key := range fields {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		if got := strings.Join(keys, " "); got != test.want {
			t.Errorf("%T has the keys %s, want %s", test.v, got, test.want)
		}
	}
	if s := (Subject{"v1", "Pod", "dev", "api"}).String(); s != "dev/Pod/api" {
		t.Errorf("Subject.String() = %s", s)
	}
}
