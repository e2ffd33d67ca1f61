package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
)

// pageSize is how many objects are asked for at once, as kubectl does.
const pageSize = 500

// A list that the server forgot is begun again at most maxRestarts times; a page that broke off is asked for maxBroken more
// times; and pages without an object follow each other at most maxEmpty times.
const (
	maxRestarts = 3
	maxBroken   = 1
	maxEmpty    = 3
)

// list is a list on its way.
type list struct {
	*Cluster
	Resource
	namespace string
	// seen are the objects that were yielded, by namespace and name: a page that is asked for again yields none twice.
	seen  map[string]bool
	yield func(map[string]any, error) bool
	ended bool // nobody wants more
	// version is that of the first page: what changed since may be watched from there.
	version string
}

// List yields the objects of a resource, of one namespace or of all ("") and of none, each once, without what only the
// server and its clients need: see trim. An error ends the sequence: what was yielded before it counts, the rest was not seen.
func (c *Cluster) List(ctx context.Context, r Resource, namespace string) iter.Seq2[map[string]any, error] {
	all, _ := c.Snapshot(ctx, r, namespace)
	return all
}

// Snapshot is List, and the version of the resource from which Watch tells what changed since; it is known when the sequence has ended
// without an error.
func (c *Cluster) Snapshot(ctx context.Context, r Resource, namespace string) (all iter.Seq2[map[string]any, error], version func() string) {
	var at string
	return func(yield func(map[string]any, error) bool) {
		l := &list{Cluster: c, Resource: r, namespace: namespace, seen: map[string]bool{}, yield: yield}
		if err := l.pages(ctx); err != nil && !l.ended {
			if ctx.Err() != nil {
				err = ctx.Err()
			} else {
				err = explain(fmt.Errorf("list %s: %w", r, err))
			}
			yield(nil, err)
			return
		}
		at = l.version
	}, func() string { return at }
}

// pages reads page after page.
func (l *list) pages(ctx context.Context) error {
	token, restarts, broken, empty := "", 0, 0, 0
	for !l.ended {
		before := len(l.seen)
		next, err := l.page(ctx, token)
		r := (*refusal)(nil)
		switch {
		case l.ended:
			return nil
		case errors.As(err, &r) && r.code == http.StatusGone && token != "":
			// The server keeps some minutes of its past. It says where to go on with what is there now, or all is asked anew.
			if restarts++; restarts > maxRestarts {
				return err
			}
			l.note(fmt.Sprintf("the list of %s took longer than the API server remembers: what follows is of a later moment", l.Resource))
			token = r.resume
			continue
		case errors.Is(err, errBroken) && broken < maxBroken:
			broken++
			continue
		case err != nil:
			return err
		case next == "":
			return nil
		case len(l.seen) > before:
			empty = 0
		default:
			empty++
		}
		if next == token || empty > maxEmpty {
			return errors.New("the API server goes on with pages that hold nothing new; the rest was not read")
		}
		token, broken = next, 0
	}
	return nil
}

// page reads one page and says where the next begins, "" for nowhere.
func (l *list) page(ctx context.Context, token string) (next string, err error) {
	query := url.Values{"limit": {strconv.Itoa(pageSize)}}
	if token != "" {
		query.Set("continue", token)
	}
	accept := "application/json"
	if l.hidden() {
		accept = tableOfMetadata
	}
	err = l.get(ctx, l.path(l.namespace), query, accept, func(body io.Reader) error {
		p := page{in: &bounded{from: body}, hidden: l.hidden(), each: l.object}
		err := p.read()
		if next = p.next; token == "" {
			l.version = p.version
		}
		return err
	})
	return next, err
}

// object hands on one object; false ends the reading.
func (l *list) object(value map[string]any) bool {
	meta, _ := value["metadata"].(map[string]any)
	namespace, _ := meta["namespace"].(string)
	name, _ := meta["name"].(string)
	key := namespace + "/" + name
	if l.seen[key] {
		return true
	}
	l.seen[key] = true
	value["apiVersion"], value["kind"] = l.APIVersion(), l.Kind.Kind // items of a list do not say it
	trim(value)
	l.ended = !l.yield(value, nil)
	return !l.ended
}

// explain says what to do about a refusal.
func explain(err error) error {
	r := (*refusal)(nil)
	if !errors.As(err, &r) {
		return err
	}
	switch r.code {
	case http.StatusForbidden:
		return fmt.Errorf("%w; not judged: grant the verb list, as the ClusterRole in docs/sources.md does, or narrow with --namespace", err)
	case http.StatusUnauthorized:
		return fmt.Errorf("%w; the credentials of the kubeconfig are not accepted: log in anew, or name another --context", err)
	case http.StatusGone:
		return fmt.Errorf("%w; the rest was not read: run it again, or narrow with --namespace", err)
	default:
		return fmt.Errorf("%w; what was not read was not judged", err)
	}
}
