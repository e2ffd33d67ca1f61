package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/image/signature"
)

// within is how long one image may take.
const within = time.Minute

// Verifier knows the bank's rules about signatures, and asks registries whether images meet them. What no registry answered is no
// knowledge: the caller keeps what it knew, until its end. It is safe for use by several goroutines.
type Verifier struct {
	client *Client
	rules  []rule
}

type rule struct {
	image.Trust
	id       string
	verifier *signature.Verifier
}

// NewVerifier makes a Verifier. The error names each rule whose keys or root cannot be read.
func NewVerifier(client *Client, rules []image.Trust) (*Verifier, error) {
	v := &Verifier{client: client}
	var faults []error
	for _, t := range rules {
		trust := signature.Trust{Root: []byte(t.Root)}
		for _, k := range t.Keys {
			trust.Keys = append(trust.Keys, signature.Key{Name: k.Name, PEM: []byte(k.PEM)})
		}
		for _, i := range t.Identities {
			trust.Identities = append(trust.Identities, signature.Identity{Subject: i.Subject, Issuer: i.Issuer})
		}
		verifier, err := signature.New(trust)
		if err != nil {
			faults = append(faults, fmt.Errorf("spec.images.trust, rule %s: %w", t.Name, err))
			continue
		}
		v.rules = append(v.rules, rule{t, t.ID(), verifier})
	}
	return v, errors.Join(faults...)
}

// Answer is what a registry shows of one image.
type Answer struct {
	// Image is the reference with the digest that it meant when it was looked up.
	Image Image
	// Signed is what is known by it, under each rule that covers the image.
	Signed []image.Signed
	// Refused are what was found and does not count, and why; of the first rule that covers the image.
	Refused []string
}

// maxRefused bounds what is told of signatures that do not count.
const maxRefused = 20

// Ask asks the registry of an image, once, for what is attached to it. The error is ErrAway, ErrMissing, or says what
// is wrong with the reference or too large: then nothing is known.
func (v *Verifier) Ask(ctx context.Context, reference string, now time.Time) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	covering := slices.DeleteFunc(slices.Clone(v.rules), func(r rule) bool { return !r.Covers(reference) })
	client := v.client
	if ref, err := name.ParseReference(reference); err == nil { // else Resolve says it
		client = client.about(ctx, ref.Context())
	}
	at, err := client.Resolve(ctx, reference)
	if err != nil || len(covering) == 0 {
		return Answer{Image: at}, err
	}
	attached, err := client.Attached(ctx, at)
	if err != nil {
		return Answer{Image: at}, err
	}
	answer := Answer{Image: at}
	for n, r := range covering {
		signers, refused := r.count(attached, at.Digest(), now)
		if n == 0 {
			answer.Refused = refused[:min(len(refused), maxRefused)]
		}
		s := image.Signed{Digest: at.Digest(), Trust: r.id}
		if missing := r.Met(signers); missing != nil {
			s.By = missing.Error()
		} else {
			s.By, s.Until = names(signers), now.UTC().Truncate(time.Second).Add(r.Age)
		}
		answer.Signed = append(answer.Signed, s)
	}
	return answer, nil
}

// count is who counts of what is attached, and why the others do not.
func (r rule) count(attached []Attached, digest string, now time.Time) (signers []image.Signer, refused []string) {
	for _, a := range attached {
		s, err := Verify(r.verifier, a, digest)
		if err == nil && s.Predicate == image.PredicateVerdict {
			err = admits(s.Statement, digest, now)
		}
		if err != nil {
			refused = append(refused, a.From+": "+err.Error())
			continue
		}
		who := image.Signer{Name: "key " + s.Key, Predicate: s.Predicate}
		if s.Key == "" {
			who.Name = s.Identity + " of " + s.Issuer
		}
		if s.Predicate == signature.PredicateImage {
			who.Predicate = ""
		}
		signers = append(signers, who)
	}
	return signers, refused
}

// admits is nil where a verdict lets the image run now; one that refuses it is no statement in its favour.
func admits(statement []byte, digest string, now time.Time) error {
	v, err := image.ParseStatement(statement, digest)
	if err == nil && !v.Admits(now) {
		err = fmt.Errorf("its verdict of %s is %s, and does not let it run now", v.At.Format(time.RFC3339), v.Outcome)
	}
	return err
}

// Verify says who signed what a registry keeps with the image of a digest.
func Verify(v *signature.Verifier, a Attached, digest string) (signature.Signature, error) {
	switch a.Kind {
	case Cosign:
		return v.Cosign(a.Content, a.Annotations, digest)
	case Envelope:
		return v.Attestation(a.Content, a.Annotations, digest)
	}
	return v.Bundle(a.Content, digest)
}

// names are those who signed the image itself, each once.
func names(signers []image.Signer) string {
	var all []string
	for _, s := range signers {
		if s.Predicate == "" && !slices.Contains(all, s.Name) {
			all = append(all, s.Name)
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}
