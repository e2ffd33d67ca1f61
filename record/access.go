package record

import (
	"fmt"
	"slices"
	"time"
)

// What Accessed tells of.
const (
	// AccessSignedIn and AccessSignedOut are the begin and the end of a session by its person.
	AccessSignedIn, AccessSignedOut = "signed-in", "signed-out"
	// AccessSessionRevoked is a session that its person ended from another one.
	AccessSessionRevoked = "session-revoked"
	// AccessTokenMade and AccessTokenRevoked are of a person's own tokens.
	AccessTokenMade, AccessTokenRevoked = "token-made", "token-revoked"
	// AccessRevoked is that an administrator ended all that somebody held.
	AccessRevoked = "access-revoked"
	// AccessElevationToken is a token of an elevation that was given out.
	AccessElevationToken = "elevation-token"
)

// Accessed is an act on the right to be let in at the signed-in API. No credential is in it.
type Accessed struct {
	// What is one of the constants.
	What string
	// By is the user who acted, Of the one whose access it was; "" for the same.
	By, Of string
	// ID names the session or token, Name is the token's, or the elevation's namespace and name; "" for none.
	ID, Name string
	// Scopes are the token's; nil for none.
	Scopes []string
	// Expires is when it ends; zero for none.
	Expires time.Time
	// MFA says that who acted had proved a second factor.
	MFA bool
	// At is when.
	At time.Time
}

// accessBody is the body of access.v1.
type accessBody struct {
	What    string     `json:"what"`
	Actor   actor      `json:"actor"`
	Of      *actor     `json:"of,omitempty"`
	ID      string     `json:"id,omitempty"`
	Name    string     `json:"name,omitempty"`
	Scopes  []string   `json:"scopes,omitempty"`
	Expires *time.Time `json:"expires,omitempty"`
	MFA     bool       `json:"mfa"`
}

// Access is the access.v1 record of an act.
func Access(a Accessed, actorKey []byte) (Record, error) {
	if a.By == "" || a.At.IsZero() || !slices.Contains([]string{AccessSignedIn, AccessSignedOut, AccessSessionRevoked, AccessTokenMade, AccessTokenRevoked, AccessRevoked, AccessElevationToken}, a.What) {
		return Record{}, fmt.Errorf("record an act of access: %w: want what was done, by whom and when", ErrInvalid)
	}
	body := accessBody{What: a.What, Actor: actor{Reference(actorKey, a.By)}, ID: a.ID, Name: a.Name, Scopes: a.Scopes, MFA: a.MFA}
	of := ""
	if a.Of != "" {
		of = Reference(actorKey, a.Of)
		body.Of = &actor{of}
	}
	if !a.Expires.IsZero() {
		end := a.Expires.UTC()
		body.Expires = &end
	}
	return build("access.v1", "access:"+fingerprint(a.What, body.Actor.Ref, of, a.ID, a.Name, a.At.UTC().Format(time.RFC3339Nano)), a.At, body)
}
