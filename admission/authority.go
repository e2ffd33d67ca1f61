package admission

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"
)

const (
	// lifetime is how long a certificate is valid, and a third of it the time in which it is renewed. A clock that jumps a day
	// ahead does not end it; backdated is how far one may jump back.
	lifetime, backdated = 7 * 24 * time.Hour, 2 * 24 * time.Hour
	// settle is how long API servers have to learn of a new authority before its certificate is shown; they take a second.
	settle = 30 * time.Second
)

// Authority issues the door's certificates. Each has an authority of its own, whose key signs one certificate and is forgotten:
// nothing is kept on a disk or in a Secret. A new one is shown once the API servers were told to trust it, and the old one is
// trusted until it expires. It is safe for many goroutines.
type Authority struct {
	cfg AuthorityConfig

	mu    sync.Mutex // guards what follows
	shown *issued
	next  *issued // nil while nothing is renewed
}

// AuthorityConfig is what an Authority needs.
type AuthorityConfig struct {
	// Names are the host names and IP addresses that the certificates have.
	Names []string
	// Lifetime is how long a certificate is valid, Settle how long API servers have to learn of a new one. Zero is a week,
	// and 30 seconds.
	Lifetime, Settle time.Duration
	// Now is the clock.
	Now func() time.Time
}

// issued is one certificate and its authority.
type issued struct {
	certificate tls.Certificate
	authority   []byte // PEM
	// from and expires are readings of the clock on the wall, which API servers go by: time in which a machine is suspended, or
	// by which its clock is set, counts.
	from, expires time.Time
	trusted       time.Time // since when the registration names the authority; zero is not yet
	settled       bool      // API servers had the time to learn of it
}

// NewAuthority issues the first certificate.
func NewAuthority(cfg AuthorityConfig) (*Authority, error) {
	if len(cfg.Names) == 0 || cfg.Now == nil {
		return nil, errors.New("issue a certificate: want a name and a clock")
	}
	if cfg.Lifetime <= 0 {
		cfg.Lifetime = lifetime
	}
	if cfg.Settle <= 0 {
		cfg.Settle = settle
	}
	first, err := issue(cfg.Names, cfg.Now(), cfg.Lifetime)
	if err != nil {
		return nil, err
	}
	return &Authority{cfg: cfg, shown: first}, nil
}

// GetCertificate is what tls.Config asks.
func (a *Authority) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return &a.shown.certificate, nil
}

// Turn renews what is due, and shows the next certificate where it was trusted for long enough. It returns when it wants to be
// called again.
func (a *Authority) Turn() (again time.Duration, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.cfg.Now()
	due := a.shown.expires.Add(-a.cfg.Lifetime / 3)
	if a.next == nil && (!now.Before(due) || now.Before(a.shown.from)) {
		if a.next, err = issue(a.cfg.Names, now, a.cfg.Lifetime); err != nil {
			return a.cfg.Settle, err
		}
	}
	if a.next == nil {
		a.settled(a.shown, now)
		return due.Sub(now), nil
	}
	switch {
	case a.next.trusted.IsZero():
		return a.cfg.Settle, nil
	case !a.settled(a.next, now) && a.shown.valid(now): // what is not valid is of no use any more
		return a.next.trusted.Add(a.cfg.Settle).Sub(now), nil
	}
	a.shown, a.next = a.next, nil
	return a.shown.expires.Add(-a.cfg.Lifetime / 3).Sub(now), nil
}

// Bundle are the authorities that this process needs API servers to trust, in PEM.
func (a *Authority) Bundle() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.next == nil {
		return a.shown.authority
	}
	return bytes.Join([][]byte{a.shown.authority, a.next.authority}, nil)
}

// Trusted says that the registration names the authorities in bundle; settled that API servers ask nobody before they know it.
func (a *Authority) Trusted(bundle []byte, settled bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.cfg.Now()
	for _, one := range []*issued{a.shown, a.next} {
		switch {
		case one == nil:
		case !bytes.Contains(bundle, one.authority):
			one.trusted, one.settled = time.Time{}, false
		case one.trusted.IsZero():
			one.trusted, one.settled = now, settled
		}
	}
}

// Ready is nil where the certificate that is shown is valid and API servers had the time to learn to trust it.
func (a *Authority) Ready() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.cfg.Now()
	switch {
	case !a.shown.valid(now):
		return errors.New("the certificate has expired, or is not valid yet: the clock was set")
	case a.shown.trusted.IsZero() || !a.settled(a.shown, now):
		return errors.New("the API server does not trust the certificate yet")
	}
	return nil
}

// settled reports whether API servers had the time to learn to trust what was issued. A clock that is set back does not undo
// that; where it is set back before, the wait begins anew. The lock is held.
func (a *Authority) settled(one *issued, now time.Time) bool {
	if now.Before(one.trusted) {
		one.trusted = now
	}
	one.settled = one.settled || !one.trusted.IsZero() && now.Sub(one.trusted) >= a.cfg.Settle
	return one.settled
}

func (i *issued) valid(now time.Time) bool { return !now.Before(i.from) && now.Before(i.expires) }

// Expires is when the certificate that is shown does.
func (a *Authority) Expires() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.shown.expires
}

// issue makes an authority and a certificate of it.
func issue(names []string, now time.Time, valid time.Duration) (*issued, error) {
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate: %w", err)
	}
	now = now.Round(0)
	from, until := now.Add(-backdated), now.Add(valid)
	serial := func() *big.Int {
		n, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)) // it never fails
		return n
	}
	// The name holds the serial number: of authorities with one name a client would have to try each.
	ca := &x509.Certificate{SerialNumber: serial(), NotBefore: from, NotAfter: until, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign, PermittedDNSDomainsCritical: true}
	ca.Subject = pkix.Name{Organization: []string{"ringfence.dev"}, CommonName: "admission " + ca.SerialNumber.Text(36)}
	leaf := &x509.Certificate{SerialNumber: serial(), Subject: pkix.Name{Organization: []string{"ringfence.dev"}, CommonName: "admission"},
		NotBefore: from, NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			if four := ip.To4(); four != nil {
				ip = four
			}
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
			bits := 8 * len(ip)
			ca.PermittedIPRanges = append(ca.PermittedIPRanges, &net.IPNet{IP: ip, Mask: net.CIDRMask(bits, bits)})
			continue
		}
		leaf.DNSNames = append(leaf.DNSNames, name)
		ca.PermittedDNSDomains = append(ca.PermittedDNSDomains, name)
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &authorityKey.PublicKey, authorityKey)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, authorityKey)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate: %w", err)
	}
	return &issued{
		certificate: tls.Certificate{Certificate: [][]byte{der, caDER}, PrivateKey: key},
		authority:   pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}), from: from, expires: until,
	}, nil
}
