package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/local"
	"ringfence.dev/ringfence/outcomes"
	"ringfence.dev/ringfence/report"
)

// maxOutcomes bounds an answer in bytes.
const maxOutcomes = 4 << 20

// newOutcomes is `ringfence outcomes`: what became better.
func newOutcomes(env Env) *cobra.Command {
	var dir, output, since string
	cmd := &cobra.Command{
		Use:   "outcomes",
		Short: "Show what became of findings: open, fixed, how fast, and where mistakes were stopped",
		Long: `Show what became of findings: what stands open by severity, the share of tenants with nothing open, waivers and their age, the time from
opened to fixed, how many mistakes were stopped in pipelines and at the API server, and the findings of each control that was promoted, before and
after it. What was not observed is named; it is never
counted as none. Pipelines count where they send their runs in, with ringfence check --push.`,
		Example: "  ringfence outcomes --since 30d\n  ringfence outcomes --since 168h -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			back, err := days(since)
			switch {
			case err != nil:
				return usagef("ringfence outcomes", "--since %s: want a time above zero, for instance 30d or 12h", finding.Value(since))
			case output != "text" && output != "json":
				return usagef("ringfence outcomes", "-o %q: want text or json", finding.Value(output))
			}
			return showOutcomes(cmd.Context(), env, dir, output, back)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&dir, "dir", defaultDir, "the directory of the running ringfence up")
	flags.StringVar(&since, "since", "30d", "how far back to look, for instance 30d or 12h")
	flags.StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

func showOutcomes(ctx context.Context, env Env, dir, output string, since time.Duration) error {
	got, err := fetchOutcomes(ctx, dir, since)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED):
		return nobodyAt(dir)
	case err != nil:
		return err
	}
	if output == "json" {
		out := json.NewEncoder(env.Stdout)
		out.SetIndent("", "  ")
		return out.Encode(got)
	}
	writeOutcomes(env.Stdout, got)
	return nil
}

// fetchOutcomes asks the control plane.
func fetchOutcomes(ctx context.Context, dir string, since time.Duration) (got outcomes.Outcomes, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	client := onSocket(local.SocketPath(dir))
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://ringfence/outcomes?"+url.Values{"since": {since.String()}}.Encode(), nil)
	if err != nil {
		return got, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return got, fmt.Errorf("fetch outcomes: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxOutcomes))
	if err != nil {
		return got, fmt.Errorf("fetch outcomes: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		var problem struct{ Error string }
		_ = json.Unmarshal(text, &problem) // without words the status says it
		return got, fmt.Errorf("fetch outcomes: the control plane answers %s %s", answer.Status, report.Inert(problem.Error))
	}
	if err := json.Unmarshal(text, &got); err != nil || got.SchemaVersion != outcomes.SchemaVersion {
		return got, fmt.Errorf("fetch outcomes: found schemaVersion %q, %v; want %s: is ringfence the same version on both sides?", finding.Value(got.SchemaVersion), err, outcomes.SchemaVersion)
	}
	return got, nil
}

// writeOutcomes writes for people.
func writeOutcomes(w io.Writer, o outcomes.Outcomes) {
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-22s %s\n", name, fmt.Sprintf(format, args...))
	}
	row("from", "%s until %s", o.From.Format(time.RFC3339), o.Until.Format(time.RFC3339))
	if o.Open == nil {
		row("open", "unknown")
	} else {
		row("open", "%d critical, %d high, %d medium, %d low; %d more are waived", o.Open[finding.Critical], o.Open[finding.High], o.Open[finding.Medium], o.Open[finding.Low], o.Waived)
	}
	if o.OldestOpen != nil {
		row("oldest open", "%s, since %s", brief(o.Until.Sub(*o.OldestOpen)), o.OldestOpen.Format(time.RFC3339))
	}
	switch {
	case o.Tenants == nil:
		row("tenants", "unknown")
	case *o.Tenants == 0:
		row("tenants", "none")
	default:
		row("tenants", "%d of %d have nothing open (%d %%)", *o.TenantsClean, *o.Tenants, 100**o.TenantsClean / *o.Tenants)
	}
	row("waivers", "%d in force; %.0f days old on average, the oldest %.0f", o.Waivers, o.WaiverDaysMean, o.WaiverDaysOldest)
	row("opened", "%d", o.Opened)
	row("fixed", "%d; %d more closed because rules changed", o.Fixed, o.ClosedOtherwise)
	if o.MeanHoursToFix != nil {
		row("time to fix", "mean %s, median %s; what still stands is not in it", hours(*o.MeanHoursToFix), hours(*o.MedianHoursToFix))
	} else {
		row("time to fix", "unknown: nothing was fixed")
	}
	row("stopped in pipelines", "%d of %d runs sent in", o.AtCheck, o.Runs)
	row("stopped by the cluster", "%d requests", o.AtAdmission)
	for _, e := range o.Promotions {
		what := fmt.Sprintf("%s %s: %s at %s", e.Control, e.Place, e.To, e.At.Format(time.RFC3339))
		if e.Unknown != "" {
			row("promoted", "%s; what became of it is unknown: %s", what, report.Inert(e.Unknown))
			continue
		}
		row("promoted", "%s; open %d then, %d now; in %s before and as long after: opened %d and %d, fixed %d and %d", what, e.Open.Before, e.Open.After, hours(e.Hours),
			e.Opened.Before, e.Opened.After, e.Fixed.Before, e.Fixed.After)
	}
	if o.More {
		row("note", "there is more than was counted: the numbers are at least that")
	}
	for n, u := range o.Unknown {
		if n == 20 {
			row("unknown", "%d more times", len(o.Unknown)-n)
			break
		}
		row("unknown", "%s", report.Inert(u))
	}
}

func hours(h float64) string { return brief(time.Duration(h * float64(time.Hour))) }
