package guardrails

import (
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/internal/ringfencetest"
)

// contact is whom the Platform names.
const contact = "platform-team@bank.example"

// TestContact: a refusal says whom to ask.
func TestContact(t *testing.T) {
	b := newBed(t)
	ns := b.namespace(t)
	ringfencetest.Eventually(t, "a refusal", func() error {
		return ringfencetest.RefusedBy(b.admin.Create(t.Context(), privileged(pod(ns)), client.DryRunAll), "RF-WL-01")
	})
	err := b.admin.Create(t.Context(), privileged(pod(ns)), client.DryRunAll)
	if want := "; ask: " + contact + "; more: ringfence explain RF-WL-01"; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %v, want it to end with %s", err, want)
	}
}

// TestTokens: who asks for a token of more than a day is refused. What keeps a cluster going is never in the way.
func TestTokens(t *testing.T) {
	b := newBed(t)
	ns := b.namespace(t)
	ask := func(user, namespace string, seconds int64) error {
		t.Helper()
		as := rest.CopyConfig(b.config)
		if user != "" {
			as.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:masters"}}
		}
		c, err := kube.NewClient(as)
		if err != nil {
			t.Fatal(err)
		}
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "default"}}
		request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
		return c.SubResource("token").Create(t.Context(), account, request)
	}
	const day, year = 86400, 31536000
	ringfencetest.Eventually(t, "a token of a year to be refused", func() error { return ringfencetest.RefusedBy(ask("", ns, year), "RF-ID-08") })
	for _, user := range []string{"alice", "system:nodes:a", "system:serviceaccount:payments-dev:ci", "system:serviceaccount:kube-systems:x"} {
		if err := ringfencetest.RefusedBy(ask(user, ns, year), "RF-ID-08"); err != nil {
			t.Errorf("%s: %v", user, err)
		}
	}
	if err := ask("alice", ns, day); err != nil {
		t.Errorf("a day: %v", err)
	}
	for _, namespace := range []string{ns, "kube-system"} {
		for _, user := range []string{"system:node:worker-1", "system:kube-controller-manager", "system:serviceaccount:kube-system:some-controller"} {
			if err := ask(user, namespace, year); err != nil {
				t.Errorf("%s in %s: %v", user, namespace, err)
			}
		}
	}
}
