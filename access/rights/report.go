package rights

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
)

// SchemaVersion is what JSON says of its own form. Fields are only added.
const SchemaVersion = "ringfence.dev/rights/v1"

// State says what is known of a subject's rights by one binding.
type State string

// The states. Unknown is neither used nor unused: the role is not among the objects, or nothing was seen that could show it.
const (
	Used    State = "used"
	Partly  State = "partly"
	Unused  State = "unused"
	Unknown State = "unknown"
)

// Right is what one subject has by one binding, and what became of it.
type Right struct {
	// Binding is kind, namespace and name; Role kind and name; Subject kind and name.
	Binding string `json:"binding"`
	Role    string `json:"role"`
	Subject string `json:"subject"`
	State   State  `json:"state"`
	// LastUsed is nil where it never was.
	LastUsed *time.Time `json:"lastUsed"`
	// Unused are the verbs and resources that nobody asked for, as "get,list pods.apps".
	Unused []string `json:"unused"`
	// Proposal is what to do, "" for nothing.
	Proposal string `json:"proposal"`
}

// Report is the whole answer.
type Report struct {
	SchemaVersion string `json:"schemaVersion"`
	// Days is the time that was asked for; From and To is what the requests cover.
	Days     int        `json:"days"`
	From     *time.Time `json:"from"`
	To       *time.Time `json:"to"`
	Requests int        `json:"requests"`
	// Covered says whether the requests reach back that far. Where they do not, nothing is proposed.
	Covered bool `json:"covered"`
	// ReadsSeen says whether any get, list or watch was among them. Where none was, no right to read is called unused.
	ReadsSeen bool `json:"readsSeen"`
	// Kubernetes counts bindings of Kubernetes itself, which are not reviewed.
	Kubernetes int     `json:"kubernetesBindings"`
	Rights     []Right `json:"rights"`
}

// Report says what was not used in the days before now.
func (r *Review) Report(days int, now time.Time) Report {
	r.index()
	since := now.Add(-time.Duration(days) * 24 * time.Hour)
	out := Report{SchemaVersion: SchemaVersion, Days: days, Requests: r.requests, ReadsSeen: r.reads, Kubernetes: r.own, Rights: []Right{}}
	if r.requests > 0 {
		from, to := r.oldest.UTC(), r.until.UTC()
		out.From, out.To = &from, &to
		out.Covered = !r.oldest.After(since)
	}
	for _, h := range r.holdings {
		out.Rights = append(out.Rights, r.right(h, since, out.Covered))
	}
	slices.SortStableFunc(out.Rights, func(a, b Right) int {
		return strings.Compare(a.Binding+"\x00"+a.Subject, b.Binding+"\x00"+b.Subject)
	})
	return out
}

// right judges one holding.
func (r *Review) right(h *holding, since time.Time, covered bool) Right {
	b := h.binding
	out := Right{Binding: b.Kind + " " + place(b.Metadata.Namespace, b.Metadata.Name), Role: b.RoleRef.Kind + " " + b.RoleRef.Name,
		Subject: h.subject.Kind + " " + h.subject.Name, State: Unknown, Unused: []string{}}
	if h.subject.Kind == "ServiceAccount" {
		out.Subject = h.subject.Kind + " " + place(h.subject.Namespace, h.subject.Name)
	}
	if !h.last.IsZero() {
		last := h.last.UTC()
		out.LastUsed = &last
	}
	role := r.roleOf(b)
	if role == nil {
		out.Proposal = "the role is not among the objects: if it does not exist, remove the binding"
		return out
	}
	if len(role.Rules) == 0 && len(role.AggregationRule) > 0 {
		out.Proposal = "the role is put together by the API server: give it as the cluster has it"
		return out
	}
	used, unseen := 0, 0
	for i, rule := range role.Rules {
		var unused []string
		for _, verb := range rule.Verbs {
			switch {
			case h.used[fmt.Sprintf("%d/%s", i, verb)].After(since):
				used++
			case !r.reads && slices.Contains(readVerbs(), verb):
				unseen++
			default:
				unused = append(unused, verb)
			}
		}
		if len(unused) > 0 {
			out.Unused = append(out.Unused, strings.Join(unused, ",")+" "+rule.what())
		}
	}
	out.judge(used, unseen, covered)
	return out
}

// judge makes a state and a proposal of the counts.
func (r *Right) judge(used, unseen int, covered bool) {
	switch {
	case used > 0 && len(r.Unused) == 0:
		r.State = Used
	case used > 0:
		r.State, r.Proposal = Partly, "bind a role without what is unused"
	case unseen > 0:
		r.Proposal = "let the audit policy log reads too: nothing that was logged could show these rights in use"
		return
	case len(r.Unused) > 0 && covered:
		r.State, r.Proposal = Unused, "remove the subject from the binding"
	}
	if !covered {
		r.Proposal = ""
	}
}

func place(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

// what says what a rule is for.
func (r rule) what() string {
	if len(r.NonResourceURLs) > 0 {
		return strings.Join(r.NonResourceURLs, ",")
	}
	var names []string
	for _, resource := range r.Resources {
		for _, group := range r.APIGroups {
			if group != "" {
				names = append(names, resource+"."+group)
			} else {
				names = append(names, resource)
			}
		}
	}
	text := strings.Join(names, ",")
	if len(r.ResourceNames) > 0 {
		text += " named " + strings.Join(r.ResourceNames, ",")
	}
	return text
}

// JSON writes the report.
func (r Report) JSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// Text writes what is not used whole, a right a line, and the counts.
func (r Report) Text(w io.Writer) error {
	var b strings.Builder
	counts := map[State]int{}
	for _, right := range r.Rights {
		counts[right.State]++
		if right.State == Used {
			continue
		}
		last := "never seen in use"
		if right.LastUsed != nil {
			last = "last used " + right.LastUsed.Format(time.RFC3339)
		}
		fmt.Fprintf(&b, "%-8s%s by %s (%s): %s", right.State, right.Subject, right.Binding, right.Role, last)
		if len(right.Unused) > 0 {
			fmt.Fprintf(&b, "; unused: %s", strings.Join(right.Unused, "; "))
		}
		if right.Proposal != "" {
			fmt.Fprintf(&b, "; proposal: %s", right.Proposal)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%d used, %d partly, %d unused, %d unknown; %d requests", counts[Used], counts[Partly], counts[Unused], counts[Unknown], r.Requests)
	if r.From != nil {
		fmt.Fprintf(&b, " from %s to %s", r.From.Format(time.RFC3339), r.To.Format(time.RFC3339))
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, inert(b.String()))
	return err
}

// inert takes from foreign names what a terminal would obey.
func inert(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}
