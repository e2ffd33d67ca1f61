package store_test

import (
	"context"
	"path/filepath"
	"testing"

	"ringfence.dev/ringfence/store"
	"ringfence.dev/ringfence/store/storetest"
)

// open opens a store until the test ends.
func open(t testing.TB, path string) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), store.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Store { return open(t, filepath.Join(t.TempDir(), "store.db")) })
}
