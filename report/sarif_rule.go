package report

import (
	"fmt"
	"slices"
	"strings"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
)

type sarifRule struct {
	ID       string         `json:"id"`
	Name     string         `json:"name"`
	Short    sarifText      `json:"shortDescription"`
	Full     sarifText      `json:"fullDescription"`
	Default  sarifDefault   `json:"defaultConfiguration"`
	Help     sarifHelp      `json:"help"`
	HelpURI  string         `json:"helpUri,omitempty"`
	Property map[string]any `json:"properties"`
}

type sarifDefault struct {
	Level string `json:"level"`
}

type sarifHelp struct {
	Text     string `json:"text"`
	Markdown string `json:"markdown,omitempty"`
}

// rule is the place in the list of rules of the one that a finding is of, which is added where it is new. Policies of
// others may have names that the catalogue has too.
func (s *sarif) rule(f *finding.Finding) int {
	key := [2]string{f.Source, finding.Clean(f.Control)} // as it is printed: no two rules may be alike
	i, there := s.index[key]
	if !there {
		i = len(s.rules)
		s.index[key] = i
		s.rules = append(s.rules, s.describe(f))
	}
	return i
}

// describe makes the rule of a finding: in the catalogue's words, or, of policies of others, in those of the finding.
func (s *sarif) describe(f *finding.Finding) sarifRule {
	tags := []string{"security", "kubernetes"}
	at := slices.IndexFunc(s.report.Controls, func(c control.Control) bool { return c.ID == f.Control })
	if at < 0 || f.Source != "catalogue" {
		return sarifRule{
			ID: finding.Clean(f.Control), Name: finding.Clean(f.Control),
			Short: sarifText{plain(f.Control)}, Full: sarifText{plain(f.Control + ", a policy of the kind " + f.Source)},
			Default: sarifDefault{"error"}, Help: sarifHelp{Text: "Read the policy " + plain(f.Control) + "."},
			Property: map[string]any{"tags": tags, "security-severity": score(f.Severity), "ringfence/severity": f.Severity},
		}
	}
	c := s.report.Controls[at]
	rule := sarifRule{
		ID: c.ID, Name: c.Rule(), Short: sarifText{plain(c.Title)}, Full: sarifText{plain(c.Why)},
		Default: sarifDefault{sarifLevel(levelOf(&finding.Finding{Outcome: finding.Fail, Action: c.Default}))},
		Help: sarifHelp{
			Text:     fmt.Sprintf("Wanted: %s\nFix: %s\nWhy: %s\nMore: ringfence explain %s", plain(c.Wanted), plain(c.Fix), plain(c.Why), c.ID),
			Markdown: helpPage(c),
		},
		Property: map[string]any{"tags": tags, "precision": "very-high", "security-severity": score(c.Severity), "ringfence/severity": c.Severity},
	}
	for _, source := range c.Sources {
		if strings.HasPrefix(source.URL, "https://") {
			rule.HelpURI = source.URL
			break
		}
	}
	return rule
}

// score is a severity as GitHub orders it: from 9.0 critical, from 7.0 high, from 4.0 medium.
func score(s finding.Severity) string {
	switch s {
	case finding.Critical:
		return "9.5"
	case finding.High:
		return "8.0"
	case finding.Medium:
		return "5.5"
	default:
		return "2.0"
	}
}

// helpPage is what a control says of itself, in Markdown.
func helpPage(c control.Control) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s %s\n\n**Wanted:** %s\n\n**Fix:** %s\n\n**Why:** %s\n\n", c.ID, markdown(c.Title), markdown(c.Wanted), markdown(c.Fix), markdown(c.Why))
	fmt.Fprintf(&b, "**More:** `ringfence explain %s`\n", c.ID)
	if len(c.Sources) > 0 {
		b.WriteString("\nSources:\n\n")
	}
	for _, s := range c.Sources {
		fmt.Fprintf(&b, "- %s, %s", markdown(s.Document), markdown(s.Section))
		if strings.HasPrefix(s.URL, "https://") {
			fmt.Fprintf(&b, " (<%s>)", finding.Clean(s.URL))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// markdown is text of one line that Markdown shows as it is.
func markdown(s string) string {
	return strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "<", "&lt;", ">", "&gt;", "|", `\|`, "[", `\[`, "]", `\]`, "#", `\#`).Replace(finding.Clean(strings.TrimSpace(s)))
}
