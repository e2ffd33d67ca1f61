package cli

import (
	"fmt"
	"strings"

	"ringfence.dev/ringfence/compliance"
	"ringfence.dev/ringfence/control"
)

// exportMarkdown is the catalogue for readers: an index, and a page for each control. Links lead to files, or to headings
// where all comes in one stream.
func exportMarkdown(env Env, cat *control.Catalogue, o exportOptions) ([]file, error) {
	known, err := env.frameworks()
	if err != nil {
		return nil, err
	}
	link := func(id string) string { return fmt.Sprintf("[%s](#%s)", id, strings.ToLower(id)) }
	if o.to != "-" {
		link = func(id string) string { return fmt.Sprintf("[%s](%s.md)", id, id) }
	}
	files := []file{{"README.md", []byte(index(cat, known, link))}}
	for _, c := range cat.Controls {
		text, err := page(env, cat, known, c)
		if err != nil {
			return nil, err
		}
		files = append(files, file{c.ID + ".md", []byte(text)})
	}
	return files, nil
}

const markdownMark = "<!-- " + mark + " --format markdown -->\n"

// index is the page that leads to the others.
func index(cat *control.Catalogue, known compliance.Frameworks, link func(id string) string) string {
	var b strings.Builder
	all, sum := listing(cat, known, "")
	fmt.Fprintf(&b, "%s# Controls\n\n%s.\nCatalogue `%s`.\n\n", markdownMark, sum, cat.Digest)
	b.WriteString("| id | title | severity | maturity | mvp | standard | strict |\n|---|---|---|---|---|---|---|\n")
	for _, c := range all {
		fmt.Fprintf(&b, "| %s | %s | %s | %s", link(c.ID), prose(c.Title), c.Severity, c.Maturity)
		for _, p := range profileNames {
			fmt.Fprintf(&b, " | %s", c.Actions[p])
		}
		b.WriteString(" |\n")
	}
	b.WriteString("\n## Frameworks\n\n| framework | clause | verified | controls |\n|---|---|---|---|\n")
	for _, f := range known {
		for _, clause := range f.Clauses {
			var by []string
			for _, c := range all {
				for _, served := range c.Clauses {
					if served.Framework == f.ID && served.Clause == clause.ID {
						by = append(by, link(c.ID))
					}
				}
			}
			if len(by) > 0 {
				fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", prose(f.Name()), prose(clause.Heading()), yes(clause.Verified), strings.Join(by, ", "))
			}
		}
	}
	b.WriteString("\nA clause is verified where its number and subject were found in the framework's own text.\n")
	return b.String()
}

// page is one control.
func page(env Env, cat *control.Catalogue, known compliance.Frameworks, c control.Control) (string, error) {
	refused, found, err := example(env.controls(), c, "fail-")
	if err != nil {
		return "", err
	}
	accepted, _, err := example(env.controls(), c, "pass-")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s# %s\n\n**%s**\n\n", markdownMark, c.ID, prose(c.Title))
	fmt.Fprintf(&b, "- severity: %s (%s)\n- maturity: %s (%s)\n", c.Severity, severities[c.Severity], c.Maturity, maturities[c.Maturity])
	for _, p := range profileNames {
		fmt.Fprintf(&b, "- profile %s: %s\n", p, c.Action(p))
	}
	fmt.Fprintf(&b, "- rule: `%s`\n", c.Dir)
	fmt.Fprintf(&b, "\n**What is wanted.** %s\n\n**How to fix it.** %s\n\n**What an attacker gains without it.** %s\n\n**What it looks at.** %s\n",
		prose(c.Wanted), prose(c.Fix), prose(c.Why), prose(lookedAt(cat, c)))
	fmt.Fprintf(&b, "\n## Refused\n\n%s\n", fenced(refused))
	for _, line := range found {
		fmt.Fprintf(&b, "- found %s\n", prose(line))
	}
	fmt.Fprintf(&b, "\n## Accepted\n\n%s\n", fenced(accepted))
	b.WriteString("## Clauses\n\n| framework | clause | verified |\n|---|---|---|\n")
	served, _ := known.Of(c.Mapping) // what is unknown is shown as such
	for _, s := range served {
		for _, clause := range s.Clauses {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", prose(s.Framework.Name()), prose(clause.Heading()), yes(clause.Verified))
		}
	}
	b.WriteString("\n## Sources\n\n")
	for _, s := range c.Sources {
		fmt.Fprintf(&b, "- %s: %s (retrieved %s)", prose(s.Document), prose(s.Section), prose(s.Retrieved))
		if s.URL != "" {
			fmt.Fprintf(&b, ", <%s>", s.URL)
		}
		b.WriteString("\n")
	}
	return b.String(), nil
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

// fenced is a block of YAML, with a fence that the text does not hold.
func fenced(text string) string {
	fence := "```"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	return fence + "yaml\n" + text + "\n" + fence + "\n"
}

// prose is a text of one line that Markdown shows as it is.
func prose(text string) string {
	return strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "<", "&lt;", ">", "&gt;", "|", `\|`, "[", `\[`, "]", `\]`, "\n", " ").Replace(strings.TrimSpace(text))
}
