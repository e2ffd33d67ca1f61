package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// ErrForgotten means that the API server no longer knows what changed since a version: list anew.
var ErrForgotten = errors.New("the API server has forgotten that version")

const (
	// watchTime is how long the server keeps a watch open; watchSlack is how much longer is waited for its end.
	watchTime, watchSlack = 5 * time.Minute, 30 * time.Second
)

// Event is one change of a resource.
type Event struct {
	// Object is the object, as List yields it; nil where only the version is told.
	Object map[string]any
	// Gone says that the object is no more; Object is how it last was.
	Gone bool
	// Version is that of the resource after the change: another Watch may begin there.
	Version string
}

// Watch yields what changed in a resource since a version, of all namespaces and of none. It ends without an error when the
// server ends it, every some minutes: call it again with the last version. An error that wraps ErrForgotten asks for a new list.
func (c *Cluster) Watch(ctx context.Context, r Resource, since string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		w := &watch{Resource: r, yield: yield, typed: -1}
		query := url.Values{"watch": {"1"}, "resourceVersion": {since}, "allowWatchBookmarks": {"true"}, "timeoutSeconds": {strconv.Itoa(int(watchTime.Seconds()))}}
		accept := "application/json"
		if r.hidden() {
			accept = tableOfMetadata
		}
		ask, cancel := context.WithTimeout(ctx, watchTime+watchSlack)
		defer cancel()
		_, err := c.once(ask, r.path(""), query, accept, w.read)
		refused := (*refusal)(nil)
		switch {
		case w.ended || ctx.Err() != nil || err == nil:
			return
		case errors.As(err, &refused) && refused.code == http.StatusGone:
			err = fmt.Errorf("%w: %w", ErrForgotten, err)
		}
		yield(Event{}, explain(fmt.Errorf("watch %s: %w", r, err)))
	}
}

// watch is a watch on its way.
type watch struct {
	Resource
	yield func(Event, error) bool
	ended bool
	typed int // the column of a table that holds the type, -1 while it is not known: the first event alone says it
}

// change is an event as it comes.
type change struct {
	Type   string          `json:"type"`
	Object json.RawMessage `json:"object"`
}

// read reads events until there are no more.
func (w *watch) read(body io.Reader) error {
	in := &bounded{from: body}
	decoder := json.NewDecoder(in)
	for {
		in.used = 0
		var c change
		err := decoder.Decode(&c)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, errLarge):
			return err
		case err != nil:
			return fmt.Errorf("%w: %s", errBroken, short(err.Error()))
		}
		e, err := w.event(c)
		if err != nil {
			return err
		}
		if w.ended = !w.yield(e, nil); w.ended {
			return nil
		}
	}
}

// event takes one apart.
func (w *watch) event(c change) (e Event, err error) {
	switch c.Type {
	case "ADDED", "MODIFIED":
	case "DELETED":
		e.Gone = true
	case "BOOKMARK":
		e.Version, err = w.version(c.Object)
		return e, err
	case "ERROR":
		r := &refusal{message: "without a reason"}
		var status struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		}
		if json.Unmarshal(c.Object, &status) == nil {
			r.code, r.message = status.Code, short(status.Message)
		}
		return e, r
	default:
		return e, fmt.Errorf("%w: found an event of type %.40q", errShape, c.Type)
	}
	if w.hidden() {
		e.Object, err = w.row(c.Object)
	} else {
		err = utiljson.Unmarshal(c.Object, &e.Object)
	}
	meta, ok := e.Object["metadata"].(map[string]any)
	if err != nil || !ok {
		return Event{}, errShape
	}
	e.Version, _ = meta["resourceVersion"].(string)
	e.Object["apiVersion"], e.Object["kind"] = w.APIVersion(), w.Kind.Kind
	trim(e.Object)
	return e, nil
}

// table is what comes in the place of a hidden object.
type table struct {
	Metadata struct {
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
	Columns []struct {
		Name string `json:"name"`
	} `json:"columnDefinitions"`
	Rows []json.RawMessage `json:"rows"`
}

func (w *watch) table(text json.RawMessage) (t table, err error) {
	if err := json.Unmarshal(text, &t); err != nil {
		return t, errShape
	}
	for i, column := range t.Columns {
		if column.Name == "Type" {
			w.typed = i
		}
	}
	return t, nil
}

// row is the object of a table with one row.
func (w *watch) row(text json.RawMessage) (map[string]any, error) {
	t, err := w.table(text)
	if err != nil || len(t.Rows) != 1 {
		return nil, errShape
	}
	return (&page{typed: w.typed}).row(t.Rows[0])
}

// version is that of a bookmark, "" where it says none.
func (w *watch) version(text json.RawMessage) (string, error) {
	t, err := w.table(text) // other objects have their metadata at the same place
	if err == nil && t.Metadata.ResourceVersion == "" && len(t.Rows) == 1 {
		var row struct {
			Object table `json:"object"`
		}
		if json.Unmarshal(t.Rows[0], &row) == nil {
			return row.Object.Metadata.ResourceVersion, nil
		}
	}
	return t.Metadata.ResourceVersion, err
}
