package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Lifetimes of certificates. A run that starts with less than renewBefore left makes new ones, and new kubeconfigs.
const (
	certLifetime = 365 * 24 * time.Hour
	renewBefore  = 30 * 24 * time.Hour
)

// adminUser is the name in the administrator's kubeconfig; nodesUser is the name of the simulated nodes.
const (
	adminUser = "devcluster-admin"
	nodesUser = "devcluster-nodes"
)

// pki is a folder of keys and certificates: <name>.crt and <name>.key, and sa.key for service account tokens.
type pki struct{ dir string }

func (p pki) file(name string) string { return filepath.Join(p.dir, name) }

// leaf is a certificate the folder holds, beside the two authorities "ca" and "front-proxy-ca".
type leaf struct {
	name, authority string
	subject         pkix.Name
	hosts           []string // of a server; empty: a client
}

func leaves() []leaf {
	return []leaf{
		{name: "apiserver", authority: "ca", subject: pkix.Name{CommonName: "kube-apiserver"}, hosts: []string{
			"127.0.0.1", serviceIP, "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}},
		{name: "admin", authority: "ca", subject: pkix.Name{CommonName: adminUser, Organization: []string{"system:masters"}}},
		{name: "nodes", authority: "ca", subject: pkix.Name{CommonName: nodesUser, Organization: []string{"system:masters"}}},
		{name: "kube-controller-manager", authority: "ca", subject: pkix.Name{CommonName: "system:kube-controller-manager"}},
		{name: "kube-scheduler", authority: "ca", subject: pkix.Name{CommonName: "system:kube-scheduler"}},
		{name: "front-proxy-client", authority: "front-proxy-ca", subject: pkix.Name{CommonName: "front-proxy-client"}},
	}
}

// openPKI returns the keys in dir. When one is missing, damaged or about to expire it makes all of them anew, in
// another folder that then takes the place of dir, so that a kill at any moment leaves a whole set or none.
func openPKI(dir string, now time.Time) (pki, error) {
	p := pki{dir}
	if p.check(now) == nil {
		return p, nil
	}
	leftovers, _ := filepath.Glob(dir + ".*")
	for _, old := range leftovers { // of a run that was killed here
		if err := os.RemoveAll(old); err != nil {
			return p, fmt.Errorf("make keys and certificates: %w", err)
		}
	}
	fresh := pki{dir + ".new"}
	if err := os.Mkdir(fresh.dir, 0o700); err != nil {
		return p, fmt.Errorf("make keys and certificates: %w", err)
	}
	if err := fresh.generate(now, p); err != nil {
		return p, fmt.Errorf("make keys and certificates: %w", err)
	}
	if err := os.Rename(dir, dir+".old"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return p, fmt.Errorf("make keys and certificates: %w", err)
	}
	if err := os.Rename(fresh.dir, dir); err != nil {
		return p, fmt.Errorf("make keys and certificates: %w", err)
	}
	return p, os.RemoveAll(dir + ".old")
}

// check returns nil when every key and certificate is there, readable and good for renewBefore.
func (p pki) check(now time.Time) error {
	names := []string{"ca", "front-proxy-ca"}
	for _, l := range leaves() {
		names = append(names, l.name)
	}
	for _, name := range names {
		pair, err := tls.LoadX509KeyPair(p.file(name+".crt"), p.file(name+".key"))
		if err != nil {
			return err
		}
		if pair.Leaf.NotAfter.Before(now.Add(renewBefore)) || pair.Leaf.NotBefore.After(now) {
			return fmt.Errorf("%s.crt is valid from %s to %s only", name, pair.Leaf.NotBefore, pair.Leaf.NotAfter)
		}
	}
	_, err := p.key("sa")
	return err
}

// generate fills the folder. It keeps the service account key of old, if that is sound: tokens stay valid.
func (p pki) generate(now time.Time, old pki) error {
	authorities := map[string]*authority{}
	for _, name := range []string{"ca", "front-proxy-ca"} {
		a, err := p.newAuthority(name, now)
		if err != nil {
			return err
		}
		authorities[name] = a
	}
	for _, l := range leaves() {
		if err := p.newLeaf(l, authorities[l.authority], now); err != nil {
			return err
		}
	}
	sa, err := old.key("sa")
	if err != nil {
		if sa, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return err
		}
	}
	return p.write("sa", nil, sa)
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (p pki) newAuthority(name string, now time.Time) (*authority, error) {
	t := template(pkix.Name{CommonName: "devcluster-" + name}, now)
	t.IsCA, t.BasicConstraintsValid = true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{cert, key}, p.write(name, der, key)
}

func (p pki) newLeaf(l leaf, by *authority, now time.Time) error {
	t := template(l.subject, now)
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(l.hosts) > 0 {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	for _, host := range l.hosts {
		if ip := net.ParseIP(host); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, host)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, t, by.cert, &key.PublicKey, by.key)
	if err != nil {
		return err
	}
	return p.write(l.name, der, key)
}

// template leaves the serial number to x509.CreateCertificate, which draws one at random. A certificate begins an hour
// early, so that a clock set back a little does not make it invalid.
func template(subject pkix.Name, now time.Time) *x509.Certificate {
	return &x509.Certificate{Subject: subject, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certLifetime)}
}

func (p pki) write(name string, der []byte, key *ecdsa.PrivateKey) error {
	if der != nil {
		if err := writeFile(p.file(name+".crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
			return err
		}
	}
	b, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writeFile(p.file(name+".key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: b}), 0o600)
}

func (p pki) key(name string) (*ecdsa.PrivateKey, error) {
	data, err := os.ReadFile(p.file(name + ".key"))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM block", p.file(name+".key"))
	}
	return x509.ParseECPrivateKey(block.Bytes)
}
