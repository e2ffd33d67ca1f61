package bundle

import (
	"strings"
	"testing"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
)

// TestAsk: every refusal names whom to ask, in each of its forms and once, and the policies still compile.
func TestAsk(t *testing.T) {
	cat, err := control.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	const contact = "platform-team@bank.example"
	r := &Reconciler{Catalogue: cat}
	for _, b := range r.all(nil, contact) {
		for _, v := range b.Policy.Spec.Validations {
			for _, text := range []string{v.Message, v.MessageExpression} {
				if strings.Count(text, "; ask: "+contact+control.More) != 1 {
					t.Fatalf("%s: %s", b.Policy.Name, text)
				}
			}
		}
		if b.Policy.Name == "ringfence-tokens-deny" {
			if err := Compile(b.Policy); err != nil {
				t.Error(err)
			}
		}
	}
	for _, b := range r.all(nil, "") {
		if strings.Contains(b.Policy.Spec.Validations[0].Message, "; ask: ") {
			t.Errorf("%s names somebody: %s", b.Policy.Name, b.Policy.Spec.Validations[0].Message)
		}
	}
}
