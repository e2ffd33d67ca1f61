package leaks_test

import (
	"slices"
	"strings"
	"testing"

	"ringfence.dev/ringfence/image/leaks"
)

// Secrets are put together here, so that nothing in this file looks like one.
var (
	accessKey = "AKIA" + "QYLPMN5HHHFPZAM2"
	token     = "ghp" + "_" + "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY1zA2"
	private   = "-----BEGIN RSA " + "PRIVATE KEY-----\n" + strings.Repeat("MIIEowIBAAKCAQEA4f5wg5l2hKsTeNem\n", 4) + "-----END RSA PRIVATE KEY-----\n"
)

func TestFind(t *testing.T) {
	rules, err := leaks.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, text, rule string }{
		{"etc/aws", "first\nkey = " + accessKey + "\n", "aws-access-token"},
		{"app/config", "x\nTOKEN=" + token + "\n", "github-pat"},
		{"etc/ssl/key.pem", "x\n" + private, "private-key"},
		{"etc/aws", "first\nkey = AKIAIOSFODNN7EXAMPLE # gitleaks:allow\n", ""}, // Amazon's own example
		{"etc/aws", "first\nkey = " + accessKey + " # gitleaks:allow\n", "aws-access-token"},
		{"app/node_modules/x/y", "x\nTOKEN=" + token + "\n", ""}, // as gitleaks: not looked at
		{"etc/motd", "welcome\n", ""},
		{"etc/keys/a.p12", "", "pkcs12-file"},
	} {
		var got []string
		for _, l := range rules.Find(c.path, []byte(c.text), 10) {
			got = append(got, l.Rule)
			if l.Line != 2 && l.Rule != "pkcs12-file" {
				t.Errorf("%s: %s in line %d, want 2", c.path, l.Rule, l.Line)
			}
		}
		if c.rule == "" && len(got) > 0 || c.rule != "" && !slices.Contains(got, c.rule) {
			t.Errorf("%s %.20q: found %v, want %q", c.path, c.text, got, c.rule)
		}
	}
	if got := rules.Find("a", []byte(strings.Repeat("key = "+accessKey+"\n", 50)), 7); len(got) != 7 {
		t.Errorf("%d leaks, want the bound of 7", len(got))
	}
}

// BenchmarkFind looks through a window of text that has the words of many rules and no secret.
func BenchmarkFind(b *testing.B) {
	rules, err := leaks.Load()
	if err != nil {
		b.Fatal(err)
	}
	text := []byte(strings.Repeat("the api key and the token of a secret client are read from a file, and the password too\n", 1<<20/89))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if got := rules.Find("etc/motd", text, 100); len(got) > 0 {
			b.Fatal(got)
		}
	}
}
