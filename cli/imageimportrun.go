package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/image/content"
	"ringfence.dev/ringfence/image/intake"
	"ringfence.dev/ringfence/image/registry"
	"ringfence.dev/ringfence/image/signature"
	"ringfence.dev/ringfence/internal/durable"
	"ringfence.dev/ringfence/report"
	"ringfence.dev/ringfence/tenant"
)

// importRun is one import as far as it has come.
type importRun struct {
	o        *importOptions
	env      Env
	client   *registry.Client
	signer   *signature.Signer
	upstream *signature.Verifier
	judged   *judgedImages
	book     *importBook
	folder   *registry.Folder
	pin      importPin
	source   registry.Image // by digest
	bank     registry.Image // where it is to be, by the same digest
	tag      string
	image    *registry.Fetched
	kept     []registry.Kept
	outcome  intake.Outcome
	scanners []string // of which quorum many must have scanned it; none are those of the rule, and 0 is each
	quorum   int
}

// importPin is what a folder is for: the digest is looked up once.
type importPin struct {
	Source      string `json:"source"`
	Digest      string `json:"digest"`
	Destination string `json:"destination"`
}

// The files of a folder beside the image's blobs.
const (
	pinFile     = "import.json"
	lockOfStage = "lock"
)

func importImage(ctx context.Context, env Env, o importOptions, args []string) error {
	if err := o.check(args); err != nil {
		return err
	}
	r := &importRun{o: &o, env: env}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	if err := r.open(ctx); err != nil {
		return err
	}
	desk, err := o.cluster.open(env, "ringfence image import", "import", "an import is asked for in one namespace")
	if err != nil {
		return err
	}
	lock, err := r.take(ctx, args[0])
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := r.fetch(ctx); err != nil {
		return fetched(err)
	}
	if err := r.decide(ctx); err != nil {
		return err
	}
	if len(r.outcome.Refused) > 0 {
		return r.refuse(ctx)
	}
	approved, err := r.approved(ctx, desk)
	if err != nil {
		return err
	}
	if approved.Status.Imported == nil {
		err = r.push(ctx, desk, approved)
	} else if means, fault := r.client.Means(ctx, r.pin.Destination); fault != nil {
		err = asked(fault)
	} else if means != r.bank { // it was there: an approval is for once
		err = &exitError{finding.ExitRefused, fmt.Errorf("import %s in %s: it was imported once, and %s means another image now; ask for another one with --name", approved.Name, approved.Namespace, r.pin.Destination)}
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "imported  %s as %s\n", r.bank, r.pin.Destination)
	return r.clear()
}

// clear removes what the folder was for: the pin last, so that what is interrupted here goes on here.
func (r *importRun) clear() error {
	signed, err := filepath.Glob(filepath.Join(r.o.stage, "signed-*.json"))
	err = errors.Join(err, r.folder.Remove())
	for _, f := range append(signed, filepath.Join(r.o.stage, pinFile)) {
		err = errors.Join(err, os.Remove(f))
	}
	return err
}

// open reads what the flags name, before anything is fetched.
func (r *importRun) open(ctx context.Context) (err error) {
	const command = "ringfence image import"
	judging := imageJudging{platform: r.o.platform, advisories: r.o.advisories, output: "text"}
	if r.judged, err = judging.judge(ctx, r.env, command, r.o.reports); err != nil {
		return err
	}
	if r.judged.invalid > 0 {
		return &exitError{finding.ExitUsage, fmt.Errorf("%s: a report or a setting cannot be read; want all of them", command)}
	}
	if err := r.demand(command); err != nil {
		return err
	}
	if r.signer, err = r.o.signer(); err == nil {
		r.upstream, err = r.o.upstream()
	}
	if err == nil {
		r.client, err = r.o.client()
	}
	if err == nil {
		r.book, err = openImportBook(r.o.evidence)
	}
	if err != nil {
		return &exitError{finding.ExitUsage, fmt.Errorf("%s: %w", command, err)}
	}
	return nil
}

// demand is who must have scanned the image and how many of them. Whoever asks may demand more than the Platform states, and not less.
func (r *importRun) demand(command string) error {
	r.scanners, r.quorum = tenant.ImportQuorum(r.judged.settings.platform)
	if r.quorum == 0 {
		r.quorum = len(r.scanners)
	}
	asked, named := r.o.quorum, intake.Scanners(r.scanners, r.judged.rule)
	switch {
	case asked == 0:
		return nil
	case asked < r.quorum:
		return usagef(command, "--quorum %d: the Platform's images.imports demands %d; want as many or more", asked, r.quorum)
	case len(named) > 0 && asked > len(named):
		return usagef(command, "--quorum %d: the Platform names %d scanners, %s; want as many or less", asked, len(named), strings.Join(named, ", "))
	}
	r.quorum = asked
	return nil
}

// take takes the folder for this import alone, and looks up what is to be imported unless the folder says it.
func (r *importRun) take(ctx context.Context, source string) (*os.File, error) {
	if err := os.MkdirAll(r.o.stage, 0o700); err != nil {
		return nil, &exitError{finding.ExitUsage, fmt.Errorf("make the folder for the image: %w", err)}
	}
	lock, err := durable.Lock(filepath.Join(r.o.stage, lockOfStage), 0o600)
	if err != nil {
		return nil, &exitError{finding.ExitUsage, fmt.Errorf("take the folder %s: %w; want one that no other import uses", r.o.stage, err)}
	}
	if err := r.resolve(ctx, source); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

func (r *importRun) resolve(ctx context.Context, source string) error {
	file := filepath.Join(r.o.stage, pinFile)
	text, err := readSmall(file)
	if err == nil {
		err = json.Unmarshal(text, &r.pin)
	}
	switch {
	case err == nil && (r.pin.Source != source || r.pin.Destination != r.o.to):
		return &exitError{finding.ExitUsage, fmt.Errorf("%s: it is for %s to %s; want a folder of its own for each import, or remove it", r.o.stage, r.pin.Source, r.pin.Destination)}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return &exitError{finding.ExitUsage, fmt.Errorf("read %s: %w; remove the folder to begin anew", file, err)}
	case err != nil:
		found, err := r.client.Resolve(ctx, source)
		if err != nil {
			return asked(err)
		}
		r.pin = importPin{source, found.Digest(), r.o.to}
		if text, err = json.Marshal(r.pin); err == nil {
			err = durable.Replace(file, text, 0o600)
		}
		if err != nil {
			return &exitError{finding.ExitUsage, fmt.Errorf("keep what is imported: %w", err)}
		}
	}
	repository, tag, err := registry.Tagged(r.pin.Destination)
	if err == nil {
		r.tag = tag
		r.bank, err = registry.At(repository, r.pin.Digest)
	}
	if err == nil {
		r.source, err = registry.Pinned(source, r.pin.Digest)
	}
	if err == nil {
		r.folder, err = registry.OpenFolder(r.o.stage)
	}
	if err != nil {
		return &exitError{finding.ExitUsage, err}
	}
	r.env.note("%s is %s", report.Inert(source), r.source.Digest())
	return nil
}

// fetch brings the image and what signs it upstream into the folder.
func (r *importRun) fetch(ctx context.Context) (err error) {
	if r.image, err = r.client.Fetch(ctx, r.source, r.folder, r.o.maxSize); err != nil {
		return err
	}
	r.env.note("%d bytes are in %s", r.image.Size, r.o.stage)
	return nil
}

// signedUpstream is who counts of those that signed the image upstream; what they attached is kept.
func (r *importRun) signedUpstream(ctx context.Context) (signers []string, err error) {
	if r.upstream == nil {
		return nil, nil
	}
	attached, err := r.client.Attached(ctx, r.source)
	if err != nil {
		return nil, err
	}
	var counts []registry.Attached
	for _, a := range attached {
		s, err := registry.Verify(r.upstream, a, r.source.Digest())
		switch {
		case err != nil:
			r.env.note("%s: does not count: %s", a.From, report.Inert(err.Error()))
		case s.Predicate == "" || s.Predicate == signature.PredicateImage:
			counts, signers = append(counts, a), append(signers, strings.TrimPrefix(who(s), "signed by "))
		default: // a statement is kept, and makes nothing signed
			counts = append(counts, a)
		}
	}
	r.kept, err = r.client.Keep(ctx, r.source, counts, r.folder)
	return signers, err
}

// decide looks into the image and decides what no person must.
func (r *importRun) decide(ctx context.Context) error {
	c := intake.Case{Digest: r.pin.Digest, Reports: r.judged.each, Rule: r.judged.rule, Known: r.judged.known, Scanners: r.scanners, Quorum: r.quorum,
		Now: r.judged.at, Unsigned: r.o.unsigned, Accepted: r.o.accepted}
	var err error
	if c.Signers, err = r.signedUpstream(ctx); err != nil {
		return fetched(err)
	}
	if c.SBOMs, err = r.sboms(ctx); err != nil {
		return &exitError{finding.ExitUsage, err}
	}
	means, err := r.client.Means(ctx, r.pin.Destination)
	if err != nil {
		return asked(err)
	}
	if means.Known() && means.Digest() != r.pin.Digest {
		c.Moves = means.Digest()
	}
	for _, p := range r.image.Platforms {
		in, err := look(ctx, r.folder, p, content.Bounds{Bytes: 4 * r.o.maxSize})
		if err != nil {
			if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
				return &exitError{finding.ExitUndecided, err}
			}
			r.outcome.Refused = append(r.outcome.Refused, fmt.Sprintf("%s: %s", p.Manifest.Digest, report.Inert(err.Error())))
			return nil
		}
		c.Platforms = append(c.Platforms, intake.Platform{Name: p.Name, Manifest: p.Manifest.Digest.String(), Config: p.Config.Digest.String(), Content: in})
	}
	r.outcome = intake.Decide(c)
	return nil
}

// look looks into one platform of an image in a folder.
func look(ctx context.Context, from *registry.Folder, p registry.Platform, b content.Bounds) (content.Content, error) {
	const maxConfig = 8 << 20
	config, err := from.Read(p.Config.Digest.String(), maxConfig)
	if err != nil {
		return content.Content{}, err
	}
	var layers []content.Layer
	for _, l := range p.Layers {
		digest := l.Digest.String()
		layers = append(layers, content.Layer{Digest: digest, MediaType: string(l.MediaType), Open: func() (io.ReadCloser, error) { return from.Open(digest) }})
	}
	return content.Look(ctx, config, p.Annotations, layers, b)
}

// sboms reads the bills of materials.
func (r *importRun) sboms(ctx context.Context) (all []image.Facts, err error) {
	for _, file := range r.o.sboms {
		facts, err := readReport(ctx, r.env, file)
		if err != nil {
			return nil, err
		}
		all = append(all, facts...)
	}
	return all, nil
}

// refuse tells why the image stays outside, and records it.
func (r *importRun) refuse(ctx context.Context) error {
	for _, l := range r.outcome.Refused {
		fmt.Fprintf(r.env.Stdout, "refused   %s\n", report.Inert(l))
	}
	why := r.outcome.Refused[0]
	if more := len(r.outcome.Refused) - 1; more > 0 {
		why += fmt.Sprintf("; and %d more", more)
	}
	body := r.body("refused")
	body.Why = why
	if err := r.book.write(ctx, r.o.ledgerKey, body, r.env.Now().UTC().Truncate(time.Second)); err != nil {
		return &exitError{finding.ExitUsage, err}
	}
	return exit(finding.ExitRefused)
}
