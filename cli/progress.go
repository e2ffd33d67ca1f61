package cli

import (
	"fmt"
	"os"
	"time"

	"ringfence.dev/ringfence/report"
)

// How soon a run is long enough to tell how it goes, and how often it tells.
const (
	progressAfter = time.Second
	progressEvery = 200 * time.Millisecond
)

// progress tells a person who waits how far a run is, on one line of standard error that is gone at the end. Where nobody
// watches, because standard error is no terminal, it tells nothing.
type progress struct {
	env Env
	// inputs is how many files there are to judge, negative where nobody can know.
	inputs      int
	began, told time.Time
	drawn       bool
}

func newProgress(env Env, inputs int) *progress {
	if os.Getenv("TERM") == "dumb" {
		env.Watched = false
	}
	p := &progress{env: env, inputs: inputs}
	if env.Watched {
		p.began = env.Now()
	}
	return p
}

// tell draws the line anew where it is time.
func (p *progress) tell(r *report.Report) {
	if !p.env.Watched {
		return
	}
	now := p.env.Now()
	ran := now.Sub(p.began)
	if ran < progressAfter || now.Sub(p.told) < progressEvery {
		return
	}
	p.told, p.drawn = now, true
	rate := float64(r.Summary.Objects) / ran.Seconds()
	fmt.Fprint(p.env.Stderr, "\r\x1b[Kringfence: ")
	if p.inputs >= 0 {
		fmt.Fprintf(p.env.Stderr, "%d of %d files, ", r.Summary.Files, p.inputs)
	}
	fmt.Fprintf(p.env.Stderr, "%d objects, %.0f a second", r.Summary.Objects, rate)
}

// clear makes room for something else on standard error.
func (p *progress) clear() {
	if p.drawn {
		fmt.Fprint(p.env.Stderr, "\r\x1b[K")
		p.drawn = false
	}
}

// take gathers what came of a document and tells how far the run is. Its error ends the run.
func (p *progress) take(out outcome, r *report.Report, env Env) error {
	if out.err != nil {
		return out.err
	}
	if len(out.invalid) > 0 || out.note != "" {
		p.clear()
	}
	out.addTo(r, env)
	p.tell(r)
	return out.runaway()
}
