package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/image/scanner"
	"ringfence.dev/ringfence/report"
)

const imageReportHelp = `Read reports of scanners, SBOMs and VEX documents, and say what they tell of each image: by which digests it is named, who scanned
it and when, and how many vulnerabilities there are on the bank's scale of 1 to 5. What a report lacks is said: an image without
a digest counts as not scanned, and so does a scan without a time. The format is told from the content. Nothing is stored, and nothing is
sent without --push, which gives each report that can be read to a control plane whose folder ringfence image verdict reads.

Exit codes: 0 all reports were read; 2 at least one was not, the others are printed all the same; 3 one could not be sent.

Formats:
`

// newImageReport is `ringfence image report`.
func newImageReport(env Env) *cobra.Command {
	var output string
	var to pushOptions
	cmd := &cobra.Command{
		Use:     "report FILE...",
		Short:   "Say what reports of scanners tell of images",
		Long:    imageReportHelp + scannerFormats(),
		Example: "  ringfence image report trivy.json\n  trivy image -f json registry.bank.example/api:1 | ringfence image report -",
		RunE: func(cmd *cobra.Command, args []string) error {
			return imageReport(cmd.Context(), env, output, to, args)
		},
	}
	cmd.Flags().StringVar(&to.url, "push", "", "send the reports that can be read to the control plane at `URL`")
	cmd.Flags().StringVar(&to.tokenFile, "push-token-file", "", "`FILE` with the token for --push")
	cmd.Flags().StringVar(&to.ca, "push-ca", "", "`FILE` with the CA of the certificate at --push (default: the machine's)")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

// scannerFormats is the list of formats for the help.
func scannerFormats() string {
	var b strings.Builder
	for _, f := range scanner.Formats() {
		fmt.Fprintf(&b, "  %-16s %s\n", f.Name, f.About)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

const (
	// reportDoor is where reports are taken below the address of a control plane.
	reportDoor = "/images/reports"
	// maxSentReport is what that takes; sentWithin is how long sending one may take.
	maxSentReport, sentWithin = 512 << 20, 10 * time.Minute
)

func imageReport(ctx context.Context, env Env, output string, to pushOptions, args []string) error {
	const command = "ringfence image report"
	switch {
	case output != "text" && output != "json":
		return usagef(command, "-o %q: want text or json", finding.Value(output))
	case len(args) == 0:
		return usagef(command, "no report named; want files, or - for standard input")
	}
	door, err := to.openAt(command, reportDoor, sentWithin)
	if err != nil {
		return err
	}
	if door != nil {
		defer door.client.Close()
		if slices.Contains(args, "-") {
			return usagef(command, "--push: want files; standard input is read once and cannot be sent again")
		}
	}
	unsent := 0
	answer := imageReports{SchemaVersion: "ringfence.dev/image-report/v1", Images: []reportedImage{}}
	for _, arg := range args {
		facts, err := readReport(ctx, env, arg)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		answer.Summary.Files++
		if err != nil {
			answer.Summary.Invalid++
			env.note("%s", report.Inert(err.Error()))
			continue
		}
		if len(facts) == 0 {
			env.note("%s says nothing of an image", report.Inert(reportName(arg)))
		}
		for _, f := range facts {
			answer.Images = append(answer.Images, reported(reportName(arg), f))
		}
		if door != nil && !door.report(ctx, env, arg) {
			unsent++
		}
	}
	answer.Summary.Images = len(answer.Images)
	switch {
	case answer.Summary.Invalid > 0:
		answer.Summary.Exit = finding.ExitUsage
	case unsent > 0:
		answer.Summary.Exit = finding.ExitUndecided
	}
	if err := answer.write(env.Stdout, output); err != nil {
		return err
	}
	return exit(answer.Summary.Exit)
}

// report sends a report, and tells whether the control plane has it now.
func (p *push) report(ctx context.Context, env Env, file string) bool {
	text, err := readUpTo(file, maxSentReport)
	id := ""
	if err == nil {
		id, err = p.sendText(ctx, text, sentWithin)
	}
	if err != nil {
		env.note("%s is not sent to %s: %s", report.Inert(file), p.to.Host, report.Inert(err.Error()))
		return false
	}
	env.note("%s is kept by %s as %s", report.Inert(file), p.to.Host, finding.Clean(id))
	return true
}

func reportName(arg string) string {
	if arg == "-" {
		return stdinName
	}
	return arg
}

// readReport reads one file, or standard input.
func readReport(ctx context.Context, env Env, arg string) ([]image.Facts, error) {
	if arg == "-" {
		return scanner.Read(ctx, stdinName, env.Stdin)
	}
	f, err := os.Open(arg)
	if err != nil {
		return nil, pathFault(arg, err)
	}
	defer f.Close()
	return scanner.Read(ctx, arg, f)
}

// imageReports is the answer as JSON. Fields are only added; every key is always there.
type imageReports struct {
	SchemaVersion string          `json:"schemaVersion"`
	Images        []reportedImage `json:"images"`
	Summary       struct {
		Files   int `json:"files"`
		Invalid int `json:"invalid"`
		Images  int `json:"images"`
		Exit    int `json:"exit"`
	} `json:"summary"`
}

type reportedImage struct {
	File         string         `json:"file"`
	Digests      []string       `json:"digests"`
	Repositories []string       `json:"repositories"`
	Components   int            `json:"components"`
	Scans        []reportedScan `json:"scans"`
	Missing      []string       `json:"missing"`
}

type reportedScan struct {
	Scanner         string         `json:"scanner"`
	Version         *string        `json:"version"`
	ScannedAt       *time.Time     `json:"scannedAt"`
	Database        *time.Time     `json:"database"`
	Vulnerabilities int            `json:"vulnerabilities"`
	BySeverity      map[string]int `json:"bySeverity"` // "5" to "1", and "0" for those the scanner gives none
	Undated         int            `json:"undated"`
	NotAffected     int            `json:"notAffected"`
	Exploited       int            `json:"exploited"`
}

// reported adds up what a report says of one image, and what it does not say.
func reported(file string, f image.Facts) reportedImage {
	out := reportedImage{File: file, Digests: nonNil(f.Digests), Repositories: nonNil(f.Repositories), Components: len(f.Components), Scans: []reportedScan{}, Missing: []string{}}
	if len(f.Digests) == 0 {
		out.Missing = append(out.Missing, "no digest: counts as not scanned")
	}
	if len(f.Scans) == 0 {
		out.Missing = append(out.Missing, "no vulnerability scan: counts as not scanned")
	}
	for _, s := range f.Scans {
		one := reportedScan{Scanner: s.Scanner, ScannedAt: known(s.At), Database: known(s.Database), Vulnerabilities: len(s.Vulnerabilities), BySeverity: map[string]int{}}
		if s.Version != "" {
			one.Version = &s.Version
		}
		for step := range 6 {
			one.BySeverity[fmt.Sprint(step)] = 0
		}
		for _, v := range s.Vulnerabilities {
			one.BySeverity[fmt.Sprint(v.Severity)]++
			one.Undated += oneIf(v.Published.IsZero())
			one.NotAffected += oneIf(v.NotAffected != "")
			one.Exploited += oneIf(v.Exploited)
		}
		if s.At.IsZero() {
			out.Missing = append(out.Missing, fmt.Sprintf("no time of the scan by %s: counts as not scanned", finding.Value(s.Scanner)))
		}
		out.Scans = append(out.Scans, one)
	}
	return out
}

func nonNil(list []string) []string { return append([]string{}, list...) }

func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func oneIf(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

func (a *imageReports) write(w io.Writer, output string) error {
	if output == "json" {
		out := json.NewEncoder(w)
		out.SetIndent("", "  ")
		return out.Encode(a)
	}
	for _, img := range a.Images {
		if _, err := io.WriteString(w, img.text()); err != nil {
			return err
		}
	}
	return nil
}

// text is an image in some lines. What stands in a report is foreign, and printed as such.
func (r *reportedImage) text() string {
	var b strings.Builder
	name := "an image without a name"
	if len(r.Repositories) > 0 {
		name = shownList(r.Repositories)
	}
	fmt.Fprintf(&b, "%s, of %s\n", name, report.Inert(r.File))
	for _, d := range r.Digests {
		fmt.Fprintf(&b, "  digest   %s\n", d)
	}
	for _, s := range r.Scans {
		fmt.Fprintf(&b, "  scan     %s\n", s.text())
		fmt.Fprintf(&b, "  found    %s\n", s.found())
	}
	if r.Components > 0 {
		fmt.Fprintf(&b, "  sbom     %d components\n", r.Components)
	}
	for _, m := range r.Missing {
		fmt.Fprintf(&b, "  missing  %s\n", m)
	}
	return b.String()
}

// maxName is 255: the length of a repository's name that registries take.
const maxName = 255

// shownList is at most three of a list, each whole where it can be a name.
func shownList(list []string) string {
	var out []string
	for _, s := range list[:min(3, len(list))] {
		if len(s) <= maxName {
			out = append(out, report.Inert(s))
		} else {
			out = append(out, finding.Value(s))
		}
	}
	if more := len(list) - len(out); more > 0 {
		out = append(out, fmt.Sprintf("%d more", more))
	}
	return strings.Join(out, ", ")
}

func (s *reportedScan) text() string {
	out := finding.Value(s.Scanner)
	if s.Version != nil {
		out += " " + finding.Value(*s.Version)
	}
	if s.ScannedAt != nil {
		out += " at " + s.ScannedAt.Format(time.RFC3339)
	}
	if s.Database != nil {
		out += ", with a database of " + s.Database.Format(time.RFC3339)
	}
	return out
}

// found is the vulnerabilities by the bank's severity, the worst first.
func (s *reportedScan) found() string {
	if s.Vulnerabilities == 0 {
		return "no vulnerability"
	}
	var steps []string
	for step := 5; step >= 0; step-- {
		n := s.BySeverity[fmt.Sprint(step)]
		switch {
		case n > 0 && step > 0:
			steps = append(steps, fmt.Sprintf("%d of severity %d", n, step))
		case n > 0:
			steps = append(steps, fmt.Sprintf("%d of no severity", n))
		}
	}
	for _, more := range []struct {
		n    int
		what string
	}{{s.Undated, "without publication date"}, {s.NotAffected, "said not to affect the image"}, {s.Exploited, "known to be exploited"}} {
		if more.n > 0 {
			steps = append(steps, fmt.Sprintf("%d %s", more.n, more.what))
		}
	}
	word := "vulnerabilities"
	if s.Vulnerabilities == 1 {
		word = "vulnerability"
	}
	return fmt.Sprintf("%d %s: %s", s.Vulnerabilities, word, strings.Join(slices.Clip(steps), ", "))
}
