package sentinel

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"ringfence.dev/ringfence/forward/wire"
)

const (
	// early is how long before its end a token is renewed, or half its life where that is less.
	early = 5 * time.Minute
	// assertionLife is how long our own signed assertion holds: Microsoft advises 5 to 10 minutes.
	assertionLife = 10 * time.Minute
	// assertionType is RFC 7523's name.
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

// tokens gets and keeps a token. It is used from one goroutine.
type tokens struct {
	cfg    Config
	to     *url.URL
	client *wire.Client
	now    func() time.Time

	token string
	renew time.Time
}

func newTokens(cfg Config, authority *url.URL, client *wire.Client, now func() time.Time) *tokens {
	return &tokens{cfg: cfg, to: authority.JoinPath(cfg.TenantID, "oauth2/v2.0/token"), client: client, now: now}
}

// drop forgets the token.
func (t *tokens) drop() { t.token = "" }

// get is a token that holds for a while.
func (t *tokens) get(ctx context.Context) (string, error) {
	if t.token != "" && t.now().Before(t.renew) {
		return t.token, nil
	}
	form := url.Values{"client_id": {t.cfg.ClientID}, "scope": {t.cfg.Scope}, "grant_type": {"client_credentials"}}
	if err := t.prove(form); err != nil {
		return "", wire.Retry(0, "sentinel: %w", err)
	}
	a, err := t.client.Post(ctx, t.to, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, []byte(form.Encode()))
	if err != nil {
		return "", wire.Retry(0, "sentinel: get a token: %w", err)
	}
	var got struct {
		Token   string `json:"access_token"`
		Type    string `json:"token_type"`
		Seconds int64  `json:"expires_in"`
		Error   string `json:"error"`
	}
	parsed := a.Whole && json.Unmarshal(a.Body, &got) == nil
	if fault := wire.FaultOf("entra", a, got.Error, t.now()); fault != nil {
		// Whatever is wrong with a token, it is never the batch's fault.
		return "", wire.Retry(fault.After, "sentinel: get a token: %w; fix: see tenantId, clientId and the credential", fault.Err)
	}
	if !parsed || got.Token == "" || got.Type != "Bearer" || got.Seconds <= 0 {
		return "", wire.Retry(0, "sentinel: get a token: the answer broke off or holds none")
	}
	life := time.Duration(min(got.Seconds, 7*24*3600)) * time.Second
	t.token, t.renew = got.Token, t.now().Add(life-min(early, life/2))
	return t.token, nil
}

// prove adds the credential.
func (t *tokens) prove(form url.Values) error {
	switch {
	case t.cfg.ClientSecretFile != "":
		secret, err := wire.Secret(t.cfg.ClientSecretFile).Read()
		if err != nil {
			return err
		}
		form.Set("client_secret", secret)
		return nil
	case t.cfg.FederatedTokenFile != "":
		token, err := wire.Secret(t.cfg.FederatedTokenFile).Read()
		if err != nil {
			return err
		}
		form.Set("client_assertion", token)
	default:
		assertion, err := t.assertion()
		if err != nil {
			return err
		}
		form.Set("client_assertion", assertion)
	}
	form.Set("client_assertion_type", assertionType)
	return nil
}

// assertion is a JWT signed with the certificate's key, PS256, as Microsoft Entra documents it.
func (t *tokens) assertion() (string, error) {
	pair, err := tls.LoadX509KeyPair(t.cfg.CertificateFile, t.cfg.CertificateKeyFile)
	if err != nil {
		return "", fmt.Errorf("load certificateFile and certificateKeyFile: %w", err)
	}
	key, ok := pair.PrivateKey.(*rsa.PrivateKey)
	if !ok {
		return "", errors.New("certificateKeyFile: want an RSA key")
	}
	thumb := sha256.Sum256(pair.Certificate[0])
	now := t.now().Unix()
	encode := base64.RawURLEncoding.EncodeToString
	head, err := json.Marshal(map[string]string{"alg": "PS256", "typ": "JWT", "x5t#S256": encode(thumb[:])})
	if err != nil {
		return "", err
	}
	claims, err := json.Marshal(map[string]any{
		"aud": t.to.String(), "iss": t.cfg.ClientID, "sub": t.cfg.ClientID, "jti": rand.Text(),
		"iat": now, "nbf": now, "exp": now + int64(assertionLife/time.Second),
	})
	if err != nil {
		return "", err
	}
	text := encode(head) + "." + encode(claims)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	if err != nil {
		return "", fmt.Errorf("sign the assertion: %w", err)
	}
	return text + "." + encode(signature), nil
}
