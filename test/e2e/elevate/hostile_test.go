package elevate

import (
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/tenant"
)

// TestWhoGetsAnElevation tries, with Ringfence stopped, what somebody could think of who wants one that nobody should have.
func TestWhoGetsAnElevation(t *testing.T) {
	b := newBed(t)
	live := b.live(t, "lives")
	b.token(t, live.Name) // its account is there
	b.stop()
	ctx := t.Context()
	for what, tc := range map[string]struct {
		by    person
		edit  func(*v1alpha1.Elevation)
		words string
	}{
		"in another's name":           {dave, func(e *v1alpha1.Elevation) { e.Spec.Requester = erin.Name }, "in one's own name"},
		"as another person":           {dave, func(e *v1alpha1.Elevation) { e.Spec.RequesterObject = erin.Object }, "in one's own name"},
		"as nobody":                   {dave, func(e *v1alpha1.Elevation) { e.Spec.RequesterObject = "" }, "in one's own name"},
		"for longer than may be":      {dave, func(e *v1alpha1.Elevation) { e.Spec.Lasts.Duration = 8*time.Hour + time.Second }, "at most 8h0m0s"},
		"without a second factor":     {person{Name: dave.Name, Groups: dave.Groups, Object: dave.Object}, func(*v1alpha1.Elevation) {}, "with a second factor"},
		"that has ended":              {dave, func(e *v1alpha1.Elevation) { e.Spec.Ended = &v1alpha1.ElevationEnd{By: dave.Name, At: metav1.Now()} }, "does not begin ended"},
		"by one who may only look":    {anna, func(e *v1alpha1.Elevation) { e.Spec.Requester, e.Spec.RequesterObject = anna.Name, anna.Object }, "cannot create resource"},
		"in another team's namespace": {dave, func(e *v1alpha1.Elevation) { e.Namespace = "default" }, "cannot create resource"},
		"where no tenant is": {mallory, func(e *v1alpha1.Elevation) {
			e.Namespace, e.Spec.Requester, e.Spec.RequesterObject = "default", mallory.Name, mallory.Object
		}, "namespaces of tenants"},
		"by a machine": {person{Name: "system:serviceaccount:payments-prod:robot", Groups: mallory.Groups, MFA: true},
			func(e *v1alpha1.Elevation) {
				e.Spec.Requester, e.Spec.RequesterObject = "system:serviceaccount:payments-prod:robot", ""
			}, "for a person"},
	} {
		e := wish("asked")
		tc.edit(e)
		if err := ringfencetest.Refused(as(t, tc.by).Create(ctx, e, client.DryRunAll), tc.words); err != nil {
			t.Errorf("an elevation %s: %v", what, err)
		}
	}
	for what, edit := range map[string]func(*v1alpha1.Elevation){
		"of ten minutes":    func(e *v1alpha1.Elevation) { e.Spec.Lasts.Duration = 10 * time.Minute },
		"without a reason":  func(e *v1alpha1.Elevation) { e.Spec.Reason = "" },
		"without a ticket":  func(e *v1alpha1.Elevation) { e.Spec.Ticket = "" },
		"with a long name":  func(e *v1alpha1.Elevation) { e.Name = "a23456789-123456789-123456789-123456789-123456789-1" },
		"with a dot's name": func(e *v1alpha1.Elevation) { e.Name = "a.b" },
	} {
		e := wish("asked")
		edit(e)
		if err := as(t, dave).Create(ctx, e, client.DryRunAll); !apierrors.IsInvalid(err) {
			t.Errorf("an elevation %s: %v, want Invalid", what, err)
		}
	}
	whoApproves(t, b)
	whoChanges(t, b, live)
	whoseAccounts(t, live)
}

// whoApproves tries to approve what dave asks for.
func whoApproves(t *testing.T, b *bed) {
	const name = "waits"
	if err := as(t, dave).Create(t.Context(), wish(name)); err != nil {
		t.Fatal(err)
	}
	security := erin.Groups
	twin := person{Name: "oidc:dave-adm@bank.example", Groups: security, Object: dave.Object, MFA: true}
	unknown := person{Name: "cert-user", Groups: security, MFA: true}
	for what, tc := range map[string]struct {
		by           person
		name, object string
		words        string
	}{
		"the requester, who may not":             {dave, dave.Name, dave.Object, "cannot patch resource"},
		"the requester, who has every right":     {person{Name: dave.Name, Groups: security, Object: dave.Object, MFA: true}, dave.Name, dave.Object, "by another person"},
		"a second account of the requester":      {twin, twin.Name, twin.Object, "by another person"},
		"one that says another oid":              {twin, twin.Name, "oid-x", "in one's own name"},
		"one that says no oid":                   {twin, twin.Name, "", "in one's own name"},
		"one whom the provider does not know":    {unknown, unknown.Name, "", "by another person"},
		"an approver in another's name":          {erin, mallory.Name, erin.Object, "in one's own name"},
		"an approver without a second factor":    {person{Name: erin.Name, Groups: security, Object: erin.Object}, erin.Name, erin.Object, "with a second factor"},
		"one who may write and not approve":      {mallory, mallory.Name, mallory.Object, "takes the verb approve"},
		"an administrator, who is nobody":        {person{Name: "system:admin", Groups: []string{"system:masters"}, Object: "x", MFA: true}, "system:admin", "x", "by a person"},
		"the account of Ringfence":               {person{Name: "system:serviceaccount:ringfence-system:ringfence", Groups: []string{"system:masters"}, Object: "x", MFA: true}, "system:serviceaccount:ringfence-system:ringfence", "x", "by a person"},
		"two marks instead of one second factor": {person{Name: erin.Name, Groups: security, Object: erin.Object}, erin.Name, erin.Object, "with a second factor"},
	} {
		if err := ringfencetest.Refused(approve(t, tc.by, name, tc.name, tc.object), tc.words); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := approve(t, erin, name, erin.Name, erin.Object); err != nil {
		t.Fatalf("erin: %v", err)
	}
	grace := person{Name: "oidc:grace@bank.example", Groups: security, Object: "oid-grace", MFA: true}
	if err := ringfencetest.Refused(approve(t, grace, name, grace.Name, grace.Object), "never changed"); err != nil {
		t.Errorf("approved again: %v", err)
	}
	if err := ringfencetest.Refused(writeStatus(t, erin, name, `{"status":{"approval":null}}`), "never changed"); err != nil {
		t.Errorf("the approval taken back: %v", err)
	}
	if err := b.admin.Delete(t.Context(), wish(name)); err != nil {
		t.Fatal(err)
	}
}

// whoChanges tries to change one that lives.
func whoChanges(t *testing.T, b *bed, live *v1alpha1.Elevation) {
	ctx := t.Context()
	patch := func(text string) client.Patch { return client.RawPatch(types.MergePatchType, []byte(text)) }
	for what, text := range map[string]string{
		"another requester": `{"spec":{"requester":"oidc:x"}}`, "another person": `{"spec":{"requesterObject":"x"}}`, "no person": `{"spec":{"requesterObject":null}}`,
		"another time": `{"spec":{"lasts":"8h"}}`, "another ticket": `{"spec":{"ticket":"X"}}`, "another reason": `{"spec":{"reason":"because"}}`,
	} {
		for who, c := range map[string]client.Client{"the team": as(t, dave), "an administrator": b.admin} {
			if err := c.Patch(ctx, live.DeepCopy(), patch(text), client.DryRunAll); !apierrors.IsInvalid(err) {
				t.Errorf("%s gave it %s: %v, want Invalid", who, what, err)
			}
		}
	}
	for what, text := range map[string]string{
		"a later end": `{"status":{"expires":"2030-01-01T00:00:00Z"}}`, "another phase": `{"status":{"phase":"Ended"}}`, "another account": `{"status":{"account":"default"}}`,
		"records": `{"status":{"recorded":[]}}`, "no review to be due": `{"status":{"reviewBy":"2030-01-01T00:00:00Z"}}`,
	} {
		if err := ringfencetest.Refused(writeStatus(t, mallory, live.Name, "%s", text), "by Ringfence alone"); err != nil {
			t.Errorf("somebody gave it %s: %v", what, err)
		}
	}
	for what, tc := range map[string]struct {
		err   error
		words string
	}{
		"ended in another's name": {as(t, mallory).Patch(ctx, live.DeepCopy(), patch(`{"spec":{"ended":{"by":"oidc:x","at":"2026-01-01T00:00:00Z"}}}`)), "in one's own name"},
		"without its finalizer":   {as(t, mallory).Patch(ctx, live.DeepCopy(), patch(`{"metadata":{"finalizers":null}}`)), "finalizer"},
		"deleted":                 {as(t, mallory).Delete(ctx, live.DeepCopy()), "cannot be deleted"},
		"reviewed while it lives": {writeStatus(t, erin, live.Name, `{"status":{"review":{"reviewer":%q,"reviewerObject":%q,"reviewedAt":"2026-01-01T00:00:00Z","note":"fine"}}}`, erin.Name, erin.Object), "reviewed when it has ended"},
	} {
		if err := ringfencetest.Refused(tc.err, tc.words); err != nil {
			t.Errorf("one that lives, %s: %v", what, err)
		}
	}
}

// whoseAccounts tries to make, bind and use accounts that are, or look like, those of elevations.
func whoseAccounts(t *testing.T, live *v1alpha1.Elevation) {
	ctx, team, root := t.Context(), as(t, dave), as(t, mallory)
	account := func(name, generated string) *corev1.ServiceAccount {
		return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, GenerateName: generated, Namespace: namespace}, AutomountServiceAccountToken: new(bool)}
	}
	bind := func(subject rbacv1.Subject) *rbacv1.RoleBinding {
		return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "more", Namespace: another},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: tenant.RoleReadOnly}, Subjects: []rbacv1.Subject{subject}}
	}
	of := tenant.AccountOf(live.Name)
	tokenOf := func(c client.Client, name string) error {
		return c.SubResource("token").Create(ctx, account(name, ""), &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(3600))}})
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "long-lived", Namespace: namespace, Annotations: map[string]string{corev1.ServiceAccountNameKey: of}}, Type: corev1.SecretTypeServiceAccountToken}
	ringfence := as(t, person{Name: "system:serviceaccount:ringfence-system:ringfence", Groups: mallory.Groups})
	const words = "by Ringfence alone"
	for what, tc := range map[string]struct {
		err   error
		words string
	}{
		"the team makes one":                     {team.Create(ctx, account("elevation-mine", ""), client.DryRunAll), words},
		"the team makes one by a generated name": {team.Create(ctx, account("", "elevation-"), client.DryRunAll), words},
		"root makes one":                         {root.Create(ctx, account("elevation-mine", ""), client.DryRunAll), words},
		"root deletes one":                       {root.Delete(ctx, account(of, ""), client.DryRunAll), "denied request"},
		"root changes one":                       {root.Patch(ctx, account(of, ""), client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"a":"b"}}}`)), client.DryRunAll), words},
		"root gets a token of one":               {tokenOf(root, of), words},
		"the team gets a token of one":           {tokenOf(team, of), "cannot create resource"},
		"a Secret gets a token of one":           {root.Create(ctx, secret, client.DryRunAll), "no Secret with a token"},
		"root binds one":                         {root.Create(ctx, bind(rbacv1.Subject{Kind: "ServiceAccount", Namespace: namespace, Name: of}), client.DryRunAll), words},
		"root binds its user":                    {root.Create(ctx, bind(rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "User", Name: tenant.UserOf(namespace, live.Name)}), client.DryRunAll), words},
		"Ringfence gets a token of another":      {tokenOf(ringfence, "default"), "accounts of elevations alone"},
	} {
		if err := ringfencetest.Refused(tc.err, tc.words); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := team.Create(ctx, account("elevator", ""), client.DryRunAll); err != nil {
		t.Errorf("an account of another name: %v", err)
	}
	if err := tokenOf(root, "default"); err != nil {
		t.Errorf("a token of another account: %v", err)
	}
}
