package pull

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// maxTries is how often one thing is asked for, whatever the answers are: a source that says 429 and 401 in turns ends too.
	maxTries = 6
	// firstWait follows the first answer that wants another try and names no time; it doubles.
	firstWait = time.Second
	// maxWait is an hour: the longest window in which Qualys counts calls.
	maxWait = time.Hour
	// maxHeader is 64 KiB of an answer's header.
	maxHeader = 64 << 10
)

// asker asks one service over https.
type asker struct {
	Config
	http *http.Client
	// login is what an Authorization header says; fresh wants a new one, because the last was refused. nil means that nobody is asked
	// who they are.
	login func(ctx context.Context, fresh bool) (string, error)
}

// answer is what came back, whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func newAsker(c Config) (*asker, error) {
	c = c.defaults()
	if u := c.URL; u == nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("want an address https://HOST/PATH without a password and a query")
	}
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLS != nil {
		settings = c.TLS.Clone()
	}
	return &asker{Config: c, http: &http.Client{
		// What a redirect leads to would be given the token, and could be any host that this machine reaches.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: settings, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 1,
			IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: 10 * time.Second, MaxResponseHeaderBytes: maxHeader,
		},
	}}, nil
}

// get asks for a path below the address.
func (a *asker) get(ctx context.Context, path string, query url.Values) (*answer, error) {
	at := a.URL.JoinPath(path)
	at.RawQuery = query.Encode()
	return a.ask(ctx, a.login, func() (*http.Request, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
		if err == nil {
			request.Header.Set("Accept", "application/json")
			request.Header.Set("Cache-Control", "no-cache") // a report of yesterday is not one of now
		}
		return request, err
	})
}

// ask makes requests until one has an answer. Answers of 429, 5xx and none are tried again after a while; so is 401 where login can give
// something new. What it gives is 2xx or 4xx, but 401.
func (a *asker) ask(ctx context.Context, login func(context.Context, bool) (string, error), request func() (*http.Request, error)) (*answer, error) {
	fresh, pause := false, firstWait
	for try := 1; ; try++ {
		got, err := a.once(ctx, login, fresh, request)
		var after time.Duration
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("ask %s: %w", a.URL.Host, context.Cause(ctx))
		case errors.Is(err, errAway):
			after = pause
		case err != nil:
			return nil, err
		case got.status == http.StatusUnauthorized && login != nil && !fresh:
			fresh, err = true, a.refused(got)
		case got.status == http.StatusUnauthorized || got.status == http.StatusForbidden:
			return nil, a.refused(got)
		case got.status == http.StatusTooManyRequests || got.status >= 500:
			fresh, err, after = false, busy(a.URL.Host, got.status), max(asked(got.header, a.Now()), pause)
		case got.status >= 300 && got.status <= 399:
			return nil, fmt.Errorf("%s answers with a redirect, status %d, which is not followed; fix: give the address that it leads to, if you trust it", a.URL.Host, got.status)
		default:
			return got, nil
		}
		if try == maxTries {
			return nil, fmt.Errorf("%w; it was asked %d times", err, try)
		}
		if after == 0 {
			continue
		}
		if end, ok := ctx.Deadline(); after > maxWait || ok && time.Until(end) < after {
			return nil, fmt.Errorf("%w and wants to be left alone for %s, which is longer than there is time; fix: come again later, or give it more with --within", err, after)
		}
		if err := a.Wait(ctx, after); err != nil {
			return nil, fmt.Errorf("ask %s: %w", a.URL.Host, context.Cause(ctx))
		}
		pause *= 2
	}
}

var (
	// errAway says that no whole answer came.
	errAway = errors.New("gives no whole answer")
	// errBroken is an answer of 5xx, errLarge one above the bound.
	errBroken = errors.New("answers")
	errLarge  = errors.New("answers with more than is read")
)

func busy(host string, status int) error {
	if status >= 500 {
		return fmt.Errorf("%s %w %d %s", host, errBroken, status, http.StatusText(status))
	}
	return fmt.Errorf("%s answers %d %s", host, status, http.StatusText(status))
}

// maxBroken is how many images one after the other may come to nothing before the source counts as broken.
const maxBroken = 3

// each asks for images one after the other, and tells whether more is wanted. One that the source cannot give, or that is too large, is
// missing and does not keep the others from coming; broken counts those that followed each other.
func (a *asker) each(ctx context.Context, yield func(Report, error) bool, images []string, broken *int, one func(context.Context, string) (Report, error)) bool {
	for _, image := range images {
		r, err := one(ctx, image)
		if errors.Is(err, errBroken) || errors.Is(err, errAway) || errors.Is(err, errLarge) {
			if *broken++; *broken <= maxBroken && ctx.Err() == nil {
				err = missing("%w", err)
			}
		} else {
			*broken = 0
		}
		if !yield(r, err) || err != nil && !errors.Is(err, ErrMissing) {
			return false
		}
	}
	return true
}

// refused is what an answer of 401 or 403 means.
func (a *asker) refused(got *answer) error {
	return fmt.Errorf("%s refuses these credentials, status %d; fix: check --user, --password-file and what they may read", a.URL.Host, got.status)
}

// once makes one request. The error is errAway where another try may help.
func (a *asker) once(ctx context.Context, login func(context.Context, bool) (string, error), fresh bool, make func() (*http.Request, error)) (*answer, error) {
	request, err := make()
	if err != nil {
		return nil, fmt.Errorf("make a request to %s", a.URL.Host) // the cause would hold the query
	}
	if login != nil {
		value, err := login(ctx, fresh)
		if err != nil {
			return nil, err
		}
		request.Header.Set("Authorization", value)
	}
	ctx, cancel := context.WithTimeout(ctx, a.Limits.Request)
	defer cancel()
	response, err := a.http.Do(request.WithContext(ctx))
	if err != nil {
		if u := (*url.Error)(nil); errors.As(err, &u) {
			err = u.Err // without the query
		}
		if unknown := (*tls.CertificateVerificationError)(nil); errors.As(err, &unknown) {
			return nil, fmt.Errorf("reach %s: %w; fix: name its authority with --ca", a.URL.Host, err)
		}
		return nil, fmt.Errorf("%s %w: %w", a.URL.Host, errAway, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, a.Limits.Answer+1))
	switch {
	case int64(len(body)) > a.Limits.Answer:
		return nil, fmt.Errorf("%s %w: %d bytes", a.URL.Host, errLarge, a.Limits.Answer)
	case err != nil:
		return nil, fmt.Errorf("%s %w: %w", a.URL.Host, errAway, err)
	case ctx.Err() != nil: // an end that came when nobody waited any more is none
		return nil, fmt.Errorf("%s %w within %s", a.URL.Host, errAway, a.Limits.Request)
	}
	return &answer{response.StatusCode, response.Header, body}, nil
}

// unexpected is an answer that the interface's documents do not know, or that says no.
func (a *asker) unexpected(what string, got *answer) error {
	return fmt.Errorf("%s of %s: status %d, which is no answer; fix: check --url and what --user may read", what, a.URL.Host, got.status)
}

// asked is how long a source wants to be left alone: Retry-After, as seconds or as a date, or Qualys' own header; 0 where neither says it.
func asked(h http.Header, now time.Time) (longest time.Duration) {
	for _, key := range []string{"Retry-After", "X-RateLimit-ToWait-Sec"} {
		value := strings.TrimSpace(h.Get(key))
		if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
			longest = max(longest, time.Duration(seconds)*time.Second)
		} else if at, err := http.ParseTime(value); err == nil {
			longest = max(longest, at.Sub(now))
		}
	}
	return longest
}
