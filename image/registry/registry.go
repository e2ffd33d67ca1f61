// Package registry asks OCI registries which digest a reference means and what is attached to it, and attaches more.
//
// It believes no registry: what it was asked for by digest has that digest, and who signed it package image/signature says. The command
// line and the control plane call it.
package registry

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
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
	// Alone forbids every connection to another host than the registry that is asked, whatever it answers, but to those in Also: where
	// it gives out tokens or keeps its blobs, as host or host:port. It forbids to go unencrypted too, and to this machine by a name that does
	// not say so, but for what is named as this machine: 127.0.0.1, [::1] or localhost.
	Alone bool
	Also  []string
	// Auths is a file of credentials, in the form of a pull secret (.dockerconfigjson), which is read whenever a registry is asked. Empty:
	// those that docker login and credential helpers keep.
	Auths string
	// Attached is how many bytes are read of all that is attached to one image; zero is as many as 200 manifests of 32 MiB have.
	Attached int64
}

// Client asks registries, with the credentials that `docker login` and credential helpers keep.
type Client struct {
	options []remote.Option
	next    http.RoundTripper
	alone   bool
	also    []string
	most    int64 // bytes of all that is attached to one image
	talk    *talk // nil: each question is one by itself
}

// New makes a Client.
func New(o Options) (*Client, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = answerWithin
	t.DialContext = dialer(o.Alone)
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
	var keys authn.Keychain = authn.DefaultKeychain
	if o.Auths != "" {
		if _, err := pullSecret(o.Auths).read(); err != nil {
			return nil, err
		}
		keys = pullSecret(o.Auths)
	}
	options := []remote.Option{remote.WithAuthFromKeychain(keys), remote.WithUserAgent(o.Agent)}
	return &Client{options: options, next: t, alone: o.Alone, also: o.Also, most: cmp.Or(o.Attached, maxReferrers*maxAttached)}, nil
}

// dialer connects, but not to where clouds hand out credentials, whether a registry's name or a redirect leads there; alone, not to this
// machine either where that was not named.
func dialer(alone bool) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		d := net.Dialer{Timeout: 10 * time.Second, Control: func(_, to string, _ syscall.RawConn) error { return refuse(to, alone && !thisMachine(address)) }}
		return d.DialContext(ctx, network, address)
	}
}

// thisMachine tells whether a host, with a port or without, says that it is this machine.
func thisMachine(host string) bool {
	if bare, _, err := net.SplitHostPort(host); err == nil {
		host = bare
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// refuse says why no connection is made to an address, and nil where one is.
func refuse(address string, foreign bool) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	ip := at.Addr().Unmap()
	if foreign && (ip.IsLoopback() || ip.IsUnspecified() || ip.IsMulticast()) {
		return fmt.Errorf("connect to %s: it is this machine, and the registry's name does not say so; name it 127.0.0.1 where that is meant", ip)
	}
	return refuseCredentials(ip)
}

// refuseCredentials says why no connection is made to where clouds hand out credentials.
func refuseCredentials(ip netip.Addr) error {
	ip = ip.Unmap()
	if ip.IsLinkLocalUnicast() || ip == netip.MustParseAddr("fd00:ec2::254") || ip == netip.MustParseAddr("100.100.100.200") {
		return fmt.Errorf("connect to %s: it hands out credentials of the machine; no registry is there", ip)
	}
	return nil
}

// talk is a conversation about one repository: however many questions there are, the registry is asked once how it wants to know who we are. It
// is for one goroutine.
type talk struct {
	of      name.Repository
	road    *road
	options []remote.Option
}

// about is a client for several questions about one repository, one after the other.
func (c *Client) about(ctx context.Context, of name.Repository) *Client {
	if c.talk != nil && c.talk.of == of {
		return c
	}
	road := &road{next: c.next}
	if c.alone {
		road.hosts = append([]string{of.RegistryStr()}, c.also...)
	}
	options := append(c.options[:len(c.options):len(c.options)], remote.WithContext(ctx), remote.WithTransport(road))
	puller, err := remote.NewPuller(options...)
	if err == nil {
		options = append(options, remote.Reuse(puller))
	}
	pusher, err := remote.NewPusher(options...)
	if err == nil { // else the first question says it
		options = append(options, remote.Reuse(pusher))
	}
	one := *c
	one.talk = &talk{of, road, options}
	return &one
}

// with are the options of one question to the registry of a repository.
func (c *Client) with(ctx context.Context, of name.Repository) []remote.Option {
	return c.within(ctx, of, min(maxBody, c.most+1<<20))
}

// within is with, for an answer of at most so many bytes.
func (c *Client) within(ctx context.Context, of name.Repository, most int64) []remote.Option {
	t := c.about(ctx, of).talk
	t.road.most = most
	return t.options
}

// road is the way to one registry: it ends where another host begins, if hosts says so, and carries no body without end.
type road struct {
	next  http.RoundTripper
	hosts []string // with their ports; none: any
	most  int64    // bytes of an answer
}

// RoundTrip asks, unless it would ask another.
func (r *road) RoundTrip(q *http.Request) (*http.Response, error) {
	if len(r.hosts) > 0 && !slices.Contains(r.hosts, q.URL.Host) {
		return nil, fmt.Errorf("connect to %.100q: the registry sends us to another host; only %s is asked", q.URL.Host, strings.Join(r.hosts, ", "))
	}
	if len(r.hosts) > 0 && q.URL.Scheme != "https" && !thisMachine(q.URL.Host) {
		return nil, fmt.Errorf("connect to %.100q: want https; only this machine is asked without", q.URL.Host)
	}
	if ip, err := netip.ParseAddr(q.URL.Hostname()); err == nil { // a proxy would connect in our place
		if err := refuseCredentials(ip); err != nil {
			return nil, err
		}
	}
	answer, err := r.next.RoundTrip(q)
	if err == nil {
		answer.Body = &bounded{answer.Body, r.most, r.most}
	}
	return answer, err
}

// maxBody bounds an answer: the largest that is read, and what is around it.
const maxBody = maxAttached + 1<<20

// bounded is a body that ends with an error where it should have ended.
type bounded struct {
	io.ReadCloser
	left, most int64
}

// Read reads on.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("the answer has more than %d bytes", b.most)
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// Image is one image by its digest, which no registry can move.
type Image struct {
	at name.Digest
}

// Repository is where it lies, for instance registry.bank.example/payments/api.
func (i Image) Repository() string { return i.at.Context().Name() }

// Digest is sha256: and 64 hexadecimal digits.
func (i Image) Digest() string { return i.at.DigestStr() }

// Known tells an image from the zero Image.
func (i Image) Known() bool { return i != Image{} }

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
	described, err := remote.Get(ref, c.with(ctx, ref.Context())...)
	if err != nil {
		return Image{}, told(ref.Name(), err)
	}
	return Image{ref.Context().Digest(described.Digest.String())}, nil
}

// Host is the registry that a reference means, which must name it itself.
func Host(reference string) (string, error) {
	if err := spelledOut(reference); err != nil {
		return "", err
	}
	ref, err := name.ParseReference(reference)
	if err != nil {
		return "", fmt.Errorf("image %.200q: %w", reference, err)
	}
	return ref.Context().RegistryStr(), nil
}

// Down tells of an error whether it says that the registry answers nobody now, whatever it is asked: no connection, too many questions, or a
// fault of its own. That it refuses one repository, or lies about one image, is no such thing.
func Down(err error) bool {
	var answer *transport.Error
	if errors.As(err, &answer) {
		return answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode >= http.StatusInternalServerError
	}
	var connect *net.OpError
	var lookup *net.DNSError
	var certificate *tls.CertificateVerificationError
	return errors.As(err, &connect) && connect.Op == "dial" || errors.As(err, &lookup) || errors.As(err, &certificate)
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
