package rollout

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/approval"
)

// MaxSteps is how many steps of a control a Platform remembers; its schema allows no more.
const MaxSteps = 10

var (
	// ErrNothing is returned where there is nothing to change.
	ErrNothing = errors.New("nothing to change")
	// ErrAlone is wrapped where two people are needed and one is known.
	ErrAlone = errors.New("another person must approve the promotion")
	// ErrAsked is wrapped where another person's promotion waits for an answer.
	ErrAsked = errors.New("another promotion of the control waits for an answer")
	// ErrOtherwise is wrapped where the Platform is not as the last step left it.
	ErrOtherwise = errors.New("the Platform was changed since")
)

// Step is a change that is to be made.
type Step struct {
	Control string
	Scope   Scope
	To      v1alpha1.Action
	// Grace is for how long the controllers' own objects are let in; 0 is none.
	Grace time.Duration
	// Insisted is nil where the preflight was empty.
	Insisted *v1alpha1.Insistence
	// CleanDays is for how many days nothing had failed, where the Platform's own rules promote; 0 where a person does.
	CleanDays int32
}

// Promote is the Platform after a step, with the step noted. The error wraps ErrNothing where the action stands there already.
func Promote(p *v1alpha1.Platform, s Step, now time.Time) (*v1alpha1.Platform, error) {
	place := s.Scope.Place()
	was := At(p, s.Control, place)
	if was == s.To {
		return nil, fmt.Errorf("%w: the Platform says %s for %s %s already", ErrNothing, s.To, s.Control, s.Scope)
	}
	p = p.DeepCopy()
	set(p, s.Control, place, s.To)
	step := v1alpha1.RolloutStep{Place: place, From: was, To: s.To, At: instant(now), Insisted: s.Insisted, CleanDays: s.CleanDays}
	if s.To == v1alpha1.Deny && s.Grace > 0 {
		step.GraceUntil = instant(now.Add(s.Grace))
	}
	c := p.Spec.Controls[s.Control]
	if c.Asked != nil && c.Asked.Place == place { // what is asked for elsewhere waits on
		c.Asked = nil
	}
	c.Steps = append(c.Steps, step)
	c.Steps = c.Steps[max(0, len(c.Steps)-MaxSteps):]
	p.Spec.Controls[s.Control] = c
	return p, nil
}

// AnswerWithin is how long a promotion that is asked for can be approved: what it would break is another thing later.
const AnswerWithin = 72 * time.Hour

// Ask is the Platform with a step that somebody insists on, which waits for another person. It takes the place of what the same person asked
// for before; the error wraps ErrAsked where that was another one, and ErrNothing as Promote's does.
func Ask(p *v1alpha1.Platform, s Step, now time.Time) (*v1alpha1.Platform, error) {
	if _, err := Promote(p, s, now); err != nil {
		return nil, err
	}
	p = p.DeepCopy()
	c := p.Spec.Controls[s.Control]
	if a := c.Asked; open(a, now) && (a.Insisted.Requester != s.Insisted.Requester || a.Insisted.RequesterObject != s.Insisted.RequesterObject) {
		return nil, fmt.Errorf("%w: %s asked for %s %s at %s (%s); fix: ringfence control promote %s --approve, or wait: it lapses %s after it was asked for",
			ErrAsked, a.Insisted.Requester, a.To, ScopeOf(a.Place), a.At, a.Insisted.Ticket, s.Control, AnswerWithin)
	}
	c.Asked = &v1alpha1.RolloutRequest{Place: s.Scope.Place(), To: s.To, At: instant(now), Insisted: *s.Insisted}
	c.Asked.Grace.Duration = s.Grace
	if p.Spec.Controls == nil {
		p.Spec.Controls = map[string]v1alpha1.ControlRollout{}
	}
	p.Spec.Controls[s.Control] = c
	return p, nil
}

// Waiting is the step of a control that waits for somebody to approve it. The error wraps ErrNothing where none does, or does no more, and ErrAlone
// where it is the one who asked: the API server says the same.
func Waiting(p *v1alpha1.Platform, id string, by approval.Person, now time.Time) (Step, error) {
	asked := p.Spec.Controls[id].Asked
	if asked == nil {
		return Step{}, fmt.Errorf("%w: nobody asks for a promotion of %s", ErrNothing, id)
	}
	if !open(asked, now) {
		return Step{}, fmt.Errorf("%w: the promotion of %s was asked for at %s, and can be approved for %s; have it asked for again", ErrNothing, id, asked.At, AnswerWithin)
	}
	insisted := asked.Insisted
	if !approval.Two(approval.Person{Name: insisted.Requester, Object: insisted.RequesterObject}, by) {
		return Step{}, fmt.Errorf("%w: %s asked for it, and the identity provider must know both people, or neither", ErrAlone, insisted.Requester)
	}
	insisted.Approver, insisted.ApproverObject = by.Name, by.Object
	return Step{Control: id, Scope: ScopeOf(asked.Place), To: asked.To, Grace: asked.Grace.Duration, Insisted: &insisted}, nil
}

// open reports whether what is asked for can still be approved; nil cannot.
func open(asked *v1alpha1.RolloutRequest, now time.Time) bool {
	if asked == nil {
		return false
	}
	at, err := time.Parse(time.RFC3339, string(asked.At))
	return err == nil && now.Sub(at) <= AnswerWithin
}

// Rollback is the Platform without the last step of a control, with a note of when it was undone, and that step. The error wraps ErrNothing
// where there is none, and ErrOtherwise where what the step put there is there no more.
func Rollback(p *v1alpha1.Platform, id string, now time.Time) (*v1alpha1.Platform, v1alpha1.RolloutStep, error) {
	steps := p.Spec.Controls[id].Steps
	if len(steps) == 0 {
		return nil, v1alpha1.RolloutStep{}, fmt.Errorf("%w: the Platform notes no promotion of %s", ErrNothing, id)
	}
	last := steps[len(steps)-1]
	if at := At(p, id, last.Place); at != last.To {
		return nil, last, fmt.Errorf("%w: %s %s is %s and the last promotion made it %s; set it by hand: kubectl edit platform", ErrOtherwise, id, last.Place, said(at), last.To)
	}
	p = p.DeepCopy()
	set(p, id, last.Place, last.From)
	c := p.Spec.Controls[id]
	c.Steps, c.Undone = c.Steps[:len(c.Steps)-1], instant(now)
	p.Spec.Controls[id] = c
	return p, last, nil
}

func instant(t time.Time) v1alpha1.Instant {
	return v1alpha1.Instant(t.UTC().Format(time.RFC3339)) // which has no fractions
}

func said(a v1alpha1.Action) string {
	if a == "" {
		return "not set"
	}
	return string(a)
}

// Patch is the JSON merge patch that makes one control of a Platform from before to after and touches nothing else. It holds only where the
// Platform is still the one that was seen.
func Patch(before, after *v1alpha1.Platform, id string) ([]byte, error) {
	was, is := before.Spec.Controls[id], after.Spec.Controls[id]
	change := map[string]any{"steps": is.Steps}
	if len(is.Steps) == 0 {
		change["steps"] = nil
	}
	if was.Asked != nil || is.Asked != nil {
		change["asked"] = is.Asked // null takes it away
	}
	if was.Undone != is.Undone {
		change["undone"] = is.Undone
	}
	field := func(name string, a, b v1alpha1.Action) {
		if a != b {
			change[name] = orNull(b)
		}
	}
	field("action", was.Action, is.Action)
	field("production", was.Production, is.Production)
	rings := map[string]any{}
	for name, a := range is.Rings {
		if was.Rings[name] != a {
			rings[name] = a
		}
	}
	for name := range was.Rings {
		if is.Rings[name] == "" {
			rings[name] = nil
		}
	}
	if len(rings) > 0 {
		change["rings"] = rings
	}
	return json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": before.ResourceVersion},
		"spec":     map[string]any{"controls": map[string]any{id: change}},
	})
}

// orNull is what a merge patch says of an action.
func orNull(a v1alpha1.Action) any {
	if a == "" {
		return nil
	}
	return a
}

// ScopeOf is the scope of a place.
func ScopeOf(place string) Scope {
	if ring, ok := strings.CutPrefix(place, "ring/"); ok {
		return Scope{Ring: ring}
	}
	return Scope{Production: place == "production"}
}
