package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/access/rights"
	"ringfence.dev/ringfence/detect/auditlog"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/report"
)

// reviewOptions are the flags of access unused.
type reviewOptions struct {
	audit  []string
	days   int
	output string
}

func newAccessUnused(env Env) *cobra.Command {
	var o reviewOptions
	cmd := &cobra.Command{
		Use: "unused PATH...|- --audit FILE", Short: "List rights that nobody used, and propose what to remove",
		Long: `Compare role bindings with what the audit log shows, and list for each subject which of its rights nobody used. PATHs are what a
cluster holds: roles and bindings, cluster-wide ones too. Audit events are read as the API server writes them, one a line. What
was refused is no use. Nothing is changed.

Where the log does not reach back far enough nothing is proposed and the exit code is 3; where it holds no reads (get, list,
watch), as with Ringfence's own audit policy, rights to read are unknown and never called unused.

Exit codes: 0 every right was used; 1 some were not; 2 an input could not be read; 3 the log does not cover the days, or rights are unknown.`,
		Example: "  kubectl get roles,rolebindings,clusterroles,clusterrolebindings -A -o yaml > rbac.yaml\n" +
			"  ringfence access unused rbac.yaml --audit audit.log --days 90 -o json",
		RunE: func(cmd *cobra.Command, args []string) error { return reviewAccess(cmd.Context(), env, o, args) },
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&o.audit, "audit", nil, "a `FILE` of audit events; may be given again")
	flags.IntVar(&o.days, "days", 90, "what was not used for so many days counts as unused")
	flags.StringVarP(&o.output, "output", "o", "text", "text or json")
	return cmd
}

// reviewAccess is the command.
func reviewAccess(ctx context.Context, env Env, o reviewOptions, paths []string) error {
	refuse := func(format string, args ...any) error { return usagef("ringfence access unused", format, args...) }
	switch {
	case len(paths) == 0:
		return refuse("nothing to review: give files or folders with roles and bindings, or - for standard input")
	case len(o.audit) == 0:
		return refuse("no --audit: without a log nothing shows what was used")
	case o.days < 1 || o.days > 3660:
		return refuse("--days %d: want 1 to 3660", o.days)
	case o.output != "text" && o.output != "json":
		return refuse("--output %q: want text or json", finding.Value(o.output))
	}
	review := rights.New()
	found, faults := addRights(ctx, env, paths, review)
	for _, name := range o.audit {
		faults = append(faults, useRights(ctx, name, env, review)...)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if found == 0 && len(faults) == 0 {
		faults = append(faults, errors.New("no role and no binding was found; want objects of rbac.authorization.k8s.io"))
	}
	for _, fault := range faults {
		env.note("%s", report.Inert(fault.Error()))
	}
	answer := review.Report(o.days, env.Now())
	write := answer.Text
	if o.output == "json" {
		write = answer.JSON
	}
	if err := write(env.Stdout); err != nil {
		return err
	}
	return exit(reviewCode(env, answer, len(faults) > 0))
}

// reviewCode is the exit code of an answer.
func reviewCode(env Env, answer rights.Report, faulty bool) int {
	unused, unknown := 0, 0
	for _, r := range answer.Rights {
		switch r.State {
		case rights.Unused, rights.Partly:
			unused++
		case rights.Unknown:
			unknown++
		}
	}
	switch {
	case faulty:
		return finding.ExitUsage
	case !answer.Covered:
		env.note("the events do not reach back %d days, so nothing is called unused", answer.Days)
		return finding.ExitUndecided
	case unused > 0:
		return 1
	case unknown > 0:
		return finding.ExitUndecided
	}
	return finding.ExitAllowed
}

// addRights reads roles and bindings. The faults are inputs and documents that could not be read; the others are.
func addRights(ctx context.Context, env Env, paths []string, review *rights.Review) (found int, faults []error) {
	for _, in := range expand(paths, nil) {
		file, fault := in.open(env.Stdin)
		if fault != nil {
			faults = append(faults, fault)
			continue
		}
		for o, fault := range manifest.ReadLists(file, in.name) {
			if ctx.Err() != nil {
				break
			}
			if fault != nil {
				faults = append(faults, fault)
				continue
			}
			is, err := review.Add(o.Value)
			if err != nil {
				faults = append(faults, &manifest.Error{Location: o.Locate(""), Message: err.Error()})
			} else if is {
				found++
			}
		}
		file.Close()
	}
	return found, faults
}

// useRights takes up the requests of a file of audit events that were granted.
func useRights(ctx context.Context, name string, env Env, review *rights.Review) (faults []error) {
	return eachRequest(ctx, env, name, func(e auditlog.Event) {
		if e.ResponseStatus.Code < 400 {
			review.Use(requestOf(e))
		}
	})
}

// eachRequest reads a file of audit events, a line at a time, however long it is, and gives out those of requests that were answered. Lines that are no
// event are counted.
func eachRequest(ctx context.Context, env Env, name string, take func(auditlog.Event)) (faults []error) {
	file, err := input{name: name}.open(env.Stdin)
	if err != nil {
		return []error{err}
	}
	defer file.Close()
	bad := 0
	var first error
	lines := bufio.NewReaderSize(file, 1<<20)
	for ctx.Err() == nil {
		line, err := readLine(lines)
		if len(line) > 0 {
			_ = auditlog.DecodeLines(bytes.NewReader(line), func(e auditlog.Event, fault error) { // a line in memory cannot fail to be read
				switch {
				case fault != nil:
					bad++
					if first == nil {
						first = fault
					}
				case e.Stage == "ResponseComplete" && e.ResponseStatus != nil:
					take(e)
				}
			})
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return []error{fmt.Errorf("%s: %w", name, err)}
		}
	}
	if bad > 0 {
		faults = append(faults, fmt.Errorf("%s: %d lines are no audit events, for instance: %w", name, bad, first))
	}
	return faults
}

// readLine reads a line, of 16 MiB at most: no event is larger.
func readLine(r *bufio.Reader) (line []byte, err error) {
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > auditlog.MaxBatch:
			return nil, errors.New("a line is larger than 16 MiB; want audit events, one a line")
		case !errors.Is(err, bufio.ErrBufferFull):
			return line, err
		}
	}
}

// requestOf is what a review needs of an event.
func requestOf(e auditlog.Event) rights.Request {
	who := e.User
	if e.ImpersonatedUser != nil {
		who = *e.ImpersonatedUser
	}
	q := rights.Request{Time: e.StageTimestamp, User: who.Username, Groups: who.Groups, Verb: e.Verb}
	if o := e.ObjectRef; o != nil {
		q.Group, q.Resource, q.Subresource, q.Namespace, q.Name = o.APIGroup, o.Resource, o.Subresource, o.Namespace, o.Name
	} else {
		q.Path, _, _ = strings.Cut(e.RequestURI, "?")
	}
	return q
}
