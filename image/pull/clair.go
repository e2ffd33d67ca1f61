package pull

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"ringfence.dev/ringfence/finding"
)

// clairToken is how long a token of ours is good: Clair takes none that ends much later.
const clairToken = 5 * time.Minute

var manifest = regexp.MustCompile(`^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$`)

// clair is Clair 4's interface, version 1: the indexer, which knows what was looked at, and the matcher, which finds what is known of it now.
type clair struct{ *asker }

func openClair(c Config) (Reports, error) {
	a, err := newAsker(c)
	if err != nil {
		return nil, err
	}
	if (c.User == "") != (c.Password == nil) {
		return nil, errors.New("want issuer and key of Clair's psk both, or neither")
	}
	if len(c.Images) == 0 || len(c.Images) > a.Limits.Reports {
		return nil, fmt.Errorf("found %d images; want 1 to %d: Clair lists none by itself", len(c.Images), a.Limits.Reports)
	}
	for _, digest := range c.Images {
		if !manifest.MatchString(digest) {
			return nil, fmt.Errorf("found the digest %.80q; want sha256: and 64 hexadecimal digits", digest)
		}
	}
	if c.User != "" {
		a.login = a.signed
	}
	return (&clair{a}).reports, nil
}

// signed is a token that Clair's psk takes: a JSON Web Token by HMAC with SHA-256, whose key the settings of Clair hold in base64.
func (a *asker) signed(context.Context, bool) (string, error) {
	text, err := a.Password()
	if err != nil {
		return "", err
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(key) == 0 {
		return "", errors.New("the key of Clair's psk is not base64, as Clair's settings have it")
	}
	now := a.Now()
	claims, err := json.Marshal(map[string]any{"iss": a.User, "iat": now.Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(clairToken).Unix()})
	if err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	parts := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(claims)
	sum := hmac.New(sha256.New, key)
	sum.Write([]byte(parts))
	return "Bearer " + parts + "." + base64.RawURLEncoding.EncodeToString(sum.Sum(nil)), nil
}

func (c *clair) reports(ctx context.Context) iter.Seq2[Report, error] {
	return func(yield func(Report, error) bool) {
		broken := 0
		c.each(ctx, yield, c.Images, &broken, c.one)
	}
}

// one is the report on one image. One whose index did not end well has an empty report, which would look clean: it is not scanned.
func (c *clair) one(ctx context.Context, digest string) (Report, error) {
	r := Report{About: digest, Digest: digest}
	got, err := c.get(ctx, "indexer/api/v1/index_report/"+digest, nil)
	switch {
	case err != nil:
		return r, fmt.Errorf("%s: %w", digest, err)
	case got.status == http.StatusNotFound:
		return r, missing("Clair has not indexed it")
	case got.status != http.StatusOK:
		return r, c.unexpected(digest, got)
	}
	var index struct {
		Hash    string `json:"manifest_hash"`
		State   string `json:"state"`
		Success bool   `json:"success"`
	}
	if err := json.Unmarshal(got.body, &index); err != nil || index.Hash != digest {
		return r, missing("Clair's index is not about it, or is no JSON")
	}
	if !index.Success {
		return r, missing("Clair did not finish its index: %s", finding.Value(index.State))
	}
	at := c.Now() // what becomes known while it is asked may be missing
	got, err = c.get(ctx, "matcher/api/v1/vulnerability_report/"+digest, nil)
	switch {
	case err != nil:
		return r, fmt.Errorf("%s: %w", digest, err)
	case got.status == http.StatusNotFound:
		return r, missing("Clair has not indexed it")
	case got.status == http.StatusAccepted:
		return r, fmt.Errorf("%s has not loaded its vulnerabilities yet; come again later", c.URL.Host)
	case got.status != http.StatusOK && got.status != http.StatusCreated:
		return r, c.unexpected(digest, got)
	}
	r.Text = stamped(got.body, at.Add(-age(got.header)))
	return r, nil
}

// age is how long an answer lay in a cache on the way.
func age(h http.Header) time.Duration {
	seconds, err := strconv.ParseUint(h.Get("Age"), 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// scannedAt is the key by which package image/scanner reads when a report of Clair was made: Clair makes it anew for whoever asks, and does
// not say when.
const scannedAt = "ringfenceScannedAt"

// stamped is a report with its time, before all that is in it. One that has the key already holds it twice then, which no reader takes; nor
// does it take what is no object, and stays as it is.
func stamped(text []byte, at time.Time) []byte {
	body, ok := bytes.CutPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("{"))
	if !ok {
		return text
	}
	return fmt.Appendf(nil, "{%q:%q,%s", scannedAt, at.UTC().Format(time.RFC3339), body)
}
