package load

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/admission"
)

// workers are how many requests are under way at most.
const workers = 64

// request is one of the load: something that must be let in, or must be refused.
type request struct {
	name   string
	bad    bool
	object func() client.Object
}

// judge is nil where the answer is right.
func (r request) judge(err error) error {
	switch {
	case r.bad && err == nil:
		return fmt.Errorf("%s was let in", r.name)
	case r.bad && !(apierrors.IsForbidden(err) && strings.Contains(err.Error(), "RF-")):
		return fmt.Errorf("%s: %w; want a refusal by a control", r.name, err)
	case !r.bad && err != nil:
		return fmt.Errorf("%s was refused: %w", r.name, err)
	}
	return nil
}

// requests are the load, over and over: of ten two must be refused.
func requests() []request {
	good := request{"a right Pod", false, func() client.Object { return pod() }}
	return []request{
		good, good, good,
		{"a right Deployment", false, func() client.Object { return deployment() }},
		{"a privileged Pod", true, func() client.Object {
			p := pod()
			p.Spec.Containers[0].SecurityContext.AllowPrivilegeEscalation, p.Spec.Containers[0].SecurityContext.Privileged = nil, new(true)
			return p
		}},
		good, good,
		{"a ConfigMap", false, func() client.Object {
			return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "a-", Namespace: home}}
		}},
		good,
		{"a Deployment with a foreign image", true, func() client.Object {
			d := deployment()
			d.Spec.Template.Spec.Containers[0].Image = "docker.io/library/nginx:1"
			return d
		}},
	}
}

// pod satisfies every control of the catalogue.
func pod() *corev1.Pod {
	amount := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi"), corev1.ResourceEphemeralStorage: resource.MustParse("1Gi")}
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "api-", Namespace: home}, Spec: corev1.PodSpec{
		ServiceAccountName: "api", AutomountServiceAccountToken: new(false),
		SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: new(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
		Containers: []corev1.Container{{Name: "api", Image: "registry.bank.example/payments/api@sha256:" + strings.Repeat("0", 64),
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			},
			Resources: corev1.ResourceRequirements{Requests: amount, Limits: amount}}},
	}}
}

func deployment() *appsv1.Deployment {
	app := map[string]string{"app": "api"}
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{GenerateName: "api-", Namespace: home}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: app}, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: app}, Spec: pod().Spec}}}
}

// registration is an empty registration of the webhook, to be read into.
func registration() *admissionv1.ValidatingWebhookConfiguration {
	return &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: admission.RegistrationName}}
}

// tally is what came of a load. forgive says whether what is not right is nevertheless expected now; nil forgives nothing. A bad
// object that was let in is never forgiven.
type tally struct {
	forgive func(r request, begun time.Time, err error) bool

	made, good, bad, forgiven atomic.Int64

	mu     sync.Mutex // guards what follows
	waited []time.Duration
	wrong  []error
}

// count takes one answer in.
func (l *tally) count(r request, due, begun time.Time, err error) {
	l.made.Add(1)
	fault := r.judge(err)
	letIn := r.bad && err == nil
	switch {
	case fault != nil && !letIn && l.forgive != nil && l.forgive(r, begun, err):
		l.forgiven.Add(1)
		return
	case fault == nil && r.bad:
		l.bad.Add(1)
	case fault == nil:
		l.good.Add(1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if fault != nil && len(l.wrong) < 20 {
		l.wrong = append(l.wrong, fmt.Errorf("at %s: %w", begun.Format(time.TimeOnly), fault))
	}
	l.waited = append(l.waited, time.Since(due))
}

// run makes rate requests a second until ctx ends or, where lasts is not zero, for that long. A request that is late because the
// one before was slow has waited since it was due.
func (l *tally) run(ctx context.Context, c client.Client, rate int, lasts time.Duration) {
	type turn struct {
		n   int
		due time.Time
	}
	all, turns := requests(), make(chan turn)
	var pool sync.WaitGroup
	for range workers {
		pool.Go(func() {
			for t := range turns {
				r, begun := all[t.n%len(all)], time.Now()
				l.count(r, t.due, begun, c.Create(context.WithoutCancel(ctx), r.object(), client.DryRunAll))
			}
		})
	}
	began := time.Now()
	for n := 0; ctx.Err() == nil; n++ {
		after := time.Duration(n) * time.Second / time.Duration(rate)
		if lasts > 0 && after >= lasts {
			break
		}
		select {
		case <-time.After(time.Until(began.Add(after))):
			turns <- turn{n, began.Add(after)}
		case <-ctx.Done():
		}
	}
	close(turns)
	pool.Wait()
}

// check fails the test for what was wrong, and where nothing was asked.
func (l *tally) check(t *testing.T) {
	t.Helper()
	for _, err := range l.wrong {
		t.Error(err)
	}
	if l.good.Load() == 0 || l.bad.Load() == 0 {
		t.Errorf("%d were let in and %d refused; want some of both", l.good.Load(), l.bad.Load())
	}
	t.Logf("%d requests: %d let in, %d refused, %d wrong and expected; %s", l.made.Load(), l.good.Load(), l.bad.Load(), l.forgiven.Load(), l.percentiles())
}

// percentiles are how long answers took, in words.
func (l *tally) percentiles() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.Sort(l.waited)
	if len(l.waited) == 0 {
		return "no answers"
	}
	at := func(share float64) time.Duration {
		return l.waited[int(share*float64(len(l.waited)-1))].Round(100 * time.Microsecond)
	}
	return fmt.Sprintf("median %v, 90 %% within %v, 99 %% %v, 99.9 %% %v, slowest %v", at(.5), at(.9), at(.99), at(.999), at(1))
}
