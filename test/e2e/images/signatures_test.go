package images

import (
	"fmt"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/tenant"
)

// signatures: the Platform demands a signature. What is known of digests decides, in the API server itself; what was never looked at is
// refused, what ran is a debt; another key forgets all, and no demand is none.
func (b *bed) signatures(t *testing.T) {
	ctx := t.Context()
	later := time.Now().Add(time.Hour)
	demand := func(rules ...v1alpha1.TrustRule) {
		t.Helper()
		ringfencetest.Eventually(t, "the Platform to demand it", func() error {
			var p v1alpha1.Platform
			if err := b.admin.Get(ctx, client.ObjectKey{Name: v1alpha1.PlatformName}, &p); err != nil {
				return err
			}
			p.Spec.Images.Trust = rules
			p.Spec.Controls = map[string]v1alpha1.ControlRollout{signedID: {Action: v1alpha1.Deny}}
			b.trust.Name = ""
			if all := tenant.TrustRules(&p); len(all) > 0 {
				b.trust = all[0]
			}
			return b.admin.Update(ctx, &p)
		})
	}
	answers := func(image string, refused bool) {
		t.Helper()
		ringfencetest.Eventually(t, fmt.Sprintf("%s to be refused: %v", image, refused), func() error {
			err := b.team.Create(ctx, pod("x", image), client.DryRunAll)
			if refused {
				return ringfencetest.RefusedBy(err, signedID)
			}
			return err
		})
	}
	bank := v1alpha1.TrustRule{Name: "bank", Repositories: []v1alpha1.Registry{"registry.bank.example"},
		Keys: []v1alpha1.TrustKey{{Name: "release", PEM: "-----BEGIN PUBLIC KEY-----\nrelease"}}}
	demand(bank)
	answers(at('a'), true) // never looked at
	for d, until := range map[rune]time.Time{'a': later, 'c': {}, '9': time.Now().Add(-time.Minute)} {
		f := b.facts[digest(d)]
		f.signed = until
		b.facts[digest(d)] = f
	}
	b.write(t)
	answers(at('a'), false)
	answers(repository+":2@"+digest('a'), false)
	answers(at('c'), true)                              // lacks it
	answers(at('9'), true)                              // had it
	answers("docker.io/library/api@"+digest('a'), true) // covered by no rule

	other := bank
	other.Keys = []v1alpha1.TrustKey{{Name: "release", PEM: "-----BEGIN PUBLIC KEY-----\nanother"}}
	demand(other)
	answers(at('a'), true) // what an older key signed counts for nothing
	other.UnknownAs = "admitted"
	demand(other)
	answers(at('a'), false)
	demand()
	answers(at('c'), false)
}
