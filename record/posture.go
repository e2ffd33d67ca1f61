package record

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"ringfence.dev/ringfence/finding"
)

// PostureEvery is how often a posture is recorded though nothing changed: a sign of life. It bounds what is unknown after a
// crash, for the silence that is recorded then begins at the last posture.
const PostureEvery = time.Hour

// PostureLasts is how long a posture may stand for what follows it: no posture within a day is a hole, whatever else was recorded.
const PostureLasts = 24 * time.Hour

// maxPosture bounds a posture's body, in bytes: an entry of the ledger has at most 65,535, and the envelope needs some hundred.
const maxPosture = 62_000

// PostureState is what is enforced where, as the control plane sees it.
type PostureState struct {
	// Generation is the Platform's; 0 where there is none: then nobody keeps the policies in place.
	Generation int64
	// Catalogue is the catalogue's digest in hex.
	Catalogue string
	// Bundles are the policies that should be in place.
	Bundles []PostureBundle
	// Pinned and Exempt are namespaces that no policy judges: always, and because the Platform says so.
	Pinned, Exempt []string
	// Unguarded are namespaces without a Guard: every request that a policy in place judges is refused there.
	Unguarded []string
	// Controls are the catalogue's, sorted, and Actions those of each guarded namespace, in the order of Controls.
	Controls []string
	Actions  map[string][]finding.Action
}

// PostureBundle is a policy with its binding.
type PostureBundle struct {
	Name string `json:"name"`
	// What is missing or changed where it is not in place as built.
	What string `json:"what,omitempty"`
	// ClusterScoped says that it judges what lies in no namespace, by the Guard of Ringfence's own namespace.
	ClusterScoped bool `json:"clusterScoped,omitempty"`
	// Controls are those that it refuses for, where their action is Deny. Empty for what only warns or protects.
	Controls []string `json:"controls,omitempty"`
}

// PostureTable is which actions controls have in some namespaces.
type PostureTable struct {
	// Namespaces are names, folded: see Unfold.
	Namespaces []string `json:"namespaces"`
	// Differs are the controls whose action is another than Actions of the body says.
	Differs map[string]finding.Action `json:"differs,omitempty"`
}

// PostureBody is the body of posture.v1.
type PostureBody struct {
	Why        string                      `json:"why"`
	Generation int64                       `json:"generation"`
	Bundles    []PostureBundle             `json:"bundles"`
	Pinned     []string                    `json:"pinned"`
	Exempt     []string                    `json:"exempt"`
	Unguarded  []string                    `json:"unguarded"`
	Guarded    int                         `json:"guarded"`
	Actions    map[finding.Action][]string `json:"actions"`
	Tables     []PostureTable              `json:"tables"`
	More       int                         `json:"more"`
}

// Posture is the posture.v1 record of a state, and a digest that is the same for the same state. why is start, change or
// alive. Namespaces that find no room are counted in the body.
func Posture(s PostureState, why string, at time.Time) (r Record, digest string, err error) {
	body := PostureBody{Generation: s.Generation, Bundles: append([]PostureBundle{}, s.Bundles...), Pinned: sorted(s.Pinned), Exempt: sorted(s.Exempt),
		Unguarded: []string{}, Guarded: len(s.Actions), Actions: map[finding.Action][]string{}, Tables: []PostureTable{}}
	tables := s.tables()
	var usual []finding.Action
	if len(tables) > 0 {
		usual = s.Actions[tables[0][0]]
	}
	for i, a := range usual {
		body.Actions[a] = append(body.Actions[a], s.Controls[i])
	}
	text, err := json.Marshal(body)
	if err != nil {
		return Record{}, "", fmt.Errorf("make a posture.v1 record: %w", err)
	}
	left := maxPosture - len(text)
	for _, names := range tables {
		t := PostureTable{Namespaces: []string{}, Differs: s.differs(usual, s.Actions[names[0]])}
		empty, _ := json.Marshal(t) // texts alone
		kept := namesThatFit(names, left-len(empty)-1)
		body.More += len(names) - kept
		if kept > 0 {
			t.Namespaces = Fold(names[:kept])
			left -= len(empty) + 1 + width(t.Namespaces)
			body.Tables = append(body.Tables, t)
		}
	}
	unguarded := sorted(s.Unguarded)
	kept := namesThatFit(unguarded, left)
	body.Unguarded, body.More = Fold(unguarded[:kept]), body.More+len(unguarded)-kept
	if text, err = json.Marshal(body); err != nil {
		return Record{}, "", fmt.Errorf("make a posture.v1 record: %w", err)
	}
	sum := sha256.Sum256(append(text, s.Catalogue...))
	digest = hex.EncodeToString(sum[:])
	body.Why = why
	r, err = build("posture.v1", "posture:"+fingerprint(digest, stamp(at)), at, body)
	r.CatalogueDigest = "sha256:" + s.Catalogue
	return r, digest, err
}

func sorted(names []string) []string {
	return append([]string{}, slices.Sorted(slices.Values(names))...)
}

// tables are the namespaces by equal actions, the largest first.
func (s PostureState) tables() (all [][]string) {
	at := map[string]int{}
	var key strings.Builder
	for _, namespace := range slices.Sorted(maps.Keys(s.Actions)) {
		key.Reset()
		for _, a := range s.Actions[namespace] {
			key.WriteString(string(a) + " ")
		}
		n, ok := at[key.String()]
		if !ok {
			n = len(all)
			at[key.String()] = n
			all = append(all, nil)
		}
		all[n] = append(all[n], namespace)
	}
	slices.SortStableFunc(all, func(a, b []string) int { return cmp.Compare(len(b), len(a)) })
	return all
}

// differs are the controls whose actions are not the usual ones.
func (s PostureState) differs(usual, here []finding.Action) map[string]finding.Action {
	out := map[string]finding.Action{}
	for i, a := range here {
		if a != usual[i] {
			out[s.Controls[i]] = a
		}
	}
	return out
}

// namesThatFit is how many of some sorted names have room.
func namesThatFit(names []string, room int) int {
	return sort.Search(len(names), func(n int) bool { return width(Fold(names[:n+1])) > room })
}

// width is how many bytes texts take as a list in JSON, its brackets aside. Names and braces need no escapes.
func width(texts []string) (n int) {
	for _, s := range texts {
		n += len(s) + len(`"",`)
	}
	return n
}

// Fold writes sorted names in fewer bytes, as shells understand them: payments-{dev,prod}, or {cards,payments}-prod where that
// is shorter. Each name is in it once.
func Fold(names []string) []string {
	best := append([]string{}, names...)
	for _, front := range []bool{true, false} {
		var order []string
		groups := map[string][]string{}
		for _, name := range names {
			dash := strings.LastIndexByte(name, '-')
			key, rest := name, ""
			switch {
			case dash > 0 && front:
				key, rest = name[:dash+1], name[dash+1:]
			case dash > 0:
				key, rest = name[dash:], name[:dash]
			}
			if groups[key] == nil {
				order = append(order, key)
			}
			groups[key] = append(groups[key], rest)
		}
		folded := make([]string, 0, len(order))
		for _, key := range order {
			rest := "{" + strings.Join(groups[key], ",") + "}"
			if len(groups[key]) == 1 {
				rest = groups[key][0]
			}
			if front {
				folded = append(folded, key+rest)
			} else {
				folded = append(folded, rest+key)
			}
		}
		if width(folded) < width(best) {
			best = folded
		}
	}
	return best
}

// ErrFolded is returned by Unfold for what Fold does not write.
var ErrFolded = errors.New("found no folded names of namespaces")

// maxNamespace is how long a namespace's name may be.
const maxNamespace = 63

// Unfold gives back the names that Fold was given, in some order.
func Unfold(folded []string) (names []string, err error) {
	for _, text := range folded {
		front, rest, many := strings.Cut(text, "{")
		inner, back, closed := strings.Cut(rest, "}")
		if many != closed || len(front)+len(back) > maxNamespace || strings.ContainsAny(front+back, "{},") {
			return nil, fmt.Errorf("%w: %.80q", ErrFolded, text)
		}
		for _, part := range strings.Split(inner, ",") {
			name := front + part + back
			if name == "" || len(name) > maxNamespace || strings.ContainsAny(part, "{}") {
				return nil, fmt.Errorf("%w: %.80q", ErrFolded, text)
			}
			names = append(names, name)
		}
	}
	return names, nil
}

// ActionIn is a control's action in a table. A control that nothing says of has none: it is not in the catalogue.
func (b PostureBody) ActionIn(t PostureTable, control string) finding.Action {
	if a, ok := t.Differs[control]; ok {
		return a
	}
	for a, controls := range b.Actions {
		if slices.Contains(controls, control) {
			return a
		}
	}
	return ""
}
