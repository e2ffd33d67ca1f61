package cli

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/policy/cel"
	"ringfence.dev/ringfence/policy/vap"
	"ringfence.dev/ringfence/render"
	"ringfence.dev/ringfence/report"
	"ringfence.dev/ringfence/tenant"
)

// The reasons of findings that are NotApplicable although the control judges such objects. They are part of the contract.
const (
	// reasonNoPlatform: the control compares with a setting that only a Platform holds, and none was given.
	reasonNoPlatform = "platform-not-supplied"
	// reasonNoFacts: the control compares with facts from outside, and none were given.
	reasonNoFacts = "facts-not-supplied"
	// reasonExempt: the namespace is guarded by nobody, here and in the cluster.
	reasonExempt = "namespace-exempt"
)

// platformOnly finds, in a rule, the settings that mean nothing without a Platform: an empty list of registries would
// refuse every image there is, one of storage classes every claim. Every other setting has a strict meaning of its own.
var platformOnly = regexp.MustCompile(`\bparams\.\??spec\.\??(registries|storageClasses|networkModel)\b`)

// needsPlatform reports whether a control cannot be judged without a Platform.
func needsPlatform(c control.Control) bool {
	return slices.ContainsFunc(c.Variables, func(v control.Variable) bool { return platformOnly.MatchString(v.Expression) })
}

// factual finds, in a rule, the facts from outside.
var factual = regexp.MustCompile(`\bparams\.\??spec\.\??images\b`)

// needsFacts reports whether a control cannot be judged without facts about images.
func needsFacts(c control.Control) bool {
	return slices.ContainsFunc(c.Variables, func(v control.Variable) bool { return factual.MatchString(v.Expression) })
}

// factual reports whether there are facts about images: of --platform files, or in the one Guard that counts.
func (s *settings) factual() bool { return s.images != nil || s.guarded && s.guardedImages }

// judge judges objects with a catalogue. It is safe for many goroutines.
type judge struct {
	catalogue *control.Catalogue
	engine    *policy.Engine
	// foreign judges with the policies of others, nil where there are none.
	foreign  *vap.Engine
	schemas  *schemas
	settings *settings
	// namespace is where objects lie that name none.
	namespace string
	// all adds what NotApplicable controls say; passes lists what passes, too, which is only counted otherwise; quote keeps
	// the lines that findings point at.
	all, passes, quote bool
	// requireFacts makes Errored of what lacks a fact.
	requireFacts bool
	// unjudged are the ids of what cannot be judged with these settings, each with the reason.
	unjudged map[string]string
	// asWritten judges objects as they stand: those of a cluster were filled in when they were created.
	asWritten bool
	filled    atomic.Int64 // objects that were judged with what the platform fills in
	// strangers are the objects that nothing judges.
	strangers strangers
}

func newJudge(cat *control.Catalogue, schemas *schemas, s *settings) (*judge, error) {
	sets, err := cel.Lazy(cat)
	if err != nil {
		return nil, err
	}
	j := &judge{catalogue: cat, engine: policy.New(sets...), schemas: schemas, settings: s, unjudged: map[string]string{}}
	for _, c := range cat.Controls {
		switch {
		case s.platform == nil && !s.guarded && needsPlatform(c):
			j.unjudged[c.ID] = reasonNoPlatform
		case !s.factual() && needsFacts(c):
			j.unjudged[c.ID] = reasonNoFacts
		}
	}
	return j, nil
}

// outcome is what came of one document, or of an input that gave none.
type outcome struct {
	// opened is 1 for the first outcome of an input that could be read.
	opened int
	// objects are what was said of each object.
	objects []report.Object
	quotes  map[finding.Location]report.Quote
	// invalid are the faults of each file, document or object that could not be used.
	invalid [][]error
	// note is what the user is told of how the input came about.
	note string
	// err is a fault of this program.
	err error
}

// merge adds the outcome of the next document of the same input.
func (out *outcome) merge(next outcome) {
	out.objects, out.invalid = append(out.objects, next.objects...), append(out.invalid, next.invalid...)
	if out.quotes == nil {
		out.quotes = map[finding.Location]report.Quote{}
	}
	maps.Copy(out.quotes, next.quotes)
}

// runaway is render.ErrRunaway where nothing more can be rendered in this process.
func (out outcome) runaway() error {
	for _, faults := range out.invalid {
		if slices.ContainsFunc(faults, func(err error) bool { return errors.Is(err, render.ErrRunaway) }) {
			return render.ErrRunaway
		}
	}
	return nil
}

// document judges the objects of one document.
func (j *judge) document(ctx context.Context, doc manifest.Document) (out outcome) {
	for o, err := range doc.Objects() {
		if err != nil {
			out.invalid = append(out.invalid, []error{err})
			continue
		}
		if faults := j.schemas.judge(o); len(faults) > 0 {
			out.invalid = append(out.invalid, faults)
			if ownGroup(o) {
				continue // its meaning is not known; what else is wrong with other objects is still told
			}
		}
		if _, judged := j.engine.Match(o.APIVersion(), o.Kind()); !judged {
			j.strangers.add(o)
		}
		said, err := j.object(ctx, o)
		if err != nil {
			return outcome{err: err}
		}
		out.objects = append(out.objects, said)
	}
	if j.quote {
		out.quotes = quotes(doc, out.objects)
	}
	return out
}

// object is what is said of one object.
func (j *judge) object(ctx context.Context, o *manifest.Object) (report.Object, error) {
	return j.objectAs(ctx, o, j.asWritten)
}

// objectAs is object, as it is written or with what the platform fills in.
func (j *judge) objectAs(ctx context.Context, o *manifest.Object, written bool) (report.Object, error) {
	subject := o.Subject()
	kind, judged := j.engine.Match(subject.APIVersion, subject.Kind)
	home := subject.Namespace // whose Guard decides
	switch {
	case judged && kind.ClusterScoped:
		subject.Namespace, home = "", v1alpha1.SystemNamespace
	case j.foreign != nil && j.foreign.ClusterScoped(subject.APIVersion, subject.Kind):
		subject.Namespace = ""
	case (judged || j.foreign != nil) && subject.Namespace == "":
		subject.Namespace, home = j.namespace, j.namespace
	}
	guard, err := j.settings.guard(home)
	if err != nil {
		return report.Object{}, err
	}
	exempt := tenant.Exempt(j.settings.platform, subject.Namespace) ||
		subject.Kind == "Namespace" && subject.Namespace == "" && tenant.Exempt(j.settings.platform, subject.Name)
	var findings, differing []finding.Finding
	var passes int
	value := o.Value
	if !written && !exempt && !kind.ClusterScoped && (judged || subject.Namespace != "") {
		value, differing = j.fill(o, subject)
	}
	if judged {
		list := func(id string) bool { return j.passes || exempt || j.unjudged[id] != "" }
		findings, passes = j.engine.Failures(policy.Input{Object: value, Namespace: subject.Namespace, Guard: guard, Now: j.settings.now}, subject, list)
	}
	kept := findings[:0]
	for i := range findings {
		f := &findings[i]
		switch {
		case exempt:
			notApplicable(f, reasonExempt)
		case j.unjudged[f.Control] != "":
			if notApplicable(f, j.unjudged[f.Control]); j.requireFacts {
				f.Outcome, f.Message = finding.Errored, strings.Replace(f.Message, "not judged", "could not be decided", 1)
			}
		}
		if said(kept, f) {
			continue
		}
		f.Location = o.Locate(f.Path)
		kept = append(kept, *f)
	}
	if kept = append(kept, differing...); len(differing) > 0 && passes > 0 {
		passes-- // what wants the labels did not pass
	}
	kept = append(kept, j.byOthers(ctx, o, subject)...)
	if j.all {
		kept = append(kept, j.others(o, subject, guard, kept)...)
	}
	return report.Object{Findings: kept, Passes: passes}, nil
}

// said reports whether the last findings, those of the same control, name the same path: what is not judged fails at no
// place any more.
func said(kept []finding.Finding, f *finding.Finding) bool {
	for i := len(kept) - 1; i >= 0 && kept[i].Control == f.Control; i-- {
		if kept[i].Path == f.Path {
			return true
		}
	}
	return false
}

// byOthers are the findings of the policies of others.
func (j *judge) byOthers(ctx context.Context, o *manifest.Object, subject finding.Subject) []finding.Finding {
	if j.foreign == nil {
		return nil
	}
	namespace := cmp.Or(subject.Namespace, "default")
	findings := j.foreign.Judge(ctx, policy.Input{Object: o.Value, Namespace: namespace}, subject)
	for i := range findings {
		f := &findings[i]
		f.Location = o.Locate("")
		if j.requireFacts && f.Reason != nil && *f.Reason == vap.ReasonNamespace {
			f.Outcome = finding.Errored
		}
	}
	return findings
}

// notApplicable is what is said in the place of a control's finding where it must not judge.
func notApplicable(f *finding.Finding, reason string) {
	f.Outcome, f.Reason, f.Found, f.Path, f.Waiver = finding.NotApplicable, &reason, "", "", nil
	f.Message = f.Control + " " + f.Title + ": not judged: " + reason
	f.Fingerprint = finding.Fingerprint(f.Control, f.Subject, "")
}

// others are the controls that do not speak of the object's kind.
func (j *judge) others(o *manifest.Object, subject finding.Subject, guard *policy.Guard, said []finding.Finding) (out []finding.Finding) {
	for _, c := range j.catalogue.Controls {
		if slices.ContainsFunc(said, func(f finding.Finding) bool { return f.Control == c.ID }) {
			continue
		}
		out = append(out, finding.Finding{
			Control: c.ID, Rule: c.Rule(), Title: c.Title, Severity: c.Severity, Outcome: finding.NotApplicable, Action: guard.Action(c.ID),
			Wanted: c.Wanted, Fix: c.Fix, Subject: subject, Location: o.Locate(""), Source: "catalogue",
			Fingerprint: finding.Fingerprint(c.ID, subject, ""),
		})
	}
	return out
}

// quotes are the lines that the findings point at.
func quotes(doc manifest.Document, objects []report.Object) map[finding.Location]report.Quote {
	wanted := map[int]bool{}
	var places []finding.Location
	for _, object := range objects {
		for i := range object.Findings {
			if f := &object.Findings[i]; f.Outcome == finding.Fail || f.Outcome == finding.Errored {
				wanted[f.Location.Line] = true
				places = append(places, f.Location)
			}
		}
	}
	if len(places) == 0 {
		return nil
	}
	lines := doc.Lines(wanted)
	out := make(map[finding.Location]report.Quote, len(places))
	for _, at := range places {
		out[at] = report.NewQuote(lines[at.Line], at.Column)
	}
	return out
}
