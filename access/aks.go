package access

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// aksPrefix is what AKS demands before every user and group of a JWT authenticator.
const aksPrefix = "aks:jwt:"

// aksAuthenticator is the file of az aks jwtauthenticator add: the subset of a JWT authenticator that AKS takes.
type aksAuthenticator struct {
	Issuer               aksIssuer `json:"issuer"`
	ClaimValidationRules []rule    `json:"claimValidationRules"`
	ClaimMappings        mappings  `json:"claimMappings"`
	UserValidationRules  []rule    `json:"userValidationRules"`
}

type aksIssuer struct {
	URL       string   `json:"url"`
	Audiences []string `json:"audiences"`
}

// aksCluster is what a managed cluster's properties say where Entra ID signs in.
type aksCluster struct {
	AADProfile           aadProfile `json:"aadProfile"`
	DisableLocalAccounts bool       `json:"disableLocalAccounts"`
}

type aadProfile struct {
	Managed         bool   `json:"managed"`
	EnableAzureRBAC bool   `json:"enableAzureRBAC"`
	TenantID        string `json:"tenantID"`
}

// withEntra reports whether the provider is Entra ID, which AKS takes by its own integration alone.
func (o *Options) withEntra() bool { return entraDirectory(o.Identity.Issuer) != "" }

func (o *Options) checkAKS() (faults []error) {
	for _, p := range o.prefixes() {
		switch {
		case o.withEntra() && p.value != "":
			faults = append(faults, fmt.Errorf(`spec.identity.%s is %q: AKS puts nothing before the names of Entra ID, so no binding would count; set it to "" in this cluster's Platform`, p.field, p.value))
		case !o.withEntra() && !strings.HasPrefix(p.value, aksPrefix):
			faults = append(faults, fmt.Errorf("spec.identity.%s is %q: AKS takes only names that begin with %s; set it to that in this cluster's Platform", p.field, p.value, aksPrefix))
		}
	}
	if o.CA != "" {
		faults = append(faults, errors.New("--ca: the file that AKS takes knows no certificate authority; leave the flag out: the issuer's certificate must be signed by a public one"))
	}
	return faults
}

func (o *Options) aks() *Authentication {
	if o.withEntra() {
		return o.aksEntra()
	}
	c := aksAuthenticator{
		Issuer:               aksIssuer{o.Identity.Issuer, []string{o.Identity.ClientID}},
		ClaimValidationRules: o.claimRules(), UserValidationRules: userRules(),
		ClaimMappings: mappings{
			Username: mapping{Expression: fmt.Sprintf("%q + string(%s)", o.userPrefix(), claim(o.Identity.UserClaim, `""`))},
			Groups:   mapping{Expression: o.groups()},
			UID:      mapping{Expression: fmt.Sprintf("string(%s)", claim(o.uid(), `""`))},
			Extra:    o.extras(),
		},
	}
	say := o.kubernetesSays()
	say["issuer"] = said{Met, "issuer, audience, signature and expiry are the API server's own checks; the issuer must be reachable from the Internet. The feature is in preview"}
	say["system-names"] = said{Met, "userValidationRules, and " + aksPrefix + " stands before every name"}
	say["anonymous"] = said{Open, "AKS documents no setting; see that no binding names system:anonymous or system:unauthenticated but Kubernetes' own"}
	return &Authentication{
		Form: "file of az aks jwtauthenticator add (preview)", Configuration: c, Demands: o.demands(say),
		Apply: []string{
			"az aks jwtauthenticator add -g GROUP --cluster-name CLUSTER --name ringfence --config-file FILE; it takes JSON: ringfence access authn -o json | jq .configuration",
			"az aks update -g GROUP -n CLUSTER --disable-local-accounts: the local administrator's certificate is a second way in, past all of this",
		},
	}
}

// aksEntra is AKS's own integration: AKS's own application checks the tokens, and no rule of ours is asked.
func (o *Options) aksEntra() *Authentication {
	return &Authentication{
		Form:          "properties of Microsoft.ContainerService/managedClusters",
		Configuration: aksCluster{aadProfile{Managed: true, TenantID: o.Identity.Directory}, true},
		Apply: []string{
			"az aks update -g GROUP -n CLUSTER --enable-aad --aad-tenant-id " + o.Identity.Directory + " --disable-local-accounts",
			"in Entra ID, make a Conditional Access policy for the application Azure Kubernetes Service AAD Server that grants access only with a second factor",
			"leave Azure RBAC for Kubernetes off: rights would come from Azure, past the tenants' RoleBindings",
		},
		Demands: o.demands(map[string]said{
			"issuer":       {Compensated, "AKS takes tokens for its own application; spec.identity.clientID is not asked"},
			"directory":    {Met, "aadProfile.tenantID"},
			"groups":       {Open, "what AKS makes of a token without its groups is not documented in full; keep people below 200 groups, or use groups that are assigned to the application"},
			"names":        {Compensated, "groups are called by their object ids, which tenants must name, and people by their principal name; spec.identity.userClaim and groupsClaim are not asked"},
			"lifetime":     {Compensated, "tokens of Entra ID live about an hour unless a policy of the directory says otherwise"},
			"system-names": {Compensated, "users are called by their principal name or object id, and groups by theirs: neither holds a colon"},
			"mfa-mark":     {Compensated, noMark},
			"mfa-required": {Compensated, "a Conditional Access policy for the application Azure Kubernetes Service AAD Server; Kubernetes itself does not see it"},
			"person":       {Open, noPerson},
			"anonymous":    {Open, "AKS documents no setting; see that no binding names system:anonymous or system:unauthenticated but Kubernetes' own"},
		}),
	}
}

func quoted(s string) string { return strconv.Quote(s) }

func number(n int) string { return strconv.Itoa(n) }
