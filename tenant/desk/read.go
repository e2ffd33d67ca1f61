package desk

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// pageSize is how many objects are asked for at once.
const pageSize = 500

// pointer is a pointer to an object of a kind, and listOf one to a list.
type (
	pointer[T any] interface {
		*T
		client.Object
	}
	listOf[U any] interface {
		*U
		client.ObjectList
	}
)

// read is the object of a name; the namespace is "" for what lies in none.
func read[T any, P pointer[T]](ctx context.Context, d *Desk, what, namespace, name string) (P, error) {
	o, in := P(new(T)), ""
	if namespace != "" {
		in = " in " + namespace
	}
	if err := d.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, o); err != nil {
		return nil, fmt.Errorf("read %s %s%s: %w", what, name, in, said(err))
	}
	return o, nil
}

// listed are the objects of a kind in a namespace, in all for "", by namespace and name. items are those of a page.
func listed[T, U any, P pointer[T], L listOf[U]](ctx context.Context, d *Desk, what, namespace string, items func(L) []T) (all []T, err error) {
	for next := ""; ; {
		page := L(new(U))
		if err := d.client.List(ctx, page, client.InNamespace(namespace), client.Limit(pageSize), client.Continue(next)); err != nil {
			return nil, fmt.Errorf("list %s: %w", what, said(err))
		}
		all = append(all, items(page)...)
		if next = page.GetContinue(); next == "" {
			byName[T, P](all)
			return all, nil
		}
	}
}

func byName[T any, P pointer[T]](all []T) {
	slices.SortFunc(all, func(a, b T) int {
		return strings.Compare(P(&a).GetNamespace()+"/"+P(&a).GetName(), P(&b).GetNamespace()+"/"+P(&b).GetName())
	})
}

// await looks until what is waited for is there or fails, at most so long, and returns it as it stands then.
func await[T any](ctx context.Context, within time.Duration, look func() (is T, there bool, err error)) (T, error) {
	tick, enough := time.NewTicker(200*time.Millisecond), time.NewTimer(within)
	defer tick.Stop()
	defer enough.Stop()
	for {
		is, there, err := look()
		if there || err != nil {
			return is, err
		}
		select {
		case <-ctx.Done():
			return is, ctx.Err()
		case <-enough.C:
			return is, nil
		case <-tick.C:
		}
	}
}
