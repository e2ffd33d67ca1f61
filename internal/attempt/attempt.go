// Package attempt reads attempts and makes them: requests to an API server, each with the answer it must get.
//
// An attempt is a file of YAML documents, one a request, in the order in which they are sent. The package knows no people and no
// clusters: who sends is its caller's. The end-to-end tests of isolation and of attacks call it, and nothing else does.
package attempt

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// What an answer comes to. Beside these it is the id of a control or the name of a policy of Ringfence's.
const (
	// LetIn is any 2xx.
	LetIn = "let in"
	// Rights is a refusal for want of rights, Stranger one for want of a name.
	Rights   = "rbac"
	Stranger = "unauthenticated"
	// Absent is 404 and Invalid a request that the server does not take as it is: 400, 405, 406, 409, 415 or 422.
	Absent  = "absent"
	Invalid = "invalid"
	// Kubernetes is any other refusal: of its own admission, for instance.
	Kubernetes = "kubernetes"
)

// Step is one request and its answer.
type Step struct {
	// As names who sends; empty is whoever sent the step before.
	As string `json:"as"`
	// Send is the method and the path, with its query.
	Send string `json:"send"`
	// Type and Accept are headers; the default of Type is JSON, and a merge patch for PATCH.
	Type   string `json:"type"`
	Accept string `json:"accept"`
	// Headers are further ones.
	Headers map[string]string `json:"headers"`
	// Body is sent as JSON; nil sends none. Onto names a file of the folder bases, without .yaml, over which Body is laid: maps key by
	// key, where null takes away, and lists element by element.
	Body any    `json:"body"`
	Onto string `json:"onto"`
	// Want is what the answer must come to, with " or " between where either will do. LetIn wants Because too: why that is right.
	Want    string `json:"want"`
	Because string `json:"because"`
	// Status is the status code wanted, where Want alone does not say enough; 0 takes any.
	Status int `json:"status"`
	// Says are texts that the answer must hold, and Hides those that it must not.
	Says  []string `json:"says"`
	Hides []string `json:"hides"`
	// Soon tries again for a while until the answer is as wanted: a controller has to act first.
	Soon bool `json:"soon"`
}

// Sequence is one file.
type Sequence struct {
	File  string
	Steps []Step
}

// Answer is what came back.
type Answer struct {
	Status   int
	Warnings []string
	Body     string
}

var method = regexp.MustCompile(`^(GET|POST|PUT|PATCH|DELETE|OPTIONS|HEAD) (/\S*)$`)

// bases is the folder of a tree with what Onto names.
const bases = "bases"

// Read reads every .yaml file below a tree; who are the names that may send. The error names every mistake.
func Read(tree fs.FS, who ...string) (all []Sequence, err error) {
	var faults []error
	r := reader{who: who, bases: map[string]any{}}
	err = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Dir(name) != bases {
			return err
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		var base any
		err = yaml.Unmarshal(text, &base)
		r.bases[strings.TrimSuffix(path.Base(name), ".yaml")] = base
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", bases, err)
	}
	err = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Dir(name) == bases {
			return err
		}
		if path.Ext(name) != ".yaml" {
			faults = append(faults, fmt.Errorf("%s: want a .yaml file", name))
			return nil
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		s, err := r.parse(name, text)
		all, faults = append(all, s), append(faults, err)
		return nil
	})
	if err == nil && len(all) == 0 {
		err = errors.New("there is no attempt")
	}
	return all, errors.Join(append(faults, err)...)
}

// reader knows what files may name.
type reader struct {
	who   []string
	bases map[string]any
}

func (r reader) parse(name string, text []byte) (Sequence, error) {
	s := Sequence{File: strings.TrimSuffix(name, ".yaml")}
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("%s, document %d: %s", name, len(s.Steps)+1, fmt.Sprintf(format, args...)))
	}
	if !bytes.HasPrefix(text, []byte("# ")) {
		fault("want a first line that says what is tried: # ...")
	}
	for doc := range bytes.SplitSeq(text, []byte("\n---\n")) {
		var step Step
		if err := yaml.UnmarshalStrict(doc, &step); err != nil {
			fault("%v", err)
			continue
		}
		if step.As == "" && len(s.Steps) > 0 {
			step.As = s.Steps[len(s.Steps)-1].As
		}
		if !slices.Contains(r.who, step.As) {
			fault("as: found %q; want one of %s", step.As, strings.Join(r.who, ", "))
		}
		if step.Onto != "" {
			base, ok := r.bases[step.Onto]
			if !ok {
				fault("onto: there is no %s/%s.yaml", bases, step.Onto)
			}
			step.Body = lay(base, step.Body)
		}
		if !method.MatchString(step.Send) {
			fault("send: found %q; want a method and a path, such as GET /api/v1/pods", step.Send)
		}
		if step.Want == "" {
			fault("want: want %s, %s, %s, %s, %s, %s, the id of a control or the name of a policy", LetIn, Rights, Stranger, Absent, Invalid, Kubernetes)
		}
		if (step.Want == LetIn) != (step.Because != "") {
			fault("because: why it is right to let it in, and nothing else, belongs there")
		}
		s.Steps = append(s.Steps, step)
	}
	return s, errors.Join(faults...)
}

// lay gives base with what over says: maps key by key, where nil takes away, lists element by element. base is not changed.
func lay(base, over any) any {
	switch over := over.(type) {
	case nil:
		return base
	case map[string]any:
		out := map[string]any{}
		if b, ok := base.(map[string]any); ok {
			maps.Copy(out, b)
		}
		for k, v := range over {
			if v == nil {
				delete(out, k)
			} else {
				out[k] = lay(out[k], v)
			}
		}
		return out
	case []any:
		var out []any
		if b, ok := base.([]any); ok {
			out = slices.Clone(b)
		}
		for i, v := range over {
			if i < len(out) {
				out[i] = lay(out[i], v)
			} else {
				out = append(out, v)
			}
		}
		return out
	}
	return over
}

// Method and Path are the two halves of Send.
func (s Step) Method() string { return method.ReplaceAllString(s.Send, "$1") }

// Path is the path and the query.
func (s Step) Path() string { return method.ReplaceAllString(s.Send, "$2") }

// ContentType is the media type of the body.
func (s Step) ContentType() string {
	switch {
	case s.Type != "":
		return s.Type
	case s.Method() == http.MethodPatch:
		return "application/merge-patch+json"
	}
	return "application/json"
}

var (
	byPolicy = regexp.MustCompile(`ValidatingAdmissionPolicy '([^']+)' with binding '[^']+' denied request: (RF-[A-Z]{2}-[0-9]{2} )?`)
	byRights = regexp.MustCompile(`User \\?"[^"]*\\?" cannot |attempting to grant RBAC permissions not currently held`)
)

func notServed() []int {
	return []int{http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusConflict,
		http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity}
}

// Outcome is what the answer comes to.
func (a Answer) Outcome() string {
	if m := byPolicy.FindStringSubmatch(a.Body); m != nil && a.Status >= 400 {
		if m[2] != "" {
			return strings.TrimSpace(m[2])
		}
		return m[1]
	}
	switch {
	case a.Status >= 200 && a.Status < 300:
		return LetIn
	case a.Status == http.StatusUnauthorized:
		return Stranger
	case a.Status == http.StatusNotFound:
		return Absent
	case a.Status == http.StatusForbidden && byRights.MatchString(a.Body):
		return Rights
	}
	if slices.Contains(notServed(), a.Status) {
		return Invalid
	}
	return Kubernetes
}

// Check is nil where the answer is as the step wants it.
func (s Step) Check(a Answer) error {
	var faults []error
	if got := a.Outcome(); !slices.Contains(strings.Split(s.Want, " or "), got) || s.Status != 0 && s.Status != a.Status {
		faults = append(faults, fmt.Errorf("%s (%d); want %s", got, a.Status, s.Want))
	}
	for _, text := range s.Says {
		if !strings.Contains(a.Body, text) {
			faults = append(faults, fmt.Errorf("it does not say %q", text))
		}
	}
	for _, text := range s.Hides {
		if strings.Contains(a.Body, text) {
			faults = append(faults, fmt.Errorf("it shows %q", text))
		}
	}
	if len(faults) == 0 {
		return nil
	}
	body := a.Body
	if len(body) > 700 {
		body = body[:700] + "..."
	}
	return fmt.Errorf("%s as %s: %w; the answer: %s", s.Send, s.As, errors.Join(faults...), strings.TrimSpace(body))
}
