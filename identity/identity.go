// Package identity says who a token of the bank's identity provider speaks for.
//
// It keeps no session and decides nothing about what a person may do. The signed-in API and the command line call it.
package identity

import "time"

// Person is whom a verified token speaks for. The zero value is nobody.
type Person struct {
	// Issuer and Subject are iss and sub: together they name the account.
	Issuer, Subject string
	// Object and Directory are oid and tid of Entra ID: the person behind accounts, and the directory that knows it. Empty elsewhere.
	Object, Directory string
	// Name is the user as the API server names it in RBAC and audit events.
	Name string
	// Groups are the groups of the provider, whole and without the Platform's prefix; sorted.
	Groups []string
	// MFA says that acr or amr prove a second factor, as the Platform's identity.mfa names it.
	MFA bool
	// SignedIn is when the person authenticated (auth_time, else iat); Expires is when the token ends.
	SignedIn, Expires time.Time
}

// Extra keys of a Kubernetes user, set by the API server from the token's claims and so trusted in policies.
const (
	// ExtraMFA has the value "true" where a second factor was shown.
	ExtraMFA = "ringfence.dev/mfa"
	// ExtraObject has the oid of the person.
	ExtraObject = "ringfence.dev/oid"
)
