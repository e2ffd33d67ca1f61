// Package access writes what a cluster must be told about sign-in, in the form its provider takes, and says of every demand
// whether that form meets it.
//
// It asks no cluster, applies nothing and keeps no secret. The command line calls it.
package access

import (
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// Provider says who runs a cluster's API server, and so which form it takes.
type Provider string

// The providers. Kubernetes is any cluster whose API server's flags the bank sets itself.
const (
	Kubernetes Provider = "kubernetes"
	EKS        Provider = "eks"
	AKS        Provider = "aks"
	GKE        Provider = "gke"
)

// Providers are all of them, in the order of the help.
func Providers() []Provider { return []Provider{Kubernetes, EKS, AKS, GKE} }

// The minor versions of Kubernetes that are known.
const (
	FirstServer = 30
	LastServer  = 37
)

const (
	// maxLifetime is the longest a token may live, in seconds: a working day. A cluster cannot take a token back.
	maxLifetime = 12 * 60 * 60
	// maxGroups is how many groups a token may hold: as many as Microsoft Graph tells of (getMemberGroups). The API server
	// compares each with every binding, for every request.
	maxGroups = 2048
)

// Options say for whom and for what.
type Options struct {
	// Identity are the Platform's rules, with their defaults.
	Identity v1alpha1.IdentityRules
	// For is the cluster's provider. The zero value is Kubernetes.
	For Provider
	// Server is the minor version of the API server, FirstServer to LastServer. The zero value is LastServer.
	Server int
	// CA are the PEM certificates that the issuer's own is signed with. Empty: those that the API server's machine trusts.
	CA string
	// RequireMFA refuses tokens without a second factor, for everything and not for privileged acts alone.
	RequireMFA bool
}

// State says how far a form meets a demand.
type State string

// The states. Open is what a bank must know before it uses such a cluster.
const (
	Met         State = "met"
	Compensated State = "compensated"
	Open        State = "open"
)

// Demand is one thing that sign-in must hold to, and what becomes of it.
type Demand struct {
	// ID names it, for machines; it never changes.
	ID string `json:"id"`
	// Demand is what is wanted.
	Demand string `json:"demand"`
	State  State  `json:"state"`
	// How says what meets it, what stands in for it, or what is missing and what to do.
	How string `json:"how"`
}

// Authentication is what a cluster must be told, and what comes of it.
type Authentication struct {
	// For is the provider, Server the version as 1.37.
	For    Provider `json:"for"`
	Server string   `json:"serverVersion"`
	// Form names the format of Configuration, in its owner's words.
	Form string `json:"form"`
	// Configuration is to be handed to the API server or to the provider as it is.
	Configuration any `json:"configuration"`
	// Apply says how, one step a line.
	Apply   []string `json:"apply"`
	Demands []Demand `json:"demands"`
}

// Authenticate writes what a cluster must be told. The error joins everything that is wrong with the options; each names the
// field of the Platform, or the flag, and says what to do.
func Authenticate(o Options) (*Authentication, error) {
	o.For, o.Server = cmp.Or(o.For, Kubernetes), cmp.Or(o.Server, LastServer)
	o.Identity.UserClaim = cmp.Or(o.Identity.UserClaim, "sub")
	o.Identity.GroupsClaim = cmp.Or(o.Identity.GroupsClaim, "groups")
	o.Identity.Directory = strings.ToLower(o.Identity.Directory)
	o.Identity.Issuer = strings.ReplaceAll(o.Identity.Issuer, "{tenantid}", o.Identity.Directory)
	faults := o.check()
	var a *Authentication
	switch o.For {
	case Kubernetes:
		a = o.kubernetes()
	case EKS:
		faults, a = append(faults, o.checkEKS()...), o.eks()
	case AKS:
		faults, a = append(faults, o.checkAKS()...), o.aks()
	case GKE:
		faults, a = append(faults, o.checkGKE()...), o.gke()
	default:
		faults = append(faults, fmt.Errorf("provider %q: want one of %v", o.For, Providers()))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	a.For, a.Server = o.For, fmt.Sprintf("1.%d", o.Server)
	return a, nil
}

// check lists what is wrong for whatever provider. It fills in the directory where the issuer names it.
func (o *Options) check() (faults []error) {
	refuse := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if o.Server < FirstServer || o.Server > LastServer {
		refuse("server version 1.%d: want 1.%d to 1.%d", o.Server, FirstServer, LastServer)
	}
	if o.Identity.Issuer == "" {
		refuse("spec.identity.issuer is missing: it says whose tokens count; set it to the issuer URL of the bank's identity provider")
	}
	if o.Identity.ClientID == "" {
		refuse("spec.identity.clientID is missing: without it a token for any other application would do; set it to the client's id at the identity provider")
	}
	if o.RequireMFA && o.Identity.MFA == "" {
		refuse("--require-mfa: spec.identity.mfa is missing, so nothing proves a second factor; set it to the acr, amr or acrs value that does")
	}
	if in := entraDirectory(o.Identity.Issuer); in != "" {
		switch {
		case !guid.MatchString(in):
			refuse("spec.identity.issuer %s is no single directory's, so tokens of any would have to do; want the bank's own, as https://login.microsoftonline.com/<directory id>/v2.0", o.Identity.Issuer)
		case o.Identity.Directory == "":
			o.Identity.Directory = in
		case o.Identity.Directory != in:
			refuse("spec.identity.directory is %s and spec.identity.issuer names directory %s, so no token would do; make them the same", o.Identity.Directory, in)
		}
	}
	if err := checkCA(o.CA); err != nil {
		refuse("--ca: %w", err)
	}
	return faults
}

var guid = regexp.MustCompile(`^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$`)

// entraDirectory is the directory that an issuer of Entra ID names, "common" and the like included; "" for other issuers.
func entraDirectory(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return ""
	}
	hosts := []string{"login.microsoftonline.com", "sts.windows.net", "login.microsoftonline.us", "login.partner.microsoftonline.cn", "sts.chinacloudapi.cn"}
	if !slices.Contains(hosts, strings.ToLower(u.Hostname())) {
		return ""
	}
	directory, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	return cmp.Or(strings.ToLower(directory), "no directory")
}

// checkCA says what is wrong with PEM certificates. None is right.
func checkCA(text string) error {
	rest := []byte(text)
	for n := 0; len(strings.TrimSpace(string(rest))) > 0; n++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return errors.New("found text that is no PEM block; want certificates (-----BEGIN CERTIFICATE-----) and nothing else")
		}
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("found %q; want certificates and nothing else: a key has no place in a cluster's configuration", block.Type)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Errorf("certificate %d: %w", n+1, err)
		}
	}
	return nil
}

// defaultPrefix is what stands before names where the Platform does not say.
const defaultPrefix = "oidc:"

// userPrefix is what stands before a user's name in RBAC, and groupPrefix before a group's.
func (o *Options) userPrefix() string  { return prefix(o.Identity.UserPrefix) }
func (o *Options) groupPrefix() string { return prefix(o.Identity.GroupPrefix) }

func prefix(p *string) string {
	if p != nil {
		return *p
	}
	return defaultPrefix
}

// unprefixed lists the prefixes that are missing where no rule looks at names: then the provider could name Kubernetes' own.
func (o *Options) unprefixed(form string) (faults []error) {
	for _, p := range o.prefixes() {
		if p.value == "" {
			faults = append(faults, fmt.Errorf(`spec.identity.%s is "": %s looks at no name, so the provider could name system:masters and Kubernetes' own users; set a prefix, as oidc:`, p.field, form))
		}
	}
	return faults
}

// namedPrefix is a prefix with its field of the Platform.
type namedPrefix struct{ field, value string }

func (o *Options) prefixes() []namedPrefix {
	return []namedPrefix{{"userPrefix", o.userPrefix()}, {"groupPrefix", o.groupPrefix()}}
}

// said is what a form has to say of one demand.
type said struct {
	state State
	how   string
}

// demands puts what a form says of each demand in order. One of which it says nothing is open; those that nobody made are left
// out: a directory where there is only one, a second factor for everything where it was not asked for.
func (o *Options) demands(say map[string]said) (out []Demand) {
	for _, d := range [][2]string{
		{"issuer", "only tokens of the bank's provider for this client, signed and in time"},
		{"directory", "tokens of another directory are refused"},
		{"groups", "groups are a list of names; what the provider left out is refused, never taken for none"},
		{"names", "people and groups are called what the Platform and the tenants' RoleBindings call them"},
		{"lifetime", fmt.Sprintf("a token lives %d hours at most, because no cluster can take one back", maxLifetime/3600)},
		{"system-names", "nobody signs in as a user or group of system:"},
		{"mfa-mark", "a second factor that was shown is marked, so that policies can demand it for privileged acts"},
		{"mfa-required", "a token without a second factor is refused for everything"},
		{"person", "the person behind several accounts is known, so that nobody approves what they asked for"},
		{"anonymous", "without a token nothing answers but /livez, /readyz and /healthz"},
	} {
		if d[0] == "directory" && o.Identity.Directory == "" || d[0] == "mfa-required" && !o.RequireMFA {
			continue
		}
		s := say[d[0]]
		out = append(out, Demand{d[0], d[1], cmp.Or(s.state, Open), cmp.Or(s.how, "nothing is documented")})
	}
	return out
}
