package rollout

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/server"
)

// bank is an estate that runs before Ringfence is there: teams, each with a namespace for development and one for production, and
// workloads, every third with a fault.
type bank struct {
	*testing.T
	*clustertest.Cluster
	admin            client.Client
	teams, workloads int
	began            time.Time
	load             func() // ends the load and tells what came of it; nil where there is none
}

// size is a number of the environment, or the usual one.
func size(t *testing.T, name string, usual int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s: found %q; want a number above 0", name, text)
	}
	return n
}

// TestBank walks the README's way on a cluster that runs money, from an estate that nobody guards to controls that deny, on an API server of its own; after each change of
// what is refused every workload is restarted, and each must come back. RINGFENCE_ROLLOUT_TEAMS and RINGFENCE_ROLLOUT_WORKLOADS are
// how large it is: 50 and 2000 are a bank.
func TestBank(t *testing.T) {
	if cluster == nil {
		t.Skip(clustertest.ErrUnavailable)
	}
	b := &bank{T: t, teams: size(t, "RINGFENCE_ROLLOUT_TEAMS", 4), workloads: size(t, "RINGFENCE_ROLLOUT_WORKLOADS", 60), began: time.Now()}
	var err error
	if b.Cluster, err = clustertest.Start("--nodes", fmt.Sprint(4+b.workloads/150)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	b.admin = ringfencetest.Client(t, b.Config)
	b.builds()
	dir, err := os.MkdirTemp("", "rf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	restarts := 0
	page := ringfencetest.Page{File: "README.md", Section: "On a cluster that runs money", Dir: dir, Env: []string{"KUBECONFIG=" + b.Kubeconfig},
		Before: func(command string) {
			switch {
			case strings.Contains(command, "ringfence install"):
				b.plays()
			case strings.Contains(command, "control rollback"):
				b.loads()
			}
		},
		After: func(command string) {
			b.tells(command)
			if b.load != nil {
				b.load()
			}
			if strings.Contains(command, "kubectl patch") {
				b.mends()
			}
			if strings.Contains(command, "--approve") || strings.HasSuffix(command, "RF-WL-08 --to Deny") || strings.Contains(command, "control rollback") || strings.Contains(command, "wait platform") {
				b.restarts()
				restarts++
			}
		}}
	b.programs(dir)
	if n := ringfencetest.Walk(t, page); n < 18 || restarts < 5 {
		t.Errorf("%s has %d commands after which everything was restarted %d times; want 18 and 5 or more", page.File, n, restarts)
	}
}

// tells says how far it is.
func (b *bank) tells(what string) {
	b.Logf("%6.1fs  %.100s", time.Since(b.began).Seconds(), what)
}

// programs puts the programs that the page names into a folder: this very one for Ringfence.
func (b *bank) programs(dir string) {
	b.Helper()
	root, err := clustertest.Root()
	self, wrong := os.Executable()
	if err := errors.Join(err, wrong, os.Mkdir(filepath.Join(dir, "bin"), 0o700)); err != nil {
		b.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\n%s=1 exec %s \"$@\"\n", envCommand, self)
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "bin", "ringfence"), []byte(script), 0o700), os.Symlink(filepath.Join(root, "bin", "kubectl"), filepath.Join(dir, "bin", "kubectl"))); err != nil {
		b.Fatal(err)
	}
}

// plays runs Ringfence once it is installed, as a kubelet would with the pods of its Deployment.
func (b *bank) plays() {
	go func() {
		for b.Context().Err() == nil {
			if b.admin.Get(b.Context(), client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: "ringfence"}, &appsv1.Deployment{}) == nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if b.Context().Err() == nil {
			ringfencetest.Start(b.T, b.Config, server.Config{Replicas: server.ReplicasConfig{Elect: true}}, slog.LevelWarn)
		}
	}()
}

// each does something for every number below n, sixteen at a time, until it works.
func (b *bank) each(what string, n int, do func(i int) error) {
	b.Helper()
	next, faults := make(chan int), make(chan error, n)
	var workers sync.WaitGroup
	for range 16 {
		workers.Go(func() {
			for i := range next {
				err := do(i)
				for try := 0; err != nil && try < 100 && b.Context().Err() == nil; try++ {
					time.Sleep(100 * time.Millisecond)
					err = do(i)
				}
				if err != nil {
					faults <- err
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
	close(faults)
	if err := <-faults; err != nil {
		b.Fatalf("%s: %v", what, err)
	}
}

// place is where a workload lies and what it is called. Every third is bad, and these have one of three faults in turn.
func (b *bank) place(i int) (namespace, name, fault string) {
	stage := []string{"dev", "prod"}[i/b.teams%2]
	fault = "none"
	if i%3 == 0 {
		fault = []string{"net-admin", "no-limits", "host-pid"}[i/3%3]
	}
	return fmt.Sprintf("team%02d-%s", i%b.teams, stage), fmt.Sprintf("app%04d", i), fault
}

// workload is one; every tenth is a StatefulSet.
func (b *bank) workload(i int) client.Object {
	namespace, name, fault := b.place(i)
	selector, pod := pods(name, fault == "net-admin")
	switch fault {
	case "no-limits":
		pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{}
	case "host-pid":
		pod.Spec.HostPID = true
	}
	one := int32(1)
	meta := metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{"fault": fault}}
	if i%10 == 0 {
		return &appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Replicas: &one, Selector: selector, Template: pod}}
	}
	return &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Replicas: &one, Selector: selector, Template: pod}}
}

// builds makes the estate and waits until all of it runs.
func (b *bank) builds() {
	b.Helper()
	group := func(role, name string) *rbacv1.RoleBinding {
		return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: name}}}
	}
	b.each("make namespaces", 2*b.teams, func(i int) error {
		team := fmt.Sprintf("team%02d", i/2)
		name := team + []string{"-dev", "-prod"}[i%2]
		all := []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"team": team}, Annotations: map[string]string{"owner-email": team + "@bank.example"}}},
			group("admin", team+"-developers"), group("view", team+"-readers")}
		for _, o := range all {
			if o.GetNamespace() == "" && o.GetName() != name {
				o.SetNamespace(name)
			}
			if err := b.admin.Create(b.Context(), o); client.IgnoreAlreadyExists(err) != nil {
				return err
			}
		}
		return nil
	})
	b.each("make workloads", b.workloads, func(i int) error {
		return client.IgnoreAlreadyExists(b.admin.Create(b.Context(), b.workload(i)))
	})
	b.runs(map[types.UID]bool{}, "")
	b.tells(fmt.Sprintf("%d workloads of %d teams run", b.workloads, b.teams))
}

// mends waits until no pod is left of those templates that were mended.
func (b *bank) mends() {
	b.Helper()
	b.fewer("pods of what was mended", func() (old []string, err error) {
		var all corev1.PodList
		err = b.admin.List(b.Context(), &all, client.HasLabels{"app"})
		for _, p := range all.Items {
			if s := p.Spec.Containers[0].SecurityContext; s != nil && s.Capabilities != nil && len(s.Capabilities.Add) > 0 {
				old = append(old, p.Namespace+"/"+p.Name)
			}
		}
		return old, err
	})
	b.tells("what was mended runs")
}

// fewer waits until nothing is left of something, as long as it gets less and less.
func (b *bank) fewer(what string, left func() ([]string, error)) {
	b.Helper()
	for most := 2 * b.workloads; most > 0; {
		ringfencetest.Eventually(b.T, "fewer "+what, func() error {
			time.Sleep(time.Duration(b.workloads) * time.Millisecond) // a look at all of them is work for the API server too
			now, err := left()
			if err == nil && len(now) >= most {
				err = fmt.Errorf("%d of %d are left, such as %q", len(now), b.workloads, now[:min(5, len(now))])
			}
			if err == nil {
				most = len(now)
			}
			return err
		})
	}
}

// restarts takes every pod of every workload away, and has every Deployment make others of a template that is new.
func (b *bank) restarts() {
	b.Helper()
	var before corev1.PodList
	if err := b.admin.List(b.Context(), &before, client.HasLabels{"app"}); err != nil {
		b.Fatal(err)
	}
	gone := map[types.UID]bool{}
	for _, p := range before.Items {
		gone[p.UID] = true
	}
	stamp := fmt.Sprint(time.Now().UnixNano())
	restart := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":%q}}}}}`, stamp))
	b.each("restart", b.workloads, func(i int) error {
		return b.admin.Patch(b.Context(), b.workload(i), restart)
	})
	b.each("drain", len(before.Items), func(i int) error {
		return client.IgnoreNotFound(b.admin.Delete(b.Context(), &before.Items[i], client.GracePeriodSeconds(0)))
	})
	b.runs(gone, stamp)
	b.tells("everything was restarted and came back")
}

// runs waits until every workload has a pod that runs and is none of those that went, of the template with a stamp.
func (b *bank) runs(gone map[types.UID]bool, stamp string) {
	b.Helper()
	b.fewer("workloads that do not run", func() ([]string, error) { return b.missing(gone, stamp) })
}

// missing are the workloads that do not run so, each with what is wrong with it by our rules.
func (b *bank) missing(gone map[types.UID]bool, stamp string) (missing []string, err error) {
	var all corev1.PodList
	if err := b.admin.List(b.Context(), &all, client.HasLabels{"app"}); err != nil {
		return nil, err
	}
	up := map[string]bool{}
	for _, p := range all.Items {
		if !gone[p.UID] && p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodRunning && p.Annotations["kubectl.kubernetes.io/restartedAt"] == stamp {
			up[p.Namespace+"/"+p.Labels["app"]] = true
		}
	}
	for i := range b.workloads {
		if namespace, name, fault := b.place(i); !up[namespace+"/"+name] {
			missing = append(missing, namespace+"/"+name+" ("+fault+")")
		}
	}
	return missing, nil
}

// loads has eight clients try to create a workload with a fault in every namespace in turn, which is refused before the rollback. What
// ends it tells how long after the rollback began the last was refused.
func (b *bank) loads() {
	ctx, stop := context.WithCancel(b.Context())
	began := time.Now()
	var mu sync.Mutex // guards what follows
	var refused, let int
	var last time.Time
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for ctx.Err() == nil {
				d := deployment(fmt.Sprintf("team%02d-%s", rand.IntN(b.teams), []string{"dev", "prod"}[rand.IntN(2)]), "load", false, 0)
				d.Spec.Template.Spec.Containers[0].Resources = corev1.ResourceRequirements{}
				sent := time.Now()
				err := b.admin.Create(ctx, d, client.DryRunAll)
				mu.Lock()
				switch {
				case ctx.Err() != nil:
				case apierrors.IsForbidden(err):
					refused++
					last = sent
				case err == nil:
					let++
				}
				mu.Unlock()
			}
		})
	}
	ringfencetest.Eventually(b.T, "the load to be refused", func() error {
		mu.Lock()
		defer mu.Unlock()
		if let > 0 || refused < 50 {
			return fmt.Errorf("%d refused and %d let in", refused, let)
		}
		return nil
	})
	written := b.platformWritten(ctx)
	rolled := time.Now()
	b.load = func() {
		b.load = nil
		mu.Lock()
		already := let
		mu.Unlock()
		ringfencetest.Eventually(b.T, "the load to be let in", func() error {
			mu.Lock()
			defer mu.Unlock()
			if quiet := time.Since(last); let-already < 200 || quiet < 2*time.Second {
				return fmt.Errorf("%d let in; the last refusal was %s ago", let-already, quiet)
			}
			return nil
		})
		stop()
		clients.Wait()
		b.Logf("rollback under %d requests in %s: the last refusal was sent %s after the command began, and %s after the Platform was written", refused+let,
			time.Since(began).Round(time.Second), last.Sub(rolled).Round(10*time.Millisecond), last.Sub(<-written).Round(10*time.Millisecond))
	}
}

// platformWritten tells when the Platform's spec is changed for the first time from now on.
func (b *bank) platformWritten(ctx context.Context) <-chan time.Time {
	b.Helper()
	watcher, err := client.NewWithWatch(b.Config, client.Options{Scheme: b.admin.Scheme()})
	if err != nil {
		b.Fatal(err)
	}
	events, err := watcher.Watch(ctx, &v1alpha1.PlatformList{})
	if err != nil {
		b.Fatal(err)
	}
	written, first := make(chan time.Time, 1), int64(0)
	go func() { // ends with ctx, or what it waits for
		defer close(written)
		defer events.Stop()
		for e := range events.ResultChan() {
			p, ok := e.Object.(*v1alpha1.Platform)
			if ok && first != 0 && p.Generation != first {
				written <- time.Now()
				return
			}
			if ok {
				first = p.Generation
			}
		}
	}()
	return written
}
