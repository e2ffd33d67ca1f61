package identity

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/forward/wire"
)

var (
	// ErrUndecided is wrapped by every error that says nothing of the token: the provider or the directory is slow, down or set up
	// wrongly, or a clock is. Commands exit with 3.
	ErrUndecided = errors.New("nobody could say who this is")
	// ErrRefused is wrapped by every error that says no to a token.
	ErrRefused = errors.New("the token is refused")
)

const (
	// skew is how far this machine's clock and the provider's may be apart, either way.
	skew = 2 * time.Minute
	// maxToken bounds a token: 5,000 groups of 40 bytes are 270 KB of it.
	maxToken = 1 << 20
)

// Config says whose tokens are taken, and what they mean.
type Config struct {
	// Issuer is the provider's issuer, https; {tenantid} in it stands for Directory.
	Issuer string
	// ClientID is the audience that a token must be for.
	ClientID string
	// Directory is the tid that a token of Entra ID must have; "" looks at none.
	Directory string
	// UserClaim and UserPrefix make Person.Name; the claim is sub where it is "".
	UserClaim, UserPrefix string
	// GroupsClaim has the groups; "" means groups.
	GroupsClaim string
	// MFA is the value of acr, amr or acrs that proves a second factor; "" means that nobody has shown one.
	MFA string
	// TLS says whom to trust for the provider and for Microsoft Graph.
	TLS wire.TLS
	// Graph resolves what a token of Entra ID could not hold. Without its secret, such a token is undecided.
	Graph Graph
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Graph says how Microsoft Graph is asked, as an application of the directory.
type Graph struct {
	// Host is graph.microsoft.com where it is "".
	Host string
	// ClientID is the application that asks; "" means the one that people sign in with.
	ClientID string
	// SecretFile holds its secret; "" means that Graph is never asked.
	SecretFile string
}

// ConfigOf is what a Platform says of sign-in. It knows no secret and no authority.
func ConfigOf(rules v1alpha1.IdentityRules) Config {
	prefix := "oidc:"
	if rules.UserPrefix != nil {
		prefix = *rules.UserPrefix
	}
	return Config{Issuer: rules.Issuer, ClientID: rules.ClientID, Directory: rules.Directory, UserClaim: rules.UserClaim, UserPrefix: prefix,
		GroupsClaim: rules.GroupsClaim, MFA: rules.MFA, Graph: Graph{Host: rules.GraphHost}}
}

// Verifier says who tokens speak for. It is safe for many goroutines.
type Verifier struct {
	cfg      Config
	provider *provider
	graph    *graph
}

// New checks the settings and asks the provider for the first time, within ctx and 10 s. A provider that does not answer is no
// error: it is asked again when a token comes. One that says it is another's is.
func New(ctx context.Context, cfg Config) (*Verifier, error) {
	if cfg.UserClaim == "" {
		cfg.UserClaim = "sub"
	}
	if cfg.GroupsClaim == "" {
		cfg.GroupsClaim = "groups"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	issuer, err := wire.Endpoint("issuer", cfg.Issuer)
	switch {
	case err != nil:
		return nil, err
	case issuer.RawQuery != "":
		return nil, errors.New("issuer: want an address https://HOST/PATH without a query")
	case cfg.ClientID == "":
		return nil, errors.New("clientID: found none; want the client that people sign in with: without it a token made for any other application would count")
	case strings.Contains(cfg.Issuer, "{") && cfg.Directory == "":
		return nil, errors.New("directory: found none, and the issuer has a place for it; want Entra ID's tenant id")
	case startsLikeSystem(cfg.UserPrefix):
		return nil, errors.New("userPrefix: found one that begins with system:; choose another")
	}
	client, err := newClient(cfg.TLS)
	if err != nil {
		return nil, err
	}
	v := &Verifier{cfg: cfg, provider: &provider{cfg: cfg, client: client}}
	v.graph = newGraph(cfg, client)
	if _, err := v.provider.known(ctx, anything); errors.Is(err, errMisled) {
		return nil, err
	}
	return v, nil
}

// Client is the HTTP client for the provider: verified TLS, no redirect, 10 s a request.
func (v *Verifier) Client() *http.Client { return v.provider.client }

// ClientID is the client that people sign in with.
func (v *Verifier) ClientID() string { return v.cfg.ClientID }

// Endpoints is where the provider is asked for what. An error wraps ErrUndecided.
func (v *Verifier) Endpoints(ctx context.Context) (Endpoints, error) {
	k, err := v.provider.known(ctx, anything)
	if err != nil {
		return Endpoints{}, err
	}
	return k.endpoints, nil
}

// Verify is whom a token speaks for, with all of the groups. An error wraps ErrRefused or ErrUndecided and holds no token. The caller
// that asked for a nonce calls Answer instead.
func (v *Verifier) Verify(ctx context.Context, rawIDToken string) (Person, error) {
	return v.Answer(ctx, rawIDToken, "")
}

// Answer is Verify for a token that answers a request with this nonce: another is refused. "" looks at none.
func (v *Verifier) Answer(ctx context.Context, rawIDToken, nonce string) (Person, error) {
	p, whole, err := v.Account(ctx, rawIDToken, nonce)
	if err != nil || whole {
		return p, err
	}
	ends, err := v.Endpoints(ctx)
	if err != nil {
		return Person{}, err
	}
	if p.Groups, err = v.graph.groups(ctx, ends, p.Directory, p.Object); err != nil {
		return Person{}, err
	}
	return p, nil
}

// Account is Answer for those who need no groups: whole is false where the token says that there are more than it could hold, and
// then Groups is nil and means nothing. Nobody may decide rights by it.
func (v *Verifier) Account(ctx context.Context, rawIDToken, nonce string) (p Person, whole bool, err error) {
	token, issuer, err := v.signed(ctx, rawIDToken)
	if err != nil {
		return Person{}, false, err
	}
	var payload rawClaims
	if err := token.Claims(&payload); err != nil {
		return Person{}, false, refused("its claims are no JSON object")
	}
	c, err := decode(payload, &v.cfg)
	if err != nil {
		return Person{}, false, err
	}
	if err := c.timely(v.cfg.Now()); err != nil {
		return Person{}, false, err
	}
	if nonce != "" && c.nonce != nonce {
		return Person{}, false, refused("its nonce is not the one that was asked for: it answers another sign-in")
	}
	if v.cfg.Directory != "" && c.Directory != v.cfg.Directory {
		return Person{}, false, refused("it is of the directory %s (tid); want %s", orNone(c.Directory), v.cfg.Directory)
	}
	if c.azp != "" && c.azp != v.cfg.ClientID {
		return Person{}, false, refused("it was made for the client %s (azp); want %s", finding.Value(c.azp), v.cfg.ClientID)
	}
	c.Issuer, c.Subject = issuer, token.Subject
	return c.Person, !c.overage, nil
}

// signed is the token once the provider's signature, issuer and audience are shown, and the issuer that it had to be of.
func (v *Verifier) signed(ctx context.Context, raw string) (*oidc.IDToken, string, error) {
	if len(raw) > maxToken {
		return nil, "", refused("it is longer than %d bytes", maxToken)
	}
	jws, err := jose.ParseSigned(raw, algorithms)
	if err != nil || len(jws.Signatures) != 1 {
		return nil, "", refused("want a signed token with one of the algorithms %s; found none such: no token, no signature, alg none, or a shared key (HS256)", algorithmNames())
	}
	head := jws.Signatures[0].Header
	k, err := v.provider.known(ctx, func(k *knowledge) bool { return len(k.fitting(head.KeyID, head.Algorithm)) > 0 })
	if err != nil {
		return nil, "", err
	}
	keys := k.fitting(head.KeyID, head.Algorithm)
	if len(keys) == 0 {
		return nil, "", refused("its key %s is none of the provider's", finding.Value(head.KeyID))
	}
	verifier := oidc.NewVerifier(k.endpoints.Issuer, &oidc.StaticKeySet{PublicKeys: keys},
		&oidc.Config{ClientID: v.cfg.ClientID, SupportedSigningAlgs: algorithmList(), SkipExpiryCheck: true}) // timely says it with words
	token, err := verifier.Verify(ctx, raw)
	switch {
	case err != nil:
		return nil, "", refused("%s", inert(err))
	case token.Issuer != k.endpoints.Issuer: // the library takes two names of Google's
		return nil, "", refused("it is issued by %s; want %s", finding.Value(token.Issuer), k.endpoints.Issuer)
	case strings.TrimSpace(token.Subject) == "":
		return nil, "", refused("it names no subject (sub)")
	}
	return token, k.endpoints.Issuer, nil
}

// algorithms are those that a token may be signed with: each has a public key, so that nobody who may read it may sign.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA}

func algorithmList() (list []string) {
	for _, a := range algorithms {
		list = append(list, string(a))
	}
	return list
}

func algorithmNames() string { return strings.Join(algorithmList(), ", ") }

// timely reports whether now is a time at which the token counts.
func (c *claims) timely(now time.Time) error {
	switch {
	case c.Expires.Before(now.Add(-skew)):
		return refused("it ended at %s, and it is %s; sign in again", instant(c.Expires), instant(now))
	case c.issued.After(now.Add(skew)):
		return refused("it was issued at %s, and it is %s here: one of the two clocks is wrong by more than %s; fix the clock", instant(c.issued), instant(now), skew)
	case c.notBefore.After(now.Add(skew)):
		return refused("it counts from %s (nbf), and it is %s here: one of the two clocks is wrong by more than %s; fix the clock", instant(c.notBefore), instant(now), skew)
	}
	return nil
}

// refused is a no to a token.
func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

// undecided is neither yes nor no.
func undecided(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUndecided, fmt.Sprintf(format, args...))
}

// inert is the text of a foreign error, without its sender, in one line of at most 300 runes.
func inert(err error) string {
	runes := []rune(finding.Clean(strings.TrimPrefix(err.Error(), "oidc: ")))
	return string(runes[:min(len(runes), 300)])
}

func instant(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return finding.Value(s)
}

// sorted is a list without doubles, in order.
func sorted(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}
