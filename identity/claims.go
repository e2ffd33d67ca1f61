package identity

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"ringfence.dev/ringfence/finding"
)

const (
	// maxGroups bounds the groups of a person: more than Microsoft Graph's getMemberObjects gives (11,000). None is ever left out.
	maxGroups = 11_000
	// maxName bounds the name of a user or a group, in bytes.
	maxName = 512
	// latest is the last second that a claim may name: the end of the year 9999.
	latest = 253402300799
)

// rawClaims are the claims of a token as the provider wrote them.
type rawClaims map[string]json.RawMessage

// claims are the claims of a token as they are meant.
type claims struct {
	Person
	nonce, azp        string
	issued, notBefore time.Time
	// overage says that there are more groups than the token could hold.
	overage bool
}

// decode reads claims. Whatever is there and has another form than it must have is refused, and never read as nothing.
func decode(raw rawClaims, cfg *Config) (*claims, error) {
	c := &claims{}
	for _, text := range []struct {
		claim string
		into  *string
	}{{"nonce", &c.nonce}, {"azp", &c.azp}, {"oid", &c.Object}, {"tid", &c.Directory}, {cfg.UserClaim, &c.Name}} {
		if err := raw.text(text.claim, text.into); err != nil {
			return nil, err
		}
	}
	if err := c.times(raw); err != nil {
		return nil, err
	}
	if err := raw.verified(cfg.UserClaim); err != nil {
		return nil, err
	}
	if err := fit("user", cfg.UserClaim, c.Name); err != nil {
		return nil, err
	}
	c.Name = cfg.UserPrefix + c.Name
	if startsLikeSystem(c.Name) {
		return nil, refused("its user would be named %s, and Kubernetes keeps system: for itself", finding.Value(c.Name))
	}
	var err error
	if c.Groups, c.overage, err = raw.groups(cfg.GroupsClaim); err != nil {
		return nil, err
	}
	c.MFA = cfg.MFA != "" && (slices.Contains(raw.values("acr"), cfg.MFA) || slices.Contains(raw.values("amr"), cfg.MFA) || slices.Contains(raw.values("acrs"), cfg.MFA))
	return c, nil
}

// times reads when the token was made, when it ends, and when its person signed in.
func (c *claims) times(raw rawClaims) error {
	var signedIn time.Time
	for _, claim := range []struct {
		name string
		must bool
		into *time.Time
	}{{"exp", true, &c.Expires}, {"iat", true, &c.issued}, {"nbf", false, &c.notBefore}, {"auth_time", false, &signedIn}} {
		if err := raw.time(claim.name, claim.must, claim.into); err != nil {
			return err
		}
	}
	if c.SignedIn = signedIn; signedIn.IsZero() {
		c.SignedIn = c.issued
	}
	return nil
}

// has reports whether a claim is there; null is not.
func (raw rawClaims) has(claim string) bool {
	value, ok := raw[claim]
	return ok && string(value) != "null"
}

// text reads a claim that is one string; what is not there leaves it "".
func (raw rawClaims) text(claim string, into *string) error {
	if raw.has(claim) && json.Unmarshal(raw[claim], into) != nil {
		return refused("its claim %s is no string", finding.Value(claim))
	}
	return nil
}

// time reads a claim of seconds since 1970.
func (raw rawClaims) time(claim string, must bool, into *time.Time) error {
	if !raw.has(claim) {
		if must {
			return refused("it has no claim %s", claim)
		}
		return nil
	}
	var seconds float64
	if json.Unmarshal(raw[claim], &seconds) != nil || math.IsNaN(seconds) || seconds < 0 || seconds > latest {
		return refused("its claim %s is no time in seconds since 1970", claim)
	}
	*into = time.Unix(int64(seconds), 0).UTC()
	return nil
}

// verified refuses an address of mail as name where the provider does not vouch for it: whoever may change his address would be
// anybody.
func (raw rawClaims) verified(userClaim string) error {
	if userClaim != "email" {
		return nil
	}
	if v := string(raw["email_verified"]); v != "true" && v != `"true"` {
		return refused("its email is not verified by the provider (email_verified); choose another userClaim, or let the provider verify it")
	}
	return nil
}

// values are the strings of a claim that is one or a list of them. What is neither has none, and so proves nothing.
func (raw rawClaims) values(claim string) (values []string) {
	if !raw.has(claim) {
		return nil
	}
	var one string
	if json.Unmarshal(raw[claim], &one) == nil {
		return []string{one}
	}
	if json.Unmarshal(raw[claim], &values) != nil {
		return nil
	}
	return values
}

// groups reads the groups: a list of strings, or one string, which is one group. overage says that the token left them out because they
// were too many. Anything else is refused: a person whose groups nobody could read is not one without groups.
func (raw rawClaims) groups(claim string) (groups []string, overage bool, err error) {
	if claim == "groups" && raw.overage() {
		return nil, true, nil
	}
	if !raw.has(claim) {
		return nil, false, nil
	}
	var one string
	var list []json.RawMessage
	switch value := raw[claim]; {
	case json.Unmarshal(value, &one) == nil:
		groups = []string{one}
	case json.Unmarshal(value, &list) != nil:
		return nil, false, refused("its claim %s is neither a list of names nor a name; let the provider send a list", finding.Value(claim))
	case len(list) > maxGroups:
		return nil, false, refused("its claim %s has %d groups; want at most %d: let the provider send those that are assigned to the application", finding.Value(claim), len(list), maxGroups)
	}
	for i, item := range list {
		if string(item) == "null" || json.Unmarshal(item, &one) != nil {
			return nil, false, refused("entry %d of its claim %s is no string; let the provider send names or ids", i, finding.Value(claim))
		}
		groups = append(groups, one)
	}
	for _, group := range groups {
		if err := fit("group", claim, group); err != nil {
			return nil, false, err
		}
	}
	return sorted(groups), false, nil
}

// overage reports whether Entra ID says that there are more groups than it sends: _claim_names says where they would be found, and hasgroups
// says that there are some. The address in _claim_sources is of an API that is gone, and is never called.
func (raw rawClaims) overage() bool {
	var names map[string]json.RawMessage
	if raw.has("_claim_names") && json.Unmarshal(raw["_claim_names"], &names) == nil {
		if _, ok := names["groups"]; ok {
			return true
		}
	}
	has := string(raw["hasgroups"])
	return has == "true" || has == `"true"`
}

// fit refuses names that Kubernetes keeps for itself, and those that could be taken for others.
func fit(what, claim, name string) error {
	claim = finding.Value(claim)
	switch {
	case name == "":
		return refused("it names no %s in the claim %s", what, claim)
	case len(name) > maxName:
		return refused("a %s in its claim %s is longer than %d bytes", what, claim, maxName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool {
		return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == utf8.RuneError
	}):
		return refused("a %s in its claim %s has characters that cannot be seen", what, claim)
	case strings.TrimSpace(name) != name:
		return refused("a %s in its claim %s begins or ends with a space", what, claim)
	case startsLikeSystem(name):
		return refused("a %s in its claim %s is named %s, and Kubernetes keeps system: for itself", what, claim, finding.Value(name))
	}
	return nil
}

// startsLikeSystem reports whether a name begins with system:, in whatever case.
func startsLikeSystem(name string) bool {
	const own = "system:"
	return len(name) >= len(own) && strings.EqualFold(name[:len(own)], own)
}
