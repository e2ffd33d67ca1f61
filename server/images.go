package server

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/manifest"
)

// ConditionImageFacts is a condition of the Platform where images are judged by facts: True while they can be read. False
// says why not, and that those read last hold on, each until its own end.
const ConditionImageFacts = "ImageFacts"

const (
	// imagePoll is how often the folder is looked at: a change is in the Guards within two seconds.
	imagePoll = 500 * time.Millisecond
	// imageRetry is how often files that could not be read are read again while they are the same: it may be their rights that change.
	imageRetry = 10 * time.Second
	// maxImageFile and maxImageFiles bound what is read: 100,000 digests are some 25 MB.
	maxImageFile, maxImageFiles = 64 << 20, 100
)

// images are the facts about images in a folder, as they were when they could last be read.
type images struct {
	dir     string
	log     *slog.Logger
	index   atomic.Pointer[image.Index] // nil until they could be read once
	changed func()

	state  [sha256.Size]byte // of the files that were read
	broken [sha256.Size]byte // of the files that could not be, why, and since when
	fault  error
	since  time.Time
	said   string // what is said of them
}

// openImages reads the facts once before anything is judged by them; nil where there is no folder. What cannot be read is
// said when it is looked at again.
func (s *Server) openImages() *images {
	if s.cfg.ImageFacts == "" {
		return nil
	}
	im := &images{dir: s.cfg.ImageFacts, log: s.log}
	if err := im.read(); err != nil {
		s.log.Error("image facts cannot be read; Guards keep those that they have", "err", err)
	}
	return im
}

// source is what Guards are made of, nil where images are not judged by facts.
func (im *images) source() func() *image.Index {
	if im == nil {
		return nil
	}
	return im.index.Load
}

// follow has the folder looked at while mgr runs, and changed called where it holds something else.
func (im *images) follow(mgr ctrl.Manager, changed func()) error {
	if im == nil {
		return nil
	}
	im.changed = changed
	return mgr.Add(manager.RunnableFunc(func(ctx context.Context) error { return im.run(ctx, mgr.GetClient()) }))
}

// read looks at the folder, and takes what is there where all of it can be read. What it cannot read leaves what there is.
func (im *images) read() (fault error) {
	files, state, err := im.look()
	if err != nil {
		return err
	}
	if state == im.state {
		return errUnchanged
	}
	if im.fault != nil && state == im.broken && time.Since(im.since) < imageRetry {
		return im.fault
	}
	defer func() { im.broken, im.fault, im.since = state, fault, time.Now() }()
	var all []image.Admitted
	var signed []image.Signed
	var faults []error
	scans := false
	for _, file := range files {
		more, signatures, err := readFacts(file)
		scans = scans || more != nil
		all, signed, faults = append(all, more...), append(signed, signatures...), append(faults, err)
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	if !scans { // a file that vanished is not taken for one that says of no digest that it was scanned
		return fmt.Errorf("read the image facts: there is no object of kind %s in %s; want one, with spec.images: [] where nothing was scanned", image.KindAdmission, im.dir)
	}
	im.state = state
	im.index.Store(image.NewIndex(all, signed...))
	return nil
}

// errUnchanged says that the files are those that were read.
var errUnchanged = errors.New("nothing changed")

// look lists the files of the folder, and what tells whether they are others than before.
func (im *images) look() (files []string, state [sha256.Size]byte, err error) {
	entries, err := os.ReadDir(im.dir)
	if err != nil {
		return nil, state, fmt.Errorf("read the image facts: %w", err)
	}
	sum := sha256.New()
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); !slices.Contains([]string{".json", ".yaml", ".yml"}, ext) || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		file := filepath.Join(im.dir, e.Name())
		info, err := os.Stat(file) // behind the links that a mounted ConfigMap is made of
		if err != nil {
			return nil, state, fmt.Errorf("read the image facts: %w", err)
		}
		files = append(files, file)
		fmt.Fprintln(sum, file, info.Size(), info.ModTime().UnixNano())
	}
	switch {
	case len(files) == 0:
		return nil, state, fmt.Errorf("read the image facts: there is no .json or .yaml file in %s; want objects of kind %s or %s", im.dir, image.KindAdmission, image.KindSignatures)
	case len(files) > maxImageFiles:
		return nil, state, fmt.Errorf("read the image facts: %d files in %s, want at most %d", len(files), im.dir, maxImageFiles)
	}
	return files, [sha256.Size]byte(sum.Sum(nil)), nil
}

// readFacts reads the objects of one file; all is nil where none says what was scanned.
func readFacts(file string) (all []image.Admitted, signed []image.Signed, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, fmt.Errorf("read the image facts: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, nil, fmt.Errorf("read the image facts: %w", err)
	} else if info.Size() > maxImageFile {
		return nil, nil, fmt.Errorf("read the image facts: %s has %d bytes, want at most %d; write several files", file, info.Size(), maxImageFile)
	}
	if filepath.Ext(file) == ".json" { // the way of a program that writes 100,000 of them
		text, err := io.ReadAll(io.LimitReader(f, maxImageFile))
		if err != nil {
			return nil, nil, fmt.Errorf("read the image facts: %w", err)
		}
		if all, signed, err = image.ParseFacts(text); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", file, err)
		}
		return all, signed, nil
	}
	for o, err := range manifest.Read(f, file) {
		if err != nil {
			return nil, nil, err
		}
		text, err := json.Marshal(o.Value)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", file, err)
		}
		more, signatures, err := image.ParseFacts(text)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", file, err)
		}
		if all == nil && more != nil {
			all = []image.Admitted{}
		}
		all = append(all, more...)
		signed = append(signed, signatures...)
	}
	return all, signed, nil
}

// run looks at the folder until its context ends, and says on the Platform what comes of it.
func (im *images) run(ctx context.Context, c client.Client) error {
	for {
		err := im.read()
		switch {
		case err == nil:
			im.said = ""
			im.changed()
			im.log.Info("image facts read", "digests", im.index.Load().Len())
		case errors.Is(err, errUnchanged):
			im.said = ""
		case im.said != err.Error():
			im.said = err.Error()
			im.log.Error("image facts cannot be read; those read last hold on", "err", err)
		}
		if err := im.tell(ctx, c); err != nil && ctx.Err() == nil && !apierrors.IsConflict(err) {
			im.log.Warn("say on the Platform what is known of images", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(imagePoll):
		}
	}
}

// tell writes the condition of the Platform where it is another. There may be no Platform.
func (im *images) tell(ctx context.Context, c client.Client) error {
	var p v1alpha1.Platform
	if err := c.Get(ctx, client.ObjectKey{Name: v1alpha1.PlatformName}, &p); err != nil {
		return client.IgnoreNotFound(err)
	}
	if !meta.SetStatusCondition(&p.Status.Conditions, im.condition(&p)) {
		return nil
	}
	return c.Status().Update(ctx, &p)
}

func (im *images) condition(p *v1alpha1.Platform) metav1.Condition {
	is := metav1.Condition{Type: ConditionImageFacts, ObservedGeneration: p.Generation}
	known := im.index.Load()
	var unjudged []string
	for _, rule := range p.Spec.Images.Rules {
		if known.Under(rule.Name) == nil {
			unjudged = append(unjudged, rule.Name)
		}
	}
	switch {
	case im.said == "" && len(unjudged) > 0 && known.Len() > 0:
		is.Status, is.Reason = metav1.ConditionFalse, "RuleWithoutFacts"
		is.Message = fmt.Sprintf("no digest was judged by %s of spec.images.rules; Guards there keep what they have, and refuse every image where they have nothing; fix: write the facts anew by this Platform, or let serve --image-verdicts do so", strings.Join(unjudged, ", "))
	case im.said == "":
		is.Status, is.Reason, is.Message = metav1.ConditionTrue, "Read", fmt.Sprintf("%d image digests are known", known.Len())
	case known == nil:
		is.Status, is.Reason = metav1.ConditionFalse, "NeverRead"
		is.Message = im.said + "; Guards that name images keep what they have, and the others claim nothing of images"
	default:
		is.Status, is.Reason = metav1.ConditionFalse, "Unreadable"
		is.Message = fmt.Sprintf("%s; the %d digests that were read last hold on, each until its own end", im.said, known.Len())
	}
	const longest = 4096 // bytes; a condition may have 32,768
	is.Message = strings.ToValidUTF8(is.Message[:min(len(is.Message), longest)], "")
	return is
}
