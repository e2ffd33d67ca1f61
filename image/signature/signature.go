// Package signature says who signed an image, or a statement about one: sigstore bundles of every version, and the signatures that
// cosign attached to tags before there were bundles.
//
// It asks no network and no clock: what signs and what is signed is given to it, the time of a signature is what a log or a
// timestamping authority that the bank trusts attests. It makes signatures with a key too. The command line calls it.
package signature

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	sigstore "github.com/sigstore/sigstore/pkg/signature"
)

// maxBundle bounds a bundle in bytes: the largest statements are SBOMs, of some megabytes.
const maxBundle = 32 << 20

// Trust says whose signatures count. The zero value trusts nobody.
type Trust struct {
	// Root is a trusted root as sigstore writes it (trusted_root.json), which the bank keeps: certificate authorities, logs, timestamping
	// authorities. Where it has logs, every signature must stand in one, a key's too. Empty is none, and identities then count for nothing.
	Root []byte
	// Keys are public keys whose signatures count.
	Keys []Key
	// Identities are those whose certificates count.
	Identities []Identity
}

// Key is a public key in PEM, and what the bank calls it.
type Key struct {
	Name string
	PEM  []byte
}

// Identity is whom a certificate names: the subject (an address of a person or a workflow) exactly, as an issuer of tokens, exactly,
// knows it. Neither may be empty.
type Identity struct {
	Subject, Issuer string
}

// Signature is one that counts.
type Signature struct {
	// Key is the name of the key that signed; empty where an identity did.
	Key string `json:"key,omitempty"`
	// Identity is who signed by certificate.
	Identity string `json:"identity,omitempty"`
	// Issuer is who vouches for that identity.
	Issuer string `json:"issuer,omitempty"`
	// At is the earliest time that is attested; zero where a key signed and nobody attests when.
	At time.Time `json:"at,omitzero"`
	// Predicate is the type of the statement that is signed; empty where it is the image itself.
	Predicate string `json:"predicateType,omitempty"`
	// Statement is the in-toto statement that is signed, as it was signed; nil where it is the image itself.
	Statement json.RawMessage `json:"statement,omitempty"`
}

// Verifier tells signatures that count from others. It is safe for use by several goroutines.
type Verifier struct {
	root       *root.TrustedRoot // nil: none
	keys       []trustedKey
	identities []Identity
}

type trustedKey struct {
	name     string
	material root.TrustedMaterial
}

// New makes a Verifier. An error names the key or the part of the root that cannot be read.
func New(t Trust) (*Verifier, error) {
	v := &Verifier{identities: t.Identities}
	if len(t.Root) > 0 {
		trusted, err := root.NewTrustedRootFromJSON(t.Root)
		if err != nil {
			return nil, fmt.Errorf("read the trusted root: %w; want a trusted_root.json as sigstore writes it", err)
		}
		v.root = trusted
	}
	for _, k := range t.Keys {
		public, err := cryptoutils.UnmarshalPEMToPublicKey(k.PEM)
		if err != nil {
			return nil, fmt.Errorf("read the public key %s: %w; want PEM, such as cosign.pub", k.Name, err)
		}
		verifier, err := sigstore.LoadVerifier(public, crypto.SHA256)
		if err != nil {
			return nil, fmt.Errorf("read the public key %s: %w", k.Name, err)
		}
		v.keys = append(v.keys, trustedKey{k.Name, root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
			return root.NewExpiringKey(verifier, time.Time{}, time.Time{}), nil
		})})
	}
	switch {
	case len(v.keys) == 0 && len(v.identities) == 0:
		return nil, errors.New("nobody's signature would count: want a public key, or an identity with the trusted root that knows its certificates")
	case len(v.identities) > 0 && v.root == nil:
		return nil, errors.New("an identity counts by its certificate: want the trusted root that says which authorities issue those")
	}
	for _, i := range v.identities {
		if i.Subject == "" || i.Issuer == "" {
			return nil, fmt.Errorf("identity %q of issuer %q: want both, for a certificate of any issuer may name any subject", i.Subject, i.Issuer)
		}
	}
	return v, nil
}

// Bundle verifies a sigstore bundle, in JSON, of what has a digest. A statement counts where it names the digest among its subjects.
// The error says why it does not count for each of those that would.
func (v *Verifier) Bundle(text []byte, digest string) (Signature, error) {
	b, err := read(text)
	if err != nil {
		return Signature{}, err
	}
	sum, err := parseDigest(digest)
	if err != nil {
		return Signature{}, err
	}
	return v.verify(b, verify.WithArtifactDigest("sha256", sum))
}

// Content verifies a sigstore bundle, in JSON, of these bytes. Some keys sign bytes and not their digest, such as Ed25519.
func (v *Verifier) Content(text, content []byte) (Signature, error) {
	b, err := read(text)
	if err != nil {
		return Signature{}, err
	}
	return v.verify(b, verify.WithArtifact(bytes.NewReader(content)))
}

func read(text []byte) (*bundle.Bundle, error) {
	if len(text) > maxBundle {
		return nil, fmt.Errorf("read the bundle: it has %d bytes; want at most %d", len(text), maxBundle)
	}
	var b bundle.Bundle
	b.Bundle = new(protobundle.Bundle)
	if err := b.UnmarshalJSON(text); err != nil {
		return nil, fmt.Errorf("read the bundle: %w", err)
	}
	return &b, nil
}

// parseDigest reads sha256:<64 hex>.
func parseDigest(digest string) ([]byte, error) {
	text, ok := strings.CutPrefix(digest, "sha256:")
	sum, err := hex.DecodeString(text)
	if !ok || err != nil || len(sum) != 32 {
		return nil, fmt.Errorf("digest %.80q: want sha256: and 64 hexadecimal digits", digest)
	}
	return sum, nil
}

// verify tries all who count.
func (v *Verifier) verify(b *bundle.Bundle, artifact verify.ArtifactPolicyOption) (Signature, error) {
	var wrong []error
	if b.VerificationMaterial.GetPublicKey() != nil {
		for _, k := range v.keys {
			s, err := v.verifyWith(b, k.material, verify.NewPolicy(artifact, verify.WithKey()))
			if err == nil {
				s.Key = k.name
				return s, nil
			}
			wrong = append(wrong, fmt.Errorf("by key %s: %w", k.name, err))
		}
		if len(v.keys) == 0 {
			return Signature{}, errors.New("signed with a key: no key counts")
		}
		return Signature{}, errors.Join(wrong...)
	}
	for _, i := range v.identities {
		id, err := verify.NewShortCertificateIdentity(i.Issuer, "", i.Subject, "")
		if err != nil {
			return Signature{}, fmt.Errorf("identity %s: %w", i.Subject, err)
		}
		s, err := v.verifyWith(b, nil, verify.NewPolicy(artifact, verify.WithCertificateIdentity(id)))
		if err == nil {
			return s, nil
		}
		wrong = append(wrong, fmt.Errorf("by %s: %w", i.Subject, err))
	}
	if len(v.identities) == 0 {
		return Signature{}, errors.New("signed with a certificate: no identity counts")
	}
	return Signature{}, errors.Join(wrong...)
}

// verifyWith verifies with a key, or by certificate where key is nil.
func (v *Verifier) verifyWith(b *bundle.Bundle, key root.TrustedMaterial, policy verify.PolicyBuilder) (Signature, error) {
	var trusted root.TrustedMaterialCollection
	if key != nil {
		trusted = append(trusted, key)
	}
	if v.root != nil {
		trusted = append(trusted, v.root)
	}
	demands, err := v.demands(b, key != nil)
	if err != nil {
		return Signature{}, err
	}
	verifier, err := verify.NewVerifier(trusted, append(demands, verify.WithoutStatementPredicate())...)
	if err != nil {
		return Signature{}, err
	}
	result, err := verifier.Verify(b, policy)
	if err != nil {
		return Signature{}, err
	}
	var s Signature
	if result.Statement != nil {
		s.Predicate, s.Statement = result.Statement.GetPredicateType(), b.GetDsseEnvelope().GetPayload()
	} else if b.GetDsseEnvelope() != nil {
		return Signature{}, errors.New("what is signed is no in-toto statement")
	}
	if result.VerifiedIdentity != nil && result.Signature != nil && result.Signature.Certificate != nil {
		s.Identity, s.Issuer = result.Signature.Certificate.SubjectAlternativeName, result.Signature.Certificate.Issuer
	}
	for _, stamp := range result.VerifiedTimestamps {
		if s.At.IsZero() || stamp.Timestamp.Before(s.At) {
			s.At = stamp.Timestamp.UTC()
		}
	}
	return s, nil
}

// demands is what a signature must show beside itself: whatever the root can check. A certificate lives for minutes, so somebody
// whom the root knows must attest that it was used in them; of a key nobody needs to where there is no root.
func (v *Verifier) demands(b *bundle.Bundle, key bool) ([]verify.VerifierOption, error) {
	if v.root == nil {
		return []verify.VerifierOption{verify.WithNoObserverTimestamps()}, nil
	}
	stamps, err := b.Timestamps()
	if err != nil {
		return nil, err
	}
	var demands []verify.VerifierOption
	logs, authorities := len(v.root.RekorLogs()) > 0, len(v.root.TimestampingAuthorities()) > 0
	if logs {
		demands = append(demands, verify.WithTransparencyLog(1))
	}
	if logs && b.HasInclusionPromise() {
		demands = append(demands, verify.WithIntegratedTimestamps(1))
	}
	if authorities && len(stamps) > 0 {
		demands = append(demands, verify.WithSignedTimestamps(1))
	}
	if !key && len(v.root.CTLogs()) > 0 {
		demands = append(demands, verify.WithSignedCertificateTimestamps(1))
	}
	switch {
	case logs || authorities:
		demands = append(demands, verify.WithObserverTimestamps(1))
	case key:
		demands = append(demands, verify.WithNoObserverTimestamps())
	default:
		return nil, errors.New("the trusted root has neither a log nor a timestamping authority: nobody attests when the certificate was used")
	}
	return demands, nil
}
