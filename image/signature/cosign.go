package signature

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// Annotations of a layer in which cosign keeps what belongs to a signature.
const (
	annotationSignature   = "dev.cosignproject.cosign/signature"
	annotationCertificate = "dev.sigstore.cosign/certificate"
	annotationChain       = "dev.sigstore.cosign/chain"
	annotationLog         = "dev.sigstore.cosign/bundle"
)

// maxPayload bounds what cosign signs of an image, and each of its annotations: both are a few kilobytes.
const maxPayload = 64 << 10

// payload is what cosign signs of an image: the simple signing format of containers.
type payload struct {
	Critical struct {
		Image struct {
			Digest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
}

// Cosign verifies a layer of cosign's older tags: what is signed, which must be of the image with this digest, and the layer's
// annotations, in which the signature stands.
func (v *Verifier) Cosign(signed []byte, annotations map[string]string, digest string) (Signature, error) {
	if len(signed) > maxPayload {
		return Signature{}, fmt.Errorf("what cosign signed has %d bytes; want at most %d", len(signed), maxPayload)
	}
	b, err := older(annotations)
	if err != nil {
		return Signature{}, err
	}
	sig, err := base64.StdEncoding.DecodeString(annotations[annotationSignature])
	if err != nil || len(sig) == 0 {
		return Signature{}, fmt.Errorf("annotation %s: want a signature in base64", annotationSignature)
	}
	sum := sha256.Sum256(signed)
	b.Content = &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{Signature: sig,
		MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: sum[:]}}}
	s, err := v.older(b, verify.WithArtifact(bytes.NewReader(signed)))
	if err != nil {
		return Signature{}, err
	}
	var p payload
	if err := json.Unmarshal(signed, &p); err != nil {
		return Signature{}, fmt.Errorf("read what cosign signed: %w", err)
	}
	if p.Critical.Type != "cosign container image signature" {
		return Signature{}, fmt.Errorf("what is signed is a %.80q and not an image", p.Critical.Type)
	}
	if p.Critical.Image.Digest != digest {
		return Signature{}, fmt.Errorf("it signs another image: %.80s; want %s", p.Critical.Image.Digest, digest)
	}
	return s, nil
}

// Attestation verifies a statement that cosign attached to a tag before there were bundles: a DSSE envelope, in JSON, and the annotations
// of its layer.
func (v *Verifier) Attestation(envelope []byte, annotations map[string]string, digest string) (Signature, error) {
	if len(envelope) > maxBundle {
		return Signature{}, fmt.Errorf("read the envelope: it has %d bytes; want at most %d", len(envelope), maxBundle)
	}
	sum, err := parseDigest(digest)
	if err != nil {
		return Signature{}, err
	}
	var e struct {
		PayloadType string `json:"payloadType"`
		Payload     []byte `json:"payload"`
		Signatures  []struct {
			Sig []byte `json:"sig"` // keyid is a hint that nobody signed
		} `json:"signatures"`
	}
	if err := json.Unmarshal(envelope, &e); err != nil {
		return Signature{}, fmt.Errorf("read the envelope: %w", err)
	}
	if len(e.Signatures) != 1 {
		return Signature{}, fmt.Errorf("read the envelope: it has %d signatures; want one", len(e.Signatures))
	}
	b, err := older(annotations)
	if err != nil {
		return Signature{}, err
	}
	b.Content = &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{PayloadType: e.PayloadType, Payload: e.Payload,
		Signatures: []*protodsse.Signature{{Sig: e.Signatures[0].Sig}}}}
	return v.older(b, verify.WithArtifactDigest("sha256", sum))
}

func (v *Verifier) older(b *protobundle.Bundle, artifact verify.ArtifactPolicyOption) (Signature, error) {
	whole, err := bundle.NewBundle(b)
	if err != nil {
		return Signature{}, fmt.Errorf("read what cosign attached: %w", err)
	}
	return v.verify(whole, artifact)
}

// older is a bundle of version 0.1 without content: what annotations say of the certificate and of the log.
func older(annotations map[string]string) (*protobundle.Bundle, error) {
	for name, value := range annotations {
		if len(value) > maxPayload {
			return nil, fmt.Errorf("annotation %.80s has %d bytes; want at most %d", name, len(value), maxPayload)
		}
	}
	material := &protobundle.VerificationMaterial{}
	if text := annotations[annotationCertificate]; text != "" {
		chain, err := certificates(text, annotations[annotationChain])
		if err != nil {
			return nil, err
		}
		material.Content = &protobundle.VerificationMaterial_X509CertificateChain{X509CertificateChain: chain}
	} else {
		material.Content = &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{}}
	}
	if text := annotations[annotationLog]; text != "" {
		entry, err := logEntry([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("annotation %s: %w", annotationLog, err)
		}
		material.TlogEntries = []*protorekor.TransparencyLogEntry{entry}
	}
	return &protobundle.Bundle{MediaType: "application/vnd.dev.sigstore.bundle+json;version=0.1", VerificationMaterial: material}, nil
}

// certificates are the signer's and those between it and a root, which is left out: only the bank's own root counts.
func certificates(leaf, chain string) (*protocommon.X509CertificateChain, error) {
	out := &protocommon.X509CertificateChain{}
	for rest := []byte(leaf + "\n" + chain); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("annotation %s or %s: %w", annotationCertificate, annotationChain, err)
		}
		if len(out.Certificates) > 0 && bytes.Equal(c.RawIssuer, c.RawSubject) {
			continue
		}
		out.Certificates = append(out.Certificates, &protocommon.X509Certificate{RawBytes: block.Bytes})
	}
	if len(out.Certificates) == 0 {
		return nil, fmt.Errorf("annotation %s: want a certificate in PEM", annotationCertificate)
	}
	return out, nil
}

// logEntry reads what cosign keeps of an entry of the transparency log Rekor: the log's promise, and the entry itself.
func logEntry(text []byte) (*protorekor.TransparencyLogEntry, error) {
	var kept struct {
		SignedEntryTimestamp []byte
		Payload              struct {
			Body           []byte `json:"body"`
			IntegratedTime int64  `json:"integratedTime"`
			LogIndex       int64  `json:"logIndex"`
			LogID          string `json:"logID"`
		}
	}
	if err := json.Unmarshal(text, &kept); err != nil {
		return nil, err
	}
	id, err := hex.DecodeString(kept.Payload.LogID)
	if err != nil || len(id) == 0 {
		return nil, errors.New("Payload.logID: want hexadecimal digits")
	}
	var kind struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := json.Unmarshal(kept.Payload.Body, &kind); err != nil {
		return nil, fmt.Errorf("Payload.body: %w", err)
	}
	return &protorekor.TransparencyLogEntry{
		LogIndex: kept.Payload.LogIndex, LogId: &protocommon.LogId{KeyId: id},
		KindVersion:      &protorekor.KindVersion{Kind: kind.Kind, Version: kind.APIVersion},
		IntegratedTime:   kept.Payload.IntegratedTime,
		InclusionPromise: &protorekor.InclusionPromise{SignedEntryTimestamp: kept.SignedEntryTimestamp}, CanonicalizedBody: kept.Payload.Body,
	}, nil
}
