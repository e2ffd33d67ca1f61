package record

import (
	"time"
)

// maxCanaryFaults is how many tries that went wrong one record lists.
const maxCanaryFaults = 100

// CanaryRun is what came of objects that were tried by dry run.
type CanaryRun struct {
	// Why is start, hourly or change.
	Why string
	// Namespaces are those where something was tried, each for its kind.
	Namespaces []string
	// Held, LetIn, RefusedGood and NotAsked are numbers of tries.
	Held, LetIn, RefusedGood, NotAsked int
	// Proven is how many controls were seen to refuse an object that no other refuses.
	Proven int
	// Faults are tries that did not hold.
	Faults []CanaryFault
}

// CanaryFault is one try that did not hold.
type CanaryFault struct {
	Namespace string `json:"namespace"`
	Control   string `json:"control,omitempty"`
	Kind      string `json:"kind"`
	Outcome   string `json:"outcome"`
	Detail    string `json:"detail"`
}

// canaryBody is the body of canary.v1.
type canaryBody struct {
	Why         string        `json:"why"`
	Namespaces  []string      `json:"namespaces"`
	Held        int           `json:"held"`
	LetIn       int           `json:"letIn"`
	RefusedGood int           `json:"refusedGood"`
	NotAsked    int           `json:"notAsked"`
	Proven      int           `json:"proven"`
	Faults      []CanaryFault `json:"faults"`
	More        int           `json:"more,omitempty"`
}

// Canary is the canary.v1 record of a run. catalogue is the catalogue's digest in hex.
func Canary(c CanaryRun, catalogue string, at time.Time) (Record, error) {
	body := canaryBody{Why: c.Why, Namespaces: append([]string{}, c.Namespaces...), Held: c.Held, LetIn: c.LetIn, RefusedGood: c.RefusedGood, NotAsked: c.NotAsked,
		Proven: c.Proven, Faults: []CanaryFault{}}
	for _, f := range c.Faults {
		if len(body.Faults) == maxCanaryFaults {
			body.More++
			continue
		}
		f.Detail = cut(f.Detail)
		body.Faults = append(body.Faults, f)
	}
	r, err := build("canary.v1", "canary:"+fingerprint(c.Why, stamp(at)), at, body)
	r.CatalogueDigest = "sha256:" + catalogue
	return r, err
}
