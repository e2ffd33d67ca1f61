package schema

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/schema/fault"
)

func newSet(t testing.TB) *Set {
	t.Helper()
	s, err := New()
	if err != nil {
		t.Fatalf("New() = %v", err)
	}
	return s
}

func TestKinds(t *testing.T) {
	s := newSet(t)
	if diff := cmp.Diff([]string{"Elevation", "Guard", "ImageImport", "Platform", "Quarantine", "Tenant", "Waiver"}, s.Kinds()); diff != "" {
		t.Errorf("Kinds() (-want +got):\n%s", diff)
	}
	for _, name := range s.Kinds() {
		if _, err := s.kinds[name].validators(); err != nil {
			t.Errorf("validators of %s: %v", name, err)
		}
	}
}

func TestValidate(t *testing.T) {
	s := newSet(t)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			obj := object(t, c.yaml)
			before := apiruntime.DeepCopyJSON(obj)
			got := s.Validate(obj)
			if diff := cmp.Diff(before, obj); diff != "" {
				t.Errorf("Validate changed the object (-before +after):\n%s", diff)
			}
			if len(got) != len(c.want) {
				t.Fatalf("Validate = %d faults, want %d:\n%s", len(got), len(c.want), text(got))
			}
			for i, want := range c.want {
				path, message, _ := strings.Cut(want, " ")
				if got[i].Path != path || !strings.Contains(got[i].Message, message) {
					t.Errorf("fault %d = %q %s\nwant %q ...%s...", i, got[i].Path, got[i].Message, path, message)
				}
			}
		})
	}
}

func text(faults []fault.Fault) string {
	var b strings.Builder
	for _, f := range faults {
		fmt.Fprintf(&b, "%q %s\n", f.Path, f.Message)
	}
	return b.String()
}

func TestValidateKind(t *testing.T) {
	s := newSet(t)
	for _, c := range []struct{ yaml, want string }{
		{"{}", "\"\" apiVersion is missing; add apiVersion: ringfence.dev/v1alpha1\n\"\" kind is missing; want one of Elevation, Guard, ImageImport, Platform, Quarantine, Tenant, Waiver\n"},
		{"{apiVersion: ringfence.dev/v1, kind: Tennant}", "\"/apiVersion\" found \"ringfence.dev/v1\"; want ringfence.dev/v1alpha1\n" +
			"\"/kind\" found \"Tennant\"; want one of Elevation, Guard, ImageImport, Platform, Quarantine, Tenant, Waiver; did you mean `Tenant`?\n"},
		{"{apiVersion: 5, kind: [Tenant]}", "\"/apiVersion\" found 5; want ringfence.dev/v1alpha1\n\"/kind\" found a list of 1 item; want one of Elevation, Guard, ImageImport, Platform, Quarantine, Tenant, Waiver\n"},
	} {
		if diff := cmp.Diff(c.want, text(s.Validate(object(t, c.yaml)))); diff != "" {
			t.Errorf("Validate(%s) (-want +got):\n%s", c.yaml, diff)
		}
	}
}

func TestDefault(t *testing.T) {
	s := newSet(t)
	got := object(t, platform("{registries: null}"))
	s.Default(got)
	want := object(t, platform(`{profile: mvp, images: {maxScanAge: 720h, denySeverity: 4, grace: 720h, undatedAs: old, rescheduleGrace: 168h},
  elevation: {longest: 8h, answerWithin: 2h, reviewWithin: 72h, rights: [logs, exec, secrets]},
  resources: {cpuLimit: Required}, network: {model: kubernetes},
  defaults: {seccompProfile: Enabled, dropCapabilities: Enabled, privilegeEscalation: Enabled, serviceAccountToken: Enabled}, identity: {groupPrefix: "oidc:", groupsClaim: groups, userClaim: sub, userPrefix: "oidc:"}}`))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Default(Platform) (-want +got):\n%s", diff)
	}
	got = object(t, tenant("payments", ""))
	s.Default(got)
	if diff := cmp.Diff(object(t, tenant("payments", "deletionPolicy: Cordon")), got); diff != "" {
		t.Errorf("Default(Tenant) (-want +got):\n%s", diff)
	}
	other := map[string]any{"kind": "Pod", "apiVersion": "v1"}
	s.Default(other)
	if len(other) != 2 {
		t.Errorf("Default(Pod) = %v, want it unchanged", other)
	}
}

// TestHostile bounds the time and memory for objects that were made to use much of them. The limits are a hundred times
// what is needed on a slow machine; without the bounds each case takes minutes or dies.
func TestHostile(t *testing.T) {
	s := newSet(t)
	s.Validate(object(t, tenant("payments", "")))
	for _, c := range hostile(t) {
		t.Run(c.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			faults := s.Validate(c.obj)
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			t.Logf("%v, %d MiB allocated, %d faults", took.Round(time.Millisecond), (after.TotalAlloc-before.TotalAlloc)>>20, len(faults))
			if took > 30*time.Second {
				t.Errorf("Validate took %v, want well under a second", took)
			}
			if c.want == "" && len(faults) > 0 || !strings.Contains(text(faults), c.want) || len(faults) > fault.Most+1 {
				t.Errorf("Validate = %d faults, want %q:\n%.2000s", len(faults), c.want, text(faults))
			}
			s.Default(c.obj)
		})
	}
}

// hostileCase is an object made to be costly, and part of what is said of it; "" accepts it.
type hostileCase struct {
	name string
	obj  map[string]any
	want string
}

func hostile(t *testing.T) []hostileCase {
	t.Helper()
	base := func(spec map[string]any) map[string]any {
		obj := object(t, tenant("payments", ""))
		for k, v := range spec {
			obj["spec"].(map[string]any)[k] = v
		}
		return obj
	}
	repeat := func(n int, f func(i int) any) []any {
		out := make([]any, n)
		for i := range out {
			out[i] = f(i)
		}
		return out
	}
	deep := any("x")
	for range 1_000_000 {
		deep = map[string]any{"a": deep}
	}
	wide := map[string]any{}
	for i := range 100_000 {
		wide[fmt.Sprintf("a/b.%d", i)] = int64(i)
	}
	self := map[string]any{}
	self["again"] = self
	bomb := any("lol")
	for range 40 {
		bomb = []any{bomb, bomb, bomb, bomb}
	}
	return []hostileCase{
		{"100,000 environments", base(map[string]any{"environments": repeat(100_000, func(i int) any { return map[string]any{"name": fmt.Sprintf("e%d", i)} })}),
			"found 100000; want at most 20 items; remove some"},
		{"10,000 environments of the wrong type", base(map[string]any{"environments": repeat(10_000, func(int) any { return "x" })}), "found 10000; want at most 20 items"},
		{"500 rules of 20 wrong ports", base(map[string]any{"egress": repeat(500, func(int) any {
			return map[string]any{"fqdn": "a.example", "ports": repeat(20, func(int) any { return "x" })}
		})}), "a whole number"},
		{"a Guard of 10,000 wrong networks", object(t, guard("guard", "{egressCIDRs: "+list(10_000, "{cidr: %d, ports: x}")+"}")), "unknown field"},
		{"a Guard of 10,000 networks with host bits", object(t, guard("guard", "{egressCIDRs: "+list(10_000, "{cidr: 10.0.0.1/8, port: %d}")+"}")), "host bits"},
		{"a Guard of 10,000 sound networks", object(t, guard("guard", "{egressCIDRs: "+list(10_000, "{cidr: 10.0.0.0/8, port: 1%d}")+"}")), ""},
		{"a Guard of 10,000 wrong names", object(t, guard("guard", strings.NewReplacer("[", "{egress: {", "]", "}}").Replace(list(10_000, "a.example:%d: 5")))), "want text"},
		{"500 sound rules of 20 ports", base(map[string]any{"egress": repeat(500, func(int) any {
			return map[string]any{"fqdn": strings.Repeat("a.", 120) + "example", "ports": repeat(20, func(i int) any { return int64(i + 1) })}
		})}), ""},
		{"labels without end", base(map[string]any{"labels": wide}), "found 100000; want at most 30 entries"},
		{"annotations of the object without end", func() map[string]any {
			obj := base(nil)
			obj["metadata"].(map[string]any)["annotations"] = wide
			return obj
		}(), "more faults"},
		{"unknown fields without end", func() map[string]any { obj := base(nil); obj["spec"] = wide; return obj }(), "more faults"},
		{"an owner of 3,000,000 letters", base(map[string]any{"owner": strings.Repeat("é", 1_400_000)}), "found 1400000; want at most 254 characters"},
		{"a label key of 3,000,000 dots", base(map[string]any{"labels": map[string]any{strings.Repeat(".", 3_000_000): "x"}}), "change the key"},
		{"depth", base(map[string]any{"colour": deep}), "levels of nesting"},
		{"an object that holds itself", base(map[string]any{"colour": self}), "levels of nesting"},
		{"a billion laughs", base(map[string]any{"colour": bomb}), "larger than 3 MiB"},
	}
}

func TestDidYouMean(t *testing.T) {
	known := []string{"environments", "groups", "owner", "registries", "ring"}
	for written, want := range map[string]string{
		"environment": "environments", "Environments": "environments", "enviroments": "environments", "grups": "groups", "onwer": "owner",
		"registry": "", "colour": "", "": "", strings.Repeat("x", 10_000): "", "rings": "ring",
	} {
		got := fault.DidYouMean(written, known)
		if want == "" && got != "" || want != "" && !strings.Contains(got, "`"+want+"`") {
			t.Errorf("fault.DidYouMean(%.20q) = %q, want %q", written, got, want)
		}
	}
}

// FuzzValidate hands over objects made of anything. Whatever they are: no panic, the same answer twice, the object
// untouched, every path leads somewhere in it, every message is one short line, and unknown fields are found exactly
// where the API server's own pruning finds them.
func FuzzValidate(f *testing.F) {
	for _, c := range cases {
		f.Add([]byte(c.yaml))
	}
	s := newSet(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			t.Skip("the reader of files bounds aliases; large inputs test only the YAML library")
		}
		var obj map[string]any
		if err := yaml.Unmarshal(data, &obj); err != nil || obj == nil {
			t.Skip()
		}
		obj = numbers(obj).(map[string]any)
		before := apiruntime.DeepCopyJSON(obj)
		got := s.Validate(obj)
		if again := s.Validate(obj); !slices.Equal(got, again) {
			t.Errorf("Validate = %v, then %v", got, again)
		}
		if diff := cmp.Diff(before, obj, cmpopts.EquateNaNs()); diff != "" {
			t.Errorf("Validate changed the object (-before +after):\n%s", diff)
		}
		for _, fault := range got {
			if len(fault.Message) > 1024 || strings.ContainsAny(fault.Message, "\n\r") || fault.Message == "" {
				t.Errorf("message %q is not one short line", fault.Message)
			}
			if !exists(obj, fault.Path) {
				t.Errorf("path %q leads nowhere", fault.Path)
			}
		}
		k, faults := s.kindOf(obj)
		if len(faults) > 0 {
			return
		}
		pruned := pruning.PruneWithOptions(before, k.structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
		if len(pruned) > 0 && len(got) == 0 {
			t.Errorf("the server does not know %v; Validate found nothing", pruned)
		}
		s.Default(obj)
		if after := s.Validate(obj); len(got) == 0 && len(after) > 0 {
			t.Errorf("sound before defaults, not after: %v", after)
		}
	})
}

func exists(value any, path string) bool {
	if path == "" {
		return true
	}
	for _, step := range strings.Split(path[1:], "/") {
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		if m, ok := value.(map[string]any); ok {
			if _, ok := m[step]; !ok {
				return false
			}
		} else if _, ok := value.([]any); !ok {
			return false
		}
		value = lookup(value, []string{step})
	}
	return true
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		if _, err := New(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFirstValidate(b *testing.B) {
	obj := object(b, tenant("payments", ""))
	for b.Loop() {
		newSet(b).Validate(obj)
	}
}

func BenchmarkValidate(b *testing.B) {
	obj, s := object(b, tenant("payments", "")), newSet(b)
	for b.Loop() {
		s.Validate(obj)
	}
}
