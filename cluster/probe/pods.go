package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/kube"
)

const (
	listener, prober = "ringfence-probe-listens", "ringfence-probe-reaches"
	pollEvery        = 500 * time.Millisecond
)

func at[T any](v T) *T { return &v }

// Pods are the two pods that Verify runs: one that listens in Other, and one that tries targets from Namespace.
func (c Config) Pods(targets ...string) (listens, reaches *corev1.Pod) {
	listens, reaches = c.pod(c.Other, listener, "listen"), c.pod(c.Namespace, prober, append([]string{"reach"}, targets...)...)
	listens.Spec.Containers[0].ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(ListenPort)}}, PeriodSeconds: 1, FailureThreshold: 60}
	return listens, reaches
}

// pod is a probe pod. It is judged as any pod of the namespace is.
func (c Config) pod(namespace, name string, args ...string) *corev1.Pod {
	small := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("64Mi"), corev1.ResourceEphemeralStorage: resource.MustParse("16Mi")}
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app.kubernetes.io/name": "ringfence-probe"}},
		Spec: corev1.PodSpec{
			ServiceAccountName: name, AutomountServiceAccountToken: at(false), RestartPolicy: corev1.RestartPolicyNever, TerminationGracePeriodSeconds: at(int64(1)),
			SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: at(true), RunAsUser: at(int64(65532)), RunAsGroup: at(int64(65532)), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			Containers: []corev1.Container{{
				Name: "probe", Image: c.Image, Args: append([]string{"verify-cluster"}, args...), Resources: corev1.ResourceRequirements{Requests: small, Limits: small},
				SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: at(false), ReadOnlyRootFilesystem: at(true), RunAsNonRoot: at(true), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
			}},
		},
	}
}

// clear takes away what was made. It has a time of its own: it runs also where the caller was interrupted.
func (r *run) clear(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for namespace, name := range map[string]string{r.Other: listener, r.Namespace: prober} {
		o := metav1.ObjectMeta{Namespace: namespace, Name: name}
		err := errors.Join(client.IgnoreNotFound(r.c.Delete(ctx, &corev1.Pod{ObjectMeta: o}, client.GracePeriodSeconds(1))),
			client.IgnoreNotFound(r.c.Delete(ctx, &corev1.ServiceAccount{ObjectMeta: o})))
		if err != nil {
			r.Say("%s in %s could not be deleted: %v; fix: kubectl -n %s delete pod,serviceaccount %s", name, namespace, err, namespace, name)
		}
	}
}

// start makes a pod with an account that has no right, and waits until it is as wanted; the error says how it was.
func (r *run) start(ctx context.Context, pod *corev1.Pod, is func(*corev1.Pod) bool) error {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}, AutomountServiceAccountToken: at(false)}
	if err := r.c.Create(ctx, account); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	if err := r.c.Create(ctx, pod); err != nil {
		return err
	}
	r.Say("pod %s runs in %s", pod.Name, pod.Namespace)
	err := wait.PollUntilContextTimeout(ctx, pollEvery, r.Patience, true, func(ctx context.Context) (bool, error) {
		if err := r.c.Get(ctx, client.ObjectKeyFromObject(pod), pod); err != nil {
			return false, client.IgnoreNotFound(err)
		}
		return is(pod), nil
	})
	if err != nil {
		why := pod.Status.Message
		for _, c := range pod.Status.ContainerStatuses {
			if c.State.Waiting != nil {
				why = strings.TrimSpace(c.State.Waiting.Reason + " " + c.State.Waiting.Message)
			}
		}
		return fmt.Errorf("pod %s of %s was %s after %v %s", pod.Name, pod.Namespace, pod.Status.Phase, r.Patience, why)
	}
	return nil
}

// network runs a pod that listens and one that tries to reach it and others, and returns the first.
func (r *run) network(ctx context.Context) *corev1.Pod {
	listens, _ := r.Pods()
	ready := r.start(ctx, listens, func(p *corev1.Pod) bool {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
				return p.Status.PodIP != ""
			}
		}
		return false
	})
	open, err := r.mustReach(ctx)
	if err != nil {
		r.set("network", NotProven, "%v", err)
	}
	peer := net.JoinHostPort(listens.Status.PodIP, strconv.Itoa(ListenPort))
	targets := append(metadata[:len(metadata):len(metadata)], r.Outside...)
	if open != "" {
		targets = append(targets, open)
	}
	if ready == nil {
		targets = append(targets, peer)
	}
	reached, err := r.reach(ctx, targets)
	if err != nil {
		for _, probe := range []string{"pull", "network", "egress", "metadata", "cross-tenant"} {
			r.set(probe, NotProven, "%v", err)
		}
		return listens
	}
	r.set("pull", Proven, "a node pulled %s and ran it", r.Image)
	if open == "" || !reached[open] {
		why := "the pod did not reach %s, which it must; so it shows nothing that it reached nothing else; fix: name what pods reach with --open"
		for _, probe := range []string{"network", "egress", "metadata", "cross-tenant"} {
			r.set(probe, NotProven, why, open)
		}
		return listens
	}
	r.set("network", Proven, "reached %s", open)
	r.closed("metadata", metadata[:], reached)
	r.egress(ctx, reached)
	if ready != nil {
		r.set("cross-tenant", NotProven, "%v", ready)
	} else {
		r.closed("cross-tenant", []string{peer}, reached)
	}
	return listens
}

// closed says of targets whether none was reached.
func (r *run) closed(probe string, targets []string, reached map[string]bool) {
	var in, unasked []string
	for _, t := range targets {
		if yes, asked := reached[t]; !asked {
			unasked = append(unasked, t)
		} else if yes {
			in = append(in, t)
		}
	}
	switch {
	case len(in) > 0:
		r.set(probe, Broken, "reached %s; fix: see that the network plug-in enforces the policies of the namespace", strings.Join(in, ", "))
	case len(unasked) > 0:
		r.set(probe, NotProven, "the pod says nothing of %s", strings.Join(unasked, ", "))
	case len(targets) == 0:
		r.set(probe, NotProven, "no address was named; fix: --outside HOST:PORT of something that answers outside")
	default:
		r.set(probe, Proven, "no connection within %v to %s", reachTime, strings.Join(targets, ", "))
	}
}

// egress says whether the pod reached what lies outside. Of what answers this machine neither, it shows nothing that the pod did not.
func (r *run) egress(ctx context.Context, reached map[string]bool) {
	r.closed("egress", r.Outside, reached)
	var silent []string
	here := answering(ctx, r.Outside)
	for _, target := range r.Outside {
		if !here[target] && !reached[target] {
			silent = append(silent, target)
		}
	}
	if len(silent) > 0 && r.report.state("egress") == Proven {
		r.set("egress", NotProven, "%s answers this machine neither, so that the pod got no connection shows nothing; fix: --outside with what answers here", strings.Join(silent, ", "))
	}
}

// mustReach is an address that every pod reaches.
func (r *run) mustReach(ctx context.Context) (string, error) {
	if r.Open != "" {
		return r.Open, nil
	}
	var dns corev1.Service
	if err := r.c.Get(ctx, client.ObjectKey{Namespace: metav1.NamespaceSystem, Name: "kube-dns"}, &dns); err != nil {
		return "", fmt.Errorf("find the cluster's DNS: %w; fix: name what pods reach with --open", err)
	}
	return net.JoinHostPort(dns.Spec.ClusterIP, "53"), nil
}

// reach runs the pod that tries targets, and reads its last word.
func (r *run) reach(ctx context.Context, targets []string) (map[string]bool, error) {
	_, p := r.Pods(targets...)
	if err := r.start(ctx, p, func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	}); err != nil {
		return nil, fmt.Errorf("%w: it said nothing; do these nodes run containers, and has the registry the image", err)
	}
	for _, c := range p.Status.ContainerStatuses {
		var out said
		if c.State.Terminated != nil && json.Unmarshal([]byte(c.State.Terminated.Message), &out) == nil && len(out.Reached) > 0 {
			return out.Reached, nil
		}
	}
	return nil, fmt.Errorf("pod %s of %s ended as %s without a word", p.Name, p.Namespace, p.Status.Phase)
}

// person is somebody of the tenant, as the API server sees them who are in the first group that Ringfence bound there.
func (r *run) person(ctx context.Context, namespace string) (*rest.Config, string, error) {
	var bindings rbacv1.RoleBindingList
	if err := r.c.List(ctx, &bindings, client.InNamespace(namespace), client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}); err != nil {
		return nil, "", err
	}
	for _, b := range bindings.Items {
		for _, s := range b.Subjects {
			if s.Kind == rbacv1.GroupKind && strings.Contains(b.RoleRef.Name, "admin") {
				as := rest.CopyConfig(r.On)
				as.Impersonate = rest.ImpersonationConfig{UserName: "ringfence-verify-cluster", Groups: []string{s.Name, "system:authenticated"}}
				return as, s.Name, nil
			}
		}
	}
	return nil, "", fmt.Errorf("no group is bound as admin in %s", namespace)
}

// enter asks for a shell in the pod that listens, as its tenant's admin.
func (r *run) enter(ctx context.Context, pod *corev1.Pod) {
	if !r.production {
		r.set("exec", NotProven, "%s is not production, where alone nobody may enter pods; fix: --other with an environment of production", r.Other)
		return
	}
	as, group, err := r.person(ctx, r.Other)
	if err != nil {
		r.set("exec", NotProven, "%v", err)
		return
	}
	web, err := rest.HTTPClientFor(as)
	if err != nil {
		r.set("exec", NotProven, "%v", err)
		return
	}
	url := fmt.Sprintf("%s/api/v1/namespaces/%s/pods/%s/exec?command=id&stdout=true", strings.TrimSuffix(as.Host, "/"), pod.Namespace, pod.Name)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		r.set("exec", NotProven, "%v", err)
		return
	}
	answer, err := web.Do(request)
	if err != nil {
		r.set("exec", NotProven, "%v", err)
		return
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 64<<10)) // what is cut off proves nothing
	switch refused := strings.Contains(string(text), "pods/exec") || strings.Contains(string(text), "RF-"); {
	case answer.StatusCode == http.StatusForbidden && !refused: // it is this kubeconfig that may not ask in their name
		r.set("exec", NotProven, "%.300s", text)
	case answer.StatusCode == http.StatusForbidden:
		r.set("exec", Proven, "refused to a member of %s with 403", group)
	case answer.StatusCode == http.StatusNotFound:
		r.set("exec", NotProven, "there is no pod to enter")
	default:
		r.set("exec", Broken, "a member of %s was answered %s, not 403; fix: look who gave pods/exec in %s", group, answer.Status, pod.Namespace)
	}
}

// foreign asks, as a dry run, for a pod whose image is not the bank's.
func (r *run) foreign(ctx context.Context) {
	as, group, err := r.person(ctx, r.Namespace)
	if err != nil {
		r.set("foreign-image", NotProven, "%v", err)
		return
	}
	c, err := kube.NewClient(as)
	if err != nil {
		r.set("foreign-image", NotProven, "%v", err)
		return
	}
	pod := r.pod(r.Namespace, prober+"-foreign")
	_, digest, _ := strings.Cut(r.Image, "@")
	pod.Spec.Containers[0].Image, pod.Spec.ServiceAccountName = "registry.invalid/foreign@"+digest, prober
	err = c.Create(ctx, pod, client.DryRunAll)
	switch {
	case err == nil:
		r.set("foreign-image", Broken, "a member of %s was let in with %s; fix: kubectl get platform platform -o yaml, condition Enforced", group, pod.Spec.Containers[0].Image)
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "denied request: RF-") && strings.Contains(err.Error(), "registry.invalid"): // the image is what was found
		r.set("foreign-image", Proven, "refused to a member of %s by a rule", group)
	default:
		r.set("foreign-image", NotProven, "%v", err)
	}
}
