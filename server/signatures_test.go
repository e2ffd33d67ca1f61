package server

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/tenant"
)

// TestWanted: a registry is asked about a digest that a rule for the namespace covers, where the namespace is granted that registry, and about
// nothing else.
func TestWanted(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("a", 64)
	p := &v1alpha1.Platform{Spec: v1alpha1.PlatformSpec{Images: v1alpha1.ImageRules{Trust: []v1alpha1.TrustRule{
		{Name: "prod", Environments: []string{"prod"}, Repositories: []v1alpha1.Registry{"r.example"}, Keys: []v1alpha1.TrustKey{{Name: "a", PEM: "A"}}},
		{Name: "rest", Tenants: []string{"payments"}, Keys: []v1alpha1.TrustKey{{Name: "b", PEM: "B"}}},
	}}}}
	guard := func(tenant, environment string) *v1alpha1.GuardSpec {
		return &v1alpha1.GuardSpec{Tenant: tenant, Environment: environment, Registries: []v1alpha1.Registry{"r.example", "bank"}}
	}
	for what, c := range map[string]struct {
		guard     *v1alpha1.GuardSpec
		reference string
		rule      string
	}{
		"a digest":                       {guard("payments", "dev"), "r.example/api" + digest, "rest"},
		"with its tag":                   {guard("payments", "dev"), "r.example/api:1" + digest, "rest"},
		"the first rule that covers it":  {guard("payments", "prod"), "r.example/api" + digest, "prod"},
		"a tag":                          {guard("payments", "dev"), "r.example/api:1", ""},
		"no Guard":                       {nil, "r.example/api" + digest, ""},
		"no rule for the namespace":      {guard("cards", "dev"), "r.example/api" + digest, ""},
		"a registry that is not granted": {guard("payments", "dev"), "other.example/api" + digest, ""},
		"one that begins so":             {guard("payments", "dev"), "r.example.evil.example/api" + digest, ""},
		"a name that means Docker Hub":   {guard("payments", "dev"), "bank/api" + digest, ""},
		"no reference":                   {guard("payments", "dev"), "r.example/a b" + digest, ""},
	} {
		var at demand
		if c.guard != nil {
			at = demandOf(tenant.TrustRules(p), c.guard)
		}
		one, ok := at.wanted(c.reference, map[string]string{"prod": "prod-1", "rest": "rest-1"})
		if ok != (c.rule != "") {
			t.Errorf("%s: wanted is %v", what, ok)
		}
		if want := tenant.TrustRules(p); ok && (one.Trust != c.rule+"-1" || one.Host != "r.example" || one.Age != want[0].Age) {
			t.Errorf("%s: %+v", what, one)
		}
	}
}

// TestKeptSignatures: what is kept is read again, beside other facts, and a folder that cannot be written to is said.
func TestKeptSignatures(t *testing.T) {
	dir := t.TempDir()
	if all, err := keptSignatures(dir); err != nil || all != nil {
		t.Errorf("of nothing: %v, %v", all, err)
	}
	want := image.Signed{Digest: "sha256:" + strings.Repeat("a", 64), Trust: "bank-1", Until: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), By: "key bank"}
	if err := errors.Join(keepSignatures(dir, []image.Signed{want}), os.WriteFile(filepath.Join(dir, "scans.yaml"),
		[]byte("apiVersion: ringfence.dev/v1alpha1\nkind: ImageAdmission\nspec: {images: []}\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if all, err := keptSignatures(dir); err != nil || len(all) != 1 || all[0] != want {
		t.Errorf("%v, %v", all, err)
	}
	im := &images{dir: dir}
	if err := im.read(); err != nil || len(im.index.Load().Signed(want.Digest)) != 1 {
		t.Errorf("%v", err)
	}
	if err := keepSignatures(filepath.Join(dir, "none"), nil); err == nil || !strings.Contains(err.Error(), "fix:") {
		t.Error(err)
	}
	if _, err := check(Config{Registries: RegistriesConfig{Signatures: true}}); err == nil || !strings.Contains(err.Error(), "image facts") {
		t.Errorf("without a folder: %v", err)
	}
}
