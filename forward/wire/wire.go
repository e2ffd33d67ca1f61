// Package wire holds what sinks need of the network: TLS that is always verified, requests that are bounded, and secrets
// that are read from files and shown to nobody. It decides what an HTTP status means for a batch and knows no sink.
package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"ringfence.dev/ringfence/finding"
)

const (
	// maxAnswer is what is read of an answer: error bodies and acknowledgements are some hundred bytes.
	maxAnswer = 64 << 10
	// maxSecret bounds a file with a secret: a token or a key is some KiB at most.
	maxSecret = 64 << 10
	// Timeout bounds one request with its answer.
	Timeout = 30 * time.Second
)

// TLS are the settings of a connection. The zero value verifies with the machine's authorities.
type TLS struct {
	// CAFile holds the authorities to trust in place of the machine's, PEM: for a private CA.
	CAFile string `yaml:"caFile"`
	// CertFile and KeyFile are our own certificate, PEM, where the server asks for one. They are read at every handshake, so
	// that a renewed one is used.
	CertFile string `yaml:"certFile"`
	KeyFile  string `yaml:"keyFile"`
	// ServerName is the name in the server's certificate where it is not the address's.
	ServerName string `yaml:"serverName"`
}

// Within makes file names work: path is forward.Settings.Path.
func (t TLS) Within(path func(string) string) TLS {
	t.CAFile, t.CertFile, t.KeyFile = path(t.CAFile), path(t.CertFile), path(t.KeyFile)
	return t
}

// Config is the settings for crypto/tls: TLS 1.2 or newer, and no way to leave out verification.
func (t TLS) Config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		text, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read caFile: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("read caFile %s: found no certificate; want PEM", t.CAFile)
		}
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		return nil, errors.New("found one of certFile and keyFile; want both or none")
	}
	if t.CertFile != "" {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
			if err != nil {
				return nil, fmt.Errorf("load certFile and keyFile: %w", err)
			}
			return &pair, nil
		}
	}
	return c, nil
}

// Secret is the name of a file with a secret. It never shows what is in it.
type Secret string

// Read reads the secret, without the line's end. It is read anew for each use, so that a rotated one is used.
func (s Secret) Read() (string, error) {
	f, err := os.Open(string(s))
	if err != nil {
		return "", fmt.Errorf("read a secret: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", fmt.Errorf("read a secret from %s: %w", string(s), err)
	}
	value := strings.TrimRight(string(text), "\r\n")
	if value == "" || len(text) > maxSecret || strings.ContainsAny(value, "\r\n") && !strings.HasPrefix(value, "-----BEGIN ") {
		return "", fmt.Errorf("read a secret from %s: want one line, or PEM, and at most %d bytes", string(s), maxSecret)
	}
	return value, nil
}

// Endpoint checks an address: https, a host, and no name or password in it.
func Endpoint(field, address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return nil, fmt.Errorf("%s: want an address https://HOST/PATH without a password", field)
	}
	return u, nil
}

// Client sends requests to one place.
type Client struct{ http *http.Client }

// NewClient makes a Client. No redirect is followed: it could carry credentials to another host.
func NewClient(t TLS, timeout time.Duration) (*Client, error) {
	config, err := t.Config()
	if err != nil {
		return nil, err
	}
	if timeout <= 0 {
		timeout = Timeout
	}
	return &Client{&http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 1,
			IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: 10 * time.Second, MaxResponseHeaderBytes: maxAnswer,
		},
	}}, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Answer is what came back. Whole is false where the body broke off or was longer than is read.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Whole  bool
}

// Post sends a body. An error means that there was no answer; its text holds the host and no path, query or header.
func (c *Client) Post(ctx context.Context, to *url.URL, header http.Header, body []byte) (Answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), bytes.NewReader(body))
	if err != nil {
		return Answer{}, fmt.Errorf("make a request to %s", to.Host)
	}
	for key, values := range header {
		request.Header[key] = values
	}
	response, err := c.http.Do(request)
	if err != nil {
		if u := (*url.Error)(nil); errors.As(err, &u) {
			err = u.Err
		}
		return Answer{}, fmt.Errorf("reach %s: %w", to.Host, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	return Answer{response.StatusCode, response.Header, text, err == nil && len(text) <= maxAnswer}, nil
}

// FaultOf is what an answer's status means for a batch, nil for 2xx: 400, 413 and 422 refuse what is in the batch; all else
// is tried again, because it is the sink's trouble (429, 5xx) or a setting's (401, 403, 404, a redirect). code is the
// sink's own word for it, "" where it has none.
func FaultOf(who string, a Answer, code string, now time.Time) *Fault {
	if code = finding.Value(code); code != "" {
		code = " (" + code + ")"
	}
	switch {
	case a.Status >= 200 && a.Status <= 299:
		return nil
	case a.Status == http.StatusBadRequest, a.Status == http.StatusRequestEntityTooLarge, a.Status == http.StatusUnprocessableEntity:
		return Refuse(-1, "%s refused the batch with status %d%s", who, a.Status, code)
	case a.Status >= 300 && a.Status <= 399:
		return Retry(0, "%s answered with a redirect, status %d, which is not followed; fix: configure the address it leads to", who, a.Status)
	case a.Status == http.StatusUnauthorized, a.Status == http.StatusForbidden, a.Status == http.StatusNotFound:
		return Retry(RetryAfter(a.Header, now), "%s answered status %d%s; fix: see credentials, rights and address", who, a.Status, code)
	default:
		return Retry(RetryAfter(a.Header, now), "%s answered status %d%s", who, a.Status, code)
	}
}

// RetryAfter is how long a Retry-After header wants us to wait, as seconds or as a date; 0 where it says nothing sensible.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
