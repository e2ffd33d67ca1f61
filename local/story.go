package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/install"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/policy/bundle"
	"ringfence.dev/ringfence/samples"
	"ringfence.dev/ringfence/tenant"
)

// The people of the story, as the sample tenant's groups name them.
const (
	tenantAdmin      = "dana@bank.example"
	tenantAdminGroup = "oidc:payments-admins"
)

// stepTimeout bounds each step that waits for the cluster; each takes some seconds, and a minute where others use the machine.
const stepTimeout = 3 * time.Minute

// story plays the sample bank and tells what happens, with the time since the start before each line.
type story struct {
	mu     sync.Mutex // guards out
	out    io.Writer
	start  time.Time
	failed int
	images *sampleImages // once they were examined
}

func newStory(out io.Writer) *story { return &story{out: out, start: time.Now()} }

func (s *story) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, "%6.1fs  %s\n", time.Since(s.start).Seconds(), fmt.Sprintf(format, args...))
}

// detail adds a line to the step before it.
func (s *story) detail(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, "         %s\n", text)
}

// wrong tells a step that did not go as it should.
func (s *story) wrong(format string, args ...any) {
	s.failed++
	s.say("WRONG: "+format, args...)
}

// play tells the whole story. It returns ErrStory where a step did not go as it should.
func (s *story) play(ctx context.Context, config *rest.Config, c *cluster, o Options) error {
	admin, err := kube.NewClient(config)
	if err != nil {
		return err
	}
	if o.Kubeconfig != "" && !o.Yes {
		if err := strangers(ctx, admin); err != nil {
			return err
		}
	}
	if c.simulated {
		if err := install.CRDs(ctx, admin, tenant.CiliumCRD()); err != nil { // so that both network models can be tried
			return err
		}
	}
	if err := s.onboard(ctx, admin); err != nil {
		return err
	}
	warnings := &warnings{}
	dana := rest.CopyConfig(config)
	dana.WarningHandlerWithContext = warnings
	dana.Impersonate = rest.ImpersonationConfig{UserName: tenantAdmin, Groups: []string{tenantAdminGroup, "system:authenticated"}}
	developer, err := kube.NewClient(dana)
	if err != nil {
		return err
	}
	everyone := rest.CopyConfig(config)
	everyone.WarningHandlerWithContext = warnings
	clusterAdmin, err := kube.NewClient(everyone)
	if err != nil {
		return err
	}
	if err := s.admit(ctx, developer, c.simulated); err != nil { // the account of the samples, too
		return err
	}
	if err := errors.Join(s.inForce(ctx, clusterAdmin, warnings), filling(ctx, clusterAdmin)); err != nil {
		return err
	}
	began := time.Now()
	if err := s.refuse(ctx, map[string]client.Client{"": developer, "cluster-admin": clusterAdmin}, warnings); err != nil {
		return err
	}
	if err := s.warn(ctx, developer, warnings); err != nil {
		return err
	}
	s.foresee()
	if c.simulated && o.Prove != nil { // a cluster of the user's own sends its audit events elsewhere
		if err := s.prove(ctx, o, began); err != nil {
			return err
		}
	}
	if s.failed > 0 {
		s.say("%d steps did not go as they should", s.failed)
		return ErrStory
	}
	s.say("ready: all went as it should")
	return nil
}

// onboard writes the sample Platform and Tenant where there are none, and waits until both are in force.
func (s *story) onboard(ctx context.Context, c client.Client) error {
	for _, file := range []string{"platform.yaml", "tenant.yaml"} {
		objects, _, err := sample(file)
		if err != nil {
			return err
		}
		if err := untilServed(ctx, func() error { return client.IgnoreAlreadyExists(c.Create(ctx, objects[0])) }); err != nil {
			return fmt.Errorf("create %s: %w", file, err)
		}
	}
	var platform v1alpha1.Platform
	err := s.until(ctx, "the rules to be in force", func(ctx context.Context) (string, error) {
		if err := c.Get(ctx, client.ObjectKey{Name: v1alpha1.PlatformName}, &platform); err != nil {
			return "", err
		}
		return waiting(platform.Status.Conditions, bundle.ConditionEnforced), nil
	})
	if err != nil {
		return err
	}
	s.say("rules in force: %s (profile %s)", message(platform.Status.Conditions, bundle.ConditionEnforced), platform.Spec.Profile)
	var tenant v1alpha1.Tenant
	err = s.until(ctx, "tenant payments to be onboarded", func(ctx context.Context) (string, error) {
		if err := c.Get(ctx, client.ObjectKey{Name: "payments"}, &tenant); err != nil {
			return "", err
		}
		return waiting(tenant.Status.Conditions, "Ready"), nil
	})
	if err != nil {
		return err
	}
	var names []string
	for _, e := range tenant.Status.Environments {
		names = append(names, e.Namespace)
	}
	s.say("tenant %s onboarded: namespaces %s, each with Guard, quota, network baseline and rights for two groups", tenant.Name, strings.Join(names, " and "))
	return nil
}

// inForce waits until the API server refuses the bad samples by their controls: it takes up a policy about a second after
// it was written, and for some seconds after its own start it refuses everything because it does not know the kind of
// the parameter yet. What it still answers wrongly then is told by refuse.
func (s *story) inForce(ctx context.Context, c client.Client, w *warnings) error {
	bad, err := badSamples()
	if err != nil {
		return err
	}
	for _, b := range bad {
		err = wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, takeUp, true, func(ctx context.Context) (bool, error) {
			w.take()
			err := c.Create(ctx, b.object.DeepCopy(), client.DryRunAll)
			return err != nil && len(unnamed(refusals(err, w.take()), b.want)) == 0, nil
		})
		if ctx.Err() != nil {
			return ctx.Err()
		} else if err != nil {
			return nil
		}
	}
	return nil
}

// filling waits until the API server fills in what a pod lacks, where it can: the first refusals would else name what the
// platform fills in a moment later.
func filling(ctx context.Context, c client.Client) error {
	var platform v1alpha1.Platform
	if err := c.Get(ctx, client.ObjectKey{Name: v1alpha1.PlatformName}, &platform); err != nil {
		return fmt.Errorf("read the Platform: %w", err)
	}
	if !meta.IsStatusConditionTrue(platform.Status.Conditions, bundle.ConditionMutated) {
		return nil
	}
	objects, _, err := sample("compliant.yaml")
	if err != nil {
		return err
	}
	i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == "Deployment" })
	unstructured.RemoveNestedField(objects[i].Object, "spec", "template", "spec", "automountServiceAccountToken")
	objects[i].SetName("filled-in")
	_ = wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, takeUp, true, func(ctx context.Context) (bool, error) {
		o := objects[i].DeepCopy()
		err := c.Create(ctx, o, client.DryRunAll)
		return err == nil && o.GetAnnotations()[v1alpha1.AnnotationDefaulted] != "", nil
	})
	return ctx.Err()
}

// takeUp is how long the API server may take to take up a policy; one that was just started needs up to 10 s.
const takeUp = 30 * time.Second

// admit creates the compliant workload as the tenant's admin and waits until it runs, or, on a cluster that may not be
// able to pull its image, until its pods were admitted.
func (s *story) admit(ctx context.Context, c client.Client, simulated bool) error {
	objects, _, err := sample("compliant.yaml")
	if err != nil {
		return err
	}
	for _, o := range objects {
		// Rights and policies take effect up to a second after they were written.
		err := wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, stepTimeout, true, func(ctx context.Context) (bool, error) {
			err := client.IgnoreAlreadyExists(c.Create(ctx, o.DeepCopy()))
			return err == nil, ignoreForbidden(err)
		})
		if err != nil {
			err = fmt.Errorf("create compliant %s %s as %s: %w", o.GetKind(), o.GetName(), tenantAdmin, errors.Join(err, c.Create(ctx, o.DeepCopy())))
			s.wrong("%v", err)
			return nil
		}
	}
	field, done := "availableReplicas", "runs"
	if !simulated {
		field, done = "replicas", "is admitted"
	}
	at := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == "Deployment" })
	if at < 0 {
		return errors.New("the sample compliant.yaml has no Deployment")
	}
	deployment := objects[at]
	err = s.until(ctx, "the compliant workload", func(ctx context.Context) (string, error) {
		if err := c.Get(ctx, client.ObjectKeyFromObject(deployment), deployment); err != nil {
			return "", err
		}
		have, _, _ := unstructured.NestedInt64(deployment.Object, "status", field)
		want, _, _ := unstructured.NestedInt64(deployment.Object, "spec", "replicas")
		if have < want {
			return fmt.Sprintf("%d of %d pods", have, want), nil
		}
		return "", nil
	})
	if err != nil {
		return err
	}
	s.say("compliant workload %s: deployment %s/%s, created by %s", done, deployment.GetNamespace(), deployment.GetName(), tenantAdmin)
	return nil
}

// refuse creates each bad sample; each must be refused, and the refusal with its warnings must name every control that
// the sample says.
func (s *story) refuse(ctx context.Context, as map[string]client.Client, w *warnings) error {
	bad, err := badSamples()
	if err != nil {
		return err
	}
	for _, b := range bad {
		o, name := b.object, strings.ToLower(b.object.GetKind())+" "+b.object.GetNamespace()+"/"+b.object.GetName()
		w.take()
		err = as[b.as].Create(ctx, o)
		if err == nil {
			s.wrong("%s was admitted; want it refused by %s", name, strings.Join(b.want, ", "))
			if err := as[b.as].Delete(ctx, o); err != nil {
				return fmt.Errorf("remove %s, which should have been refused: %w", name, err)
			}
			continue
		}
		lines := refusals(err, w.take())
		if missing := unnamed(lines, b.want); !apierrors.IsForbidden(err) || len(missing) > 0 {
			s.wrong("%s was refused without naming %s: %v", name, strings.Join(missing, ", "), err)
			continue
		}
		s.say("refused: %s. %s", name, b.text)
		for _, line := range lines {
			s.detail(line)
		}
	}
	return nil
}

// proveTimeout bounds how long the first refusal may take into the ledger; the API server sends audit events each second.
const proveTimeout = 30 * time.Second

// prove shows that the ledger holds the first refusal of this story.
func (s *story) prove(ctx context.Context, o Options, began time.Time) error {
	bounded, cancel := context.WithTimeout(ctx, proveTimeout)
	defer cancel()
	found, err := o.Prove(bounded, o.Dir, began)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		s.wrong("the first refusal is no evidence: %v", err)
	default:
		s.say("evidence: the first refusal is %s", found)
		s.detail(fmt.Sprintf("ringfence evidence list --dir %s", o.Dir))
		s.detail(fmt.Sprintf("ringfence evidence export --dir %s -o bundle.zip && ringfence evidence verify bundle.zip", o.Dir))
	}
	return nil
}

// next says what to type.
func (s *story) next(o Options, c *cluster) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, `
Try in another terminal:
  export KUBECONFIG=%s PATH=%s:$PATH
  kubectl get platforms,tenants; kubectl get guards -A
  kubectl run shell --image=nginx -n payments-dev --as=%s --as-group=%s
  ringfence findings --since 10m --dir %s
  ringfence explain RF-WL-05
  %s
Ctrl-C stops everything; the state stays in %s.
`, c.kubeconfig, programs(), tenantAdmin, tenantAdminGroup, o.Dir, s.images.command("ls"), o.Dir)
}

// programs is the folder of this program, where kubectl lies too if it was built here.
func programs() string {
	self, err := os.Executable()
	if err != nil {
		return "."
	}
	return filepath.Dir(self)
}

// strangers refuses to guard a cluster on which somebody else's workloads run.
func strangers(ctx context.Context, c client.Client) error {
	pods := &metav1.PartialObjectMetadataList{}
	pods.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "PodList"})
	if err := c.List(ctx, pods); err != nil {
		return fmt.Errorf("look for workloads on the cluster: %w", err)
	}
	for _, p := range pods.Items {
		if ns := p.Namespace; ns != "kube-system" && ns != v1alpha1.SystemNamespace && !strings.HasPrefix(ns, "payments-") {
			return fmt.Errorf("workloads run in namespace %s of this cluster, and ringfence up would guard it; use a cluster of your own, or say --yes", ns)
		}
	}
	return nil
}

// until waits for check to return "", and tells the user what it waited for where that never comes.
func (s *story) until(ctx context.Context, what string, check func(context.Context) (string, error)) error {
	last := "nothing yet"
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, stepTimeout, true, func(ctx context.Context) (bool, error) {
		waitingFor, err := check(ctx)
		if err != nil {
			last = err.Error()
			return false, nil
		}
		last = waitingFor
		return waitingFor == "", nil
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("wait for %s: %s after %s", what, last, stepTimeout)
	}
	return err
}

// untilServed tries again while the API server does not know the kind yet.
func untilServed(ctx context.Context, do func() error) error {
	return wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, stepTimeout, true, func(context.Context) (bool, error) {
		err := do()
		if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) || apierrors.IsServiceUnavailable(err) {
			return false, nil
		}
		return err == nil, err
	})
}

func ignoreForbidden(err error) error {
	if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) || kube.NotReady(err) {
		return nil
	}
	return err
}

// waiting is what a condition waits for, or "" once it is True.
func waiting(conditions []metav1.Condition, kind string) string {
	c := meta.FindStatusCondition(conditions, kind)
	switch {
	case c == nil:
		return "condition " + kind + " is not reported yet"
	case c.Status == metav1.ConditionTrue:
		return ""
	}
	return c.Reason + ": " + c.Message
}

func message(conditions []metav1.Condition, kind string) string {
	if c := meta.FindStatusCondition(conditions, kind); c != nil {
		return c.Message
	}
	return ""
}

// head is what the first lines of a sample say.
type head struct {
	text, as string
	want     []string
}

// badSample is one object of the sample bank that must be refused.
type badSample struct {
	head
	object *unstructured.Unstructured
}

func badSamples() (all []badSample, err error) {
	files, err := fs.Glob(samples.FS, "refused/*.yaml")
	for _, file := range files {
		objects, head, err := sample(file)
		if err != nil {
			return nil, err
		}
		all = append(all, badSample{head, objects[0]})
	}
	return all, err
}

// sample reads a file of the sample bank.
func sample(file string) ([]*unstructured.Unstructured, head, error) {
	text, err := fs.ReadFile(samples.FS, file)
	if err != nil {
		return nil, head{}, err
	}
	var h head
	for line := range strings.Lines(string(text)) {
		line, ok := strings.CutPrefix(strings.TrimSpace(line), "# ")
		if !ok {
			break
		}
		if id, ok := strings.CutPrefix(line, "want: "); ok {
			h.want = append(h.want, id)
		} else if who, ok := strings.CutPrefix(line, "as: "); ok {
			h.as = who
		} else {
			h.text = line
		}
	}
	var objects []*unstructured.Unstructured
	for o, err := range manifest.Read(bytes.NewReader(text), file) {
		if err != nil {
			return nil, h, err
		}
		objects = append(objects, &unstructured.Unstructured{Object: o.Value})
	}
	return objects, h, nil
}
