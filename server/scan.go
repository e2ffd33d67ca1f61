package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/cluster"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/policy/cel"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/scan"
	"ringfence.dev/ringfence/store"
	"ringfence.dev/ringfence/tenant"
)

const (
	// scanProducer is whose records of what stands in the cluster are.
	scanProducer = "scan"
	// scanLook is how often it is looked whether the store has read on, or the queue of records has room.
	scanLook = 200 * time.Millisecond
	// scanSlow is after how long it is told that the store has not read on.
	scanSlow = time.Minute
)

// scanner is the background scan as a manager runs it: on the replica that leads, once its caches know the cluster.
type scanner struct {
	*Server
	mgr ctrl.Manager
}

// addScan has a manager scan what runs.
func (s *Server) addScan(mgr ctrl.Manager) error {
	if s.cfg.NoScan {
		return nil
	}
	return mgr.Add(scanner{s, mgr})
}

// Start scans until ctx ends.
func (r scanner) Start(ctx context.Context) error {
	known, err := r.stood(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		r.log.Error("what stood before is not known: the background scan opens again what stands", "err", err)
	}
	sets, err := cel.Lazy(r.catalogue)
	if err != nil {
		return err
	}
	reach, err := cluster.Of(r.mgr.GetConfig(), cluster.Config{UserAgent: "ringfence-scan"})
	if err != nil {
		return fmt.Errorf("reach the cluster for the background scan: %w", err)
	}
	workloads, others := r.catalogue.Kinds()
	cfg := scan.Config{Cluster: reach, Workloads: workloads, Others: others, Engine: policy.New(sets...), Guard: r.guardAt, Exempt: r.exempt,
		Known: known, Now: r.cfg.Now, Log: r.log}
	if r.evidence != nil {
		cfg.Keep = r.evidence.keepScan
	}
	running, err := scan.New(cfg)
	if err == nil {
		err = r.listen(ctx, running)
	}
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	r.scan.Store(running)
	defer r.scan.Store(nil)
	return running.Run(ctx)
}

// listen tells a scan of what changes the rules.
func (r scanner) listen(ctx context.Context, running *scan.Scan) error {
	on := func(do func(namespace string)) cache.ResourceEventHandler {
		told := func(o any) {
			if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			if object, ok := o.(client.Object); ok {
				do(object.GetNamespace())
			}
		}
		return cache.ResourceEventHandlerFuncs{AddFunc: told, UpdateFunc: func(_, o any) { told(o) }, DeleteFunc: told}
	}
	guard := func(namespace string) {
		running.GuardChanged(namespace)
		if namespace == v1alpha1.SystemNamespace {
			running.GuardChanged("") // what lies in none is judged by it
		}
	}
	for o, do := range map[client.Object]func(string){&v1alpha1.Guard{}: guard, &v1alpha1.Platform{}: func(string) { running.PlatformChanged() },
		&apiextensionsv1.CustomResourceDefinition{}: func(string) { running.KindsChanged() }} {
		informer, err := r.mgr.GetCache().GetInformer(ctx, o)
		if err == nil {
			_, err = informer.AddEventHandler(on(do))
		}
		if err != nil {
			return fmt.Errorf("watch what changes the rules: %w", err)
		}
	}
	return nil
}

// platform is the cluster's, nil where it has none.
func (r scanner) platform(ctx context.Context) (*v1alpha1.Platform, error) {
	var p v1alpha1.Platform
	err := r.mgr.GetClient().Get(ctx, client.ObjectKey{Name: v1alpha1.PlatformName}, &p)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return &p, err
}

// exempt says that a namespace is not guarded. Where that is not known, it is.
func (r scanner) exempt(namespace string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	p, err := r.platform(ctx)
	return err == nil && tenant.Exempt(p, namespace)
}

// guardAt is what counts in a namespace from a moment on, "" for what lies in none.
func (r scanner) guardAt(ctx context.Context, namespace string, now time.Time) (scan.Guard, error) {
	p, err := r.platform(ctx)
	if err != nil {
		return scan.Guard{}, fmt.Errorf("read platform: %w", err)
	}
	out := scan.Guard{Exempt: namespace != "" && tenant.Exempt(p, namespace)}
	var stored v1alpha1.Guard
	err = r.mgr.GetClient().Get(ctx, client.ObjectKey{Namespace: cmp.Or(namespace, v1alpha1.SystemNamespace), Name: v1alpha1.GuardName}, &stored)
	if client.IgnoreNotFound(err) != nil {
		return scan.Guard{}, fmt.Errorf("read the Guard of namespace %s: %w", cmp.Or(namespace, v1alpha1.SystemNamespace), err)
	}
	out.Version = string(stored.UID) + "/" + strconv.FormatInt(stored.Generation, 10) + "/" + strconv.FormatBool(out.Exempt)
	if namespace == "" && p != nil { // which objects Namespace are exempt
		out.Version += "/" + strconv.FormatInt(p.Generation, 10)
	}
	if err != nil || out.Exempt {
		return out, nil
	}
	out.Next = tenant.DropExpired(&stored.Spec, now)
	if next := imagesNext(stored.Spec.Images, now); !next.IsZero() && (out.Next.IsZero() || next.Before(out.Next)) {
		out.Next = next
	}
	out.Policy, err = policy.NewGuard(stored.Spec)
	return out, err
}

// imagesNext is when the verdict on an image may next change by the clock alone; zero for never. What a Guard says of images are last
// seconds.
func imagesNext(images *v1alpha1.GuardImages, now time.Time) (next time.Time) {
	if images == nil {
		return next
	}
	for _, i := range images.Admitted {
		for _, text := range slices.AppendSeq([]v1alpha1.Instant{i.ScannedUntil, i.CleanUntil, i.RunsUntil}, maps.Values(i.Signed)) {
			last, err := time.Parse(time.RFC3339, string(text))
			if err != nil {
				continue
			}
			if over := last.Add(time.Second); over.After(now) && (next.IsZero() || over.Before(next)) {
				next = over
			}
		}
	}
	return next
}

// stood are the findings that stood as far as the store knows, once it has read all that the ledger had.
func (s *Server) stood(ctx context.Context) (known []scan.Known, err error) {
	if s.evidence == nil || s.evidence.answers.store == nil {
		return nil, nil
	}
	from, size := s.evidence.answers.store, s.evidence.ledger.Size()
	for waited := time.Duration(0); ; waited += scanLook {
		state, err := from.State(ctx)
		if err != nil {
			return nil, err
		}
		if state.Next >= size {
			break
		}
		if waited == scanSlow {
			s.log.Warn("the background scan waits for the store to read the ledger to its end", "entries", size-state.Next)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(scanLook):
		}
	}
	for _, state := range []store.ScanState{store.ScanOpen, store.ScanWaived} {
		f := store.ScannedFilter{State: state, Page: store.Page{Limit: pageLimit}}
		for more := true; more; more = f.After != "" {
			var some []store.Scanned
			if some, f.After, err = from.Scanned(ctx, f); err != nil {
				return known, err
			}
			for _, g := range some {
				if g.Cluster == LocalCluster {
					known = append(known, scan.Known{Subject: g.Subject, Control: g.Control, Outcome: finding.Outcome(g.Outcome), Action: finding.Action(g.Action),
						Value: g.Value, Path: g.Path, Waiver: g.Waiver, Expires: g.Expires, Since: g.Since})
				}
			}
		}
	}
	return known, nil
}

// keepScan records what a scan found and returns once it is in the ledger. It leaves room in the queue for those who cannot wait.
func (e *evidence) keepScan(ctx context.Context, changes []record.ScanChange, at time.Time) error {
	for len(changes) > 0 {
		for e.queue.Waiting() > record.DefaultQueue/2 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(scanLook):
			}
		}
		r, n, err := record.ScanFindings(changes, e.catalogue, at)
		if err != nil {
			return err
		}
		err = e.queue.Put(ctx, scanProducer, r)
		if errors.Is(err, record.ErrRejected) {
			e.log.Error("what the background scan found can never be kept", "changes", n, "err", err)
		} else if err != nil {
			return err
		}
		changes = changes[n:]
	}
	return nil
}

// severity is a control's, high where the catalogue does not know it.
func (s *Server) severity(id string) finding.Severity {
	if c, ok := s.catalogue.Find(id); ok {
		return c.Severity
	}
	return finding.High
}
