package record

import (
	"fmt"
	"time"
)

// ImportedImage is a step of the import of an image. Texts in it may come from outside.
type ImportedImage struct {
	// Step is requested, refused or imported.
	Step string
	// Namespace, Name and UID are the ImageImport's; empty where it was refused before anything was asked for.
	Namespace, Name, UID string
	// Source, Destination and Digest say which image.
	Source, Destination, Digest string
	// Ticket is the bank's record, Why why it was refused.
	Ticket, Why string
	// Checked and Findings are what was looked at, and what the approver accepted.
	Checked, Findings []string
	// Signature is the manifest with the bank's signature.
	Signature string
	// By is the user who took the step, RequestedBy and ApprovedBy those of the request.
	By, RequestedBy, ApprovedBy string
}

// imageImportBody is the body of image-import.v1.
type imageImportBody struct {
	What        string   `json:"what"`
	Import      *subject `json:"import,omitempty"`
	Source      string   `json:"source"`
	Destination string   `json:"destination"`
	Digest      string   `json:"digest"`
	Ticket      string   `json:"ticket,omitempty"`
	Why         string   `json:"why,omitempty"`
	Checked     []string `json:"checked,omitempty"`
	Findings    []string `json:"findings,omitempty"`
	More        int      `json:"more,omitempty"`
	Signature   string   `json:"signature,omitempty"`
	Actor       *actor   `json:"actor,omitempty"`
	RequestedBy *actor   `json:"requestedBy,omitempty"`
	ApprovedBy  *actor   `json:"approvedBy,omitempty"`
}

// maxImportLines is how many findings a record has; the ImageImport has all of them.
const maxImportLines = 50

// ImageImport is the image-import.v1 record of a step. The same step of the same import always gives the same id.
func ImageImport(i ImportedImage, actorKey []byte, at time.Time) (Record, error) {
	if i.Digest == "" || i.Step == "" {
		return Record{}, fmt.Errorf("record an import: %w: want its step and its digest", ErrInvalid)
	}
	body := imageImportBody{What: i.Step, Source: cut(i.Source), Destination: cut(i.Destination), Digest: i.Digest, Ticket: i.Ticket, Why: cut(i.Why),
		Checked: i.Checked, Findings: i.Findings, Signature: i.Signature}
	if i.Name != "" {
		body.Import = &subject{"ringfence.dev/v1alpha1", "ImageImport", i.Namespace, i.Name}
	}
	if more := len(i.Findings) - maxImportLines; more > 0 {
		body.Findings, body.More = i.Findings[:maxImportLines], more
	}
	for _, p := range []struct {
		name string
		to   **actor
	}{{i.By, &body.Actor}, {i.RequestedBy, &body.RequestedBy}, {i.ApprovedBy, &body.ApprovedBy}} {
		if p.name != "" {
			*p.to = &actor{Reference(actorKey, p.name)}
		}
	}
	of := i.UID
	if of == "" {
		of = stamp(at)
	}
	return build("image-import.v1", "image-import:"+fingerprint(of, i.Step, i.Digest, i.Destination), at, body)
}
