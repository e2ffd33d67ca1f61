package faults

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/admission"
	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/policy/bundle"
)

// lease is that of the replicas here: short, so that a test need not wait, and long beside a busy machine.
const lease = 6 * time.Second

// TestReplicas: of several processes one writes, and all answer. The leader is killed under load: another leads within the
// lease, no request that the survivor was asked about fails, and nothing is written twice. One that is told to end gives the
// lease back, and while nobody leads, one that only answers does.
func TestReplicas(t *testing.T) {
	b := newBed(t)
	first := b.start(t, order{Name: "replica-a", Lease: lease})
	b.front.to(first.address)
	b.furnish(t)
	second := b.start(t, order{Name: "replica-b", Lease: lease})
	third := b.start(t, order{Name: "replica-c", WebhookOnly: true})
	ringfencetest.Eventually(t, "the second replica to be ready", second.ready)
	ringfencetest.Eventually(t, "the third replica to be ready", third.ready)
	b.front.to(second.address)
	ns := b.namespace(t)

	load, stop := context.WithCancel(t.Context())
	asked, failed := make(chan int, 1), atomic.Pointer[error]{}
	go func() {
		n := 0
		for ; load.Err() == nil; n++ {
			if err := b.good(load, ns); err != nil && load.Err() == nil {
				failed.CompareAndSwap(nil, &err)
			}
		}
		asked <- n
	}()
	leader, begun := b.holder(t), time.Now()
	b.binding(t, "with both")
	killed := time.Now()
	first.kill()
	ringfencetest.Eventually(t, "another leader", func() error {
		if now := b.holder(t); now == leader {
			return fmt.Errorf("the lease is still held by %s", now)
		}
		return nil
	})
	took := time.Since(killed)
	if took > 2*lease { // the lease, a few tries apart, and a machine that does other things
		t.Errorf("another led after %v; want it within the lease of %v", took, lease)
	}
	back := b.binding(t, "with the leader killed")

	b.front.to(third.address) // it was never asked before, and has never led
	if err := second.terminate(); err != nil {
		t.Errorf("a replica that was told to end: %v", err)
	}
	if h := b.holder(t); h != "" {
		t.Errorf("the leader ended and the lease is still held by %s", h)
	}
	if err := b.good(t.Context(), ns); err != nil {
		t.Errorf("while nobody leads: %v", err)
	}
	stop()
	if n := <-asked; n == 0 || failed.Load() != nil {
		t.Errorf("%d requests were made while replicas went; one failed: %v", n, *failed.Load())
	} else {
		t.Logf("%d requests, none failed; another led %v after the leader was killed, and put back %v later", n, took.Round(time.Millisecond), back.Round(time.Millisecond))
	}
	b.wroteAlone(t, begun, killed)
	if err := third.terminate(); err != nil {
		t.Errorf("the replica that only answers: %v", err)
	}
}

// holder is who holds the lease.
func (b *bed) holder(t *testing.T) string {
	t.Helper()
	var l coordinationv1.Lease
	if err := b.Get(t.Context(), client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: "ringfence"}, &l); err != nil {
		t.Fatal(err)
	}
	if l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

// binding deletes a binding and waits until it is back.
func (b *bed) binding(t *testing.T, when string) time.Duration {
	t.Helper()
	o := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: bundle.Name("objects", "Deny")}}
	if err := b.Delete(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	ringfencetest.Eventually(t, when+", a deleted binding to be back", func() error { return b.Get(t.Context(), client.ObjectKeyFromObject(o), o.DeepCopy()) })
	return time.Since(begun)
}

// wroteAlone reads in the audit events who wrote what: one leads at a time, and what came back since begun was made once.
func (b *bed) wroteAlone(t *testing.T, begun, killed time.Time) {
	t.Helper()
	file, err := os.Open(events)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	spans, made := map[string][2]time.Time{}, 0
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var e struct {
			Stage, Verb, UserAgent string
			StageTimestamp         time.Time
			ObjectRef              struct{ Resource, Namespace, Name string }
			ResponseStatus         struct{ Code int }
		}
		if json.Unmarshal(lines.Bytes(), &e) != nil || e.Stage != "ResponseComplete" || !strings.HasPrefix(e.UserAgent, "replica-") || e.ResponseStatus.Code >= 300 {
			continue
		}
		own := e.ObjectRef.Resource == "leases" || e.ObjectRef.Name == "ringfence-webhook-trust" || // what each replica writes for itself
			strings.HasPrefix(e.ObjectRef.Resource, "validatingwebhook") || e.ObjectRef.Name == "ringfence-heartbeat" || strings.Contains(e.ObjectRef.Name, "canary")
		if own || e.ObjectRef.Resource == "configmaps" {
			continue
		}
		if e.Verb == "create" && e.StageTimestamp.After(begun) && e.ObjectRef.Resource == "validatingadmissionpolicybindings" && e.ObjectRef.Name == bundle.Name("objects", "Deny") {
			made++
		}
		span, ok := spans[e.UserAgent]
		if !ok {
			span[0] = e.StageTimestamp
		}
		span[1] = e.StageTimestamp
		spans[e.UserAgent] = span
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if _, wrote := spans["replica-c"]; wrote || spans["replica-a"][0].IsZero() || spans["replica-b"][0].Before(killed) {
		t.Errorf("writes from and to %v; want one replica at a time: a until %v, then b, and never c", spans, killed)
	}
	if made != 2 {
		t.Errorf("the binding was made %d times; want 2: after each of two deletions", made)
	}
}

func registered() *admissionv1.ValidatingWebhookConfiguration {
	return &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: admission.RegistrationName}}
}
