package canary

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
)

// What came of a try.
const (
	// Held: it was refused, or let in, as it must be.
	Held = "held"
	// LetIn: what must be refused was not.
	LetIn = "let-in"
	// RefusedGood: Ringfence refused what it must let in.
	RefusedGood = "refused-good"
	// NotAsked: something else decided, or nobody; what Ringfence would have said is unknown.
	NotAsked = "not-asked"
)

// Tried is what came of one try.
type Tried struct {
	Namespace string
	// Control is whose denial was wanted; "" for an object that must be let in.
	Control string
	Kind    string
	Outcome string
	// Detail is what the API server said where it did not hold.
	Detail string
}

// Run is what came of all tries.
type Run struct {
	At     time.Time
	Places []Place
	Tried  []Tried
	// Proven are the controls of which an object that they alone refuse was refused somewhere.
	Proven []string
}

// Count is how many tries came out that way.
func (r Run) Count(outcome string) (n int) {
	for _, t := range r.Tried {
		if t.Outcome == outcome {
			n++
		}
	}
	return n
}

// Answers are the namespaces in which the API server said yes or no to an object that must be refused, and those in which it said so to none of
// them, each with what was said instead. A namespace where nothing denies is in neither.
func (r Run) Answers() (answered map[string]bool, silent map[string]string) {
	answered, silent = map[string]bool{}, map[string]string{}
	for _, t := range r.Tried {
		switch {
		case t.Control == "":
		case t.Outcome != NotAsked:
			answered[t.Namespace] = true
		case silent[t.Namespace] == "":
			silent[t.Namespace] = t.Detail
		}
	}
	for namespace := range answered {
		delete(silent, namespace)
	}
	return answered, silent
}

// Config is what a Canary needs.
type Config struct {
	Planner *Planner
	// Client sends the dry runs.
	Client client.Client
	// Serves reports whether the cluster serves a kind.
	Serves func(control.Kind) bool
	Now    func() time.Time
	// Patience is how often, a second apart, what went wrong is tried again: rules that were just changed take a moment. 0 is never.
	Patience int
}

// timeout bounds one try.
const timeout = 10 * time.Second

// Do tries everything at the places. Its error is a fault of the plan or the end of ctx; a door that does not answer is NotAsked.
func Do(ctx context.Context, cfg Config, places []Place) (Run, error) {
	r := Run{At: cfg.Now().UTC(), Places: places}
	for _, at := range places {
		tries, err := cfg.Planner.plan(at, cfg.Serves, cfg.Now())
		if err != nil {
			return r, fmt.Errorf("plan what to try in %s: %w", at.Namespace, err)
		}
		for _, t := range tries {
			if ctx.Err() != nil {
				return r, ctx.Err()
			}
			done := cfg.one(ctx, at, t)
			if done.Outcome == Held && t.control != "" && t.alone && !slices.Contains(r.Proven, t.control) {
				r.Proven = append(r.Proven, t.control)
			}
			r.Tried = append(r.Tried, done)
		}
	}
	slices.Sort(r.Proven)
	return r, nil
}

// one makes one try, and again where it goes wrong.
func (cfg Config) one(ctx context.Context, at Place, t try) (done Tried) {
	for n := 0; ; n++ {
		done = Tried{Namespace: at.Namespace, Control: t.control, Kind: t.kind.Kind}
		done.Outcome, done.Detail = verdict(t, cfg.send(ctx, t))
		if done.Outcome != LetIn && done.Outcome != RefusedGood || n >= cfg.Patience {
			return done
		}
		select {
		case <-ctx.Done():
			return done
		case <-time.After(time.Second):
		}
	}
}

// send asks the API server.
func (cfg Config) send(ctx context.Context, t try) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	o := &unstructured.Unstructured{Object: t.object}
	return cfg.Client.Create(ctx, o.DeepCopy(), client.DryRunAll, client.FieldOwner(Name))
}

// verdict is what an answer means.
func verdict(t try, err error) (outcome, detail string) {
	ours := byRingfence(err)
	switch {
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
		return NotAsked, "no answer in time"
	case t.control == "" && err == nil:
		return Held, ""
	case t.control == "" && ours:
		return RefusedGood, cut(err)
	case t.control == "":
		return NotAsked, cut(err)
	case err == nil:
		return LetIn, "the API server would have stored it"
	case ours && t.alone && !strings.Contains(err.Error(), "denied request: "+t.control+" "):
		return NotAsked, "another rule refused it first: " + cut(err)
	case ours:
		return Held, ""
	}
	return NotAsked, cut(err)
}

// byRingfence reports whether one of Ringfence's native policies refused for what it found, and not because it could not decide.
func byRingfence(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "ValidatingAdmissionPolicy 'ringfence-") && strings.Contains(err.Error(), "denied request: RF-")
}

// cut is an error fit for a record.
func cut(err error) string {
	runes := []rune(finding.Clean(err.Error()))
	return string(runes[:min(len(runes), 300)])
}
