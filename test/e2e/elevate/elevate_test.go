package elevate

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
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
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

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
