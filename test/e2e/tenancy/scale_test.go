package tenancy

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/tenant"
)

// envTenants is how many tenants of three environments BenchmarkTenants onboards.
const envTenants = "RINGFENCE_TENANTS"

// BenchmarkTenants onboards many tenants at once, from cold, looks at all of them anew, and changes one: how long the first takes, how many
// writes the second costs, and how soon the third is in its Guards: behind the look at all of them, and again at rest.
//
//	RINGFENCE_TENANTS=1000 go test -run '^$' -bench Tenants -benchtime 1x -timeout 20m ./test/e2e/tenancy
func BenchmarkTenants(b *testing.B) {
	count := 50
	if text := os.Getenv(envTenants); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			b.Fatalf("%s=%q: want how many tenants", envTenants, text)
		}
		count = n
	}
	b.ReportMetric(0, "ns/op")
	for round := range b.N {
		s := many(b, fmt.Sprintf("bench%d", round), count)
		b.ReportMetric(s.cold.Seconds(), "s-from-cold")
		b.ReportMetric(float64(s.writes)/float64(count), "writes/tenant")
		b.ReportMetric(float64(s.idle), "idle-writes")
		b.ReportMetric(float64(s.behind.Milliseconds()), "ms-to-guards-behind-all")
		b.ReportMetric(float64(s.reach.Milliseconds()), "ms-to-guards")
	}
}

// TestManyTenants is the same with fifty, and holds it to what does not depend on the machine: an unchanged estate costs no writes.
func TestManyTenants(t *testing.T) {
	s := many(t, "many", 50)
	t.Logf("50 tenants of 3 environments: %v from cold, %d writes; a change of one is in its Guards after %v", s.cold, s.writes, s.reach)
	if s.idle != 0 {
		t.Errorf("looking at an unchanged estate writes %d times", s.idle)
	}
}

// scale is what many tenants cost.
type scale struct {
	cold          time.Duration
	behind, reach time.Duration // of one change: while all are looked at, and at rest, where it is the middle one of five
	writes, idle  int64
}

// many onboards tenants and measures; it leaves them there.
func many(t testing.TB, prefix string, count int) (s scale) {
	ctx, began, before := t.Context(), time.Now(), writes.Load()
	work := make(chan int)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range work {
				o := newTenant(fmt.Sprintf("%s-%d", prefix, i), func(t *v1alpha1.Tenant) {
					t.Spec.Environments = []v1alpha1.Environment{{Name: "dev"}, {Name: "test"}, {Name: "prod", Production: true}}
				})
				if err := admin.Create(ctx, o); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range count {
		work <- i
	}
	close(work)
	all.Wait()
	await(t, 20*time.Minute, time.Second/2, func() error {
		var list v1alpha1.TenantList
		if err := admin.List(ctx, &list); err != nil {
			return err
		}
		ready := 0
		for _, o := range list.Items {
			if len(o.Name) > len(prefix) && o.Name[:len(prefix)+1] == prefix+"-" && apimeta.IsStatusConditionTrue(o.Status.Conditions, tenant.ConditionReady) {
				ready++
			}
		}
		if ready < count {
			return fmt.Errorf("%d of %d tenants are ready", ready, count)
		}
		return nil
	})
	s.cold = time.Since(began)
	quiet(t)
	s.writes = writes.Load() - before

	// A change of the Platform that changes nothing has every tenant and every namespace looked at.
	before = writes.Load()
	look := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"metadata":{"annotations":{"look":%q}}}`, time.Now()))
	if err := admin.Patch(ctx, &v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.PlatformName}}, look); err != nil {
		t.Fatal(err)
	}
	quiet(t)
	s.idle = writes.Load() - before

	one := fmt.Sprintf("%s-%d", prefix, count/2)
	s.behind = reach(ctx, t, one, "late.bank.example") // nothing is written for two seconds, and yet many may be looked at
	var rested []time.Duration
	for i := range 5 {
		time.Sleep(2 * time.Second) // the cluster's own controllers are busy with so many namespaces too
		rested = append(rested, reach(ctx, t, one, fmt.Sprintf("later-%d.bank.example", i)))
	}
	slices.Sort(rested)
	s.reach = rested[len(rested)/2]
	return s
}

// reach grants a tenant a host and waits until all its Guards say so.
func reach(ctx context.Context, t testing.TB, name, host string) time.Duration {
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"grants":{"hosts":[%q]}}}`, host))
	if err := admin.Patch(ctx, newTenant(name, nil), patch); err != nil {
		t.Fatal(err)
	}
	return await(t, time.Minute, 20*time.Millisecond, func() error {
		for _, env := range []string{"dev", "test", "prod"} {
			var g v1alpha1.Guard
			if err := admin.Get(ctx, client.ObjectKey{Namespace: name + "-" + env, Name: v1alpha1.GuardName}, &g); err != nil {
				return err
			}
			if len(g.Spec.Grants.Hosts) != 1 || string(g.Spec.Grants.Hosts[0]) != host {
				return fmt.Errorf("the Guard of %s has not heard of it", g.Namespace)
			}
		}
		return nil
	})
}

// quiet waits until two seconds pass without a write.
func quiet(t testing.TB) {
	last, since := writes.Load(), time.Now()
	await(t, time.Minute, 50*time.Millisecond, func() error {
		if now := writes.Load(); now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) < 2*time.Second {
			return fmt.Errorf("%d writes, the last %v ago", last, time.Since(since))
		}
		return nil
	})
}

// await tries every so often until there is no error, and returns how long that took.
func await(t testing.TB, within, every time.Duration, check func() error) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		err := check()
		if err == nil {
			return time.Since(began)
		}
		if time.Since(began) > within {
			t.Fatalf("still not so after %v: %v", within, err)
		}
		time.Sleep(every)
	}
}
