package archtest

import (
	"io/fs"
	"path"
	"regexp"
	"strings"
)

// Page is a Markdown file as its readers see it: what is code, and where.
type Page struct {
	// Path is the slash path from the root.
	Path string
	// Code is everything in it that is set as code, in order.
	Code []Code
	// Anchors are the fragments by which its headings are reached, as code hosts make them.
	Anchors map[string]bool
}

// Code is one line of a code block, or one piece of code within a sentence.
type Code struct {
	// Text is the line without its indentation, or the piece; a piece that goes over a line's end has a space there. Lines that
	// end in a backslash are joined with those that follow.
	Text string
	// Line is 1-based.
	Line int
	// Inline is true within a sentence.
	Inline bool
}

// Pages are the pages that people read from: those of the root, and all below docs, by path.
func Pages(root fs.FS) ([]Page, error) {
	var pages []Page
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && !within(name, "docs"):
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".md":
			return nil
		}
		text, err := fs.ReadFile(root, name)
		pages = append(pages, readPage(name, string(text)))
		return err
	})
	return pages, err
}

func (t *Tree) pages() (all []Page) {
	for _, name := range sorted(t.Texts) {
		if path.Ext(name) == ".md" && (path.Dir(name) == "." || within(name, "docs")) {
			all = append(all, readPage(name, t.Texts[name]))
		}
	}
	return all
}

var heading = regexp.MustCompile(`^#{1,6} +(.*)`)

// readPage knows of Markdown what this house writes: headings with #, blocks fenced by ``` or indented by four spaces.
func readPage(name, text string) Page {
	p := Page{Path: name, Anchors: map[string]bool{}}
	prose, from, fenced, going := "", 0, false, false
	number := 0
	flush := func() {
		p.Code = append(p.Code, spans(prose, from)...)
		prose = ""
	}
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\r\n")
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(trimmed, "```"):
			flush()
			fenced = !fenced
		case fenced || strings.HasPrefix(line, "    "):
			flush()
			if going {
				p.Code[len(p.Code)-1].Text += " " + strings.TrimSuffix(trimmed, `\`)
			} else {
				p.Code = append(p.Code, Code{Text: strings.TrimSuffix(trimmed, `\`), Line: number})
			}
			going = strings.HasSuffix(trimmed, `\`)
			continue
		case trimmed == "" || strings.HasPrefix(trimmed, "|"):
			flush()
			p.Code = append(p.Code, spans(trimmed, number)...)
		default:
			if found := heading.FindStringSubmatch(line); found != nil {
				p.addAnchor(found[1])
			}
			if prose == "" {
				from = number
			}
			prose += trimmed + "\n"
		}
		going = false
	}
	flush()
	return p
}

// spans are the pieces of code in a paragraph that begins at a line.
func spans(prose string, from int) (all []Code) {
	for _, at := range codeSpan.FindAllStringIndex(prose, -1) {
		text := strings.Trim(prose[at[0]:at[1]], "`")
		all = append(all, Code{Text: strings.ReplaceAll(text, "\n", " "), Line: from + strings.Count(prose[:at[0]], "\n"), Inline: true})
	}
	return all
}

var notInAnchors = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)

// addAnchor makes of a heading what GitHub and GitLab make of it; of two alike the second ends in -1.
func (p *Page) addAnchor(text string) {
	text = inlineLink.ReplaceAllString(text, "")
	anchor := strings.ReplaceAll(notInAnchors.ReplaceAllString(strings.ToLower(strings.TrimSpace(text)), ""), " ", "-")
	if p.Anchors[anchor] {
		anchor += "-1"
	}
	p.Anchors[anchor] = true
}
