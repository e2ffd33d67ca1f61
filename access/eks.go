package access

import "errors"

// noMark is what holds wherever an API server cannot mark a second factor: policies that demand the mark refuse everybody.
const noMark = "the form knows no extra keys, so nobody bears the mark: a policy that demands it refuses the act for everybody at this API server, and the act is done through Ringfence's signed-in API, which asks for the second factor itself"

// noPerson is what holds where it cannot pass on the oid.
const noPerson = "the form knows no extra keys: two accounts of one person look like two people here; give people one account each for this cluster, or let approvals go through Ringfence's signed-in API, which knows the oid"

// eksRequest is the input of aws eks associate-identity-provider-config.
type eksRequest struct {
	ClusterName string  `json:"clusterName"`
	OIDC        eksOIDC `json:"oidc"`
}

// eksOIDC is OidcIdentityProviderConfigRequest of the EKS API.
type eksOIDC struct {
	Name           string            `json:"identityProviderConfigName"`
	Issuer         string            `json:"issuerUrl"`
	ClientID       string            `json:"clientId"`
	UsernameClaim  string            `json:"usernameClaim"`
	UsernamePrefix string            `json:"usernamePrefix"`
	GroupsClaim    string            `json:"groupsClaim"`
	GroupsPrefix   string            `json:"groupsPrefix"`
	RequiredClaims map[string]string `json:"requiredClaims,omitempty"`
}

func (o *Options) checkEKS() (faults []error) {
	faults = o.unprefixed("EKS")
	if o.CA != "" {
		faults = append(faults, errors.New("--ca: EKS takes no certificate authority: the issuer must be public and its certificate signed by a public authority; leave the flag out, or give EKS an issuer of that kind"))
	}
	return faults
}

func (o *Options) eks() *Authentication {
	required := map[string]string{}
	if o.Identity.Directory != "" {
		required["tid"] = o.Identity.Directory
	}
	if o.RequireMFA {
		required["acr"] = o.Identity.MFA
	}
	return &Authentication{
		Form: "input of aws eks associate-identity-provider-config",
		Configuration: eksRequest{ClusterName: "CLUSTER", OIDC: eksOIDC{
			Name: "ringfence", Issuer: o.Identity.Issuer, ClientID: o.Identity.ClientID,
			UsernameClaim: o.Identity.UserClaim, UsernamePrefix: o.userPrefix(),
			GroupsClaim: o.Identity.GroupsClaim, GroupsPrefix: o.groupPrefix(), RequiredClaims: required,
		}},
		Apply: []string{
			"set clusterName",
			"aws eks associate-identity-provider-config --cli-input-yaml file://FILE; a cluster takes one such configuration, and the API server is ready for it after some minutes",
			"leave no access entry (aws eks list-access-entries) to people: IAM is a second way in, past all of this",
		},
		Demands: o.demands(map[string]said{
			"issuer":       {Met, "issuerUrl and clientId; the issuer must be reachable from the Internet"},
			"directory":    {Met, "requiredClaims: tid"},
			"groups":       {Compensated, "an object is refused and a text counts as one group, by its prefix harmless; groups that the provider left out are asked for at the address in the token, and where that fails the token is refused. Have the provider send the groups that are assigned to the application"},
			"names":        {Met, "usernamePrefix " + quoted(o.userPrefix()) + " and groupsPrefix " + quoted(o.groupPrefix())},
			"lifetime":     {Open, "the form knows no bound; set the lifetime at the provider"},
			"system-names": {Compensated, "usernamePrefix and groupsPrefix stand before every name; EKS takes none that holds system:"},
			"mfa-mark":     {Compensated, noMark},
			"mfa-required": {Compensated, "requiredClaims: acr. A provider that says it in amr or acrs, which are lists, is refused at every sign-in: demand the second factor for this client at the provider, and leave --require-mfa out"},
			"person":       {Open, noPerson},
			"anonymous":    o.eksAnonymous(),
		}),
	}
}

func (o *Options) eksAnonymous() said {
	if o.Server >= anonymousSince {
		return said{Compensated, "EKS closes other paths by itself in its newer versions; see that it does: curl -k https://ENDPOINT/version must answer 401"}
	}
	return said{Open, "there is no setting; see that no binding names system:anonymous or system:unauthenticated but Kubernetes' own"}
}
