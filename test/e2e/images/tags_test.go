package images

import (
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/admission"
	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/server"
)

// TestTags: where the Platform wants it, the digest that a tag means is written behind it and is what is judged. The registries that are
// granted are asked and nobody else, and one that is away, lies or sends us elsewhere lets nothing in.
func TestTags(t *testing.T) {
	b := open(t)
	host, stop := ringfencetest.Registry(t)
	later := time.Now().Add(24 * time.Hour)
	good, bad := pushed(t, host+"/payments/api:1"), pushed(t, host+"/payments/bad:1")
	b.facts = map[string]fact{good: {scanned: later, clean: never}}
	b.write(t)
	far := newStrangers(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	at := free.Addr().String()
	_, end := ringfencetest.Start(t, cluster.Config, server.Config{ImageFacts: b.dir,
		Webhook: server.WebhookConfig{Listen: at, URL: "https://" + at, Settle: time.Second, Drain: time.Millisecond}}, slog.LevelError)
	defer end()
	b.onboard(t)
	b.resolve(t, host, far.redirects, far.hangs)
	api := host + "/payments/api:1"
	ringfencetest.Eventually(t, "tags to be resolved", func() error { return b.becomes(t, pod("x", api), api+"@"+good) })

	t.Run("every place", func(t *testing.T) { b.everyPlace(t, api, good) })
	t.Run("what a tag means is judged", func(t *testing.T) {
		err := b.team.Create(t.Context(), pod("x", host+"/payments/bad:1"), client.DryRunAll)
		if ringfencetest.RefusedBy(err, scanID) != nil || !strings.Contains(err.Error(), bad[:16]) {
			t.Errorf("%v; want a refusal by %s of %s", err, scanID, bad)
		}
	})
	t.Run("another webhook adds a container", func(t *testing.T) { b.reinvoked(t, api, good) })
	t.Run("the tag is moved", func(t *testing.T) { b.moved(t, api, good) })
	t.Run("who is asked", func(t *testing.T) { b.asked(t, far) })
	t.Run("the registry is away", func(t *testing.T) {
		later := host + "/payments/later:1"
		pushed(t, later)
		b.warned()
		again := pushed(t, host+"/payments/again:1")
		ringfencetest.Eventually(t, "the tag to be known", func() error {
			err := b.team.Create(t.Context(), pod("x", host+"/payments/again:1"), client.DryRunAll)
			return ringfencetest.Refused(err, again[:16])
		})
		stop()
		if err := b.team.Create(t.Context(), pod("x", later), client.DryRunAll); ringfencetest.RefusedBy(err, scanID) != nil {
			t.Errorf("a tag that nobody knows: %v", err)
		}
		if said := b.warned(); !strings.Contains(said, "gave no answer, and the tag stays as it is") {
			t.Errorf("warned %q", said)
		}
		ringfencetest.Eventually(t, "a tag that was known to count as it did", func() error { // an answer serves for a second without a word
			err := ringfencetest.Refused(b.team.Create(t.Context(), pod("x", host+"/payments/again:1"), client.DryRunAll), again[:16])
			if said := b.warned(); err == nil && !strings.Contains(said, "it counts as at ") {
				err = fmt.Errorf("warned %q", said)
			}
			return err
		})
	})
	t.Run("Ringfence is stopped", func(t *testing.T) {
		end()
		if err := b.team.Create(t.Context(), pod("x", api), client.DryRunAll); ringfencetest.RefusedBy(err, scanID) != nil {
			t.Errorf("a tag: %v", err)
		}
		if err := b.team.Create(t.Context(), pod("x", host+"/payments/api@"+good), client.DryRunAll); err != nil {
			t.Errorf("a digest: %v", err)
		}
	})
}

// pushed pushes a new image and returns its digest.
func pushed(t *testing.T, reference string) string {
	t.Helper()
	image, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(reference)
	if err == nil {
		err = remote.Write(ref, image)
	}
	if err != nil {
		t.Fatal(err)
	}
	d, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

// resolve has the Platform want digests behind tags of some registries.
func (b *bed) resolve(t *testing.T, hosts ...string) {
	t.Helper()
	ringfencetest.Eventually(t, "the Platform to want it", func() error {
		var p v1alpha1.Platform
		if err := b.admin.Get(t.Context(), client.ObjectKey{Name: v1alpha1.PlatformName}, &p); err != nil {
			return err
		}
		p.Spec.Registries = nil
		for _, h := range hosts {
			p.Spec.Registries = append(p.Spec.Registries, v1alpha1.Registry(h))
		}
		p.Spec.Images.Tags = v1alpha1.TagsResolved
		return b.admin.Update(t.Context(), &p)
	})
}

// becomes is nil where what is created names an image so.
func (b *bed) becomes(t *testing.T, p *corev1.Pod, want string) error {
	t.Helper()
	if err := b.team.Create(t.Context(), p, client.DryRunAll); err != nil {
		return err
	}
	for _, c := range append(p.Spec.InitContainers, p.Spec.Containers...) {
		if c.Image != want {
			return fmt.Errorf("container %s is of %s, want %s", c.Name, c.Image, want)
		}
	}
	return nil
}

// everyPlace: containers of all sorts, volumes, and templates; an ephemeral container of a Pod that runs.
func (b *bed) everyPlace(t *testing.T, api, good string) {
	ctx, want := t.Context(), api+"@"+good
	p := pod("x", api)
	p.Spec.InitContainers = []corev1.Container{*p.Spec.Containers[0].DeepCopy()}
	p.Spec.InitContainers[0].Name = "init"
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: api}}}}
	if err := b.becomes(t, p, want); err != nil || p.Spec.Volumes[0].Image.Reference != want {
		t.Errorf("a Pod: %v; its volume is of %s", err, p.Spec.Volumes[0].Image.Reference)
	}
	job := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: namespace}, Spec: batchv1.CronJobSpec{Schedule: "0 0 1 1 *"}}
	job.Spec.JobTemplate.Spec.Template.Spec = spec(api)
	job.Spec.JobTemplate.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	if err := b.team.Create(ctx, job, client.DryRunAll); err != nil || job.Spec.JobTemplate.Spec.Template.Spec.Containers[0].Image != want {
		t.Errorf("a CronJob: %v; it is of %s", err, job.Spec.JobTemplate.Spec.Template.Spec.Containers[0].Image)
	}
	if err := b.team.Create(ctx, deployment("tagged", api, 2)); err != nil {
		t.Fatal(err)
	}
	b.ready(t, "tagged")
	var pods corev1.PodList
	if err := b.admin.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabels{"app": "tagged"}); err != nil || len(pods.Items) == 0 {
		t.Fatalf("%d pods, %v", len(pods.Items), err)
	}
	runs := &pods.Items[0]
	if got := runs.Spec.Containers[0].Image; got != want {
		t.Errorf("its Pod is of %s, want %s", got, want)
	}
	debug := corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Image: api, SecurityContext: runs.Spec.Containers[0].SecurityContext}}
	runs.Spec.EphemeralContainers = append(runs.Spec.EphemeralContainers, debug)
	if err := b.admin.SubResource("ephemeralcontainers").Update(ctx, runs, client.DryRunAll); err == nil {
		if got := runs.Spec.EphemeralContainers[0].Image; got != want {
			t.Errorf("an ephemeral container is of %s, want %s", got, want)
		}
	} else if strings.Contains(err.Error(), scanID) {
		t.Errorf("an ephemeral container was judged by its tag: %v", err)
	}
}

// moved: a tag that means something else since. What was written stays what it was, applied again too, and what is new is judged as what
// the tag means now.
func (b *bed) moved(t *testing.T, api, good string) {
	ctx := t.Context()
	stays := deployment("moves", api, 1)
	if err := b.team.Create(ctx, stays); err != nil {
		t.Fatal(err)
	}
	if got := stays.Spec.Template.Spec.Containers[0].Image; got != api+"@"+good {
		t.Fatalf("it is of %s", got)
	}
	evil := pushed(t, api)
	ringfencetest.Eventually(t, "a new Pod to be judged as what the tag means now", func() error {
		return ringfencetest.Refused(b.team.Create(ctx, pod("x", api), client.DryRunAll), evil[:16])
	})
	again := client.RawPatch("application/strategic-merge-patch+json", fmt.Appendf(nil, `{"metadata":{"labels":{"a":"b"}},"spec":{"template":{"spec":{"containers":[{"name":"api","image":%q}]}}}}`, api))
	if err := b.team.Patch(ctx, stays, again); err != nil {
		t.Fatalf("applied again: %v", err)
	}
	if got := stays.Spec.Template.Spec.Containers[0].Image; got != api+"@"+good || stays.Labels["a"] != "b" {
		t.Errorf("applied again it is of %s", got)
	}
	old := client.RawPatch("application/json-patch+json", fmt.Appendf(nil, `[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":%q}]`, api+"@"+evil))
	if err := ringfencetest.RefusedBy(b.team.Patch(ctx, stays, old), scanID); err != nil {
		t.Errorf("the digest that was moved there: %v", err)
	}
}

// strangers are registries that do wrong, and one that nobody granted.
type strangers struct {
	redirects, hangs, ungranted string
	reached                     atomic.Int64 // how often one was asked who must not be
}

func newStrangers(t *testing.T) *strangers {
	t.Helper()
	s := &strangers{}
	serve := func(h http.HandlerFunc) string {
		srv := httptest.NewServer(h)
		t.Cleanup(srv.Close)
		t.Cleanup(srv.CloseClientConnections)
		return strings.TrimPrefix(srv.URL, "http://")
	}
	s.ungranted = serve(func(http.ResponseWriter, *http.Request) { s.reached.Add(1) })
	s.redirects = serve(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			http.Redirect(w, r, "http://"+s.ungranted+r.URL.Path, http.StatusTemporaryRedirect)
		}
	})
	s.hangs = serve(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	return s
}

// asked: nobody who was not granted is asked, whoever names them, and the answer comes whatever a registry does.
func (b *bed) asked(t *testing.T, far *strangers) {
	for _, image := range []string{
		far.ungranted + "/payments/api:1", far.redirects + "/payments/api:1", far.hangs + "/payments/api:1",
		far.redirects + "@" + far.ungranted + "/api:1", far.redirects + "/../" + far.ungranted + "/api:1", far.redirects + "." + far.ungranted + "/api:1",
		"169.254.169.254/latest/meta-data:1", "localhost/api:1", "api:1",
	} {
		if err := b.team.Create(t.Context(), pod("x", image), client.DryRunAll); err == nil {
			t.Errorf("%s: let in", image)
		}
	}
	if n := far.reached.Load(); n > 0 {
		t.Errorf("a host that nobody granted was asked %d times", n)
	}
	many := pod("x", far.redirects+"/a:1")
	for i := range 60 {
		c := *many.Spec.Containers[0].DeepCopy()
		c.Name, c.Image = fmt.Sprintf("c%d", i), fmt.Sprintf("%s/a:%d", far.hangs, i)
		many.Spec.Containers = append(many.Spec.Containers, c)
	}
	b.warned()
	if err := b.team.Create(t.Context(), many, client.DryRunAll); err == nil {
		t.Error("61 tags: let in")
	}
	if said := b.warned(); !strings.Contains(said, "only 20 are asked about") {
		t.Errorf("61 tags: warned %q", said)
	}
}

// reinvoked: what another webhook adds after ours is resolved too.
func (b *bed) reinvoked(t *testing.T, api, good string) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		var asked corev1.Pod
		text, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(text, &review) != nil || json.Unmarshal(review.Request.Object.Raw, &asked) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
		if len(asked.Spec.Containers) == 1 {
			sidecar := *asked.Spec.Containers[0].DeepCopy()
			sidecar.Name, sidecar.Image = "sidecar", api
			value, _ := json.Marshal(sidecar)
			review.Response.Patch = fmt.Appendf(nil, `[{"op":"add","path":"/spec/containers/-","value":%s}]`, value)
			review.Response.PatchType = new(admissionv1.PatchTypeJSONPatch)
		}
		_ = json.NewEncoder(w).Encode(review)
	}))
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	authority := srv.Certificate()
	hook := &registrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "sidecars"}, Webhooks: []registrationv1.MutatingWebhook{{
		Name: "sidecars.bank.example", AdmissionReviewVersions: []string{"v1"}, SideEffects: new(registrationv1.SideEffectClassNone),
		ClientConfig: registrationv1.WebhookClientConfig{URL: new(srv.URL), CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Raw})},
		Rules: []registrationv1.RuleWithOperations{{Operations: []registrationv1.OperationType{registrationv1.Create},
			Rule: registrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}}}},
	}}}
	if hook.Name <= admission.FillName {
		t.Fatal("the API server asks the other webhook first: nothing is shown")
	}
	if err := b.admin.Create(t.Context(), hook); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.admin.Delete(t.Context(), hook); err != nil {
			t.Error(err)
		}
		ringfencetest.Eventually(t, "the other webhook to be gone", func() error {
			p := pod("x", api)
			if err := b.becomes(t, p, api+"@"+good); err != nil || len(p.Spec.Containers) != 1 {
				return fmt.Errorf("%d containers, %w", len(p.Spec.Containers), err)
			}
			return nil
		})
	}()
	ringfencetest.Eventually(t, "a sidecar by its digest", func() error {
		p := pod("x", api)
		if err := b.becomes(t, p, api+"@"+good); err != nil || len(p.Spec.Containers) != 2 {
			return fmt.Errorf("%d containers, %w", len(p.Spec.Containers), err)
		}
		return nil
	})
}
