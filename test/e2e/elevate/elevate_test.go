package elevate

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/identity"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/tenant"
	"ringfence.dev/ringfence/tenant/elevation"
)

// read reads the Secret of a namespace with a token.
func read(t *testing.T, token, ns string) error {
	t.Helper()
	core, err := rest.RESTClientFor(coreOf(with(token)))
	if err != nil {
		t.Fatal(err)
	}
	return core.Get().Namespace(ns).Resource("secrets").Name("db").Do(t.Context()).Error()
}

// enter asks to enter the pod, as whoever config is. What is let through ends at a node where no kubelet answers: that is nil here.
func enter(t *testing.T, config *rest.Config) error {
	t.Helper()
	core, err := rest.RESTClientFor(coreOf(config))
	if err != nil {
		t.Fatal(err)
	}
	err = core.Post().Namespace(namespace).Resource("pods").Name("api").SubResource("exec").Param("command", "sh").Param("command", "sesame").Param("stdout", "true").Do(t.Context()).Error()
	if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsInvalid(err) {
		return err
	}
	return nil
}

func coreOf(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.APIPath, config.GroupVersion, config.NegotiatedSerializer = "/api", &corev1.SchemeGroupVersion, scheme.Codecs.WithoutConversion()
	return config
}

// claims are those of a token.
func claims(t *testing.T, token string) (exp time.Time, sub string) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatal("no token")
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Exp int64  `json:"exp"`
		Sub string `json:"sub"`
	}
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	return time.Unix(c.Exp, 0), c.Sub
}

// TestElevation takes elevations through their lives: one that somebody ends, and one whose time is over.
func TestElevation(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	e := b.live(t, "story")
	end := e.Status.Expires.Time
	if left := time.Until(end); left > 30*time.Minute || left < 29*time.Minute {
		t.Errorf("it ends in %s, want 30 minutes from when it began", left)
	}
	whoGetsTokens(t, b, e)
	token, expires := b.token(t, e.Name)
	exp, sub := claims(t, token)
	if exp.After(end.Add(-time.Minute)) || !exp.Equal(expires) || sub != elevation.User(e) {
		t.Errorf("a token of %s until %s, told as %s; want one of %s that the API server takes no longer than %s", sub, exp, expires, elevation.User(e), end)
	}
	rights(t, token)

	// What somebody takes away comes back, and what somebody adds goes.
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: tenant.AccountOf(e.Name) + "-secrets", Namespace: namespace}}
	if err := b.admin.Delete(ctx, binding); err != nil {
		t.Fatal(err)
	}
	b.later(t, time.Second, e.Name)
	ringfencetest.Eventually(t, "the binding to be back", func() error { return read(t, token, namespace) })

	done := e.DeepCopy()
	done.Spec.Ended = &v1alpha1.ElevationEnd{By: dave.Name, At: metav1.Now()}
	if err := as(t, dave).Patch(ctx, done, client.MergeFrom(e)); err != nil {
		t.Fatal(err)
	}
	gone(t, b, e, token)
	e = b.await(t, e.Name, v1alpha1.ElevationEnded)
	if e.Status.Outcome != elevation.StepEnded || e.Status.ReviewBy == nil {
		t.Errorf("status %+v", e.Status)
	}
	reviews(t, b, e)

	over := b.live(t, "over")
	token, _ = b.token(t, over.Name)
	b.later(t, 31*time.Minute, over.Name)
	gone(t, b, over, token)
	if over = b.await(t, over.Name, v1alpha1.ElevationEnded); over.Status.Outcome != elevation.StepExpired {
		t.Errorf("status %+v", over.Status)
	}
	b.later(t, 31*time.Minute+73*time.Hour, over.Name)
	ringfencetest.Eventually(t, "the review to be overdue", func() error {
		if err := b.admin.Get(ctx, client.ObjectKeyFromObject(over), over); err != nil {
			return err
		}
		if c := apimeta.FindStatusCondition(over.Status.Conditions, v1alpha1.ConditionReviewed); c == nil || c.Reason != "Overdue" {
			return fmt.Errorf("conditions %+v", over.Status.Conditions)
		}
		return nil
	})
	b.ahead.Store(0)
}

// whoGetsTokens tries to get tokens of what others asked for.
func whoGetsTokens(t *testing.T, b *bed, e *v1alpha1.Elevation) {
	t.Helper()
	who := signedIn(dave)
	for what, tc := range map[string]struct {
		who  identity.Person
		name string
		want error
	}{
		"the approver":                         {signedIn(erin), e.Name, elevation.ErrNotFound},
		"another account of dave":              {identity.Person{Name: "oidc:dave-adm@bank.example", Object: dave.Object, MFA: true}, e.Name, elevation.ErrNotFound},
		"another person of dave's name":        {identity.Person{Name: dave.Name, Object: "oid-other", MFA: true}, e.Name, elevation.ErrNotFound},
		"dave of whom no oid is known":         {identity.Person{Name: dave.Name, MFA: true}, e.Name, elevation.ErrNotFound},
		"dave without a second factor":         {identity.Person{Name: dave.Name, Object: dave.Object}, e.Name, elevation.ErrSecondFactor},
		"nobody":                               {identity.Person{MFA: true}, e.Name, elevation.ErrNotFound},
		"dave, of one that there is not":       {who, "no-such", elevation.ErrNotFound},
		"dave, of it in another namespace":     {who, another + "/" + e.Name, elevation.ErrNotFound},
		"dave, of a name that is a path's":     {who, namespace + "/../" + e.Name, elevation.ErrNotFound},
		"dave, of it with an unknown ending":   {who, e.Name + "/", elevation.ErrNotFound},
		"dave, of the default service account": {who, namespace + "/default", elevation.ErrNotFound},
	} {
		if token, _, err := b.srv.Token(t.Context(), tc.who, tc.name); !errors.Is(err, tc.want) || token != "" {
			t.Errorf("%s got a token (%d bytes): %v, want %v", what, len(token), err, tc.want)
		}
	}
	ringfencetest.Eventually(t, "a token by the name alone", func() error { _, _, err := b.srv.Token(t.Context(), who, e.Name); return err })
}

// rights are what a token is good for, and what not.
func rights(t *testing.T, token string) {
	t.Helper()
	ctx, user := t.Context(), ringfencetest.Client(t, with(token))
	ringfencetest.Eventually(t, "a Secret to be read", func() error { return read(t, token, namespace) })
	ringfencetest.Eventually(t, "a pod to be entered", func() error { return enter(t, with(token)) })
	ringfencetest.Eventually(t, "somebody else to be refused at the pod", func() error {
		return ringfencetest.RefusedBy(enter(t, mallory.Config(cluster.Config)), entryID)
	})
	ringfencetest.Eventually(t, "a pod to be entered where others may not", func() error { return enter(t, with(token)) })
	for what, err := range map[string]error{
		"a Secret of another namespace": read(t, token, another),
		"all Secrets":                   user.List(ctx, &corev1.SecretList{}, client.InNamespace(namespace)),
		"to make a ConfigMap":           user.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: namespace}}),
		"to delete the pod":             user.Delete(ctx, pod("api")),
		"to make a pod":                 user.Create(ctx, pod("y")),
		"to ask for more":               user.Create(ctx, wish("more")),
		"namespaces":                    user.List(ctx, &corev1.NamespaceList{}),
	} {
		if !apierrors.IsForbidden(err) {
			t.Errorf("it may have %s: %v", what, err)
		}
	}
}

// gone waits until a token is worth nothing and nothing is left of an elevation's rights.
func gone(t *testing.T, b *bed, e *v1alpha1.Elevation, token string) {
	t.Helper()
	ringfencetest.Eventually(t, "the token to be worth nothing", func() error {
		if err := read(t, token, namespace); !apierrors.IsUnauthorized(err) {
			return fmt.Errorf("reading says %v", err)
		}
		if err := enter(t, with(token)); !apierrors.IsUnauthorized(err) {
			return fmt.Errorf("entering says %v", err)
		}
		return nil
	})
	ringfencetest.Eventually(t, "nothing to be left", func() error {
		var bindings rbacv1.RoleBindingList
		if err := b.admin.List(t.Context(), &bindings, client.InNamespace(namespace)); err != nil {
			return err
		}
		for _, one := range bindings.Items {
			if strings.HasPrefix(one.Name, tenant.AccountOf(e.Name)) {
				return fmt.Errorf("binding %s is left", one.Name)
			}
		}
		var guard v1alpha1.Guard
		if err := b.admin.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: v1alpha1.GuardName}, &guard); err != nil {
			return err
		}
		if _, left := guard.Spec.Elevations[elevation.User(e)]; left {
			return errors.New("the Guard lets it in")
		}
		return nil
	})
	if _, _, err := b.srv.Token(t.Context(), signedIn(dave), e.Name); !errors.Is(err, elevation.ErrNotLive) {
		t.Errorf("a token after the end: %v", err)
	}
}

// reviews tries who may review, and deletes what was reviewed.
func reviews(t *testing.T, b *bed, e *v1alpha1.Elevation) {
	t.Helper()
	review := func(by person, reviewer, object string) error {
		return writeStatus(t, by, e.Name, `{"status":{"review":{"reviewer":%q,"reviewerObject":%q,"reviewedAt":%q,"note":"looked at it"}}}`, reviewer, object, time.Now().UTC().Format(time.RFC3339))
	}
	self := person{Name: dave.Name, Groups: []string{"oidc:security"}, Object: dave.Object, MFA: true}
	for what, tc := range map[string]struct {
		by    person
		as    person
		words string
	}{
		"whoever had it":                 {self, self, "by another person"},
		"a second account of theirs":     {person{Name: "oidc:dave-adm@bank.example", Groups: self.Groups, Object: dave.Object, MFA: true}, person{Name: "oidc:dave-adm@bank.example", Object: dave.Object}, "by another person"},
		"another in erin's name":         {mallory, erin, "in one's own name"},
		"one who may not review":         {mallory, mallory, "the verb review"},
		"an approver without the factor": {person{Name: erin.Name, Groups: erin.Groups, Object: erin.Object}, erin, "second factor"},
	} {
		if err := ringfencetest.Refused(review(tc.by, tc.as.Name, tc.as.Object), tc.words); err != nil {
			t.Errorf("%s reviewed it: %v", what, err)
		}
	}
	if err := ringfencetest.Refused(as(t, mallory).Delete(t.Context(), e.DeepCopy()), "nobody has reviewed"); err != nil {
		t.Errorf("deleted before its review: %v", err)
	}
	if err := review(erin, erin.Name, erin.Object); err != nil {
		t.Fatal(err)
	}
	if err := ringfencetest.Refused(review(person{Name: "oidc:grace@bank.example", Groups: erin.Groups, Object: "oid-grace", MFA: true}, "oidc:grace@bank.example", "oid-grace"), "never changed"); err != nil {
		t.Errorf("reviewed again: %v", err)
	}
	ringfencetest.Eventually(t, "the review to be recorded", func() error {
		var now v1alpha1.Elevation
		if err := b.admin.Get(t.Context(), client.ObjectKeyFromObject(e), &now); err != nil {
			return err
		}
		want := []string{elevation.StepRequested, elevation.StepApproved, elevation.StepEnded, elevation.StepReviewed}
		if !slices.Equal(now.Status.Recorded, want) || !apimeta.IsStatusConditionTrue(now.Status.Conditions, v1alpha1.ConditionReviewed) {
			return fmt.Errorf("recorded %v, want %v; conditions %+v", now.Status.Recorded, want, now.Status.Conditions)
		}
		return nil
	})
	if err := as(t, mallory).Delete(t.Context(), e.DeepCopy()); err != nil {
		t.Errorf("deleted after its review: %v", err)
	}
}

// TestWithoutPlatform deletes the Platform while elevations live and wait: nobody gets a right that it did not grant, no elevation begins,
// and no token is given, for nobody knows whether a second factor is wanted. What somebody ends does end; the rest goes on once it is back.
func TestWithoutPlatform(t *testing.T) {
	b, ctx := newBed(t), t.Context()
	platform := &v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.PlatformName}}
	if err := b.admin.Patch(ctx, platform, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"elevation":{"rights":["logs"]}}}`))); err != nil {
		t.Fatal(err)
	}
	e, ends := b.live(t, "unruled"), b.live(t, "ends-unruled")
	b.token(t, e.Name)
	if err := as(t, dave).Create(ctx, wish("waits-unruled")); err != nil {
		t.Fatal(err)
	}
	if err := b.admin.Delete(ctx, platform.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	back := func() {
		fresh := &v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.PlatformName}, Spec: platform.Spec}
		if err := b.admin.Create(context.Background(), fresh); client.IgnoreAlreadyExists(err) != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() {
		back()
		if err := b.admin.Patch(context.Background(), platform, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"elevation":null}}`))); err != nil {
			t.Error(err)
		}
	})
	onceFactor := signedIn(dave)
	onceFactor.MFA = false
	ringfencetest.Eventually(t, "tokens to end with the Platform", func() error {
		for _, who := range []identity.Person{signedIn(dave), onceFactor} {
			if token, _, err := b.srv.Token(ctx, who, namespace+"/"+e.Name); token != "" || !errors.Is(err, elevation.ErrNotLive) || !strings.Contains(err.Error(), "no Platform") {
				return fmt.Errorf("a token of %d bytes, %v", len(token), err)
			}
		}
		return nil
	})
	if err := approve(t, erin, "waits-unruled", erin.Name, erin.Object); err != nil {
		t.Fatal(err)
	}
	done := ends.DeepCopy()
	done.Spec.Ended = &v1alpha1.ElevationEnd{By: dave.Name, At: metav1.Now()}
	if err := as(t, dave).Patch(ctx, done, client.MergeFrom(ends)); err != nil {
		t.Fatal(err)
	}
	for by := range 20 {
		b.later(t, time.Duration(by+1)*time.Second, e.Name)
		b.later(t, time.Duration(by+1)*time.Second, "waits-unruled")
		time.Sleep(100 * time.Millisecond)
	}
	b.await(t, ends.Name, v1alpha1.ElevationEnded)
	var bindings rbacv1.RoleBindingList
	var later v1alpha1.Elevation
	if err := errors.Join(b.admin.List(ctx, &bindings, client.InNamespace(namespace)), b.admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "waits-unruled"}, &later)); err != nil {
		t.Fatal(err)
	}
	var roles []string
	for _, one := range bindings.Items {
		if strings.HasPrefix(one.Name, tenant.AccountOf(e.Name)+"-") {
			roles = append(roles, one.RoleRef.Name)
		}
	}
	if want := []string{tenant.RoleOfRight(v1alpha1.RightLogs), tenant.RoleReadOnly}; !slices.Equal(slices.Sorted(slices.Values(roles)), want) || later.Status.Phase != "" {
		t.Errorf("without a Platform an account is bound to %v, want %v; what waited is %q", roles, want, later.Status.Phase)
	}
	back()
	b.later(t, time.Minute, later.Name)
	b.await(t, later.Name, v1alpha1.ElevationActive)
}

// TestKilledAsItBegins: whoever dies between the record of an approval and the rights goes on later with the end that the record says, for it is
// made once.
func TestKilledAsItBegins(t *testing.T) {
	b, ctx := newBed(t), t.Context()
	b.stop()
	if err := as(t, dave).Create(ctx, wish("killed")); err != nil {
		t.Fatal(err)
	}
	if err := approve(t, erin, "killed", erin.Name, erin.Object); err != nil {
		t.Fatal(err)
	}
	var ahead time.Duration
	var told []elevation.Step
	r := elevation.New(elevation.Config{Now: func() time.Time { return time.Now().Add(ahead) }, Log: slog.New(slog.DiscardHandler), OnStep: func(_ context.Context, s elevation.Step) error {
		if s.What != elevation.StepApproved {
			return nil
		}
		if told = append(told, s); len(told) == 1 {
			return errors.New("killed")
		}
		return nil
	}}, b.admin, b.admin)
	look := reconcile.Request{NamespacedName: client.ObjectKey{Namespace: namespace, Name: "killed"}}
	if _, err := r.Reconcile(ctx, look); err == nil {
		t.Fatal("the first look tells of no death")
	}
	if phase := b.read(t, "killed").Status.Phase; phase != "" {
		t.Errorf("it is %s before its approval is kept", phase)
	}
	ahead = 10 * time.Minute
	if _, err := r.Reconcile(ctx, look); err != nil {
		t.Fatal(err)
	}
	e := b.read(t, "killed")
	if e.Status.Phase != v1alpha1.ElevationActive || len(told) != 2 || !told[0].Until.Equal(told[1].Until) || !told[0].At.Equal(told[1].At) || !e.Status.Expires.Time.Equal(told[0].Until) {
		t.Errorf("told %+v; status %+v", told, e.Status)
	}
	ahead = time.Hour
	if _, err := r.Reconcile(ctx, look); err != nil {
		t.Fatal(err)
	}
	if e = b.read(t, "killed"); e.Status.Outcome != elevation.StepExpired || e.Status.ReviewBy == nil {
		t.Errorf("after its end: %+v", e.Status)
	}
}

// TestTokenEndsWithoutRingfence waits until a token dies by itself: a quarter of an hour, with Ringfence stopped.
func TestTokenEndsWithoutRingfence(t *testing.T) {
	b := newBed(t)
	e := wish("alone")
	e.Spec.Lasts = metav1.Duration{Duration: 15 * time.Minute}
	if err := as(t, dave).Create(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if err := approve(t, erin, e.Name, erin.Name, erin.Object); err != nil {
		t.Fatal(err)
	}
	end := b.await(t, e.Name, v1alpha1.ElevationActive).Status.Expires.Time
	token, _ := b.token(t, e.Name)
	ringfencetest.Eventually(t, "its rights", func() error { return errors.Join(read(t, token, namespace), enter(t, with(token))) })
	b.stop()
	if err := read(t, token, namespace); err != nil {
		t.Errorf("while Ringfence is stopped and the elevation lives: %v", err)
	}
	if err := enter(t, with(token)); err != nil {
		t.Errorf("while Ringfence is stopped and the elevation lives: %v", err)
	}
	if exp, _ := claims(t, token); exp.After(end.Add(-time.Minute)) {
		t.Errorf("the token ends at %s, and API servers take it for a minute longer; the elevation ends at %s", exp, end)
	}
	if os.Getenv("RINGFENCE_TEST_SLOW") == "" {
		t.Skip("set RINGFENCE_TEST_SLOW to wait for its end, which takes a quarter of an hour")
	}
	time.Sleep(time.Until(end) + 11*time.Second) // the API server remembers for 10 s whose a token is
	if err := read(t, token, namespace); !apierrors.IsUnauthorized(err) {
		t.Errorf("a Secret after the end: %v", err)
	}
	if err := enter(t, with(token)); !apierrors.IsUnauthorized(err) {
		t.Errorf("a pod after the end: %v", err)
	}
}
