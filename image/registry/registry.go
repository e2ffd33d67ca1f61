// Package registry asks OCI registries which digest a reference means and what is attached to it, and attaches more.
//
// It verifies no signature; package image/signature does. It believes no registry: what it was asked for by digest has that digest.
// The command line calls it.
package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// answerWithin is how long a registry may take to begin an answer.
const answerWithin = 30 * time.Second

// ErrAway says that a registry gave no answer, or none that says yes or no: what was asked is not decided.
var ErrAway = errors.New("the registry gave no answer")

// ErrMissing says that a registry has no such image.
var ErrMissing = errors.New("the registry has no such image")

// Options are how registries are reached. The zero value trusts the system's authorities.
type Options struct {
	// CA are certificates in PEM, of authorities that are trusted beside the system's.
	CA []byte
	// Agent is the User-Agent.
	Agent string
}

// Client asks registries, with the credentials that `docker login` and credential helpers keep.
type Client struct {
	options []remote.Option
}

// New makes a Client.
func New(o Options) (*Client, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = answerWithin
	t.DialContext = (&net.Dialer{Timeout: 10 * time.Second, Control: refuseMetadata}).DialContext
	if len(o.CA) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("read the system's certificate authorities: %w", err)
		}
		if !pool.AppendCertsFromPEM(o.CA) {
			return nil, errors.New("read the certificate authorities given: no certificate in PEM is there")
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &Client{[]remote.Option{remote.WithTransport(t), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithUserAgent(o.Agent)}}, nil
}

// refuseMetadata keeps a registry from sending us, by its name or by a redirect, to where clouds hand out credentials.
func refuseMetadata(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	ip := at.Addr().Unmap()
	if ip.IsLinkLocalUnicast() || ip == netip.MustParseAddr("fd00:ec2::254") || ip == netip.MustParseAddr("100.100.100.200") {
		return fmt.Errorf("connect to %s: it hands out credentials of the machine; no registry is there", ip)
	}
	return nil
}

func (c *Client) with(ctx context.Context) []remote.Option {
	return append(c.options[:len(c.options):len(c.options)], remote.WithContext(ctx))
}

// Image is one image by its digest, which no registry can move.
type Image struct {
	at name.Digest
}

// Repository is where it lies, for instance registry.bank.example/payments/api.
func (i Image) Repository() string { return i.at.Context().Name() }

// Digest is sha256: and 64 hexadecimal digits.
func (i Image) Digest() string { return i.at.DigestStr() }

// String is both.
func (i Image) String() string { return i.at.Name() }

// Resolve tells which image a reference means now. A reference without a registry means Docker Hub, one without a tag the tag latest.
// A reference with a digest is not looked up. The error is ErrAway, ErrMissing, or says what is wrong with the reference.
func (c *Client) Resolve(ctx context.Context, reference string) (Image, error) {
	ref, err := name.ParseReference(reference)
	if err != nil {
		return Image{}, fmt.Errorf("image %.200q: %w", reference, err)
	}
	if at, ok := ref.(name.Digest); ok {
		return Image{at}, nil
	}
	described, err := remote.Get(ref, c.with(ctx)...)
	if err != nil {
		return Image{}, told(ref.Name(), err)
	}
	return Image{ref.Context().Digest(described.Digest.String())}, nil
}

// told says what a registry's answer means.
func told(what string, err error) error {
	var answer *transport.Error
	switch {
	case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%s: %w", what, ErrMissing)
	case errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden):
		return fmt.Errorf("%s: %w: it refuses these credentials (%d); sign in, for instance with docker login %s", what, ErrAway, answer.StatusCode, answer.Request.URL.Host)
	}
	return fmt.Errorf("%s: %w: %w", what, ErrAway, err)
}
