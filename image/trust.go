package image

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Trust says whose signatures an image must bear, and where. The zero value covers every repository and is met by nobody.
type Trust struct {
	// Name is what the bank calls it.
	Name string
	// Repositories are hosts, or hosts and paths, that it covers with all below. Empty: all.
	Repositories []string
	// Place says where it counts.
	Place
	// Keys are public keys in PEM, by what the bank calls them.
	Keys []TrustedKey
	// Identities are whom certificates name, and Root the trusted root (trusted_root.json) that says which certificates and logs count.
	Identities []TrustedIdentity
	Root       string
	// Minimum is how many of them must have signed; 0 is one.
	Minimum int
	// Attestations are predicate types, of each of which one who counts must have signed a statement about the image.
	Attestations []string
	// AdmitUnknown lets in what nobody knows the signatures of. What is known to lack them is refused all the same.
	AdmitUnknown bool
	// Age is how long the answer of a registry counts.
	Age time.Duration
}

// TrustedKey is a public key in PEM.
type TrustedKey struct{ Name, PEM string }

// TrustedIdentity is a subject as an issuer knows it, both exactly.
type TrustedIdentity struct{ Subject, Issuer string }

// ID names the rule together with what it demands, so that what was found under another demand is never taken for this one's.
func (t Trust) ID() string {
	demand, err := json.Marshal([]any{t.Keys, t.Identities, t.Root, max(t.Minimum, 1), t.Attestations})
	if err != nil {
		return t.Name + "-" // texts and numbers have a JSON
	}
	sum := sha256.Sum256(demand)
	return t.Name + "-" + hex.EncodeToString(sum[:6])
}

// Place says for whose namespaces a rule is, by the names of tenants and environments. Empty: everybody's, all. Production leaves out what is no
// production.
type Place struct {
	Tenants, Environments []string
	Production            bool
}

// For tells whether a rule is for an environment of a tenant; both are "" where a namespace is nobody's.
func (p Place) For(tenant, environment string, production bool) bool {
	return (production || !p.Production) && (len(p.Tenants) == 0 || slices.Contains(p.Tenants, tenant)) && (len(p.Environments) == 0 || slices.Contains(p.Environments, environment))
}

// Prefixes are the beginnings of references that the rule covers: of a repository itself, and of all below it. A host without a path
// has no tags, and what follows its colon would be a port.
func (t Trust) Prefixes() (all []string) {
	for _, r := range t.Repositories {
		if all = append(all, r+"/"); strings.Contains(r, "/") {
			all = append(all, r+":", r+"@")
		}
	}
	if len(t.Repositories) == 0 {
		return []string{""}
	}
	return all
}

// Covers tells whether the rule says something of an image reference.
func (t Trust) Covers(reference string) bool {
	return slices.ContainsFunc(t.Prefixes(), func(p string) bool { return strings.HasPrefix(reference, p) })
}

// Covering is the rule that counts for a reference: the first that covers it.
func Covering(rules []Trust, reference string) (Trust, bool) {
	i := slices.IndexFunc(rules, func(t Trust) bool { return t.Covers(reference) })
	if i < 0 {
		return Trust{}, false
	}
	return rules[i], true
}

// Signer is one who counts and what they signed of an image.
type Signer struct {
	Name      string // of the key, or the subject and its issuer
	Predicate string // the type of the statement; "" where it is the image itself
}

// Met says what is missing of the rule, given all who count that signed the image or a statement about it; nil where nothing is. Each
// signer counts once.
func (t Trust) Met(signers []Signer) error {
	names, missing := map[string]bool{}, []string{}
	for _, s := range signers {
		if s.Predicate == "" {
			names[s.Name] = true
		}
	}
	if want := max(t.Minimum, 1); len(names) < want {
		missing = append(missing, fmt.Sprintf("signed by %d who count, want %d", len(names), want))
	}
	for _, a := range t.Attestations {
		if !slices.ContainsFunc(signers, func(s Signer) bool { return s.Predicate == a }) {
			missing = append(missing, "no signed statement of type "+a)
		}
	}
	if len(missing) > 0 {
		return errors.New(strings.Join(missing, "; "))
	}
	return nil
}

// Signed is what is known of a digest's signatures under one rule.
type Signed struct {
	Digest string
	Trust  string    // the rule's ID
	Until  time.Time // the last second at which it counts; zero: it was looked at and does not meet the rule
	By     string    // who signed, or what is missing, in a few words
}

// KindSignatures is the kind of a file of ringfence.dev/v1alpha1 that says what Signed says, of many digests.
const KindSignatures = "ImageSignatures"

// maxTrustID bounds an ID: a name of 63, a dash and twelve digits.
const maxTrustID = 76

type signedFile struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Metadata   map[string]any `json:"metadata"`
	Spec       struct {
		Signatures []signedEntry `json:"signatures"`
	} `json:"spec"`
}

type signedEntry struct {
	Digest string     `json:"digest"`
	Trust  string     `json:"trust"`
	Until  *time.Time `json:"until,omitempty"`
	By     string     `json:"by,omitempty"`
}

// ParseSignatures reads an object of KindSignatures, as JSON. The error lists its first hundred faults, each with its field.
func ParseSignatures(text []byte) ([]Signed, error) {
	var o signedFile
	in := json.NewDecoder(bytes.NewReader(text))
	in.DisallowUnknownFields()
	if err := in.Decode(&o); err != nil {
		return nil, fmt.Errorf("read an %s: %w", KindSignatures, err)
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read an %s: want one object and nothing behind it", KindSignatures)
	}
	if o.APIVersion != "ringfence.dev/v1alpha1" || o.Kind != KindSignatures {
		return nil, fmt.Errorf("read an %s: found kind %.64q of %.64q; want that kind, of ringfence.dev/v1alpha1", KindSignatures, o.Kind, o.APIVersion)
	}
	if n := len(o.Spec.Signatures); n > maxAdmission {
		return nil, fmt.Errorf("spec.signatures: found %d entries, want at most %d; put the others into another file", n, maxAdmission)
	}
	var faults []error
	all := make([]Signed, 0, len(o.Spec.Signatures))
	for i, one := range o.Spec.Signatures {
		if !digestForm.MatchString(one.Digest) && len(faults) < 100 {
			faults = append(faults, fmt.Errorf("spec.signatures[%d].digest: found %.80q, want sha256:<64 hex digits> or sha512:<128>, in lower case", i, one.Digest))
		}
		if (one.Trust == "" || len(one.Trust) > maxTrustID) && len(faults) < 100 {
			faults = append(faults, fmt.Errorf("spec.signatures[%d].trust: found %.80q, want a trust rule as ringfence image check writes it", i, one.Trust))
		}
		s := Signed{Digest: one.Digest, Trust: one.Trust, By: Brief(one.By)}
		if one.Until != nil {
			s.Until = one.Until.UTC()
		}
		all = append(all, s)
	}
	return all, errors.Join(faults...)
}

// ParseFacts reads an object of KindAdmission or of KindSignatures, as JSON.
func ParseFacts(text []byte) ([]Admitted, []Signed, error) {
	var is struct {
		Kind string `json:"kind"`
	}
	if err := json.Unmarshal(text, &is); err == nil && is.Kind == KindSignatures {
		signed, err := ParseSignatures(text)
		return nil, signed, err
	}
	all, err := ParseAdmission(text)
	return all, nil, err
}

// Signatures writes an object of KindSignatures, as JSON: what ParseSignatures reads.
func Signatures(all []Signed) ([]byte, error) {
	if len(all) > maxAdmission {
		return nil, fmt.Errorf("write an %s: found %d entries, want at most %d", KindSignatures, len(all), maxAdmission)
	}
	o := signedFile{APIVersion: "ringfence.dev/v1alpha1", Kind: KindSignatures, Metadata: map[string]any{"name": "signatures"}}
	o.Spec.Signatures = []signedEntry{}
	for _, s := range all {
		e := signedEntry{Digest: s.Digest, Trust: s.Trust, By: Brief(s.By)}
		if !s.Until.IsZero() {
			e.Until = &s.Until
		}
		o.Spec.Signatures = append(o.Spec.Signatures, e)
	}
	text, err := json.MarshalIndent(o, "", " ")
	return append(text, '\n'), err
}

// Newest is what is known by two lists, of a digest and a rule once: an entry of the first counts before one of the second.
func Newest(first, second []Signed) []Signed {
	all := slices.Concat(first, second)
	slices.SortStableFunc(all, func(a, b Signed) int { return cmp.Or(cmp.Compare(a.Digest, b.Digest), cmp.Compare(a.Trust, b.Trust)) })
	return slices.CompactFunc(all, func(a, b Signed) bool { return a.Digest == b.Digest && a.Trust == b.Trust })
}

// Longest is what a list says, of a digest and a rule once: that which counts longest. That it lacks a signature counts where nobody says that it
// bears one.
func Longest(all []Signed) []Signed {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b Signed) int {
		return cmp.Or(cmp.Compare(a.Digest, b.Digest), cmp.Compare(a.Trust, b.Trust), b.Until.Compare(a.Until))
	})
	return slices.CompactFunc(all, func(a, b Signed) bool { return a.Digest == b.Digest && a.Trust == b.Trust })
}

// Bears judges a reference by the rules for its namespace and what is known of its digest. No rules at all demand nothing; a reference
// that none of them covers is refused.
func Bears(rules []Trust, reference string, known []Signed, now time.Time) Reason {
	if len(rules) == 0 {
		return Reason{Outcome: Allow, Text: "no signature is demanded"}
	}
	t, ok := Covering(rules, reference)
	if !ok {
		return Reason{Outcome: Deny, Text: "no trust rule covers it"}
	}
	unknown := Reason{Outcome: Undecided, Text: "no signature is known, as rule " + t.Name + " demands"}
	if t.AdmitUnknown {
		unknown.Outcome = Warn
	}
	id := t.ID()
	i := slices.IndexFunc(known, func(s Signed) bool { return s.Trust == id })
	switch {
	case i < 0:
		return unknown
	case known[i].Until.IsZero():
		return Reason{Outcome: Deny, Text: "not signed as rule " + t.Name + " demands: " + known[i].By}
	case now.Truncate(time.Second).After(known[i].Until):
		unknown.Text, unknown.Since = "its signature counted until "+stamp(known[i].Until)+", under rule "+t.Name, known[i].Until
		return unknown
	}
	return Reason{Outcome: Allow, Until: known[i].Until.Add(time.Second), Text: "signed by " + known[i].By + ", as rule " + t.Name + " demands"}
}
