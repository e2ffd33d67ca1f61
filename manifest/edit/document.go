package edit

import (
	"errors"
	"fmt"
	"reflect"

	"ringfence.dev/ringfence/fix"
	"ringfence.dev/ringfence/manifest"
)

// Ask is what is to be changed in one object of a document.
type Ask struct {
	Object  *manifest.Object
	Changes []fix.Change
}

// ErrUnproven means that an edit would have done something else than what was asked: a fault of this program.
var ErrUnproven = errors.New("the edited text does not mean what it should")

// Objects edits the text of a document as asked for its objects, and proves of the new text, by decoding it, that exactly the
// asked changes were made. Splices are in order. refused holds, for each object that is left alone, why. The error, which
// wraps ErrUnproven, is a fault of this program; nothing may be written then.
func Objects(doc manifest.Document, asks []Ask) (splices []Splice, refused map[*manifest.Object]*Unsafe, err error) {
	refused = map[*manifest.Object]*Unsafe{}
	values, fault := doc.Values()
	d := New(doc.Text())
	for _, a := range asks {
		if len(a.Changes) == 0 {
			continue
		}
		if fault != nil {
			refused[a.Object] = &Unsafe{1, "the document has a fault: " + fault.Error()}
			continue
		}
		root, index, at := a.Object.Tree()
		changes := make([]fix.Change, len(a.Changes))
		for i, c := range a.Changes {
			changes[i] = c
			changes[i].Pointer = at + c.Pointer
		}
		more, err := d.Splices(root, changes)
		if err != nil {
			var u *Unsafe
			if !errors.As(err, &u) {
				return nil, nil, err
			}
			refused[a.Object] = u
			continue
		}
		if value, ok := values[index].(map[string]any); !ok || !fix.Make(value, changes) {
			return nil, nil, fmt.Errorf("%w: the changes cannot be made", ErrUnproven)
		}
		splices = append(splices, more...)
	}
	if splices, err = Join(doc.Text(), splices); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnproven, err)
	}
	return splices, refused, prove(doc.WithText(Apply(doc.Text(), splices)), values, fault)
}

// prove compares what an edited document means with what it should.
func prove(edited manifest.Document, want []any, fault error) error {
	if fault != nil {
		return nil // nothing was edited
	}
	got, err := edited.Values()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnproven, err)
	}
	if !reflect.DeepEqual(got, want) {
		return ErrUnproven
	}
	return nil
}
