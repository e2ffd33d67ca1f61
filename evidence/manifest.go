package evidence

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// readManifest reads the manifest and makes ready to make it again.
func (b *bundle) readManifest() error {
	text, err := b.read(manifestFile)
	if err != nil {
		return err
	}
	in := json.NewDecoder(bytes.NewReader(text))
	in.DisallowUnknownFields()
	if err := in.Decode(&b.v.Manifest); err != nil {
		return &Fault{File: manifestFile, What: err.Error()}
	}
	if b.v.Manifest.Format != Format {
		return fmt.Errorf("%w: found the format %.80q; want %s: another version of ringfence made it", ErrUnreadable, b.v.Manifest.Format, Format)
	}
	if b.filter, err = b.v.Manifest.Filter.filter(); err != nil || !bytes.Equal(b.v.Manifest.text(), text) {
		return &Fault{File: manifestFile, What: fmt.Sprintf("it is not as it was written: %v", err)}
	}
	b.page = newPage(b.filter)
	return nil
}
