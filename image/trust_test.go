package image_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/image"
)

// TestBears: the first rule that covers a reference counts, and nothing but a signature under it, as it stands now, lets it in.
func TestBears(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	keys := []image.TrustedKey{{Name: "bank", PEM: "A"}}
	bank := image.Trust{Name: "bank", Repositories: []string{"r.bank.example/pay"}, Keys: keys}
	other := bank
	other.Keys = []image.TrustedKey{{Name: "bank", PEM: "B"}}
	lax := image.Trust{Name: "lax", Repositories: []string{"r.bank.example"}, Keys: keys, AdmitUnknown: true}
	digest := "sha256:" + strings.Repeat("a", 64)
	rules := []image.Trust{bank, lax}
	known := func(rule image.Trust, until time.Time) []image.Signed {
		return []image.Signed{{Digest: digest, Trust: rule.ID(), Until: until, By: "key bank"}}
	}
	for what, tc := range map[string]struct {
		rules     []image.Trust
		reference string
		known     []image.Signed
		want      image.Outcome
	}{
		"no rules":                        {nil, "x@" + digest, nil, image.Allow},
		"covered by none":                 {rules, "docker.io/library/x@" + digest, nil, image.Deny},
		"another host that begins so":     {rules, "r.bank.example.evil.example/x@" + digest, nil, image.Deny},
		"another port":                    {rules, "r.bank.example:5000/pay/x@" + digest, nil, image.Deny},
		"another case":                    {rules, "R.bank.example/pay/x@" + digest, known(bank, now), image.Deny},
		"not known":                       {rules, "r.bank.example/pay/x@" + digest, nil, image.Undecided},
		"not known where that is let in":  {rules, "r.bank.example/payments/x@" + digest, nil, image.Warn},
		"known to lack it, there":         {rules, "r.bank.example/payments/x@" + digest, known(lax, time.Time{}), image.Deny},
		"signed":                          {rules, "r.bank.example/pay/x:1@" + digest, known(bank, now.Add(time.Hour)), image.Allow},
		"signed, the repository itself":   {rules, "r.bank.example/pay:1@" + digest, known(bank, now.Add(time.Hour)), image.Allow},
		"the last second":                 {rules, "r.bank.example/pay@" + digest, known(bank, now), image.Allow},
		"over":                            {rules, "r.bank.example/pay/x@" + digest, known(bank, now.Add(-time.Second)), image.Undecided},
		"signed under another rule":       {rules, "r.bank.example/pay/x@" + digest, known(lax, now.Add(time.Hour)), image.Undecided},
		"signed by the key before it was": {rules, "r.bank.example/pay/x@" + digest, known(other, now.Add(time.Hour)), image.Undecided},
	} {
		if got := image.Bears(tc.rules, tc.reference, tc.known, now); got.Outcome != tc.want {
			t.Errorf("%s: %s (%s), want %s", what, got.Outcome, got.Text, tc.want)
		}
	}
}

// TestMet: as many as the rule says, each once, and every statement; a statement is no signature of the image.
func TestMet(t *testing.T) {
	const slsa = "https://slsa.dev/provenance/v1"
	a, b, said := image.Signer{Name: "key a"}, image.Signer{Name: "key b"}, image.Signer{Name: "key a", Predicate: slsa}
	two := image.Trust{Minimum: 2, Attestations: []string{slsa}}
	for _, tc := range []struct {
		rule    image.Trust
		signers []image.Signer
		want    bool
	}{
		{image.Trust{}, nil, false},
		{image.Trust{}, []image.Signer{said}, false},
		{image.Trust{}, []image.Signer{a}, true},
		{two, []image.Signer{a, a, said}, false},
		{two, []image.Signer{a, b}, false},
		{two, []image.Signer{a, b, said}, true},
	} {
		if err := tc.rule.Met(tc.signers); (err == nil) != tc.want {
			t.Errorf("%v with %v: %v, want met: %v", tc.rule, tc.signers, err, tc.want)
		}
	}
}

// TestSignatures: what is written is read again, the first of two counts, and each fault names its field.
func TestSignatures(t *testing.T) {
	at := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	digest := "sha256:" + strings.Repeat("a", 64)
	all := []image.Signed{{Digest: digest, Trust: "bank-1", Until: at, By: "key bank"}, {Digest: digest, Trust: "bank-2", By: "nobody"}}
	text, err := image.Signatures(image.Newest(all, []image.Signed{{Digest: digest, Trust: "bank-1", By: "before"}}))
	if err != nil {
		t.Fatal(err)
	}
	_, got, err := image.ParseFacts(text)
	if err != nil || !slices.Equal(got, all) {
		t.Fatalf("%v, %v; want %v", got, err, all)
	}
	x := image.NewIndex(nil, got...)
	if a, known := x.Find(digest); !known || !a.Until().IsZero() || !slices.Equal(x.Signed(digest), all) {
		t.Errorf("%+v, %v, %v", a, known, x.Signed(digest))
	}
	for file, words := range map[string]string{
		`{"digest":"latest","trust":"a"}`:                          "spec.signatures[0].digest",
		`{"digest":"` + digest + `"}`:                              "spec.signatures[0].trust",
		`{"digest":"` + digest + `","trust":"a","signed":true}`:    "unknown field",
		`{"digest":"` + digest + `","trust":"a","until":"31 Dec"}`: "31 Dec",
	} {
		_, _, err := image.ParseFacts([]byte(`{"apiVersion":"ringfence.dev/v1alpha1","kind":"ImageSignatures","spec":{"signatures":[` + file + `]}}`))
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v, want a fault with %q", file, err, words)
		}
	}
}

// TestLongest: of several answers under one rule, in whichever order, that which counts longest counts, and a no only where there is no yes.
func TestLongest(t *testing.T) {
	at, digest := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), "sha256:"+strings.Repeat("a", 64)
	no := image.Signed{Digest: digest, Trust: "bank-1", By: "nobody"}
	short, long, other := no, no, no
	short.Until, long.Until, other.Trust = at, at.Add(time.Hour), "bank-2"
	for _, all := range [][]image.Signed{{no, short, other, long}, {long, other, short, no}, {other, no, long, short}} {
		if got := image.NewIndex(nil, all...).Signed(digest); !slices.Equal(got, []image.Signed{long, other}) {
			t.Errorf("of %v counts %v", all, got)
		}
	}
}

// FuzzParseFacts: no bytes make it fault, and what it takes can be written again.
func FuzzParseFacts(f *testing.F) {
	f.Add([]byte(`{"apiVersion":"ringfence.dev/v1alpha1","kind":"ImageSignatures","spec":{"signatures":[{"digest":"sha256:aa","trust":"a","until":"2026-12-01T00:00:00Z"}]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, signed, err := image.ParseFacts(text)
		if err != nil {
			return
		}
		image.NewIndex(nil, signed...)
		if _, err := image.Signatures(signed); err != nil {
			t.Error(err)
		}
	})
}
