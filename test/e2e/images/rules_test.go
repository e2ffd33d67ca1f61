package images

import (
	"fmt"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/ringfencetest"
)

// rules: of one image the API server says in each environment what the rule there says. Until anything is judged by a rule that is new, what was
// known holds; a rule that goes leaves the bank's own.
func (b *bed) rules(t *testing.T, clean string) {
	ctx := t.Context()
	state := func(rules ...v1alpha1.ImageRule) {
		t.Helper()
		ringfencetest.Eventually(t, "the Platform to have its rules", func() error {
			var p v1alpha1.Platform
			if err := b.admin.Get(ctx, client.ObjectKey{Name: v1alpha1.PlatformName}, &p); err != nil {
				return err
			}
			p.Spec.Images.Rules = rules
			return b.admin.Update(ctx, &p)
		})
	}
	ringfencetest.Eventually(t, "another environment", func() error {
		var payments v1alpha1.Tenant
		if err := b.admin.Get(ctx, client.ObjectKey{Name: "payments"}, &payments); err != nil {
			return err
		}
		payments.Spec.Environments = []v1alpha1.Environment{{Name: "dev"}, {Name: "prod"}}
		return b.admin.Update(ctx, &payments)
	})
	answers := func(what, namespace, image, control, rule string) {
		t.Helper()
		began := time.Now()
		defer func() { t.Logf("%s after %v", what, time.Since(began).Round(100*time.Millisecond)) }()
		ringfencetest.Eventually(t, what, func() error {
			var g v1alpha1.Guard
			if err := b.admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: v1alpha1.GuardName}, &g); err != nil {
				return err
			}
			if g.Spec.Images == nil || g.Spec.Images.Rule != rule {
				return fmt.Errorf("the Guard's images: %+v", g.Spec.Images)
			}
			p := pod("x", image)
			p.Namespace = namespace
			err := b.team.Create(ctx, p, client.DryRunAll)
			if control == "" {
				return err
			}
			return ringfencetest.RefusedBy(err, control)
		})
	}
	answers("the bank's own rule everywhere", "payments-prod", clean, "", "")
	state(v1alpha1.ImageRule{Name: "production", Environments: []string{"prod"}, DenySeverity: 1})
	answers("a weak vulnerability refused by the rule of production", "payments-prod", clean, vulnerabilityID, "production")
	answers("and by no other", namespace, clean, "", "")
	state(v1alpha1.ImageRule{Name: "payments", Tenants: []string{"payments"}, Scanners: []string{"qualys"}}, v1alpha1.ImageRule{Name: "production", Environments: []string{"prod"}, DenySeverity: 1})
	answers("the first rule that is for it", "payments-prod", clean, scanID, "payments")
	answers("and here", namespace, clean, scanID, "payments")
	state()
	answers("no rule for some any more", "payments-prod", clean, "", "")
	answers("and here", namespace, clean, "", "")
}
