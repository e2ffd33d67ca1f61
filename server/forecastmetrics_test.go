package server

import (
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/image"
)

// TestForecast: a digest counts once a tenant, however many pods run it, and where it is refused at that time; one of which nothing is known is
// refused now; of several rules the one that refuses first counts.
func TestForecast(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	digest := func(c string) string { return "sha256:" + strings.Repeat(c, 64) }
	known := func(c string, until time.Duration) image.Admitted {
		return image.Admitted{Digest: digest(c), ScannedUntil: now.Add(until), CleanUntil: image.Never()}
	}
	index := image.NewIndex([]image.Admitted{known("a", 30*24*time.Hour), known("b", 5*24*time.Hour), known("c", time.Hour), known("d", -time.Second), known("e", 0),
		{Digest: digest("a"), Rule: "strict", ScannedUntil: now.Add(time.Hour), CleanUntil: image.Never()}})
	guard := func(namespace, tenant string) v1alpha1.Guard {
		return v1alpha1.Guard{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.GuardName, Namespace: namespace}, Spec: v1alpha1.GuardSpec{Tenant: tenant}}
	}
	pod := func(namespace string, images ...string) corev1.Pod {
		p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace}}
		for _, c := range images {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Image: "r.example/a@" + digest(c)})
		}
		return p
	}
	got := forecast(index, []v1alpha1.Guard{guard("payments-dev", "payments"), guard("payments-prod", "payments"), guard("cards-dev", "cards"), guard("ringfence-system", "")},
		[]corev1.Pod{pod("payments-dev", "a", "b", "c"), pod("payments-prod", "b", "d", "e", "f"), pod("kube-system", "f"), {ObjectMeta: metav1.ObjectMeta{Namespace: "cards-dev"},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: "r.example/a:tag"}}}}}, now)
	strict := guard("payments-prod", "payments")
	strict.Spec.Images = &v1alpha1.GuardImages{Rule: "strict"}
	if got := forecast(index, []v1alpha1.Guard{guard("payments-dev", "payments"), strict}, []corev1.Pod{pod("payments-prod", "a"), pod("payments-dev", "a")}, now); !maps.Equal(got["payments"], map[string]int{"1d": 1, "14d": 1}) {
		t.Errorf("where another rule holds in one namespace: %v", got)
	}
	if len(got) != 2 || len(got["cards"]) != 0 || !maps.Equal(got["payments"], map[string]int{"now": 2, "1d": 4, "14d": 5}) {
		t.Errorf("%v", got)
	}
}
