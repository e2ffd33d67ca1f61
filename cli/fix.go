package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/fix"
	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/manifest/edit"
	"ringfence.dev/ringfence/report"
)

// maxFixed is 64 MiB, the largest file that is repaired: it is held in memory twice, and check may take 300 MiB (design.md).
const maxFixed = 64 << 20

// Why findings are left, as the report says after "left:".
const (
	leftNoRepair = "to a person: the catalogue states no repair, it takes a decision or a value that only people know"
	leftOthers   = "to a person: a policy of others states no repair"
	leftInVain   = "to a person: the stated repair does not help here"
	leftRefused  = "to a person: the API server refuses "
	leftInDiff   = "the diff repairs it"
	leftUnread   = "the file could not be written"
	leftRendered = "to a person: this was rendered; change the template, values or overlay that it comes from"
)

// repairer repairs what a judge finds: a file at a time, as two paths may lead to one.
type repairer struct {
	*judge
	env Env
	// write rewrites files; diff shows what changes.
	write, diff bool
	// only leaves alone what the platform fills in: not every control is asked.
	only bool
}

// validateFix says what of --fix and --diff does not go together. Standard output holds one thing only.
func (o checkOptions) validateFix(outputs []target) error {
	stdin := slices.Contains(o.paths, "-")
	holds := "the diff"
	switch {
	case !o.fix && !o.diff:
		return nil
	case len(o.policy) > 0 && !o.catalogue:
		return usagef("ringfence check", "--fix and --diff repair what the catalogue finds; give --with-catalogue too")
	case o.fix && o.diff && stdin:
		return usagef("ringfence check", "--fix --diff -: standard output holds either the repaired text or the diff; give one of the two")
	case !o.diff && !stdin:
		return nil
	case !o.diff:
		holds = "the repaired text"
	}
	for _, out := range outputs {
		if out.file == "" && out.format.Name != "text" {
			return usagef("ringfence check", "--output %[1]s: standard output holds %[2]s; want %[1]s=FILE", out.format.Name, holds)
		}
	}
	return nil
}

// told is where the report goes: standard error where standard output holds a diff or the repaired standard input.
func (o checkOptions) told(env Env) Env {
	if o.diff || o.fix && slices.Contains(o.paths, "-") {
		env.Stdout, env.IsTerminal = env.Stderr, false
	}
	return env
}

// run repairs and judges the inputs one after the other.
func (p *repairer) run(ctx context.Context, inputs []input, r *report.Report) error {
	for _, in := range inputs {
		repair := p.file
		if in.render != nil {
			repair = p.rendered
		}
		out, err := repair(ctx, in)
		if err != nil {
			return err
		}
		out.addTo(r, p.env)
		if err := out.runaway(); err != nil {
			return err
		}
	}
	return nil
}

// rendered judges what a chart or a kustomization gives. Nothing of it can be written back.
func (p *repairer) rendered(ctx context.Context, in input) (out outcome, err error) {
	opened := func() bool {
		out.opened++
		return true
	}
	for doc, err := range in.documents(ctx, p.env.Stdin, opened) {
		if err != nil {
			out.invalid = append(out.invalid, []error{err})
			continue
		}
		one := p.judge.document(ctx, doc)
		if one.err != nil {
			return one, one.err
		}
		for _, object := range one.objects {
			p.explain(object.Findings, &plan{left: leftRendered}, &repaired{})
		}
		out.merge(one)
	}
	return out, ctx.Err()
}

// repaired is a file on its way.
type repaired struct {
	old, text []byte
	splices   []edit.Splice
	// plans are those of each document, one for each object that can be judged.
	plans [][]*plan
	fixed int // objects that change
	// failed says that the new text could not be written, and stands nowhere.
	failed bool
}

// file repairs one input as far as it can be, and judges what it then holds.
func (p *repairer) file(ctx context.Context, in input) (out outcome, err error) {
	old, err := p.read(ctx, in)
	if ctx.Err() != nil {
		return out, ctx.Err()
	} else if err != nil {
		return outcome{invalid: [][]error{{err}}}, nil
	}
	f, err := p.plan(ctx, in.name, old)
	var faults [][]error
	if errors.Is(err, edit.ErrUnproven) {
		f.failed = true
		faults = append(faults, []error{&manifest.Error{Location: finding.Location{File: in.name}, Message: "not written: " + err.Error() + "; this is a fault of ringfence: please report it with the file"}})
	} else if err != nil {
		return out, err
	}
	if f.failed {
		f.text, f.splices = old, nil
	}
	if err := p.put(in, f); err != nil {
		f.failed, f.text = true, old
		faults = append(faults, []error{&manifest.Error{Location: finding.Location{File: in.name}, Message: "not written: " + reason(err)}})
	}
	if !p.write {
		f.text = old
	}
	out = p.rejudge(ctx, in.name, f)
	out.opened, out.invalid = 1, slices.Concat(out.invalid, faults)
	return out, out.err
}

// reason is an error of the file system without the name of the file.
func reason(err error) string {
	fault := pathFault("", err)
	if e := (*manifest.Error)(nil); errors.As(fault, &e) {
		return strings.TrimPrefix(e.Message, "cannot be read: ")
	}
	return err.Error()
}

// read is all of an input. A read of standard input that is waited for in vain is left behind at the end of ctx.
func (p *repairer) read(ctx context.Context, in input) ([]byte, error) {
	file, err := in.open(p.env.Stdin)
	if err != nil {
		return nil, err
	}
	type read struct {
		text []byte
		err  error
	}
	done := make(chan read, 1)
	go func() {
		defer file.Close()
		text, err := io.ReadAll(io.LimitReader(file, maxFixed+1))
		done <- read{text, err}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case got := <-done:
		switch {
		case got.err != nil:
			return nil, pathFault(in.name, got.err)
		case len(got.text) > maxFixed:
			return nil, &manifest.Error{Location: finding.Location{File: in.name}, Message: "larger than 64 MiB, the most that --fix and --diff take; split it"}
		}
		return got.text, nil
	}
}

// plan decides what is to be changed in a file.
func (p *repairer) plan(ctx context.Context, name string, old []byte) (*repaired, error) {
	f := &repaired{old: old, text: old}
	var want [][]byte
	for doc, err := range manifest.Split(bytes.NewReader(old), name) {
		if err != nil {
			continue // it is said when the file is judged
		}
		plans, splices, err := p.document(ctx, doc)
		f.plans = append(f.plans, plans)
		if err != nil {
			return f, err
		}
		want = append(want, edit.Apply(doc.Text(), splices))
		for _, s := range splices {
			f.splices = append(f.splices, edit.Splice{From: s.From + doc.Offset(), To: s.To + doc.Offset(), Text: s.Text})
		}
		for _, one := range plans {
			if one.left == "" && len(one.changes) > 0 {
				f.fixed++
			}
		}
	}
	f.text = edit.Apply(old, f.splices)
	for doc, err := range manifest.Split(bytes.NewReader(f.text), name) {
		if err != nil {
			continue
		}
		if len(want) == 0 || !bytes.Equal(want[0], doc.Text()) {
			return f, fmt.Errorf("%w: its documents end elsewhere", edit.ErrUnproven)
		}
		want = want[1:]
	}
	if len(want) > 0 {
		return f, fmt.Errorf("%w: it has fewer documents", edit.ErrUnproven)
	}
	return f, nil
}

// plan is what is to be done to one object.
type plan struct {
	changes []fix.Change
	// left says why nothing is: of what stands on a line of the file as it was, or without one of the whole object.
	left string
	line int
	// refused are the repairs that are not made, by their places, for the API server would not take what they make.
	refused map[string]string
}

// why is left as the report says it of a file whose lines may have moved.
func (one *plan) why(f *repaired) string {
	if one.left != "" && one.line > 0 {
		one.left, one.line = fmt.Sprintf("to a person: the text at line %d %s", f.now(one.line), one.left), 0
	}
	return one.left
}

// now is where a line of the old text is in that which the file holds.
func (f *repaired) now(line int) int {
	if bytes.Equal(f.text, f.old) {
		return line
	}
	at, n := 0, line
	for part := range bytes.Lines(f.old) {
		if n--; n == 0 {
			break
		}
		at += len(part)
	}
	for _, s := range f.splices {
		if s.To <= at {
			line += strings.Count(s.Text, "\n") - bytes.Count(f.old[s.From:s.To], []byte("\n"))
		}
	}
	return line
}

// document plans the repair of each object that can be judged, and what that changes in the text.
func (p *repairer) document(ctx context.Context, doc manifest.Document) (plans []*plan, splices []edit.Splice, err error) {
	var asks []edit.Ask
	for o, err := range doc.Objects() {
		if err != nil || ownGroup(o) && len(validate(p.schemas, o)) > 0 {
			continue
		}
		one, err := p.object(ctx, o)
		if err != nil {
			return nil, nil, err
		}
		plans = append(plans, one)
		asks = append(asks, edit.Ask{Object: o, Changes: one.changes})
	}
	splices, refused, err := edit.Objects(doc, asks)
	for i, a := range asks {
		if u := refused[a.Object]; u != nil {
			plans[i].line, plans[i].left = doc.Line(u.Line).Line, "cannot be repaired alone: "+u.Reason
		}
	}
	return plans, splices, err
}

// object plans the repair of one object. It is left alone where its repairs would make another control fail.
func (p *repairer) object(ctx context.Context, o *manifest.Object) (*plan, error) {
	var before, after []string // controls that fail
	var refused map[string]string
	find := func(value map[string]any) (map[string]control.Fix, error) {
		state := *o
		state.Value = value
		fixes := p.defaults(&state)
		said, err := p.judge.objectAs(ctx, &state, p.only)
		after, refused = nil, map[string]string{}
		for _, f := range said.Findings {
			if f.Outcome == finding.Pass || f.Outcome == finding.NotApplicable {
				continue
			}
			after = append(after, f.Control)
			if stated, ok := p.stated(f); ok && f.Waiver == nil {
				if why := fix.Refused(value, f.Path, stated); why != "" {
					refused[f.Path] = why
				} else if _, twice := fixes[f.Path]; !twice {
					fixes[f.Path] = stated
				}
			}
		}
		if before == nil {
			before = append([]string{}, after...)
		}
		return fixes, err
	}
	_, changes, err := fix.Plan(o.Value, find)
	if errors.Is(err, fix.ErrUnsteady) {
		return &plan{left: "to a person: " + err.Error()}, nil
	} else if err != nil {
		return nil, err
	}
	for _, id := range after {
		if !slices.Contains(before, id) {
			return &plan{left: "to a person: the repairs would make " + id + " fail"}, nil
		}
	}
	return &plan{changes: changes, refused: refused}, nil
}

// stated is the repair that the catalogue states for a finding.
func (p *repairer) stated(f finding.Finding) (control.Fix, bool) {
	if f.Outcome != finding.Fail || f.Source != "catalogue" {
		return control.Fix{}, false
	}
	c, ok := p.catalogue.Find(f.Control)
	if !ok {
		return control.Fix{}, false
	}
	return control.FixFor(c.Fixes, f.Path)
}

// put shows and writes what changes.
func (p *repairer) put(in input, f *repaired) error {
	if p.diff {
		if err := p.show(edit.Diff(in.name, f.old, f.splices)); err != nil {
			return err
		}
	}
	switch {
	case !p.write:
		return nil
	case in.name == stdinName:
		_, err := p.env.Stdout.Write(f.text)
		return err
	case bytes.Equal(f.old, f.text):
		return nil
	}
	if err := rewrite(in.name, f.old, f.text); err != nil {
		return err
	}
	p.env.note("%s: repaired %s", finding.Clean(in.name), count(f.fixed, "object"))
	return nil
}

// show writes a diff, byte for byte unless a person looks at it.
func (p *repairer) show(diff []byte) error {
	if !p.env.IsTerminal {
		_, err := p.env.Stdout.Write(diff)
		return err
	}
	colours := map[byte]string{'-': "31", '+': "32", '@': "36"}
	for line := range strings.Lines(string(diff)) {
		line = finding.Clean(strings.ReplaceAll(strings.TrimRight(line, "\r\n"), "\t", "    "))
		if code := colours[line[0]]; code != "" && p.env.colour() {
			line = "\x1b[" + code + "m" + line + "\x1b[0m"
		}
		if _, err := fmt.Fprintln(p.env.Stdout, line); err != nil {
			return err
		}
	}
	return nil
}

// rejudge judges what a file holds now, and says of each finding why it is left.
func (p *repairer) rejudge(ctx context.Context, name string, f *repaired) (out outcome) {
	plans := f.plans
	for doc, err := range manifest.Split(bytes.NewReader(f.text), name) {
		if err != nil {
			out.invalid = append(out.invalid, []error{err})
			continue
		}
		one := p.judge.document(ctx, doc)
		if one.err != nil {
			return one
		}
		var ours []*plan
		if len(plans) > 0 {
			ours, plans = plans[0], plans[1:]
		}
		for i, object := range one.objects {
			if i < len(ours) {
				p.explain(object.Findings, ours[i], f)
			}
		}
		out.merge(one)
	}
	return out
}

// explain says why the findings of one object are left.
func (p *repairer) explain(findings []finding.Finding, one *plan, file *repaired) {
	for i := range findings {
		f := &findings[i]
		if f.Outcome != finding.Fail || f.Waiver != nil {
			continue
		}
		left := leftInVain
		switch _, stated := p.stated(*f); {
		case f.Source != "catalogue":
			left = leftOthers
		case !stated:
			left = leftNoRepair
		case one.left != "":
			left = one.why(file)
		case one.refused[f.Path] != "":
			left = leftRefused + one.refused[f.Path]
		case file.failed:
			left = leftUnread
		case !p.write && slices.ContainsFunc(one.changes, func(c fix.Change) bool { return c.Pointer == f.Path }):
			left = leftInDiff
		}
		f.Reason = &left
	}
}
