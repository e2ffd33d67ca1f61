// Package casefile reads the test cases of the catalogue, manifests whose first comment lines say what must be found, and
// judges them with an engine.
//
// A case's file name says its kind: pass-*, fail-*, update-pass-* and update-fail-* (two documents, the stored object and
// the new one). It compiles no rules. The catalogue's walker, the parity test with the API server and the command
// `ringfence control test` call it.
package casefile

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/manifest"
)

// Case is one test case of a control.
type Case struct {
	// File is the case's path in the catalogue's tree.
	File string
	// Object is what is judged; Old is the stored object of an update case, else nil.
	Object, Old *manifest.Object
	// Want are the "<value> at <pointer>" that must be found, in order; empty for a pass case.
	Want []string
	// Also are ids of other controls that the case trips too.
	Also []string
	// User is who asks, "" for nobody known; Groups are theirs.
	User   string
	Groups []string
	// AnyAlso says that the case may trip any other control: it is too large or too odd to list them.
	AnyAlso bool
}

// Guard is what the cases are judged with: a namespace of the tenant payments, where every control denies.
func Guard() v1alpha1.GuardSpec {
	return v1alpha1.GuardSpec{
		Tenant:           "payments",
		Environment:      "dev",
		Registries:       []v1alpha1.Registry{"registry.bank.example"},
		Groups:           []string{"oidc:payments-admins", "oidc:payments-readers"},
		TenantGroups:     map[string]string{"oidc:payments-admins": "payments", "oidc:payments-readers": "payments", "oidc:cards-admins": "cards"},
		TenantNamespaces: map[string]string{"payments-dev": "payments", "payments-prod": "payments", "cards-prod": "cards"},
		BreakGlassGroups: []string{"oidc:break-glass"},
		Elevations:       map[string]string{"system:serviceaccount:payments-dev:elevation-inc-4711": "2099-01-01T00:00:00Z"},
		RequiredLabels:   []string{"cost-centre"},
		Pipelines:        []string{"https://ci.bank.example#repo:payments:prod"},
		StorageClasses:   []string{"encrypted"},
		IngressClasses:   []string{"internal"},
		NetworkModel:     v1alpha1.NetworkCilium,
		NodePoolLabel:    "bank.example/pool",

		DataClassLabel: "bank.example/data-class",
		Elsewhere: v1alpha1.Belongings{
			DataClasses:   []string{"cardholder"},
			SecretPaths:   []string{"prod-", "secret/data/prod/"},
			ImageChannels: []v1alpha1.Registry{"registry.bank.example/release"},
		},
		LoadBalancerClasses: []string{"bank.example/internal"},
		Grants: v1alpha1.Grants{
			Hosts:           []string{"payments.bank.example"},
			PriorityClasses: []string{"business"},
			RuntimeClasses:  []string{"gvisor"},
			Tolerations:     []string{"bank.example/payments"},
			Networks:        []string{"multus/shared-storage"},
			NodePools:       []string{"payments", "shared"},
		},
		Egress: map[string]string{"db.payments.bank.example:5432": "", "api.partner.example:443": "2099-01-01T00:00:00Z"},
		EgressCIDRs: []v1alpha1.EgressCIDR{
			{CIDR: "10.20.0.0/16", Port: 5432}, {CIDR: "10.20.0.0/16", Port: 5433}, {CIDR: "2001:db8:20::/48", Port: 5432},
		},
		Images: &v1alpha1.GuardImages{Admitted: images(), Trust: []v1alpha1.GuardTrust{
			{ID: "bank", Prefixes: []string{"registry.bank.example/signed/"}},
			{ID: "rest", Prefixes: []string{""}, AdmitUnknown: true},
		}},
	}
}

// images are the digests that the cases know: of most of them nothing is wrong.
func images() map[string]v1alpha1.GuardImage {
	const later, ended = "2099-01-01T00:00:00Z", "2020-01-01T00:00:00Z"
	well := v1alpha1.GuardImage{ScannedUntil: later, CleanUntil: "9999-12-31T23:59:59Z"}
	signed := func(rule string, until v1alpha1.Instant) v1alpha1.GuardImage {
		i := well
		i.Signed = map[string]v1alpha1.Instant{rule: until}
		return i
	}
	of := func(digit string) string { return "sha256:" + strings.Repeat(digit, 64) }
	return map[string]v1alpha1.GuardImage{
		of("0123456789abcdef")[:71]:          well,
		of("a"):                              signed("bank", later),
		of("6"):                              signed("bank", v1alpha1.Unsigned),
		of("7"):                              signed("bank", ended),
		of("8"):                              signed("rest", v1alpha1.Unsigned),
		of("9"):                              well,
		"sha512:" + strings.Repeat("b", 128): well,
		of("1"):                              {ScannedUntil: ended, CleanUntil: later},
		of("2"):                              {ScannedUntil: later, Note: "CVE-2021-44228 of severity 5"},
		of("3"):                              {ScannedUntil: later, CleanUntil: ended, Note: "CVE-2022-22965 of severity 5"},
		of("4"):                              {ScannedUntil: later, CleanUntil: later, Warn: "CVE-2026-1234 of severity 4"},
		of("5"):                              {CleanUntil: later, RunsUntil: later},
	}
}

// Update reports whether the case is an UPDATE.
func (c Case) Update() bool { return c.Old != nil }

// Connect reports whether the case is a CONNECT: its object is the options of a connection, which are never stored.
func (c Case) Connect() bool { return c.is(func(k control.Kind) bool { return k.Connect }) }

// Asked reports whether the case's object is what a subresource is asked with, which is never stored either.
func (c Case) Asked() bool { return c.is(func(k control.Kind) bool { return k.Asked }) }

func (c Case) is(so func(control.Kind) bool) bool {
	return slices.ContainsFunc(control.Groups(), func(g control.Group) bool {
		return slices.ContainsFunc(g.Kinds, func(k control.Kind) bool { return so(k) && k.Kind == c.Object.Kind() })
	})
}

// Read reads the cases in dir/tests.
func Read(tree fs.FS, dir string) ([]Case, error) {
	files, err := fs.Glob(tree, path.Join(dir, "tests", "*.yaml"))
	if err != nil {
		return nil, err
	}
	var cases []Case
	for _, file := range files {
		c, err := read(tree, file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		cases = append(cases, c)
	}
	return cases, nil
}

func read(tree fs.FS, file string) (Case, error) {
	c := Case{File: file}
	text, err := fs.ReadFile(tree, file)
	if err != nil {
		return c, err
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if want, ok := strings.CutPrefix(line, "# want: found "); ok {
			c.Want = append(c.Want, want)
		} else if user, ok := strings.CutPrefix(line, "# user: "); ok {
			c.User = user
		} else if group, ok := strings.CutPrefix(line, "# group: "); ok {
			c.Groups = append(c.Groups, group)
		} else if also, ok := strings.CutPrefix(line, "# also: "); ok {
			if c.AnyAlso = c.AnyAlso || also == "*"; also != "*" {
				c.Also = append(c.Also, also)
			}
		} else if !strings.HasPrefix(line, "#") {
			break
		}
	}
	var objects []*manifest.Object
	for o, err := range manifest.Read(bytes.NewReader(text), file) {
		if err != nil {
			return c, err
		}
		objects = append(objects, o)
	}
	name := path.Base(file)
	update, fail := strings.HasPrefix(name, "update-"), strings.Contains(name, "fail-")
	switch {
	case fail != (len(c.Want) > 0):
		return c, fmt.Errorf("a fail case has at least one line «# want: found <value> at <pointer>», a pass case none")
	case update && len(objects) == 2:
		c.Old, c.Object = objects[0], objects[1]
	case !update && len(objects) == 1:
		c.Object = objects[0]
	default:
		return c, fmt.Errorf("found %d objects; want one, or the stored and the new one in an update case", len(objects))
	}
	return c, nil
}
