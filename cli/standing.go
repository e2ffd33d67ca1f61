package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/report"
)

// standingOptions are the flags of findings that ask what lies in the cluster.
type standingOptions struct {
	source               string
	open, waived, closed bool
}

func (o *standingOptions) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.source, "source", "", "audit (what the API server refused), admission (what the webhook refused) or scan (what lies in the cluster); default the first two")
	flags.BoolVar(&o.open, "open", false, "what lies in the cluster and fails now, however long it has; with --since, what opened within it")
	flags.BoolVar(&o.waived, "waived", false, "what lies in the cluster, fails and is waived now")
	flags.BoolVar(&o.closed, "closed", false, "what no longer fails in the cluster, and closed within --since")
}

// query adds what is asked. since says that --since was given.
func (o standingOptions) query(q *record.Query, since bool) error {
	refuse := func(format string, args ...any) error { return usagef("ringfence findings", format, args...) }
	states := map[string]bool{"open": o.open, "waived": o.waived, "closed": o.closed}
	q.Source = o.source
	for state, asked := range states {
		switch {
		case !asked:
			continue
		case q.State != "":
			return refuse("found two of --open, --waived and --closed; want one")
		case o.source != "" && o.source != record.SourceScan:
			return refuse("--%s is of --source scan; found --source %s", state, finding.Value(o.source))
		}
		q.Source, q.State = record.SourceScan, state
	}
	switch q.Source {
	case "", record.SourceAudit, record.SourceAdmission:
		return nil
	case record.SourceScan:
	default:
		return refuse("--source %s: want audit, admission or scan", finding.Value(q.Source))
	}
	if q.Request != "" {
		return refuse("--request: what lies in the cluster is of no request; leave it out, or --source scan")
	}
	if q.State == "" {
		q.State = "open"
	}
	if q.State != "closed" && !since {
		q.Since = 0
	}
	return nil
}

// standingLine is one finding of the scan on one line: since when, until when, and the rule.
func standingLine(f finding.Finding, now time.Time) string {
	s := f.Stands
	what := fmt.Sprintf("%s %s", s.State, brief(now.Sub(s.Since)))
	switch {
	case s.Until != nil:
		what = fmt.Sprintf("closed %s ago after %s (%s)", brief(now.Sub(*s.Until)), brief(s.Until.Sub(s.Since)), report.Inert(s.Why))
	case f.Waiver != nil:
		what += " by " + report.Inert(f.Waiver.Name) + " until " + report.Inert(f.Waiver.Expires)
	}
	return fmt.Sprintf("%s  %s  %s  %s: %s", s.Since.Local().Format("2006-01-02 15:04:05"), f.Severity, what, f.Subject, f.Message)
}

// brief is a time in its largest unit.
func brief(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	case d >= 2*time.Minute:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	}
	return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
}

// tellScan says how far the scan is: what it has not looked at is not clean.
func tellScan(env Env, answer record.Answer) {
	s := answer.Scan
	if s == nil {
		env.note("not scanned: no background scan runs here, so what lies in the cluster is unknown; see --no-scan of ringfence serve, and whether this replica leads")
		return
	}
	switch {
	case s.Whole == nil:
		env.note("the background scan began %s ago and has not judged everything yet (%d of %d objects wait): what is not shown is unknown", brief(env.Now().Sub(s.Started)), s.Waiting, s.Objects)
	case len(answer.Findings) == 0 && answer.Behind == 0:
		env.note("none; %d objects judged as they were %s ago", s.Objects, brief(env.Now().Sub(s.AsOf)))
	default:
		env.note("%d objects judged as they were %s ago; %d wait", s.Objects, brief(env.Now().Sub(s.AsOf)), s.Waiting)
	}
	if len(s.Unguarded) > 0 {
		env.note("unknown: objects in namespaces without Guard: %s", report.Inert(strings.Join(s.Unguarded, ", ")))
	}
	if len(s.Unread) > 0 {
		env.note("unknown: the API server does not let Ringfence read: %s", report.Inert(strings.Join(s.Unread, ", ")))
	}
}

// writeReport writes findings in one of the formats of check.
func writeReport(env Env, output string, answer record.Answer) error {
	cat, err := control.Load(controls.FS)
	if err != nil {
		return err
	}
	r := &report.Report{Time: env.Now(), Version: moduleVersion(), Cluster: "local", Controls: cat.Controls}
	for _, f := range answer.Findings {
		r.Add(report.Object{Findings: []finding.Finding{f}})
	}
	r.Finish()
	if output == "openreports" {
		return report.OpenReports(env.Stdout, r)
	}
	return report.PolicyReport(env.Stdout, r)
}
