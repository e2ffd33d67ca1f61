package cli

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/approval"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/image/intake"
	"ringfence.dev/ringfence/image/signature"
	"ringfence.dev/ringfence/internal/durable"
	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/report"
	"ringfence.dev/ringfence/server"
	"ringfence.dev/ringfence/tenant/desk"
)

// importsSchema is the version of the JSON of `ringfence image import list`. Fields are only added.
const importsSchema = "ringfence.dev/image-imports/v1"

// predicateImport is the type of the statement that the bank signs about an import.
const predicateImport = "https://ringfence.dev/image-import/v1"

// notNames are what a name of an object has none of.
var notNames = regexp.MustCompile(`[^a-z0-9]+`)

// importName names an import for its destination, image and ticket: run again, the command finds its own.
func importName(destination, digest, ticket string) string {
	base := destination[strings.LastIndexByte(destination, '/')+1:]
	base = strings.Trim(notNames.ReplaceAllString(strings.ToLower(base), "-"), "-")
	sum := sha256.Sum256([]byte(destination + "\n" + digest + "\n" + ticket))
	return strings.Trim(base[:min(len(base), 40)], "-") + "-" + hex.EncodeToString(sum[:6])
}

// approved is the import once another person has approved what was found. Until then it is asked for, and the error says how it goes on.
func (r *importRun) approved(ctx context.Context, d *desk.Desk) (*v1alpha1.ImageImport, error) {
	name := r.o.name
	if name == "" {
		name = importName(r.pin.Destination, r.pin.Digest, r.o.cluster.ticket)
	}
	i, err := d.Import(ctx, r.o.cluster.namespace, name)
	if errors.Is(err, desk.ErrNotThere) {
		return nil, r.request(ctx, d, name)
	}
	if err != nil {
		return nil, answered(err)
	}
	refused := func(format string, args ...any) error {
		return &exitError{finding.ExitRefused, fmt.Errorf("import %s in %s: %s; ask for another one with --name", i.Name, i.Namespace, fmt.Sprintf(format, args...))}
	}
	a := i.Status.Approval
	switch {
	case i.Spec.Digest != r.pin.Digest || i.Spec.Source != r.pin.Source || i.Spec.Destination != r.pin.Destination:
		return nil, refused("it is of %s to %s", report.Inert(i.Spec.Source), report.Inert(i.Spec.Destination))
	case i.Status.Imported != nil && a != nil:
		return i, nil
	case !r.env.Now().Before(i.Spec.Expires.Time):
		return nil, refused("it ended at %s", i.Spec.Expires.UTC().Format(time.RFC3339))
	case a == nil:
		return nil, r.waits(i)
	case !approval.Two(approval.Person{Name: i.Spec.Requester, Object: i.Spec.RequesterObject}, approval.Person{Name: a.Approver, Object: a.ApproverObject}):
		return nil, refused("%s asked for it and %s approved it, who are not known to be two people", report.Inert(i.Spec.Requester), report.Inert(a.Approver))
	}
	if other := intake.Unapproved(r.outcome, i.Spec.Findings); len(other) > 0 {
		return nil, refused("what was approved is not what is found: %s", report.Inert(strings.Join(other[:min(3, len(other))], "; ")))
	}
	return i, nil
}

// request asks for the import.
func (r *importRun) request(ctx context.Context, d *desk.Desk, name string) error {
	i := &v1alpha1.ImageImport{Spec: v1alpha1.ImageImportSpec{Source: r.pin.Source, Digest: r.pin.Digest, Destination: r.pin.Destination,
		Checked: r.outcome.Checked[:min(len(r.outcome.Checked), 50)], Findings: r.outcome.Findings, Reason: r.o.cluster.reason, Ticket: r.o.cluster.ticket}}
	i.Name, i.Namespace, i.Spec.Expires.Time = name, r.o.cluster.namespace, r.env.Now().UTC().Add(r.o.lasts).Truncate(time.Second)
	if err := d.RequestImport(ctx, i); err != nil {
		return answered(err)
	}
	body := r.body("requested")
	body.Namespace, body.Name, body.UID, body.By, body.RequestedBy = i.Namespace, i.Name, string(i.UID), i.Spec.Requester, i.Spec.Requester
	if err := r.book.write(ctx, r.o.ledgerKey, body, i.CreationTimestamp.Time); err != nil {
		return &exitError{finding.ExitUsage, err}
	}
	return r.waits(i)
}

// waits prints what waits for its approval.
func (r *importRun) waits(i *v1alpha1.ImageImport) error {
	fmt.Fprintf(r.env.Stdout, "waiting   %s/%s\n%s", i.Namespace, i.Name, importText(i))
	r.env.note("another person approves it: ringfence image import approve %s -n %s; then run this command again", i.Name, i.Namespace)
	return exit(finding.ExitUndecided)
}

// importText is what people read of an import.
func importText(i *v1alpha1.ImageImport) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  from      %s\n  image     %s\n  to        %s\n  asked by  %s, %s: %s\n  until     %s\n", report.Inert(i.Spec.Source), i.Spec.Digest, report.Inert(i.Spec.Destination),
		report.Inert(i.Spec.Requester), i.Spec.Ticket, report.Inert(i.Spec.Reason), i.Spec.Expires.UTC().Format(time.RFC3339))
	for _, l := range i.Spec.Checked {
		fmt.Fprintf(&b, "  checked   %s\n", report.Inert(l))
	}
	for _, l := range i.Spec.Findings {
		fmt.Fprintf(&b, "  finding   %s\n", report.Inert(l))
	}
	return b.String()
}

// push brings the image into the bank's registry: under no tag, with what came with it, signed, recorded; the tag last.
func (r *importRun) push(ctx context.Context, d *desk.Desk, i *v1alpha1.ImageImport) error {
	who, err := d.User(ctx)
	if err != nil {
		return answered(err)
	}
	if err := r.client.Push(ctx, r.folder, r.image, r.bank); err != nil {
		return asked(err)
	}
	if err := r.client.PushKept(ctx, r.folder, r.kept, r.bank); err != nil {
		return asked(err)
	}
	signed, err := r.attach(ctx, i)
	if err != nil {
		return asked(err)
	}
	body := r.body("imported")
	body.Namespace, body.Name, body.UID, body.By, body.RequestedBy, body.ApprovedBy, body.Signature = i.Namespace, i.Name, string(i.UID), who, i.Spec.Requester, i.Status.Approval.Approver, signed
	if err := r.book.write(ctx, r.o.ledgerKey, body, r.env.Now().UTC().Truncate(time.Second)); err != nil {
		return &exitError{finding.ExitUsage, err}
	}
	if err := r.client.Tag(ctx, r.folder, r.image, r.bank, r.tag); err != nil {
		return asked(err)
	}
	if _, err := d.Imported(ctx, i.Namespace, i.Name, signed); err != nil {
		return answered(err)
	}
	return nil
}

// attach signs the image, what was found, and each bill of materials, and returns the manifest of the first. What was signed is kept in the
// folder, so that a run that was interrupted attaches the same again.
func (r *importRun) attach(ctx context.Context, i *v1alpha1.ImageImport) (signed string, err error) {
	statement, err := json.Marshal(map[string]any{"source": i.Spec.Source, "destination": i.Spec.Destination, "ticket": i.Spec.Ticket, "checked": i.Spec.Checked,
		"findings": i.Spec.Findings, "requestedBy": i.Spec.Requester, "approvedBy": i.Status.Approval.Approver, "approvedAt": i.Status.Approval.ApprovedAt})
	if err != nil {
		return "", err
	}
	all := []statementOf{{signature.PredicateImage, nil}, {predicateImport, statement}}
	for _, file := range r.o.sboms {
		one, err := readSBOM(file)
		if err != nil {
			return "", err
		}
		all = append(all, one)
	}
	for n, s := range all {
		file := filepath.Join(r.o.stage, fmt.Sprintf("signed-%s-%d.json", i.UID, n))
		bundle, err := readUpTo(file, 2*maxStatement)
		if errors.Is(err, fs.ErrNotExist) {
			if bundle, err = r.signer.Sign(r.bank.Repository(), r.bank.Digest(), s.kind, s.predicate); err == nil {
				err = durable.Replace(file, bundle, 0o600)
			}
		}
		if err != nil {
			return "", err
		}
		manifest, err := r.client.Attach(ctx, r.bank, signature.MediaType, s.kind, bundle, i.Status.Approval.ApprovedAt.Time)
		if err != nil {
			return "", err
		}
		if n == 0 {
			signed = manifest
		}
	}
	return signed, nil
}

// statementOf is a statement about the image that the bank signs.
type statementOf struct {
	kind      string
	predicate json.RawMessage
}

// readSBOM reads a bill of materials as a predicate.
func readSBOM(file string) (s statementOf, err error) {
	text, err := readUpTo(file, maxStatement)
	if err != nil {
		return s, err
	}
	var form struct {
		BomFormat string `json:"bomFormat"`
	}
	if err := json.Unmarshal(text, &form); err != nil {
		return s, fmt.Errorf("--sbom %s: want JSON: %w", file, err)
	}
	s = statementOf{"https://spdx.dev/Document", text}
	if form.BomFormat != "" {
		s.kind = "https://cyclonedx.org/bom"
	}
	return s, nil
}

// body is what is recorded of a step.
func (r *importRun) body(step string) record.ImportedImage {
	return record.ImportedImage{Step: step, Source: r.pin.Source, Destination: r.pin.Destination, Digest: r.pin.Digest, Ticket: r.o.cluster.ticket,
		Checked: r.outcome.Checked[:min(len(r.outcome.Checked), 50)], Findings: r.outcome.Findings}
}

// importProducer is whose records of imports are.
const importProducer = "import"

// importBook is the ledger of a place that imports images, in the form of serve --evidence.
type importBook struct {
	dir    string
	people []byte // the key of references to people
}

func openImportBook(dir string) (*importBook, error) {
	b := &importBook{dir: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for evidence: %w", err)
	}
	file := filepath.Join(dir, "actor.key")
	text, err := readSmall(file)
	if errors.Is(err, fs.ErrNotExist) {
		b.people = make([]byte, 32)
		_, _ = rand.Read(b.people) // it never fails
		return b, durable.Replace(file, []byte(hex.EncodeToString(b.people)+"\n"), 0o600)
	}
	if err == nil {
		b.people, err = hex.DecodeString(strings.TrimSpace(string(text)))
	}
	if err != nil || len(b.people) != 32 {
		return nil, fmt.Errorf("read %s: want 64 hexadecimal digits", file)
	}
	return b, nil
}

// write records a step, and returns once the ledger holds it.
func (b *importBook) write(ctx context.Context, key string, body record.ImportedImage, at time.Time) (err error) {
	r, err := record.ImageImport(body, b.people, at)
	if err != nil {
		return err
	}
	signs, err := server.OpenLedgerKey(ctx, b.dir, key)
	if err != nil {
		return err
	}
	log, err := ledger.Open(ledger.Config{Dir: filepath.Join(b.dir, "ledger"), Key: signs})
	if err != nil {
		return fmt.Errorf("record the import: %w", err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	r.Cluster, r.Producer, r.Seq = server.LocalCluster, importProducer, log.Last(server.LocalCluster)[importProducer].Seq+1
	if _, err := log.Append(ctx, r); err != nil {
		return fmt.Errorf("record the import: %w", err)
	}
	return nil
}

// listedImport is one of image import list.
type listedImport struct {
	Namespace   string     `json:"namespace"`
	Name        string     `json:"name"`
	State       string     `json:"state"` // pending, approved, imported, ended
	Source      string     `json:"source"`
	Digest      string     `json:"digest"`
	Destination string     `json:"destination"`
	Requester   string     `json:"requester"`
	Approver    *string    `json:"approver"`
	Expires     time.Time  `json:"expires"`
	Imported    *time.Time `json:"imported"`
	Findings    []string   `json:"findings"`
}

func listImports(env Env, all []v1alpha1.ImageImport, output string) error {
	var list []listedImport
	for _, i := range all {
		l := listedImport{Namespace: i.Namespace, Name: i.Name, Source: i.Spec.Source, Digest: i.Spec.Digest, Destination: i.Spec.Destination,
			Requester: i.Spec.Requester, Expires: i.Spec.Expires.UTC(), Findings: slices.Concat([]string{}, i.Spec.Findings)}
		course := approval.Course{Asked: i.CreationTimestamp.Time, AnswerBy: i.Spec.Expires.Time, Approved: i.Status.Approval != nil}
		state, _ := course.State(env.Now())
		l.State = map[approval.State]string{approval.Requested: "pending", approval.Approved: "approved", approval.Unanswered: "ended"}[state]
		if a := i.Status.Approval; a != nil {
			l.Approver = &a.Approver
		}
		if done := i.Status.Imported; done != nil {
			l.State, l.Imported = "imported", known(done.At.UTC())
		}
		list = append(list, l)
	}
	return writeList(env, output, importsSchema, "imports", list, "NAMESPACE\tNAME\tSTATE\tTO\tREQUESTER\tEXPIRES", "no imports", func(l listedImport) string {
		return strings.Join([]string{l.Namespace, l.Name, l.State, report.Inert(l.Destination), report.Inert(l.Requester), l.Expires.Format(time.RFC3339)}, "\t")
	})
}
