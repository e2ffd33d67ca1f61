package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"golang.org/x/sync/singleflight"
)

const (
	// tagWithin is how long a registry may take to say what a tag means: whoever waits is a request to the API server.
	tagWithin = 3 * time.Second
	// tagFresh is how long an answer serves the next who ask: a controller that makes a hundred Pods at once.
	tagFresh = time.Second
	// tagKept is how long it serves where the registry gives none.
	tagKept = 15 * time.Minute
	// maxTags and maxAsking bound what is known, and how many registries are asked at once.
	maxTags, maxAsking = 10_000, 64
)

// Tags tells which digests tags mean, within a time that a request to the API server has. Where a registry gives no answer, what it said
// shortly before counts. It is safe for use by several goroutines.
type Tags struct {
	ask    func(context.Context, string) (Image, error)
	now    func() time.Time
	asking chan struct{}
	flight singleflight.Group

	mu    sync.Mutex // guards what follows
	known map[string]meant
}

// meant is what a tag meant at a time.
type meant struct {
	digest string
	at     time.Time
}

// NewTags makes a Tags that asks by a Client, which should be one that asks nobody else: see Options.Alone.
func NewTags(c *Client, now func() time.Time) *Tags {
	return &Tags{ask: c.Resolve, now: now, asking: make(chan struct{}, maxAsking), known: map[string]meant{}}
}

// Digest is what a reference means now, as sha256: and 64 digits. since is zero; or it is when the registry said so, where it gave no
// answer now. The error is ErrAway, ErrMissing, or says what is wrong with the reference.
func (t *Tags) Digest(ctx context.Context, reference string) (digest string, since time.Time, err error) {
	if err := spelledOut(reference); err != nil {
		return "", time.Time{}, err
	}
	if was, ok := t.recall(reference); ok && t.now().Sub(was.at) < tagFresh {
		return was.digest, time.Time{}, nil
	}
	asked := t.flight.DoChan(reference, func() (any, error) { return t.learn(reference) })
	select {
	case answer := <-asked:
		if answer.Err == nil {
			return answer.Val.(string), time.Time{}, nil
		}
		err = answer.Err
	case <-ctx.Done():
		err = fmt.Errorf("%s: %w: %w", reference, ErrAway, ctx.Err())
	}
	if was, ok := t.recall(reference); ok && errors.Is(err, ErrAway) {
		return was.digest, was.at, nil
	}
	return "", time.Time{}, err
}

// learn asks a registry, whoever still waits for that.
func (t *Tags) learn(reference string) (string, error) {
	select {
	case t.asking <- struct{}{}:
		defer func() { <-t.asking }()
	default:
		return "", fmt.Errorf("%s: %w: %d others are asked about now", reference, ErrAway, cap(t.asking))
	}
	ctx, cancel := context.WithTimeout(context.Background(), tagWithin)
	defer cancel()
	at := t.now()
	image, err := t.ask(ctx, reference)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case errors.Is(err, ErrMissing):
		delete(t.known, reference)
		return "", err
	case err != nil:
		return "", err
	}
	if _, have := t.known[reference]; !have && len(t.known) >= maxTags {
		for other := range t.known { // any: which one is of no use any more nobody knows
			delete(t.known, other)
			break
		}
	}
	t.known[reference] = meant{image.Digest(), at}
	return image.Digest(), nil
}

// recall is what a tag meant lately.
func (t *Tags) recall(reference string) (meant, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	was, ok := t.known[reference]
	if age := t.now().Sub(was.at); ok && (age < 0 || age > tagKept) {
		delete(t.known, reference)
		ok = false
	}
	return was, ok
}

// spelledOut refuses a reference that does not begin with the host that would be asked: a short name means another one than it says.
func spelledOut(reference string) error {
	ref, err := name.ParseReference(reference)
	if err != nil {
		return fmt.Errorf("image %.200q: %w", reference, err)
	}
	host, _, _ := strings.Cut(reference, "/")
	if host == "docker.io" {
		host = name.DefaultRegistry
	}
	if asked := ref.Context().RegistryStr(); asked != host {
		return fmt.Errorf("image %.200q: it names no registry and would mean %s; want its full name", reference, asked)
	}
	return nil
}
