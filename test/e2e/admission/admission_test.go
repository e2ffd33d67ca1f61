// Package admission shows on a real API server that the admission webhook alone refuses what the catalogue refuses, that its
// certificate changes under way unnoticed. A webhook that is down locks nobody out who must get in.
package admission

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"ringfence.dev/ringfence/admission"
	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/detect/auditlog"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/install"
	"ringfence.dev/ringfence/internal/casefile"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/policy/bundle"
	"ringfence.dev/ringfence/policy/cel"
)

// home is the namespace in which cases are tried.
const home = "payments-dev"

// bed is a cluster without native policies, and a door.
type bed struct {
	client.Client // the administrator's
	config        *rest.Config
	catalogue     *control.Catalogue
	engine        *policy.Engine
	address       string
	events        string     // the file of audit events
	mu            sync.Mutex // guards warnings
	warnings      []string
}

// HandleWarningHeaderWithContext keeps a warning.
func (b *bed) HandleWarningHeaderWithContext(_ context.Context, _ int, _ string, text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.warnings = append(b.warnings, text)
}

// newBed is a cluster in which every namespace has the Guard of the catalogue's cases, where everything denies.
func newBed(t *testing.T) *bed {
	t.Helper()
	if os.Getenv(clustertest.EnvKubeconfig) != "" {
		t.Skip("skipped: the API server of a cluster that exists may not reach this process")
	}
	rules, err := filepath.Abs("../../../docs/audit-policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{events: filepath.Join(t.TempDir(), "audit.log")}
	cluster, err := clustertest.Start("--nodes", "0", "--audit-policy", rules, "--apiserver-arg=--audit-log-path="+b.events)
	if errors.Is(err, clustertest.ErrUnavailable) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	b.config = rest.CopyConfig(cluster.Config)
	b.config.WarningHandlerWithContext, b.config.QPS = b, -1
	if b.Client, err = kube.NewClient(b.config); err != nil {
		t.Fatal(err)
	}
	whole, err := control.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	if b.catalogue, err = admission.Select(whole, admission.All, true); err != nil {
		t.Fatal(err)
	}
	sets, err := cel.Compile(b.catalogue)
	if err != nil {
		t.Fatal(err)
	}
	b.engine = policy.New(sets...)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.address = free.Addr().String()
	free.Close()
	return b
}

// furnish installs kinds, namespaces, Guards and the Service.
func (b *bed) furnish(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	if err := errors.Join(install.CRDs(ctx, b, v1alpha1.CRDs()), install.Namespace(ctx, b)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{home, "default", "kube-public", "kube-node-lease", v1alpha1.SystemNamespace} {
		guard := &v1alpha1.Guard{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.GuardName, Namespace: name}, Spec: casefile.Guard()}
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if err := errors.Join(client.IgnoreAlreadyExists(b.Create(ctx, namespace)), client.IgnoreAlreadyExists(b.Create(ctx, guard))); err != nil {
			t.Fatal(err)
		}
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: "ringfence"},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"}}
	platform := &v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.PlatformName}, Spec: v1alpha1.PlatformSpec{Registries: []v1alpha1.Registry{"registry.bank.example"}}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: "api"}}
	everything := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "ringfence"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: v1alpha1.SystemNamespace, Name: "ringfence"}}}
	if err := errors.Join(b.Create(ctx, service), b.Create(ctx, platform), b.Create(ctx, account), b.Create(ctx, everything)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the accounts of namespaces", func() error {
		for _, name := range []string{home, "kube-system"} {
			if err := b.Get(ctx, client.ObjectKey{Namespace: name, Name: "default"}, &corev1.ServiceAccount{}); err != nil {
				return err
			}
		}
		return nil
	})
}

func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, 4*time.Minute, true, func(context.Context) (bool, error) {
		last = try()
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("wait for %s: %v", what, last)
	}
}

// door is the webhook alone: its handler, its reconciler and its cache, without the bundles that serve would install.
type door struct {
	stop       func()
	reconciler *admission.Reconciler
	authority  *admission.Authority
	metrics    *admission.Metrics
}

// open runs a door until stop is called or the test ends, and has the API server look for it at an address.
func (b *bed) open(t *testing.T, address string, lifetime, settle time.Duration) *door {
	t.Helper()
	scheme, err := kube.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	skip := true
	mgr, err := ctrl.NewManager(b.config, ctrl.Options{Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: &skip}})
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(address)
	at, err := admission.ParseClient(v1alpha1.SystemNamespace+"/ringfence:"+port, "")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	d := &door{metrics: admission.NewMetrics()}
	if d.authority, err = admission.NewAuthority(admission.AuthorityConfig{Names: at.ServerNames(), Lifetime: lifetime, Settle: settle, Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	handler, err := admission.New(admission.Config{Engine: b.engine, Groups: b.catalogue.Groups(), Guards: admission.NewCached(mgr.GetClient()), Metrics: d.metrics, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	d.reconciler = &admission.Reconciler{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Catalogue: b.catalogue, At: at, Authority: d.authority, Holder: "test",
		Metrics: d.metrics, Log: log, Now: time.Now,
		Unguarded: func(ctx context.Context, p *v1alpha1.Platform) (string, error) {
			return bundle.Unguarded(ctx, mgr.GetClient(), p)
		}}
	if err := d.reconciler.SetupWithManager(mgr); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(admission.Path, handler)
	mux.HandleFunc(admission.CanaryPath, handler.Canary)
	srv := &http.Server{Addr: b.address, Handler: mux, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: d.authority.GetCertificate}}
	srv.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = srv.ListenAndServeTLS("", "") })
	running.Go(func() { _ = mgr.Start(ctx) })
	d.stop = sync.OnceFunc(func() {
		srv.Close()
		cancel()
		running.Wait()
	})
	t.Cleanup(d.stop)
	return d
}

// pod is a Pod that breaks rules.
func pod(namespace string) *corev1.Pod {
	yes := true
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "a-"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Name: "a", Image: "nginx", SecurityContext: &corev1.SecurityContext{Privileged: &yes}}}}}
}

// withID is how a refusal ends: with the uid of the API server's review.
var withID = regexp.MustCompile(` \[id [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\]$`)

// byDoor is nil where an error is a refusal of the webhook, with a control's own words.
func byDoor(err error) error {
	if apierrors.IsForbidden(err) && strings.Contains(err.Error(), admission.WebhookSuffix+`" denied the request: RF-`) && withID.MatchString(err.Error()) {
		return nil
	}
	return fmt.Errorf("got %v; want a refusal by the webhook", err)
}

// TestDoor: the webhook alone, on one cluster, from its first registration to its end.
func TestDoor(t *testing.T) {
	b := newBed(t)
	b.furnish(t)
	t.Run("nowhere", b.nowhere)
	d := b.open(t, b.address, 0, time.Second)
	eventually(t, "the first refusal", func() error { return byDoor(b.Create(t.Context(), pod(home), client.DryRunAll)) })
	if err := d.reconciler.Ready(); err != nil {
		t.Errorf("after the first registration: %v", err)
	}
	t.Run("cases", b.cases)
	t.Run("audited", b.audited)
	t.Run("missing Guard", b.missingGuard)
	t.Run("taken away", b.takenAway)
	d.stop()
	t.Run("locks nobody out", b.lockOut)
	d = b.open(t, b.address, 24*time.Second, 3*time.Second)
	eventually(t, "a refusal after the restart", func() error { return byDoor(b.Create(t.Context(), pod(home), client.DryRunAll)) })
	t.Run("renewal", func(t *testing.T) { b.renewal(t, d) })
}

// nowhere: a door that the API server does not find is not registered, and nobody is refused for it.
func (b *bed) nowhere(t *testing.T) {
	d := b.open(t, "127.0.0.1:1", 0, time.Second) // nobody listens there
	probe := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: "a", Labels: map[string]string{"ringfence.dev/canary": "true"}}}
	eventually(t, "the API server to look for it", func() error {
		if err := b.Create(t.Context(), probe, client.DryRunAll); !strings.Contains(fmt.Sprint(err), "failed calling webhook") {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
	time.Sleep(time.Second)
	if err := b.Get(t.Context(), client.ObjectKey{Name: admission.RegistrationName}, registered()); !apierrors.IsNotFound(err) {
		t.Errorf("it is registered: %v", err)
	}
	if err := b.Create(t.Context(), pod(home), client.DryRunAll); err != nil {
		t.Errorf("a request is refused for it: %v", err)
	}
	d.stop()
}

// cases tries, of each control, a case of each kind that this server serves, and compares with what the engine says.
func (b *bed) cases(t *testing.T) {
	asked, beyond := 0, 0
	guard, err := policy.NewGuard(casefile.Guard())
	if err != nil {
		t.Fatal(err)
	}
	for _, ctrl := range b.catalogue.Controls {
		all, err := casefile.Read(os.DirFS("../../../controls"), ctrl.Dir)
		if err != nil {
			t.Fatal(err)
		}
		tried := map[bool]bool{}
		for _, c := range all {
			s, fails := c.Object.Subject(), len(c.Want) > 0
			if c.Update() || tried[fails] || s.Namespace != "" && s.Namespace != home {
				continue
			}
			o := (&unstructured.Unstructured{Object: c.Object.Value}).DeepCopy()
			if kind, _ := b.engine.Match(s.APIVersion, s.Kind); !kind.ClusterScoped {
				o.SetNamespace(home)
			}
			b.warnings = nil
			err := b.Create(t.Context(), o, client.DryRunAll)
			if apimeta.IsNoMatchError(err) || apierrors.IsInvalid(err) || apierrors.IsAlreadyExists(err) {
				beyond++
				continue
			}
			tried[fails] = true
			asked++
			want := c.Judge(ctrl.ID, b.engine, guard)
			named := strings.Join(b.warnings, "\n") + fmt.Sprint(err)
			if refused := len(want.Got)+len(want.Others) > 0; refused != (byDoor(err) == nil) || !refused && err != nil || len(want.Got) > 0 && !strings.Contains(named, ctrl.ID+" ") {
				t.Errorf("%s: %v; want refused %v by %s and %v", c.File, err, refused, ctrl.ID, want.Others)
			}
		}
	}
	if asked < len(b.catalogue.Controls) {
		t.Errorf("%d cases were tried for %d controls", asked, len(b.catalogue.Controls))
	}
	t.Logf("%d cases: the API server with the webhook alone gives the engine's verdict; %d more the server does not know", asked, beyond)
}

// audited: the audit event of a refusal is read as one of the native bundles is.
func (b *bed) audited(t *testing.T) {
	eventually(t, "a finding of the refusal", func() error {
		file, err := os.Open(b.events)
		if err != nil {
			return err
		}
		defer file.Close()
		found := map[finding.Action]bool{}
		know := auditlog.Knowledge{Find: b.catalogue.Find, Groups: b.catalogue.Groups()}
		lines := bufio.NewScanner(file)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var e auditlog.Event
			if json.Unmarshal(lines.Bytes(), &e) != nil {
				continue
			}
			for _, f := range auditlog.Findings(e, know) {
				if f.Control == "RF-WL-01" && f.Subject.Kind == "Pod" && f.Outcome == finding.Fail && f.Observed.Refused && strings.HasSuffix(f.Path, "/privileged") {
					found[f.Action] = true
				}
			}
		}
		if !found[finding.Deny] {
			return fmt.Errorf("found %v", found)
		}
		return nil
	})
}

// missingGuard: a namespace without Guard is refused everything that is judged, with how to fix it.
func (b *bed) missingGuard(t *testing.T) {
	// Made with the finalizer that a Guard has no need of here: another namespace's is taken away.
	guard := &v1alpha1.Guard{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.GuardName, Namespace: "kube-public"}}
	if err := b.Delete(t.Context(), guard); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a refusal", func() error {
		err := b.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-public", Name: "a"}}, client.DryRunAll)
		if apierrors.IsForbidden(err) && strings.Contains(err.Error(), "namespace kube-public has no Guard; want a Guard named guard in the namespace; fix: ") {
			return nil
		}
		return fmt.Errorf("got %v", err)
	})
	guard = &v1alpha1.Guard{ObjectMeta: guard.ObjectMeta, Spec: casefile.Guard()}
	guard.ResourceVersion, guard.UID = "", ""
	if err := b.Create(t.Context(), guard); err != nil {
		t.Error(err)
	}
}

// takenAway: a registration that is deleted or edited comes back.
func (b *bed) takenAway(t *testing.T) {
	registration := registered()
	if err := b.Delete(t.Context(), registration); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the registration to come back", func() error { return b.Get(t.Context(), client.ObjectKeyFromObject(registration), registered()) })
	open := client.RawPatch("application/json-patch+json", []byte(`[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"}]`))
	if err := b.Patch(t.Context(), registered(), open); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the registration to be closed again", func() error {
		got := registered()
		if err := b.Get(t.Context(), client.ObjectKeyFromObject(got), got); err != nil {
			return err
		}
		if *got.Webhooks[0].FailurePolicy != "Fail" {
			return errors.New("it is open")
		}
		return nil
	})
	eventually(t, "a refusal", func() error { return byDoor(b.Create(t.Context(), pod(home), client.DryRunAll)) })
}

// lockOut: with the webhook down, what it judges is refused in guarded namespaces, and nothing that a cluster needs is.
func (b *bed) lockOut(t *testing.T) {
	ctx := t.Context()
	for what, o := range map[string]client.Object{
		"a Pod":       pod(home),
		"a Secret":    &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: home, GenerateName: "a-"}},
		"a Namespace": &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "a-"}},
		"a Role":      &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: home, GenerateName: "a-"}},
		"a label's way in": &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: home, GenerateName: "a-",
			Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, "kubernetes.io/metadata.name": "kube-system"}}},
	} {
		if err := b.Create(ctx, o, client.DryRunAll); !strings.Contains(fmt.Sprint(err), "failed calling webhook") {
			t.Errorf("%s, with the webhook down: %v", what, err)
		}
	}
	meta := func(namespace string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, GenerateName: "a-"}
	}
	one := func(namespace string) []client.Object {
		return []client.Object{&corev1.ConfigMap{ObjectMeta: meta(namespace)}, &corev1.Secret{ObjectMeta: meta(namespace)},
			&corev1.Service{ObjectMeta: meta(namespace), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 1}}}},
			&rbacv1.Role{ObjectMeta: meta(namespace)}, &corev1.ServiceAccount{ObjectMeta: meta(namespace)}}
	}
	always := append(one("kube-system"), one(v1alpha1.SystemNamespace)...)
	always = append(always, pod("kube-system"),
		&coordinationv1.Lease{ObjectMeta: meta("kube-node-lease")}, &coordinationv1.Lease{ObjectMeta: meta(home)},
		&corev1.Node{ObjectMeta: meta("")},
		&corev1.Event{ObjectMeta: meta(home), InvolvedObject: corev1.ObjectReference{Namespace: home}},
		&discoveryv1.EndpointSlice{ObjectMeta: meta(home), AddressType: discoveryv1.AddressTypeIPv4},
		&v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: v1alpha1.TenantSpec{Owner: "a@bank.example", Groups: v1alpha1.TenantGroups{Admin: "a", ReadOnly: "b"}, Environments: []v1alpha1.Environment{{Name: "dev"}}}})
	for _, o := range always {
		if err := b.Create(ctx, o); err != nil {
			t.Errorf("%T in %q, with the webhook down: %v", o, o.GetNamespace(), err)
		} else if err := b.Delete(ctx, o); err != nil {
			t.Errorf("delete %T in %q: %v", o, o.GetNamespace(), err)
		}
	}
	as := rest.CopyConfig(b.config)
	as.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + v1alpha1.SystemNamespace + ":ringfence", Groups: []string{"system:serviceaccounts", "system:authenticated"}}
	ringfence, err := kube.NewClient(as)
	if err != nil {
		t.Fatal(err)
	}
	own := []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a-new-tenant"}}, &corev1.ResourceQuota{ObjectMeta: meta(home)},
		&networkingv1.NetworkPolicy{ObjectMeta: meta(home)}, &rbacv1.RoleBinding{ObjectMeta: meta(home), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"}},
		&v1alpha1.Guard{ObjectMeta: metav1.ObjectMeta{Namespace: "a-new-tenant", Name: v1alpha1.GuardName}, Spec: casefile.Guard()}}
	for _, o := range own {
		if err := ringfence.Create(ctx, o); err != nil {
			t.Errorf("Ringfence makes %T, with its webhook down: %v", o, err)
		}
	}
}

// renewal: the certificate is renewed, and renewed again, while requests come without end, and none of them notices.
func (b *bed) renewal(t *testing.T, d *door) {
	first := d.authority.Expires()
	var renewed, asked int
	var mu sync.Mutex
	var askers sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	for range 3 {
		askers.Go(func() {
			for ctx.Err() == nil {
				err := byDoor(b.Create(context.WithoutCancel(ctx), pod(home), client.DryRunAll))
				mu.Lock()
				asked++
				mu.Unlock()
				if err != nil {
					t.Error(err)
					cancel()
				}
			}
		})
	}
	for ctx.Err() == nil && renewed < 2 {
		time.Sleep(50 * time.Millisecond)
		if now := d.authority.Expires(); now.After(first) {
			first = now
			renewed++
		}
	}
	time.Sleep(time.Second)
	cancel()
	askers.Wait()
	if renewed < 2 {
		t.Errorf("the certificate was renewed %d times", renewed)
	}
	t.Logf("%d requests through %d renewals", asked, renewed)
}
