//go:build unix

package cli

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ringfence.dev/ringfence/internal/archtest"
)

// tree is the whole command line, with what cobra adds to it.
func tree() *cobra.Command {
	root := newRoot(Env{Stdin: &bytes.Buffer{}, Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}, Now: time.Now})
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	return root
}

// TestDocs holds every command that a page shows to the commands and flags there are.
func TestDocs(t *testing.T) {
	pages, err := archtest.Pages(os.DirFS(".."))
	if err != nil {
		t.Fatal(err)
	}
	root, count := tree(), 0
	flags, unused := flagsOf(root), maps.Clone(foreign)
	for _, page := range pages {
		for _, code := range page.Code {
			name := loneFlag.FindString(code.Text)
			delete(unused, name)
			if code.Inline && name != "" && !flags[name] && !foreign[name] {
				t.Errorf("%s:%d: %s is a flag of no command of ringfence; if it is another program's, add it to foreign", page.Path, code.Line, name)
			}
			for _, words := range invocations(code.Text) {
				count++
				if err := fits(root, words); err != nil {
					t.Errorf("%s:%d: %s: %v", page.Path, code.Line, strings.Join(words, " "), err)
				}
			}
		}
	}
	for name := range unused {
		t.Errorf("no page names %s; take it off foreign", name)
	}
	if count < 300 {
		t.Errorf("%d commands were found, want 300 or more: are they still read?", count)
	}
}

// foreign are flags of other programs that pages name by themselves: kube-apiserver, kubectl, krew, pkcs11-tool.
var foreign = map[string]bool{
	"--anonymous-auth": true, "--emulated-version": true, "--audit-log-path": true, "--audit-policy-file": true, "--audit-webhook-config-file": true,
	"--audit-webhook-truncate-enabled": true, "--audit-webhook-truncate-max-event-size": true,
	"--pin": true, "--archive": true, "--token-label": true, "--runtime-config": true, "--tracing-config-file": true, "--oidc-": true, "--oidc-groups-prefix": true,
}

// loneFlag is a flag that a sentence names without its command.
var loneFlag = regexp.MustCompile(`^--[a-z][a-z0-9-]*`)

// flagsOf are the names of all flags, with the dashes.
func flagsOf(cmd *cobra.Command) map[string]bool {
	all := map[string]bool{}
	add := func(f *pflag.Flag) { all["--"+f.Name] = true }
	cmd.Flags().VisitAll(add)
	cmd.PersistentFlags().VisitAll(add)
	for _, c := range cmd.Commands() {
		for name := range flagsOf(c) {
			all[name] = true
		}
	}
	return all
}

// TestDocsFaults shows what TestDocs sees.
func TestDocsFaults(t *testing.T) {
	for line, want := range map[string]string{
		"ringfence check manifests/ -o text --since main":                    "",
		"$ bin/ringfence evidence list|show":                                 "",
		"kubectl ringfence tenant namespaces -o name":                        "",
		"export T=$(ringfence access token e -n payments-prod)":              "",
		"ringfence up                    the whole platform, --gone":         "",
		"ringfence findings -A --open":                                       "no flag -A",
		"ringfence waiver list -An payments --expiring=14d":                  "",
		"ringfence chek deploy.yaml":                                         "no command chek",
		"ringfence evidence list|gone":                                       "no command gone",
		"ringfence evidence export -o a.zip && ringfence evidence verfy a.z": "no command verfy",
		"ringfence check --pletform FILE":                                    "no flag --pletform",
		"ringfence up gone":                                                  "no command gone",
		"ringfence sinks resend NAME [--gone FILE]":                          "no flag --gone",
		"go run ./cmd/ringfence control tst":                                 "no command tst",
		"ringfence quarantine deploy/api --ticket 'a # b' --gone # --other":  "no flag --gone",
		"ringfence access authn gone":                                        "no command gone",
		"ringfence: a.yaml: not judged":                                      "",
		"kubectl create clusterrole ringfence gone":                          "",
	} {
		got := ""
		for _, words := range invocations(line) {
			if err := fits(tree(), words); err != nil {
				got = err.Error()
			}
		}
		if got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

var (
	// called is what stands before a command's name: the line's beginning, another command, settings of the environment.
	called = regexp.MustCompile(`(?:^|[|;&(] ?)(?:\$ )?(?:[A-Z_]+=\S+ )*(?:exec |sudo )?(?:(?:\./)?(?:bin/)?ringfence|kubectl[ -]ringfence|go run \./cmd/ringfence)(?: |$)`)
	// aside is prose: it begins with two spaces or more, or as a comment.
	aside = regexp.MustCompile(`\s{2,}.*| #.*`)
	word  = regexp.MustCompile(`(?:"[^"]*"|'[^']*'|[^\s"'])+`)
)

// invocations are the words of each call of ringfence in a line, without its name. Quotes stay, what is in them counts as one word.
func invocations(line string) (all [][]string) {
	for _, at := range called.FindAllStringIndex(line, -1) {
		rest := line[at[1]:]
		if strings.HasPrefix(rest, " ") {
			rest = ""
		}
		words := []string{}
		for _, w := range word.FindAllString(hide(rest), -1) {
			if strings.ContainsAny(w[:1], "|&;<>") || w == "2>&1" {
				break
			}
			end := strings.HasSuffix(w, ";") || strings.HasSuffix(w, ")") && !strings.Contains(w, "(")
			if w == "[flags]" || w == "[command]" { // as a usage line says it
				continue
			}
			if w = strings.Trim(w, "[]();,"); w != "" {
				words = append(words, w)
			}
			if end {
				break
			}
		}
		all = append(all, words)
	}
	return all
}

// hide takes away prose and comments, but not what looks like it within quotes.
func hide(text string) string {
	quoted := regexp.MustCompile(`"[^"]*"|'[^']*'`)
	return aside.ReplaceAllString(quoted.ReplaceAllString(text, "'quoted'"), "")
}

// fits says whether there is such a command with such flags. Words in capitals, and dots, stand for what a user puts there.
func fits(cmd *cobra.Command, words []string) error {
	value := false
	for _, w := range words {
		switch {
		case value:
			value = false
		case strings.HasPrefix(w, "-") && len(w) > 1:
			name, _, given := strings.Cut(w, "=")
			flag := last(cmd, name)
			if flag == nil {
				return fmt.Errorf("no flag %s", name)
			}
			value = !given && flag.NoOptDefVal == ""
		case w == cobra.ShellCompRequestCmd: // what completions call
			return nil
		case cmd.HasSubCommands():
			for name := range strings.SplitSeq(w, "|") {
				next := below(cmd, name)
				if next == nil && name != strings.ToUpper(name) && !takesObjects(cmd) {
					return fmt.Errorf("no command %s", name)
				}
				if next != nil && name == w {
					cmd = next
				}
			}
		case !takesObjects(cmd) && w != strings.ToUpper(w):
			return fmt.Errorf("no command %s", w)
		}
	}
	return nil
}

// last is the flag of a word: --name, or the last of the letters of -xyz, of which all must be there.
func last(cmd *cobra.Command, word string) *pflag.Flag {
	cmd.InitDefaultHelpFlag()
	if name, long := strings.CutPrefix(word, "--"); long {
		return cmd.Flag(name)
	}
	var flag *pflag.Flag
	for _, letter := range word[1:] {
		if flag != nil && flag.NoOptDefVal == "" {
			return flag // the rest is its value
		}
		if flag = cmd.Flags().ShorthandLookup(string(letter)); flag == nil {
			flag = cmd.InheritedFlags().ShorthandLookup(string(letter))
		}
		if flag == nil {
			return nil
		}
	}
	return flag
}

// takesObjects reports whether the usage names anything beside flags and their values.
func takesObjects(cmd *cobra.Command) bool {
	value := false
	for _, w := range strings.Fields(cmd.Use)[1:] {
		w = strings.TrimLeft(w, "[")
		switch flag := strings.HasPrefix(w, "-"); {
		case flag:
			value = !strings.HasSuffix(w, "]") && !strings.Contains(w, "|")
		case !value && w != "flags]":
			return true
		default:
			value = false
		}
	}
	return false
}

func below(cmd *cobra.Command, name string) *cobra.Command {
	for _, c := range cmd.Commands() {
		if c.Name() == name || c.HasAlias(name) {
			return c
		}
	}
	return nil
}

// TestCommandsPage holds docs/commands.md to what --help says; -update writes it.
func TestCommandsPage(t *testing.T) {
	const file = "../docs/commands.md"
	var want bytes.Buffer
	want.WriteString("# Commands\n\nWhat `ringfence COMMAND --help` prints, for every command. This page is written by `go test ./cli -run TestCommandsPage -update`.\n" +
		"Exit codes everywhere: 0 allowed or done, 1 refused or no, 2 bad usage or an input that cannot be read, 3 it could not be decided.\n")
	var list func(*cobra.Command)
	list = func(cmd *cobra.Command) {
		if cmd.Hidden || cmd.Name() == "help" || cmd.Name() == "completion" {
			return
		}
		fmt.Fprintf(&want, "\n## %s\n\n", cmd.CommandPath())
		var help bytes.Buffer
		cmd.SetOut(&help)
		cmd.InitDefaultHelpFlag()
		if err := cmd.Help(); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(strings.TrimSpace(help.String()) + "\n") {
			want.WriteString(strings.TrimRight("    "+line, " \n") + "\n")
		}
		for _, c := range cmd.Commands() {
			list(c)
		}
	}
	list(tree())
	if *update {
		if err := os.WriteFile(file, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("docs/commands.md is not what the commands say; write it: go test ./cli -run TestCommandsPage -update")
	}
}
