package access

// The minor versions at which an API server knows what is written here.
const (
	// stableSince has apiserver.config.k8s.io/v1; before it there is v1beta1.
	stableSince = 34
	// anonymousSince takes conditions for anonymous requests without a feature gate.
	anonymousSince = 32
)

// authenticationConfiguration is apiserver.config.k8s.io AuthenticationConfiguration, as far as it is written.
type authenticationConfiguration struct {
	APIVersion string     `json:"apiVersion"`
	Kind       string     `json:"kind"`
	JWT        []jwt      `json:"jwt"`
	Anonymous  *anonymous `json:"anonymous,omitempty"`
}

type anonymous struct {
	Enabled    bool        `json:"enabled"`
	Conditions []condition `json:"conditions"`
}

type condition struct {
	Path string `json:"path"`
}

type jwt struct {
	Issuer               issuer   `json:"issuer"`
	ClaimMappings        mappings `json:"claimMappings"`
	ClaimValidationRules []rule   `json:"claimValidationRules"`
	UserValidationRules  []rule   `json:"userValidationRules"`
}

type issuer struct {
	URL                  string   `json:"url"`
	Audiences            []string `json:"audiences"`
	CertificateAuthority string   `json:"certificateAuthority,omitempty"`
}

type mappings struct {
	Username mapping `json:"username"`
	Groups   mapping `json:"groups"`
	UID      mapping `json:"uid"`
	Extra    []extra `json:"extra"`
}

// mapping is a claim with a prefix, or an expression.
type mapping struct {
	Claim      string  `json:"claim,omitempty"`
	Prefix     *string `json:"prefix,omitempty"`
	Expression string  `json:"expression,omitempty"`
}

// kubernetes is the form of an API server whose flags the bank sets.
//
// Groups are an expression and not a claim with a prefix: with a claim the API server would take a text for a group, and would
// fetch groups that the provider left out from whatever address the token names.
func (o *Options) kubernetes() *Authentication {
	before := o.userPrefix()
	c := authenticationConfiguration{
		APIVersion: "apiserver.config.k8s.io/v1", Kind: "AuthenticationConfiguration",
		JWT: []jwt{{
			Issuer: issuer{o.Identity.Issuer, []string{o.Identity.ClientID}, o.CA},
			ClaimMappings: mappings{
				Username: mapping{Claim: o.Identity.UserClaim, Prefix: &before},
				Groups:   mapping{Expression: o.groups()},
				UID:      mapping{Claim: o.uid()},
				Extra:    o.extras(),
			},
			ClaimValidationRules: o.claimRules(), UserValidationRules: userRules(),
		}},
	}
	if o.Server < stableSince {
		c.APIVersion = "apiserver.config.k8s.io/v1beta1"
	}
	if o.Server >= anonymousSince {
		c.Anonymous = &anonymous{true, []condition{{"/livez"}, {"/readyz"}, {"/healthz"}}}
	}
	a := &Authentication{Form: c.APIVersion + " " + c.Kind, Configuration: c, Demands: o.demands(o.kubernetesSays())}
	a.Apply = []string{
		"put it on every control plane node, where the API server alone can read it",
		"start the API server with --authentication-config=FILE, and without any --oidc- flag: they do not go together",
	}
	if c.Anonymous != nil {
		a.Apply = append(a.Apply, "remove --anonymous-auth: it does not go together with what the file says of anonymous requests")
	} else {
		a.Apply = append(a.Apply, "set --anonymous-auth=false, and let probes and load balancers ask with a client certificate: this version cannot open single paths")
	}
	a.Apply = append(a.Apply, "later changes of the file are taken up by themselves; one with a mistake changes nothing and is logged")
	return a
}

// uid is the claim that stays the same when a person is renamed.
func (o *Options) uid() string {
	if o.Identity.Directory != "" {
		return "oid"
	}
	return "sub"
}

func (o *Options) kubernetesSays() map[string]said {
	say := map[string]said{
		"issuer":       {Met, "issuer, audience, signature and expiry are the API server's own checks; alg none and HS256 are never taken"},
		"directory":    {Met, "claimValidationRules: tid"},
		"groups":       {Met, "claimValidationRules: a list of texts, at most " + number(maxGroups) + ", without _claim_names and hasgroups; nothing is fetched from an address in a token"},
		"names":        {Met, "claimMappings: with the prefixes " + quoted(o.userPrefix()) + " and " + quoted(o.groupPrefix())},
		"lifetime":     {Met, "claimValidationRules: exp and iat; a provider whose clock is ahead adds as much where it sets no nbf"},
		"system-names": {Met, "userValidationRules"},
		"mfa-mark":     {Met, "claimMappings.extra: ringfence.dev/mfa"},
		"mfa-required": {Met, "claimValidationRules: acr, amr or acrs"},
		"person":       {Met, "claimMappings.extra: ringfence.dev/oid, where the token has an oid"},
		"anonymous":    {Met, "anonymous.conditions"},
	}
	if o.Server < anonymousSince {
		say["anonymous"] = said{Compensated, "this version cannot open single paths by default: --anonymous-auth=false closes all of them"}
	}
	return o.withoutMark(say)
}

// withoutMark says where the Platform does not name what proves a second factor: then nothing can mark one.
func (o *Options) withoutMark(say map[string]said) map[string]said {
	if o.Identity.MFA == "" {
		say["mfa-mark"] = said{Open, "spec.identity.mfa is missing, so nothing proves a second factor: every privileged act is refused that a policy demands it for; set it to the acr, amr or acrs value that does"}
	}
	return say
}
