package token

import (
	"errors"
	"strings"
	"testing"
)

// FuzzURI: no text makes an address that lacks something or that pkcs11-tool could take for another option.
func FuzzURI(f *testing.F) {
	f.Add("pkcs11:token=t;id=%01;object=o;type=private?module-path=/m.so&pin-source=file:///pin")
	f.Add("pkcs11:id=%00%ff;token=--pin?pin-source=/p&module-path=/m")
	f.Add("pkcs11:?;&=%")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := parseURI(text)
		if err != nil {
			if !errors.Is(err, ErrURI) {
				t.Errorf("parseURI(%q) = %v, want ErrURI", text, err)
			}
			return
		}
		if a.token == "" || len(a.id) == 0 || a.module == "" || a.pin == "" {
			t.Errorf("parseURI(%q) = %+v", text, a)
		}
		for _, arg := range a.arguments() {
			if name, _, _ := strings.Cut(arg, "="); name != "--module" && name != "--token-label" && name != "--login" && name != "--id" && name != "--label" || strings.ContainsRune(arg, 0) {
				t.Errorf("parseURI(%q) makes the argument %q", text, arg)
			}
		}
	})
}
