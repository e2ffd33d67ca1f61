package identity

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/forward/wire"
)

const (
	// GroupsAge is how old the groups of a person can be where Microsoft Graph was asked for them.
	GroupsAge = 5 * time.Minute
	// maxPersons bounds the persons whose groups are remembered: 2,000 with 11,000 groups of 36 bytes are 800 MB at the very worst, and
	// 20 MB with the 250 that are usual among those with too many.
	maxPersons = 2000
	// earlier is how long before its end our own token is renewed.
	earlier = time.Minute
)

// guid is an id of Entra ID.
var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// graph asks Microsoft Graph for the groups of people, as an application of the directory.
type graph struct {
	host, clientID string
	secret         wire.Secret
	client         *http.Client
	now            func() time.Time
	flight         singleflight.Group

	mu      sync.Mutex // guards what follows
	persons map[string]membership
	access  string
	ends    time.Time // of access
	quiet   time.Time // Graph asked to be left alone until then
}

// membership is what Graph said of a person.
type membership struct {
	groups []string
	read   time.Time
}

func newGraph(cfg Config, client *http.Client) *graph {
	g := &graph{host: cfg.Graph.Host, clientID: cfg.Graph.ClientID, secret: wire.Secret(cfg.Graph.SecretFile), client: client, now: cfg.Now, persons: map[string]membership{}}
	if g.host == "" {
		g.host = "graph.microsoft.com"
	}
	if g.clientID == "" {
		g.clientID = cfg.ClientID
	}
	return g
}

// groups are the groups, directory roles and administrative units of a person, by id. Every error but a no of the directory to the person
// wraps ErrUndecided: there is none that means no groups.
func (g *graph) groups(ctx context.Context, ends Endpoints, directory, person string) ([]string, error) {
	switch {
	case g.secret == "":
		return nil, undecided("the token names no groups because there are too many for it, and nothing is set up to ask Microsoft Graph; fix: docs/signin.md, \"Many groups\"")
	case !guid.MatchString(person):
		return nil, refused("it says that there are more groups, and not of whom: its oid is %s", orNone(person))
	}
	key := directory + "/" + person
	g.mu.Lock()
	known, ok := g.persons[key]
	g.mu.Unlock()
	if ok && g.now().Sub(known.read) <= GroupsAge {
		return slices.Clone(known.groups), nil
	}
	answer := g.flight.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*timeout)
		defer cancel()
		asked := g.now()
		groups, err := g.ask(ctx, ends, person)
		if err == nil {
			g.remember(key, membership{groups, asked})
		}
		return groups, err
	})
	select {
	case <-ctx.Done():
		return nil, undecided("Microsoft Graph has not answered yet: %s", context.Cause(ctx))
	case a := <-answer:
		if a.Err != nil {
			return nil, a.Err
		}
		return slices.Clone(a.Val.([]string)), nil
	}
}

// remember keeps what Graph said; the oldest goes where there is no room.
func (g *graph) remember(key string, m membership) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.persons) >= maxPersons {
		oldest, at := "", m.read
		for k, other := range g.persons {
			if other.read.Before(at) {
				oldest, at = k, other.read
			}
		}
		delete(g.persons, oldest)
	}
	if len(g.persons) < maxPersons {
		g.persons[key] = m
	}
}

// ask asks Graph once, and once more with a new token of our own where it does not take the old.
func (g *graph) ask(ctx context.Context, ends Endpoints, person string) ([]string, error) {
	g.mu.Lock()
	quiet := g.quiet
	g.mu.Unlock()
	if wait := quiet.Sub(g.now()); wait > 0 {
		return nil, undecided("%s wants to be asked again in %s", g.host, wait.Truncate(time.Second))
	}
	for try := 1; ; try++ {
		access, err := g.token(ctx, ends)
		if err != nil {
			return nil, err
		}
		groups, status, err := g.post(ctx, access, person)
		if status == http.StatusUnauthorized && try == 1 {
			g.mu.Lock()
			g.access = ""
			g.mu.Unlock()
			continue
		}
		return groups, err
	}
}

// token is our own token for Graph, as the application.
func (g *graph) token(ctx context.Context, ends Endpoints) (string, error) {
	g.mu.Lock()
	access, until := g.access, g.ends
	g.mu.Unlock()
	if access != "" && g.now().Before(until.Add(-earlier)) {
		return access, nil
	}
	secret, err := g.secret.Read()
	if err != nil {
		return "", undecided("%s", err)
	}
	tokens, err := redeem(ctx, g.client, ends.Token, url.Values{"grant_type": {"client_credentials"}, "client_id": {g.clientID}, "client_secret": {secret},
		"scope": {"https://" + g.host + "/.default"}})
	switch no := (*GrantError)(nil); {
	case errors.As(err, &no):
		return "", undecided("the provider gives us no token for %s: %s; fix: the application's secret and its consent", g.host, no)
	case err != nil:
		return "", err
	case tokens.Access == "":
		return "", undecided("the provider gives us no token for %s", g.host)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.access, g.ends = tokens.Access, g.now().Add(tokens.Lifetime)
	return g.access, nil
}

// post is one request: POST /users/{id}/getMemberObjects.
func (g *graph) post(ctx context.Context, access, person string) ([]string, int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+g.host+"/v1.0/users/"+person+"/getMemberObjects", strings.NewReader(`{"securityEnabledOnly":true}`))
	if err != nil {
		return nil, 0, undecided("the address of Microsoft Graph cannot be read")
	}
	request.Header.Set("Authorization", "Bearer "+access)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	body, status, header, err := send(g.client, request)
	if err != nil {
		return nil, status, err
	}
	var said struct {
		Value []string `json:"value"`
		Next  string   `json:"@odata.nextLink"`
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	fault := json.Unmarshal(body, &said)
	code := finding.Value(said.Error.Code)
	switch {
	case status == http.StatusOK && fault == nil && said.Value != nil && said.Next == "":
		return g.whole(said.Value, status)
	case status == http.StatusOK:
		return nil, status, undecided("what %s answered is no whole list of groups", g.host)
	case status == http.StatusNotFound && code == "Request_ResourceNotFound":
		return nil, status, refused("the directory knows nobody with the oid %s", person)
	case status == http.StatusForbidden:
		return nil, status, undecided("%s answered with status 403 (%s); fix: give the application User.ReadBasic.All and GroupMember.Read.All, with an administrator's consent", g.host, code)
	case status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable:
		g.mu.Lock()
		g.quiet = g.now().Add(min(wire.RetryAfter(header, g.now()), GroupsAge))
		g.mu.Unlock()
	}
	return nil, status, undecided("%s answered with status %d (%s)", g.host, status, code)
}

// whole checks a list of groups.
func (g *graph) whole(groups []string, status int) ([]string, int, error) {
	if len(groups) > maxGroups {
		return nil, status, undecided("%s names %d groups; want at most %d", g.host, len(groups), maxGroups)
	}
	for _, group := range groups {
		if !guid.MatchString(group) {
			return nil, status, undecided("%s names a group that is no id: %s", g.host, finding.Value(group))
		}
	}
	return sorted(groups), status, nil
}
