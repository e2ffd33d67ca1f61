package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/image/advisory"
	"ringfence.dev/ringfence/image/assess"
	reports "ringfence.dev/ringfence/image/scanner"
	"ringfence.dev/ringfence/internal/durable"
	"ringfence.dev/ringfence/tenant"
)

// verdictFiles are what follows of reports, in the folder of the image facts: verdictFile with a number, and verdictsEach entries in each.
const (
	verdictFiles = "ringfence-images-*.json"
	verdictFile  = "ringfence-images-%03d.json"
	verdictsEach = 50_000
)

// verdicts judge the reports that pipelines send.
type verdicts struct {
	file     string // of advisories; "" for none
	log      *slog.Logger
	inForce  func(context.Context) (*v1alpha1.Platform, error)
	assessor atomic.Pointer[assess.Assessor] // nil until this process leads

	// Only the assessor's own goroutine reads and writes these: the advisories that were read last, and of which file.
	advisories *advisory.Index
	edition    string
	said       string // of the last reading
}

// openVerdicts makes what judges reports, where that is wanted, and the folders.
func (s *Server) openVerdicts() error {
	if !s.cfg.ImageVerdicts {
		return nil
	}
	for _, dir := range []string{s.cfg.ImageReports, s.cfg.ImageFacts} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make the folders of image reports and facts: %w", err)
		}
	}
	s.verdicts = &verdicts{file: s.cfg.ImageAdvisories, log: s.log}
	return nil
}

// inForce is the Platform that is in force, nil where there is none. Who wrote one with a mistake is told elsewhere.
func inForce(c client.Client, accepted *tenant.Accepted) func(context.Context) (*v1alpha1.Platform, error) {
	return func(ctx context.Context) (*v1alpha1.Platform, error) {
		var p v1alpha1.Platform
		if err := c.Get(ctx, client.ObjectKey{Name: v1alpha1.PlatformName}, &p); err != nil {
			return nil, client.IgnoreNotFound(err)
		}
		is, _ := accepted.Of(&p)
		return is, nil
	}
}

// assess has a manager judge the reports: on the replica that leads, beside the facts that it writes.
func (s *Server) assess(mgr ctrl.Manager, accepted *tenant.Accepted, facts *images) error {
	v := s.verdicts
	if v == nil {
		return nil
	}
	v.inForce = inForce(mgr.GetClient(), accepted)
	return mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		a := assess.New(assess.Config{Folder: s.cfg.ImageReports, Law: v.law, Now: s.cfg.Now, Log: s.log,
			Read: func(ctx context.Context, name string, report io.Reader) ([]image.Facts, error) {
				return reports.ReadWithin(ctx, name, report, reportLimits())
			},
			Keep: func(all []image.Admitted) error { return keepVerdicts(facts.dir, all) }})
		v.assessor.Store(a)
		defer v.assessor.Store(nil)
		if err := v.followPlatform(ctx, mgr); err != nil {
			return err
		}
		return a.Run(ctx)
	}))
}

// followPlatform has everything judged anew as soon as somebody writes another Platform.
func (v *verdicts) followPlatform(ctx context.Context, mgr ctrl.Manager) error {
	informer, err := mgr.GetCache().GetInformer(ctx, &v1alpha1.Platform{})
	if err == nil {
		_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(any) { v.wake() }, UpdateFunc: func(was, is any) {
			if was.(client.Object).GetGeneration() != is.(client.Object).GetGeneration() {
				v.wake()
			}
		}})
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("follow the Platform, by whose rules images are judged: %w", err)
	}
	return nil
}

// law are the Platform's rules with the advisories of the file as it is now. A file that cannot be read leaves those that were read before, and
// nothing is judged where there never were any: without dates and exploitation an image could count for longer than it may.
func (v *verdicts) law(ctx context.Context) (assess.Law, error) {
	p, err := v.inForce(ctx)
	if err != nil || p == nil {
		return assess.Law{}, err
	}
	rules := tenant.ImageRules(p)
	if v.file == "" {
		return assess.Law{Rules: rules, Edition: fmt.Sprintf("%+v", rules)}, nil
	}
	err = v.readAdvisories()
	switch {
	case err != nil && v.advisories == nil:
		return assess.Law{}, err
	case err != nil && err.Error() != v.said:
		v.log.Error("images are judged by the advisories that were read last", "err", err)
	}
	v.said = fmt.Sprint(err)
	return assess.Law{Rules: rules, Known: v.advisories.Find, Edition: fmt.Sprintf("%+v of %s", rules, v.edition)}, nil
}

// readAdvisories reads the file where it is another than before.
func (v *verdicts) readAdvisories() error {
	f, err := os.Open(v.file)
	if err != nil {
		return fmt.Errorf("read the advisories: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read the advisories: %w", err)
	}
	edition := fmt.Sprint(info.Size(), info.ModTime().UnixNano())
	if edition == v.edition {
		return nil
	}
	index, err := advisory.Load(f)
	if err != nil {
		return fmt.Errorf("read the advisories: %s: %w; want what ringfence image advisories import writes", v.file, err)
	}
	v.advisories, v.edition = index, edition
	return nil
}

// keepVerdicts writes what `ringfence image verdict --admission` writes, into as many files as it takes, and removes those that it no longer takes.
func keepVerdicts(dir string, all []image.Admitted) error {
	kept := map[string]bool{}
	for part := range slices.Chunk(append([]image.Admitted{}, all...), verdictsEach) {
		if err := keepPart(dir, kept, part); err != nil {
			return err
		}
	}
	if len(kept) == 0 { // that nothing was scanned is said too
		if err := keepPart(dir, kept, nil); err != nil {
			return err
		}
	}
	old, err := filepath.Glob(filepath.Join(dir, verdictFiles))
	for _, file := range old {
		if !kept[file] {
			err = errors.Join(err, os.Remove(file))
		}
	}
	return err
}

func keepPart(dir string, kept map[string]bool, part []image.Admitted) error {
	file := filepath.Join(dir, fmt.Sprintf(verdictFile, len(kept)))
	text, err := image.Admission(part)
	if err == nil {
		err = durable.Replace(file, text, 0o644)
	}
	if err != nil {
		return fmt.Errorf("write what follows of reports beside the image facts: %w; fix: let Ringfence write to the folder of --image-facts", err)
	}
	kept[file] = true
	return nil
}

// wake tells that a report came, or another rule.
func (v *verdicts) wake() {
	if v == nil {
		return
	}
	if a := v.assessor.Load(); a != nil {
		a.Wake()
	}
}
