package controls_test

import (
	"crypto/sha512"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/distribution/reference"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/policy/cel"
)

// grants are the registries that references are judged with, one at a time. The last two can hold nothing: without a dot
// the first is no host to a runtime, and the second is another name of docker.io.
var grants = []v1alpha1.Registry{
	"registry.bank.example", "registry.bank.example/payments", "registry.bank.example:5000", "docker.io", "docker.io/library",
	"localhost", "localhost:5000", "10.0.0.1:5000/a", "registry", "index.docker.io",
}

// The hash is linked in because the library takes no sha512 digest of a program without it.
var _ = sha512.New

// references judges references with the controls of images, and compares with the library that container runtimes use.
type references struct {
	engine *policy.Engine
	guards []*policy.Guard
}

func newReferences(t testing.TB) *references {
	t.Helper()
	cat, err := control.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	cat.Controls = slices.DeleteFunc(cat.Controls, func(c control.Control) bool { return c.ID != "RF-IM-01" && c.ID != "RF-IM-02" })
	cat.Templates = nil
	sets, err := cel.Compile(cat)
	if err != nil {
		t.Fatal(err)
	}
	_ = sha512.New() // the library takes only digests whose hash is linked
	r := &references{engine: policy.New(sets...)}
	for _, g := range grants {
		guard, err := policy.NewGuard(v1alpha1.GuardSpec{Registries: []v1alpha1.Registry{g}})
		if err != nil {
			t.Fatal(err)
		}
		r.guards = append(r.guards, guard)
	}
	return r
}

// judge says whether a reference passes each control, as the image of a container and as that of a volume, which must
// agree.
func (r *references) judge(t testing.TB, ref string, grant int) (inside, pinned bool) {
	t.Helper()
	in := policy.Input{Guard: r.guards[grant], Namespace: "payments-dev", Object: map[string]any{
		"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "api"},
		"spec": map[string]any{
			"containers": []any{map[string]any{"name": "api", "image": ref}},
			"volumes":    []any{map[string]any{"name": "tools", "image": map[string]any{"reference": ref}}},
		},
	}}
	fails := map[string]int{}
	for _, f := range r.engine.Judge(in, finding.Subject{APIVersion: "v1", Kind: "Pod", Name: "api"}) {
		switch f.Outcome {
		case finding.Errored:
			t.Fatalf("%q: %s: %s", ref, f.Control, *f.Reason)
		case finding.Fail:
			fails[f.Control]++
		}
	}
	for id, n := range fails {
		if n != 2 {
			t.Errorf("%q with %s: %s fails in %d of the 2 places", ref, grants[grant], id, n)
		}
	}
	return fails["RF-IM-01"] == 0, fails["RF-IM-02"] == 0
}

// compare asks both for their verdicts. Where they may differ, ours is the stricter; see stricter.
func (r *references) compare(t testing.TB, ref string, grant int) {
	t.Helper()
	inside, pinned := r.judge(t, ref, grant)
	named, err := reference.ParseNormalizedNamed(ref)
	wantInside := err == nil && strings.HasPrefix(named.Name(), string(grants[grant])+"/")
	if inside != wantInside && (inside || stricter(ref, named) == "") {
		t.Errorf("%q with %s: inside = %v, the library says %v (%v, %v)", ref, grants[grant], inside, wantInside, named, err)
	}
	digested, ok := named.(reference.Digested)
	if err != nil {
		return // what the library cannot read nobody can pull
	}
	if wantPinned := ok && digested.Digest() != ""; pinned != wantPinned && (pinned || stricter(ref, named) == "") {
		t.Errorf("%q: pinned = %v, the library says %v (%v)", ref, pinned, wantPinned, named)
	}
}

// stricter names the references that the library takes and our rules do not, "" for others.
func stricter(ref string, named reference.Named) string {
	before, digest, _ := strings.Cut(ref, "@")
	switch {
	case strings.HasPrefix(digest, "sha384:"):
		return "an algorithm that the OCI image specification does not register"
	case len(before) > 255-len("docker.io/library/"):
		return "longer than any registry takes"
	case !strings.Contains(ref, "/") && strings.HasPrefix(ref, "sha"):
		return "an image id: a runtime takes it for what its node holds before it takes it for a name"
	}
	return ""
}

func TestReference(t *testing.T) {
	r := newReferences(t)
	for _, ref := range seeds() {
		for grant := range grants {
			r.compare(t, ref, grant)
		}
	}
}

// FuzzReference looks for a reference that our rules and the library of container runtimes read differently.
func FuzzReference(f *testing.F) {
	r := newReferences(f)
	for i, ref := range seeds() {
		if i%20 == 0 { // reading them all back takes a minute
			f.Add(ref, byte(i))
		}
	}
	f.Fuzz(func(t *testing.T, ref string, grant byte) {
		if !utf8.ValidString(ref) || len(ref) > 1000 {
			return // no manifest can say it
		}
		r.compare(t, ref, int(grant)%len(grants))
	})
}

// seeds are references in the usual and the odd spellings.
func seeds() []string {
	const hex64 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	const digest = "@sha256:" + hex64
	refs := []string{
		"", " ", "/", "@", ":", digest, "nginx", "nginx:1", "Nginx", "nginx:", "nginx@", "library/nginx", "a/b/c", "A/b", "É/b", "a//b", "a/", "/a",
		"docker.io/nginx", "docker.io/library/nginx", "docker.io/a/b", "index.docker.io/nginx:1", "index.docker.io/a/b", "Docker.io/nginx", "docker.io:443/nginx",
		"docker.io", "index.docker.io/", "localhost/a", "LOCALHOST/a", "localhost:5000/a", "localhost", "localhost:5000", "10.0.0.1:5000/a/b", "[::1]:5000/a", "[::1]/a", "[::1/a",
		hex64, hex64 + ":1", "sha256:" + hex64, "sha256:0123", "sha512:" + hex64, "sha:1", "shadow:1", "a/sha256:" + hex64,
		"docker.io/" + hex64, "registry/a", "registry:5000/a", "registry.bank.example", "registry.bank.example:5000", "registry.bank.example:5000:1/a",
	}
	for _, host := range []string{"registry.bank.example", "registry.bank.example:5000", "registry.bank.example.evil.example", "registry.bank.example.", ".registry.bank.example",
		"Registry.bank.example", "registry-bank.example", "registry.bank.example@evil.example", "evil.example#registry.bank.example", "registry.bank.example:", "registry.bank.example:x",
		"https://registry.bank.example", "registry.bank.example\\", "registry.bank.example%2f", "registry.bаnk.example"} {
		for _, path := range []string{"", "a", "payments/a", "payments", "payments-evil/a", "payments/../evil/a", "payments/./a", "payments//a", "a_b", "a__b", "a___b", "a.b", "a..b",
			"a-b", "a---b", "a-", "-a", "_a", "a._b", "A", "a b", "a\n", "a\x00", "a?b", "%61", "é"} {
			refs = append(refs, host+"/"+path, host+"/"+path+":1", host+"/"+path+":1"+digest)
		}
	}
	const name = "registry.bank.example/payments/a"
	for _, end := range []string{digest, digest + digest, ":1" + digest, digest + ":1", digest + " ", ":" + digest, ":-a", ":.a", ":_a", ":a/b", ":1:2", ":" + strings.Repeat("x", 128),
		":" + strings.Repeat("x", 129), "@sha256:" + hex64[1:], "@sha256:" + hex64 + "0", "@SHA256:" + hex64, "@sha256:" + strings.ToUpper(hex64), "@sha512:" + hex64 + hex64,
		"@sha512:" + hex64, "@sha384:" + hex64 + hex64[:32], "@md5:" + hex64[:32], "@sha256-" + hex64, "@sha256:", "@" + hex64, "#sha256:" + hex64} {
		refs = append(refs, name+end)
	}
	for _, n := range []int{200, 219, 236, 237, 238, 239, 220, 221, 222, 223, 224, 225, 226, 250, 255, 256, 400} {
		refs = append(refs, fmt.Sprintf("registry.bank.example/payments/%s", strings.Repeat("x", n)), strings.Repeat("x", n), strings.Repeat("x", n)+digest, "docker.io/"+strings.Repeat("x", n))
	}
	return refs
}
