package desk

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
)

// RequestImport asks for the import of an image in the user's own name.
func (d *Desk) RequestImport(ctx context.Context, i *v1alpha1.ImageImport) error {
	who, err := d.Who(ctx)
	if err != nil {
		return err
	}
	i.Spec.Requester, i.Spec.RequesterObject = who.Name, who.Object
	if err := d.client.Create(ctx, i); err != nil {
		return fmt.Errorf("request import %s in %s: %w", i.Name, i.Namespace, said(err))
	}
	return nil
}

// ApproveImport approves an import in the user's name, and returns it.
func (d *Desk) ApproveImport(ctx context.Context, namespace, name string) (*v1alpha1.ImageImport, error) {
	return d.writeImport(ctx, namespace, name, "approve", func(i *v1alpha1.ImageImport, user, object string, at metav1.Time) error {
		if a := i.Status.Approval; a != nil {
			return fmt.Errorf("%w: %s has approved it, and an approval is never changed", ErrRefused, a.Approver)
		}
		if !at.Before(&i.Spec.Expires) {
			return fmt.Errorf("%w: it ended at %s; have another one requested", ErrRefused, i.Spec.Expires.UTC().Format(time.RFC3339))
		}
		i.Status.Approval = &v1alpha1.ImageImportApproval{Approver: user, ApproverObject: object, ApprovedAt: at}
		return nil
	})
}

// Imported says in the user's name that an import was pushed; signature is the digest of the manifest with the bank's signature. What is
// said already is left as it is.
func (d *Desk) Imported(ctx context.Context, namespace, name, signature string) (*v1alpha1.ImageImport, error) {
	return d.writeImport(ctx, namespace, name, "finish", func(i *v1alpha1.ImageImport, user, _ string, at metav1.Time) error {
		i.Status.Imported = &v1alpha1.ImageImported{By: user, At: at, Signature: signature}
		return nil
	})
}

// writeImport writes the status of an import as it was seen: a change since then is a conflict.
func (d *Desk) writeImport(ctx context.Context, namespace, name, verb string, edit func(i *v1alpha1.ImageImport, user, object string, at metav1.Time) error) (*v1alpha1.ImageImport, error) {
	who, err := d.Who(ctx)
	if err != nil {
		return nil, err
	}
	i, err := d.Import(ctx, namespace, name)
	if err == nil {
		err = edit(i, who.Name, who.Object, metav1.NewTime(d.now().UTC().Truncate(time.Second)))
	}
	if err != nil {
		return nil, fmt.Errorf("%s import %s in %s: %w", verb, name, namespace, err)
	}
	if err := d.client.Status().Update(ctx, i); err != nil {
		return nil, fmt.Errorf("%s import %s in %s: %w", verb, name, namespace, said(err))
	}
	return i, nil
}

// Import is that of a name.
func (d *Desk) Import(ctx context.Context, namespace, name string) (*v1alpha1.ImageImport, error) {
	return read[v1alpha1.ImageImport](ctx, d, "import", namespace, name)
}

// Imports are those of a namespace, of all for "", by namespace and name.
func (d *Desk) Imports(ctx context.Context, namespace string) ([]v1alpha1.ImageImport, error) {
	return listed(ctx, d, "imports", namespace, func(page *v1alpha1.ImageImportList) []v1alpha1.ImageImport { return page.Items })
}
