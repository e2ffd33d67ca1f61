package signature

import (
	"bytes"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	sigstore "github.com/sigstore/sigstore/pkg/signature"
	"google.golang.org/protobuf/encoding/protojson"
)

// The media type of the bundles that are made, of the statements in them, and the predicate of a statement that says no more than
// that the image is signed, as cosign 3 writes it.
const (
	MediaType      = "application/vnd.dev.sigstore.bundle.v0.3+json"
	statementType  = "https://in-toto.io/Statement/v1"
	inTotoType     = "application/vnd.in-toto+json"
	PredicateImage = "https://sigstore.dev/cosign/sign/v1"
)

// ErrPassword says that a private key is encrypted and that its password was not given, or is another.
var ErrPassword = errors.New("the private key is encrypted: want its password")

// Signer signs with a private key.
type Signer struct {
	signer sigstore.Signer
	hint   string // by which a verifier with several keys knows which
}

// NewSigner reads a private key in PEM: PKCS #8, EC or RSA, or encrypted as cosign does, with a password.
func NewSigner(key, password []byte) (*Signer, error) {
	private, err := cryptoutils.UnmarshalPEMToPrivateKey(key, func(bool) ([]byte, error) {
		if len(password) == 0 {
			return nil, ErrPassword
		}
		return password, nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the private key: %w", err)
	}
	signer, err := sigstore.LoadSigner(private, crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("read the private key: %w", err)
	}
	public, err := signer.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("read the private key: %w", err)
	}
	hint, err := dsse.SHA256KeyID(public)
	if err != nil {
		return nil, fmt.Errorf("read the private key: %w", err)
	}
	return &Signer{signer, hint}, nil
}

// statement is an in-toto statement: a predicate about what has a digest.
type statement struct {
	Type          string          `json:"_type"`
	Subject       []subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name,omitempty"`
	Digest map[string]string `json:"digest"`
}

// Sign makes a bundle, in JSON, of a statement about the image with a digest. Where predicateType is PredicateImage the predicate
// may be nil.
func (s *Signer) Sign(name, digest, predicateType string, predicate json.RawMessage) ([]byte, error) {
	if _, err := parseDigest(digest); err != nil {
		return nil, err
	}
	if predicate == nil {
		predicate = json.RawMessage("{}")
	}
	text, err := json.Marshal(statement{statementType, []subject{{name, map[string]string{"sha256": digest[len("sha256:"):]}}}, predicateType, predicate})
	if err != nil {
		return nil, fmt.Errorf("write the statement: %w", err)
	}
	sig, err := s.signer.SignMessage(bytes.NewReader(dsse.PAE(inTotoType, text)))
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", digest, err)
	}
	return protojson.Marshal(&protobundle.Bundle{MediaType: MediaType,
		VerificationMaterial: &protobundle.VerificationMaterial{Content: &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{Hint: s.hint}}},
		Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{PayloadType: inTotoType, Payload: text,
			Signatures: []*protodsse.Signature{{Sig: sig, Keyid: s.hint}}}},
	})
}
