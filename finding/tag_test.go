package finding

import (
	"strings"
	"testing"
)

// TestTagged: the id is at the end whatever is before it and in it, and the line keeps its bounds.
func TestTagged(t *testing.T) {
	for _, c := range []struct{ line, id, want string }{
		{"RF-WL-01 a", "3f2c", "RF-WL-01 a [id 3f2c]"},
		{"RF-WL-01 a", "", "RF-WL-01 a"},
		{"RF-WL-01 a", "x\ny\x1b[2J", "RF-WL-01 a [id x\ufffdy\ufffd[2J]"},
	} {
		if got := Tagged(c.line, c.id); got != c.want {
			t.Errorf("Tagged(%q, %q) = %q; want %q", c.line, c.id, got, c.want)
		}
	}
	got := Tagged(strings.Repeat("ä", maxLineBytes), strings.Repeat("i", 500))
	if len(got) > maxLineBytes || !strings.HasPrefix(got, "ää") || !strings.HasSuffix(got, "ii…]") || strings.ContainsRune(got, '\ufffd') {
		t.Errorf("a long line has %d bytes: %q", len(got), got)
	}
}
