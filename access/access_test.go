package access

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/cel-go/cel"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"
	"k8s.io/apiserver/pkg/cel/environment"

	"ringfence.dev/ringfence/api/v1alpha1"
)

var update = flag.Bool("update", false, "write the table of docs/access.md anew")

const (
	tenantID = "6f1f2f52-9c5b-4a44-8f3c-0d6b1c3a7e01"
	workers  = "principalSet://iam.googleapis.com/locations/global/workforcePools/bank-people/group/"
)

func pointer(s string) *string { return &s }

// bank are the rules of a bank whose provider is not Entra ID.
func bank() v1alpha1.IdentityRules {
	return v1alpha1.IdentityRules{Issuer: "https://login.bank.example/realms/bank", ClientID: "kubectl", MFA: "mfa"}
}

// entra are the rules of one whose provider is.
func entra() v1alpha1.IdentityRules {
	return v1alpha1.IdentityRules{Issuer: "https://login.microsoftonline.com/" + tenantID + "/v2.0", ClientID: "0d5b7b0e-0000-4000-8000-000000000001", MFA: "c1"}
}

func authority(t testing.TB) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// compiler is that of a server of a minor version.
func compiler(minor int) authenticationcel.Compiler {
	return authenticationcel.NewCompiler(environment.MustBaseEnvSet(version.MajorMinor(1, uint(minor))))
}

// decoder is the API server's own, which refuses fields it does not know.
var decoder = sync.OnceValue(func() runtime.Decoder {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	return serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDecoder()
})

// load reads a configuration as the API server does: strictly, and with its own validation.
func load(text []byte, with authenticationcel.Compiler) (*apiserver.AuthenticationConfiguration, error) {
	decoded, err := runtime.Decode(decoder(), text)
	if err != nil {
		return nil, err
	}
	c, ok := decoded.(*apiserver.AuthenticationConfiguration)
	if !ok {
		return nil, fmt.Errorf("decoded %T", decoded)
	}
	return c, validation.ValidateAuthenticationConfiguration(with, c, []string{"https://kubernetes.default.svc"}).ToAggregate()
}

// written is the YAML of options.
func written(t testing.TB, o Options) []byte {
	t.Helper()
	a, err := Authenticate(o)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := a.YAML(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestEveryServerTakesIt loads what is written for each version by the API server's own code.
func TestEveryServerTakesIt(t *testing.T) {
	email := bank()
	email.UserClaim, email.GroupsClaim, email.GroupPrefix, email.UserPrefix = "email", "https://bank.example/groups", pointer(`it's "ours"\: `), pointer("")
	bare := bank()
	bare.MFA = ""
	ca := authority(t)
	for minor := FirstServer; minor <= LastServer; minor++ {
		with := compiler(minor)
		for name, o := range map[string]Options{
			"bank": {Identity: bank(), CA: ca, RequireMFA: true}, "entra": {Identity: entra()}, "email": {Identity: email}, "bare": {Identity: bare, CA: ca + "\n" + ca},
		} {
			o.Server = minor
			text := written(t, o)
			c, err := load(text, with)
			if err != nil {
				t.Errorf("1.%d %s: %v\n%s", minor, name, err, text)
				continue
			}
			beta := bytes.Contains(text, []byte("apiserver.config.k8s.io/v1beta1"))
			if beta != (minor < 34) || (c.Anonymous != nil) != (minor >= 32) {
				t.Errorf("1.%d %s: v1beta1 %v, anonymous %v", minor, name, beta, c.Anonymous)
			}
			if strings.TrimSpace(c.JWT[0].Issuer.CertificateAuthority) != strings.TrimSpace(o.CA) {
				t.Errorf("1.%d %s: the certificates changed on the way", minor, name)
			}
		}
	}
}

// TestRefused shows what cannot be written, and that the reason names the field.
func TestRefused(t *testing.T) {
	change := func(base v1alpha1.IdentityRules, f func(*v1alpha1.IdentityRules)) v1alpha1.IdentityRules {
		f(&base)
		return base
	}
	prefixed := func(base v1alpha1.IdentityRules, user, group string) v1alpha1.IdentityRules {
		return change(base, func(r *v1alpha1.IdentityRules) { r.UserPrefix, r.GroupPrefix = &user, &group })
	}
	ca := authority(t)
	key := string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte{1}}))
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"nothing":           {Options{}, "spec.identity.issuer is missing"},
		"no client":         {Options{Identity: change(bank(), func(r *v1alpha1.IdentityRules) { r.ClientID = "" })}, "spec.identity.clientID is missing"},
		"every directory":   {Options{Identity: change(entra(), func(r *v1alpha1.IdentityRules) { r.Issuer = "https://login.microsoftonline.com/common/v2.0" })}, "no single directory's"},
		"no directory":      {Options{Identity: change(entra(), func(r *v1alpha1.IdentityRules) { r.Issuer = "https://login.microsoftonline.com" })}, "no single directory's"},
		"two directories":   {Options{Identity: change(entra(), func(r *v1alpha1.IdentityRules) { r.Directory = "99999999-9c5b-4a44-8f3c-0d6b1c3a7e01" })}, "make them the same"},
		"no proof":          {Options{Identity: change(bank(), func(r *v1alpha1.IdentityRules) { r.MFA = "" }), RequireMFA: true}, "spec.identity.mfa is missing"},
		"a key":             {Options{Identity: bank(), CA: ca + key}, "EC PRIVATE KEY"},
		"no certificate":    {Options{Identity: bank(), CA: "hello"}, "no PEM block"},
		"a broken one":      {Options{Identity: bank(), CA: strings.Replace(key, "EC PRIVATE KEY", "CERTIFICATE", 2)}, "certificate 1"},
		"an old server":     {Options{Identity: bank(), Server: 29}, "want 1.30 to 1.37"},
		"a stranger":        {Options{Identity: bank(), For: "oke"}, "want one of"},
		"EKS, no prefix":    {Options{Identity: prefixed(bank(), "oidc:", ""), For: EKS}, "groupPrefix"},
		"EKS, no user":      {Options{Identity: prefixed(bank(), "", "oidc:"), For: EKS}, "userPrefix"},
		"GKE, other people": {Options{Identity: prefixed(bank(), "oidc:", workers), For: GKE}, "bank-people/subject/"},
		"EKS, CA":           {Options{Identity: bank(), For: EKS, CA: ca}, "--ca"},
		"AKS, prefix":       {Options{Identity: bank(), For: AKS}, "aks:jwt:"},
		"AKS, Entra prefix": {Options{Identity: entra(), For: AKS}, "puts nothing before"},
		"GKE, no prefix":    {Options{Identity: prefixed(bank(), "oidc:", ""), For: GKE}, "groupPrefix"},
		"GKE, MFA":          {Options{Identity: bank(), For: GKE, RequireMFA: true}, "Workforce"},
		"GKE, CA":           {Options{Identity: prefixed(bank(), "oidc:", workers), For: GKE, CA: ca}, "--ca"},
	} {
		if _, err := Authenticate(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// forms are every form there is, as the table of the documentation shows them.
func forms(t testing.TB) (all []*Authentication) {
	t.Helper()
	with := func(r v1alpha1.IdentityRules, user, group string) v1alpha1.IdentityRules {
		r.UserPrefix, r.GroupPrefix, r.Directory = &user, &group, tenantID
		return r
	}
	for _, o := range []Options{
		{Identity: with(bank(), "oidc:", "oidc:"), RequireMFA: true},
		{Identity: with(bank(), "oidc:", "oidc:"), For: EKS, RequireMFA: true},
		{Identity: with(bank(), "aks:jwt:", "aks:jwt:"), For: AKS, RequireMFA: true},
		{Identity: with(entra(), "", ""), For: AKS, RequireMFA: true},
		{Identity: with(bank(), people("bank-people"), workers), For: GKE, RequireMFA: true},
		{Identity: with(bank(), "oidc:", "oidc:"), For: GKE},
	} {
		a, err := Authenticate(o)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	return all
}

// TestDemands holds every form to saying something of every demand, and the documentation to saying the same.
func TestDemands(t *testing.T) {
	var table strings.Builder
	for _, a := range forms(t) {
		fmt.Fprintf(&table, "\n### %s: %s\n\n| demand | | how |\n|---|---|---|\n", a.For, a.Form)
		for _, d := range a.Demands {
			if strings.Contains(d.How, "nothing is documented") && !strings.Contains(d.How, "groups") {
				t.Errorf("%s says nothing of %s", a.Form, d.ID)
			}
			fmt.Fprintf(&table, "| %s: %s | %s | %s |\n", d.ID, d.Demand, d.State, d.How)
		}
		for _, form := range []func(*bytes.Buffer) error{
			func(w *bytes.Buffer) error { return a.JSON(w) }, func(w *bytes.Buffer) error { return a.YAML(w) },
		} {
			var out bytes.Buffer
			if err := form(&out); err != nil || strings.Contains(out.String(), `\u0026`) {
				t.Errorf("%s: %v %s", a.Form, err, out.String())
			}
		}
	}
	const file, mark = "../docs/access.md", "<!-- by go test ./access -update -->\n"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, got, found := strings.Cut(string(text), mark)
	if !found {
		t.Fatalf("%s has no line %q", file, mark)
	}
	if *update {
		if err := os.WriteFile(file, []byte(before+mark+table.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if got != table.String() {
		t.Errorf("%s says otherwise than the code; fix: go test ./access -update", file)
	}
}

// TestManaged holds what is written for others' API servers to what they say of it: AKS takes a subset of Kubernetes' own form,
// with its prefix before every name, and Google's condition is CEL over the assertion.
func TestManaged(t *testing.T) {
	for _, a := range forms(t) {
		switch c := a.Configuration.(type) {
		case aksAuthenticator:
			text, err := marshal(map[string]any{"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": []any{c}}, "")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := load(text, compiler(FirstServer)); err != nil {
				t.Errorf("%s: %v", a.Form, err)
			}
			if m := c.ClaimMappings; !strings.HasPrefix(m.Username.Expression, `"aks:jwt:`) || !strings.Contains(m.Groups.Expression, `"aks:jwt:" + `) || m.Username.Claim+m.Groups.Claim+m.UID.Claim != "" {
				t.Errorf("%s: %+v", a.Form, m)
			}
		case workforceProvider:
			env, err := cel.NewEnv(cel.Variable("assertion", cel.MapType(cel.StringType, cel.DynType)))
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{c.AttributeCondition, c.AttributeMapping["google.subject"], c.AttributeMapping["google.groups"]} {
				if _, issues := env.Compile(text); issues.Err() != nil {
					t.Errorf("%s: %s: %v", a.Form, text, issues.Err())
				}
			}
			ast, _ := env.Compile(c.AttributeCondition)
			program, err := env.Program(ast)
			if err != nil {
				t.Fatal(err)
			}
			for want, assertion := range map[bool]map[string]any{true: {"tid": tenantID, "amr": []string{"pwd", "mfa"}}, false: {"tid": tenantID, "amr": []string{"pwd"}}} {
				if got, _, err := program.Eval(map[string]any{"assertion": assertion}); err != nil || got.Value() != want {
					t.Errorf("%s: %v for %v: %v", a.Form, got, assertion, err)
				}
			}
		}
	}
}

// FuzzAuthenticate holds whatever a Platform says to becoming a configuration that the API server takes, or a refusal.
func FuzzAuthenticate(f *testing.F) {
	f.Add("https://login.bank.example", "kubectl", "sub", "groups", "mfa", "oidc:")
	f.Add("https://login.microsoftonline.com/"+tenantID, `"'\`, "email", "a.b['c']", "\n\x00\u2028", `") || true || ("`)
	with := compiler(FirstServer)
	f.Fuzz(func(t *testing.T, issuer, client, user, groups, mfa, prefix string) {
		o := Options{Server: LastServer, Identity: v1alpha1.IdentityRules{Issuer: issuer, ClientID: client, UserClaim: user, GroupsClaim: groups, MFA: mfa, GroupPrefix: &prefix}}
		a, err := Authenticate(o)
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := a.YAML(&out); err != nil {
			return // it holds what YAML cannot say, as half a rune
		}
		c, err := load(out.Bytes(), with)
		if err != nil {
			for _, expected := range []string{"jwt[0].issuer.url", "jwt[0].issuer.audiences"} {
				if strings.Contains(err.Error(), expected) {
					return // the schema of the Platform refuses these
				}
			}
			t.Fatalf("%v\n%s", err, out.String())
		}
		if n := len(c.JWT[0].ClaimMappings.Extra); n > 2 {
			t.Fatalf("%d extra keys", n)
		}
	})
}
