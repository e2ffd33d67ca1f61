package load

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/admission"
	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/server"
)

const (
	day = 24 * time.Hour
	// waivedID is the control that is waived: host namespaces. It denies in every profile.
	waivedID = "RF-WL-02"
)

// clockSet: Ringfence's clock is set a day ahead, right, a day back, and right again, under load. What ended too early comes back,
// what is ended lets nothing in although Ringfence takes it for live, its certificate is trusted throughout, and no request is judged wrongly.
func clockSet(t *testing.T) {
	c := administrator(t)
	furnish(t, c)
	var ahead atomic.Int64
	srv, err := server.New(server.Config{
		Now: func() time.Time { return time.Now().Round(0).Add(time.Duration(ahead.Load())) },
		Webhook: server.WebhookConfig{Listen: address, URL: "https://" + address, Controls: admission.All,
			Lifetime: 30 * time.Hour, Settle: time.Second, Drain: time.Millisecond},
	}, slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	stop := background(t, func(ctx context.Context) { done <- srv.Run(ctx, rest.CopyConfig(cluster.Config)) })
	inForce(t, c)
	accept(t, c)
	first := shown(t)

	_, end := underLoad(t, c, &outage{})
	set := func(to time.Duration) {
		ahead.Store(int64(to))
		look := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{"clock":%q}}}`, to)) // else the certificate is looked at within 30 s
		if err := c.Patch(t.Context(), registration(), look); err != nil {
			t.Fatal(err)
		}
	}
	holds(t, c, "live db")
	lets(t, c, "live", true)
	set(day)
	holds(t, c, "")
	lets(t, c, "live", false)
	ringfencetest.Eventually(t, "another certificate", func() error {
		if now := shown(t); !now.After(first.Add(day / 2)) {
			return fmt.Errorf("it ends %v", now)
		}
		return nil
	})
	set(0)
	holds(t, c, "live db")
	lets(t, c, "live", true)
	set(-day)
	holds(t, c, "live ended db")
	lets(t, c, "live", true)
	lets(t, c, "ended", false)
	set(0)
	holds(t, c, "live db")
	end()
	if stop(); <-done != nil {
		t.Error("Ringfence ended with an error")
	}
}

// accept gives the tenant a waiver that is live for half a day, one that has ended, and egress that ends and that does not.
func accept(t *testing.T, c client.Client) {
	t.Helper()
	egress := `{"spec":{"egress":[{"fqdn":"db.bank.example","ports":[5432],"expires":%q,"ticket":"T-1"},{"fqdn":"mq.bank.example","ports":[5671]}]}}`
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, egress, time.Now().Add(day/2).UTC().Format(time.RFC3339)))
	if err := c.Patch(t.Context(), newTenant("payments"), patch); err != nil {
		t.Fatal(err)
	}
	masters := []string{"system:masters", "system:authenticated"}
	dave, erin := rest.ImpersonationConfig{UserName: "dave@bank.example", Groups: masters}, rest.ImpersonationConfig{UserName: "erin@bank.example", Groups: masters}
	for name, lasts := range map[string]time.Duration{"live": day / 2, "ended": 3 * time.Second} {
		w := &v1alpha1.Waiver{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: home}, Spec: v1alpha1.WaiverSpec{
			Control: waivedID, Subjects: []v1alpha1.WaiverSubject{{Kind: "Deployment", Name: name}}, Reason: "the vendor needs it", Ticket: "RISK-1",
			Owner: "frank@bank.example", Requester: dave.UserName, Expires: time.Now().Add(lasts).UTC().Format(time.RFC3339)}}
		if err := as(t, dave).Create(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		approval := fmt.Appendf(nil, `{"status":{"approval":{"approver":%q,"approvedAt":%q}}}`, erin.UserName, time.Now().UTC().Format(time.RFC3339))
		if err := as(t, erin).SubResource("status").Patch(t.Context(), w, client.RawPatch(types.MergePatchType, approval)); err != nil {
			t.Fatal(err)
		}
	}
	ringfencetest.Eventually(t, "the short waiver to end", func() error {
		var w v1alpha1.Waiver
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: home, Name: "ended"}, &w); err != nil {
			return err
		}
		if end, err := time.Parse(time.RFC3339, w.Spec.Expires); err != nil || time.Now().Before(end) {
			return fmt.Errorf("it ends %v, %w", end, err)
		}
		return nil
	})
}

// holds waits until the Guard has these waivers, by name, and db where that egress is open. What does not end is always there.
func holds(t *testing.T, c client.Client, want string) {
	t.Helper()
	ringfencetest.Eventually(t, "the Guard to hold "+want, func() error {
		var g v1alpha1.Guard
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: home, Name: v1alpha1.GuardName}, &g); err != nil {
			return err
		}
		var have []string
		for _, name := range []string{"live", "ended"} {
			if _, is := g.Spec.Waivers[v1alpha1.WaiverKey("apps", "Deployment", name)][waivedID]; is {
				have = append(have, name)
			}
		}
		if _, open := g.Spec.Egress["db.bank.example:5432"]; open {
			have = append(have, "db")
		}
		if got := strings.Join(have, " "); got != want {
			return fmt.Errorf("it holds %q", got)
		}
		if _, open := g.Spec.Egress["mq.bank.example:5671"]; !open {
			return fmt.Errorf("egress without end is closed: %v", slices.Sorted(maps.Keys(g.Spec.Egress)))
		}
		return nil
	})
}

// lets waits until a Deployment in the host's namespaces is let in or refused, and asks five times more: both doors read the
// Guard from a watch.
func lets(t *testing.T, c client.Client, name string, in bool) {
	t.Helper()
	try := func() error {
		d := deployment()
		d.GenerateName, d.Name, d.Spec.Template.Spec.HostPID = "", name, true
		err := c.Create(t.Context(), d, client.DryRunAll)
		if !in && err != nil && strings.Contains(err.Error(), waivedID+" ") || in && err == nil {
			return nil
		}
		return fmt.Errorf("got %v; want it let in: %v", err, in)
	}
	ringfencetest.Eventually(t, "Deployment "+name, try)
	for range 5 {
		if err := try(); err != nil {
			t.Errorf("Deployment %s: %v", name, err)
		}
	}
}

// shown is when the certificate that the webhook shows ends.
func shown(t *testing.T) time.Time {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].NotAfter
}
