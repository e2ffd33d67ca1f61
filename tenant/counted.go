package tenant

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
)

// ConditionScanned of a Tenant is True where status.findings counts all that stands in its namespaces.
const ConditionScanned = "Scanned"

// The reasons of ConditionScanned, the one that says most first. What is not seen is unknown and never clean.
//
//	reason       status   what the message tells the user to do
//	NotScanned   Unknown  run Ringfence without --no-scan; there are no counts
//	NotJudged    False    wait: the scan began anew and has not judged everything, the counts are those of before
//	NotRead      False    let Ringfence list and watch the resources that it names
//	NotGuarded   False    see why the namespace that it names has no Guard
//	Behind       False    wait: something changed and is not judged yet
//	Seen         True     nothing
const (
	ReasonNotScanned = "NotScanned"
	ReasonNotJudged  = "NotJudged"
	ReasonNotRead    = "NotRead"
	ReasonNotGuarded = "NotGuarded"
	ReasonBehind     = "Behind"
	ReasonSeen       = "Seen"
)

const (
	// DefaultCountEvery is how often the counts of one tenant are written at most.
	DefaultCountEvery = time.Minute
	// countLook is how often it is looked whether they are others.
	countLook = 5 * time.Second
	// countNames is how many resources or namespaces a message names.
	countNames = 5
)

// Stock is what stands in one namespace, as the background scan found.
type Stock struct {
	// Open are how many findings are open, by severity; Waived is how many are waived.
	Open   map[finding.Severity]int
	Waived int
	// Unjudged says that objects there cannot be judged, for want of a Guard.
	Unjudged bool
	// Waiting is since when the oldest object waits that is to be judged; zero where none does.
	Waiting time.Time
}

// Scanned is what the background scan knows.
type Scanned struct {
	// Off says that nothing is scanned.
	Off bool
	// Started is when the scan began, and Whole says that it has judged everything once since.
	Started time.Time
	Whole   bool
	// Unread are resources that cannot be listed or watched.
	Unread []string
	// Namespaces are those of which something is known.
	Namespaces map[string]Stock
}

// Counter writes to each Tenant how many findings are open in its namespaces. It writes where something is another, each Tenant once in Every at
// most, and nothing where all is as it was. The manager runs it on the replica that leads.
type Counter struct {
	Client client.Client
	// Scanned is what the scan knows now; false while that is not known.
	Scanned func() (Scanned, bool)
	// Every is DefaultCountEvery where it is zero.
	Every time.Duration
	Now   func() time.Time
	Log   *slog.Logger

	last map[types.UID]time.Time // when each Tenant was tried last; of the one goroutine of Start
}

// Start counts until ctx ends.
func (c *Counter) Start(ctx context.Context) error {
	if c.Every == 0 {
		c.Every = DefaultCountEvery
	}
	c.last = map[types.UID]time.Time{}
	ticker := time.NewTicker(min(c.Every/4, countLook))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := c.count(ctx); err != nil && ctx.Err() == nil {
			c.Log.Error("how many findings are open is not in the status of every tenant; trying again", "err", err)
		}
	}
}

// count looks at each Tenant once.
func (c *Counter) count(ctx context.Context) error {
	scanned, known := c.Scanned()
	if !known {
		return nil
	}
	var list v1alpha1.TenantList
	if err := c.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list tenants: %w", err)
	}
	var faults []error
	last := make(map[types.UID]time.Time, len(list.Items))
	for i := range list.Items {
		t := &list.Items[i]
		now := c.Now()
		if tried, ok := c.last[t.UID]; ok && now.Sub(tried) < c.Every && !now.Before(tried) {
			last[t.UID] = tried
			continue
		}
		status := counted(t, scanned, c.Every, now)
		if equality.Semantic.DeepEqual(t.Status, status) {
			continue
		}
		t = t.DeepCopy() // it is the cache's
		t.Status = status
		err := c.Client.Status().Update(ctx, t)
		if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
			continue // the cache was behind: the next look sees it as it is
		}
		last[t.UID] = now
		if err != nil {
			faults = append(faults, fmt.Errorf("write the counts of tenant %s: %w", t.Name, err))
		}
	}
	c.last = last
	return errors.Join(faults...)
}

// counted is the status of a tenant with what the scan knows; the status as it is while that is about to change. What waits or was begun for less
// than a while is given that time: a scan that begins anew is no news.
func counted(t *v1alpha1.Tenant, s Scanned, while time.Duration, now time.Time) v1alpha1.TenantStatus {
	status := *t.Status.DeepCopy()
	if s.Off {
		status.Findings = nil
		setScanned(&status, metav1.ConditionUnknown, ReasonNotScanned, "no background scan runs, so what stands here is not known; fix: run ringfence serve without --no-scan", now)
		return status
	}
	if !s.Whole {
		if now.Sub(s.Started) >= while {
			setScanned(&status, metav1.ConditionFalse, ReasonNotJudged, "the background scan began anew and has not judged everything; the counts are those of before", now)
		}
		return status
	}
	counts := v1alpha1.FindingCounts{Counted: metav1.NewTime(now).Rfc3339Copy()}
	var unguarded []string
	behind := false
	for _, env := range t.Status.Environments {
		if env.Phase == v1alpha1.EnvironmentRefused { // it is somebody else's
			continue
		}
		stock := s.Namespaces[env.Namespace]
		if !stock.Waiting.IsZero() && now.Sub(stock.Waiting) < while {
			return *t.Status.DeepCopy()
		}
		behind = behind || !stock.Waiting.IsZero()
		if stock.Unjudged {
			unguarded = append(unguarded, env.Namespace)
		}
		counts.Critical += int32(stock.Open[finding.Critical])
		counts.High += int32(stock.Open[finding.High])
		counts.Medium += int32(stock.Open[finding.Medium])
		counts.Low += int32(stock.Open[finding.Low])
		counts.Waived += int32(stock.Waived)
	}
	if was := status.Findings; was != nil {
		same := counts
		if same.Counted = was.Counted; same == *was {
			counts = same
		}
	}
	status.Findings = &counts
	switch {
	case len(s.Unread) > 0:
		setScanned(&status, metav1.ConditionFalse, ReasonNotRead, "Ringfence cannot list or watch "+some(s.Unread)+", and knows nothing of them; fix: give it the right; its log says more", now)
	case len(unguarded) > 0:
		setScanned(&status, metav1.ConditionFalse, ReasonNotGuarded, "nothing can be judged in namespace "+some(unguarded)+", for want of a Guard; see the condition Ready", now)
	case behind:
		setScanned(&status, metav1.ConditionFalse, ReasonBehind, "something changed and is not judged yet; the counts lack it", now)
	default:
		setScanned(&status, metav1.ConditionTrue, ReasonSeen, "all that is there was judged", now)
	}
	return status
}

func setScanned(status *v1alpha1.TenantStatus, value metav1.ConditionStatus, reason, message string, now time.Time) {
	apimeta.SetStatusCondition(&status.Conditions, metav1.Condition{Type: ConditionScanned, Status: value, Reason: reason, Message: message,
		LastTransitionTime: metav1.NewTime(now).Rfc3339Copy()})
}

// some names the first of many.
func some(names []string) string {
	if len(names) > countNames {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:countNames], ", "), len(names)-countNames)
	}
	return strings.Join(names, ", ")
}
