package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/image/lookout"
	"ringfence.dev/ringfence/image/registry"
	"ringfence.dev/ringfence/internal/durable"
	"ringfence.dev/ringfence/tenant"
)

const (
	// signaturesFile is what is kept of signatures that were looked up, in the folder of the image facts.
	signaturesFile = "ringfence-signatures.json"
	// maxSigned bounds what is read of all that is attached to one image: several are asked about at once, and a tenant may attach.
	maxSigned = 16 << 20
)

// signatures look after the signatures that images must bear.
type signatures struct {
	client  *registry.Client
	lookout atomic.Pointer[lookout.Lookout] // nil until this process leads
	reader  client.Reader
	inForce func(context.Context) (*v1alpha1.Platform, error)
	warn    func(err error)

	// Only the lookout's own goroutine reads and writes these.
	rules    []image.Trust
	verifier *registry.Verifier
}

// openSignatures makes what asks registries, where that is wanted.
func (s *Server) openSignatures() error {
	if !s.cfg.Registries.Signatures {
		return nil
	}
	c, err := openRegistries(s.cfg.Registries, maxSigned)
	if err != nil {
		return err
	}
	s.signatures = &signatures{client: c, warn: func(err error) { s.log.Error("a trust rule cannot be used; nothing meets it", "err", err) }}
	return nil
}

// lookOut has a manager look after signatures: on the replica that leads, beside the facts that it writes.
func (s *Server) lookOut(mgr ctrl.Manager, accepted *tenant.Accepted, facts *images) error {
	if s.signatures == nil {
		return nil
	}
	s.signatures.reader, s.signatures.inForce = mgr.GetClient(), inForce(mgr.GetClient(), accepted)
	return mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		kept, err := keptSignatures(facts.dir)
		if err != nil {
			s.log.Error("signatures that were looked up before are not known; they are looked up again", "err", err)
		}
		l := lookout.New(lookout.Config{Look: s.signatures.look, Known: func(digest string) []image.Signed { return facts.index.Load().Signed(digest) },
			Keep: func(all []image.Signed) error { return keepSignatures(facts.dir, all) }, Kept: kept, Now: s.cfg.Now, Log: s.log})
		s.signatures.lookout.Store(l)
		defer s.signatures.lookout.Store(nil)
		return l.Run(ctx)
	}))
}

// keptSignatures is what was kept before; none where there is no file.
func keptSignatures(dir string) ([]image.Signed, error) {
	_, signed, err := readFacts(filepath.Join(dir, signaturesFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return signed, err
}

// keepSignatures writes the same file that `ringfence image check --signatures` does.
func keepSignatures(dir string, all []image.Signed) error {
	text, err := image.Signatures(all)
	if err == nil {
		err = durable.Replace(filepath.Join(dir, signaturesFile), text, os.FileMode(0o644))
	}
	if err != nil {
		return fmt.Errorf("write signatures beside the image facts: %w; fix: let Ringfence write to the folder of --image-facts", err)
	}
	return nil
}

// refused tells of an image that a native policy refused for its signature.
func (g *signatures) refused(namespace, reference string) {
	if g == nil {
		return
	}
	if l := g.lookout.Load(); l != nil {
		l.Refused(namespace, reference)
	}
}

// look says which images are to be looked after: those in registries that the Guard of their namespace grants, which a rule for that
// namespace covers. Nobody else's registry is asked, whatever a Pod names.
func (g *signatures) look(ctx context.Context, refused []lookout.Place) (sight lookout.Sight, err error) {
	platform, err := g.inForce(ctx)
	if err != nil || platform == nil || len(platform.Spec.Images.Trust) == 0 {
		return sight, err
	}
	if rules := tenant.TrustRules(platform); g.verifier == nil || !reflect.DeepEqual(rules, g.rules) {
		if g.verifier, err = registry.NewVerifier(g.client, rules); err != nil { // it has the rules without a mistake
			g.warn(err)
		}
		g.rules = rules
	}
	sight.Ask = asking(g.verifier)
	var guards v1alpha1.GuardList
	if err := g.reader.List(ctx, &guards, client.UnsafeDisableDeepCopy); err != nil {
		return sight, fmt.Errorf("list the Guards: %w", err)
	}
	var pods corev1.PodList
	if err := g.reader.List(ctx, &pods, client.UnsafeDisableDeepCopy); err != nil {
		return sight, fmt.Errorf("list the pods: %w", err)
	}
	named := map[lookout.Place]bool{} // and whether it runs
	for _, p := range refused {
		named[p] = false
	}
	for i := range pods.Items {
		for _, reference := range tenant.References(&pods.Items[i]) {
			named[lookout.Place{Namespace: pods.Items[i].Namespace, Reference: reference}] = true
		}
	}
	within := map[string]demand{}
	for i := range guards.Items {
		if guards.Items[i].Name == v1alpha1.GuardName {
			within[guards.Items[i].Namespace] = demandOf(g.rules, &guards.Items[i].Spec)
		}
	}
	ids := map[string]string{} // a trusted root is long, and there are many pods
	for _, r := range g.rules {
		ids[r.Name] = r.ID()
	}
	for p, runs := range named {
		if one, ok := within[p.Namespace].wanted(p.Reference, ids); ok {
			one.Runs = runs
			sight.Images = append(sight.Images, one)
		}
	}
	return sight, nil
}

// demand is what counts in a namespace. The zero demand has nobody asked.
type demand struct {
	rules      []image.Trust
	registries []v1alpha1.Registry
}

// demandOf is what counts where a Guard is.
func demandOf(rules []image.Trust, guard *v1alpha1.GuardSpec) demand {
	mine := slices.DeleteFunc(slices.Clone(rules), func(t image.Trust) bool { return !t.For(guard.Tenant, guard.Environment, guard.Production) })
	return demand{mine, guard.Registries}
}

// wanted is what is to be known of a reference, with the IDs of rules by their names; ok is false where nothing is.
func (d demand) wanted(reference string, ids map[string]string) (one lookout.Image, ok bool) {
	rule, ok := image.Covering(d.rules, reference)
	if !ok || image.DigestOf(reference) == "" || !granted(reference, d.registries) {
		return one, false
	}
	host, err := registry.Host(reference)
	return lookout.Image{Reference: reference, Host: host, Trust: ids[rule.Name], Age: rule.Age}, err == nil
}

// asking asks by a verifier, and says of which errors no other image would get an answer either.
func asking(v *registry.Verifier) func(context.Context, string, time.Time) ([]image.Signed, error) {
	return func(ctx context.Context, reference string, now time.Time) ([]image.Signed, error) {
		a, err := v.Ask(ctx, reference, now)
		if registry.Down(err) {
			err = fmt.Errorf("%w: %w", lookout.ErrDown, err)
		}
		return a.Signed, err
	}
}
