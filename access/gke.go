package access

import (
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strconv"
)

// principals is what GKE calls the groups of a pool of Workforce Identity Federation, up to the group.
var principals = regexp.MustCompile(`^principalSet://iam\.googleapis\.com/locations/global/workforcePools/([a-z][a-z0-9-]{4,61}[a-z0-9])/group/$`)

// pool is the workforce pool that the Platform's prefix names; "" where it names none.
func (o *Options) pool() string {
	if m := principals.FindStringSubmatch(o.groupPrefix()); m != nil {
		return m[1]
	}
	return ""
}

// people is what stands before the names of a pool's people.
func people(pool string) string {
	return "principal://iam.googleapis.com/locations/global/workforcePools/" + pool + "/subject/"
}

// workforceProvider is a WorkforcePoolProvider of Google's IAM API.
type workforceProvider struct {
	DisplayName        string            `json:"displayName"`
	AttributeMapping   map[string]string `json:"attributeMapping"`
	AttributeCondition string            `json:"attributeCondition"`
	OIDC               workforceOIDC     `json:"oidc"`
}

type workforceOIDC struct {
	IssuerURI string       `json:"issuerUri"`
	ClientID  string       `json:"clientId"`
	WebSSO    workforceSSO `json:"webSsoConfig"`
}

type workforceSSO struct {
	ResponseType            string `json:"responseType"`
	AssertionClaimsBehavior string `json:"assertionClaimsBehavior"`
}

// clientConfig is ClientConfig of Identity Service for GKE.
type clientConfig struct {
	APIVersion string           `json:"apiVersion"`
	Kind       string           `json:"kind"`
	Metadata   clientConfigName `json:"metadata"`
	Spec       clientConfigSpec `json:"spec"`
}

type clientConfigName struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
}

type clientConfigSpec struct {
	Authentication []clientConfigMethod `json:"authentication"`
}

type clientConfigMethod struct {
	Name string           `json:"name"`
	OIDC clientConfigOIDC `json:"oidc"`
}

type clientConfigOIDC struct {
	IssuerURI            string `json:"issuerURI"`
	ClientID             string `json:"clientID"`
	CertificateAuthority string `json:"certificateAuthorityData,omitempty"`
	KubectlRedirectURI   string `json:"kubectlRedirectURI"`
	Scopes               string `json:"scopes"`
	UserClaim            string `json:"userClaim"`
	UserPrefix           string `json:"userPrefix"`
	GroupsClaim          string `json:"groupsClaim"`
	GroupPrefix          string `json:"groupPrefix"`
}

func (o *Options) checkGKE() (faults []error) {
	switch pool := o.pool(); {
	case pool == "":
		faults = o.unprefixed("Identity Service for GKE")
	case o.userPrefix() != people(pool):
		faults = append(faults, fmt.Errorf("spec.identity.userPrefix is %q: GKE calls the people of that pool otherwise; set it to %s in this cluster's Platform", o.userPrefix(), people(pool)))
	}
	if o.pool() != "" && o.CA != "" {
		faults = append(faults, errors.New("--ca: Workforce Identity Federation takes no certificate authority; leave the flag out: the issuer's certificate must be signed by a public one"))
	}
	if o.pool() == "" && o.RequireMFA {
		faults = append(faults, errors.New("--require-mfa: Identity Service for GKE can refuse no token for what it lacks; use Workforce Identity Federation: set spec.identity.groupPrefix to principalSet://iam.googleapis.com/locations/global/workforcePools/<pool>/group/"))
	}
	return faults
}

// gkeAnonymous is a setting of the cluster, beside sign-in.
const gkeAnonymous = "gcloud container clusters update CLUSTER --anonymous-authentication-config=LIMITED"

// gke is Workforce Identity Federation where the Platform names groups as that does, and Identity Service for GKE otherwise.
func (o *Options) gke() *Authentication {
	pool := o.pool()
	if pool == "" {
		return o.gkeIdentityService()
	}
	condition := "true"
	if o.Identity.Directory != "" {
		condition = "assertion.tid == " + strconv.Quote(o.Identity.Directory)
	}
	if o.RequireMFA {
		value := strconv.Quote(o.Identity.MFA)
		condition += fmt.Sprintf(` && (has(assertion.acr) && assertion.acr == %s || has(assertion.amr) && %[1]s in assertion.amr || has(assertion.acrs) && %[1]s in assertion.acrs)`, value)
	}
	say := map[string]said{
		"issuer":       {Met, "oidc.issuerUri and oidc.clientId; Google checks the token and gives a short-lived one of its own"},
		"directory":    {Met, "attributeCondition: tid"},
		"groups":       {Open, "Google documents a limit on their number, and nothing on groups that the provider left out; have it send the groups that are assigned to the application"},
		"names":        {Met, "principal:// and principalSet://, as GKE calls them"},
		"lifetime":     {Compensated, "the session length of the pool bounds what Google gives out: 12 hours at most by its own rules; set it to an hour"},
		"system-names": {Met, "every name begins with principal:// or principalSet://"},
		"mfa-mark":     {Compensated, noMark},
		"mfa-required": {Met, "attributeCondition: acr, amr or acrs"},
		"person":       {Open, noPerson},
		"anonymous":    {Compensated, "a setting of the cluster, not of sign-in: " + gkeAnonymous},
	}
	return &Authentication{
		Form: "WorkforcePoolProvider of Google's IAM API",
		Configuration: workforceProvider{
			DisplayName:        "ringfence",
			AttributeMapping:   map[string]string{"google.subject": attribute(o.Identity.UserClaim), "google.groups": attribute(o.Identity.GroupsClaim)},
			AttributeCondition: condition,
			OIDC:               workforceOIDC{o.Identity.Issuer, o.Identity.ClientID, workforceSSO{"ID_TOKEN", "ONLY_ID_TOKEN_CLAIMS"}},
		},
		Apply: []string{
			"POST it as JSON to https://iam.googleapis.com/v1/locations/global/workforcePools/" + pool + "/providers?workforcePoolProviderId=ringfence",
			gkeAnonymous,
			"give people no IAM role with container permissions beside roles/container.clusterViewer: IAM is a second way to rights, past the tenants' RoleBindings",
		},
		Demands: o.demands(say),
	}
}

// attribute is a claim in the CEL of attribute mappings.
func attribute(claim string) string { return "assertion[" + strconv.Quote(claim) + "]" }

func (o *Options) gkeIdentityService() *Authentication {
	c := clientConfig{APIVersion: "authentication.gke.io/v2alpha1", Kind: "ClientConfig", Metadata: clientConfigName{"default", "kube-public"}}
	c.Spec.Authentication = []clientConfigMethod{{"ringfence", clientConfigOIDC{
		IssuerURI: o.Identity.Issuer, ClientID: o.Identity.ClientID,
		KubectlRedirectURI: "http://localhost:10000/callback", Scopes: "openid,profile",
		UserClaim: o.Identity.UserClaim, UserPrefix: o.userPrefix(), GroupsClaim: o.Identity.GroupsClaim, GroupPrefix: o.groupPrefix(),
	}}}
	if o.CA != "" {
		c.Spec.Authentication[0].OIDC.CertificateAuthority = base64.StdEncoding.EncodeToString([]byte(o.CA))
	}
	return &Authentication{
		Form: "authentication.gke.io/v2alpha1 ClientConfig", Configuration: c,
		Apply: []string{
			"gcloud container clusters update CLUSTER --enable-identity-service, where the organization still may: Google gives it to no new one",
			"merge it into the ClientConfig default that GKE made: kubectl edit clientconfig default -n kube-public",
			gkeAnonymous,
		},
		Demands: o.demands(map[string]said{
			"issuer":       {Met, "issuerURI and clientID"},
			"directory":    {Compensated, "the issuer is one directory's; tid is not looked at"},
			"groups":       {Open, "nothing is documented of groups that the provider left out; have it send the groups that are assigned to the application"},
			"names":        {Met, "userPrefix " + quoted(o.userPrefix()) + " and groupPrefix " + quoted(o.groupPrefix())},
			"lifetime":     {Open, "the form knows no bound; set the lifetime at the provider"},
			"system-names": {Compensated, "userPrefix and groupPrefix stand before every name"},
			"mfa-mark":     {Compensated, noMark},
			"person":       {Open, noPerson},
			"anonymous":    {Compensated, "a setting of the cluster, not of sign-in: " + gkeAnonymous},
		}),
	}
}
