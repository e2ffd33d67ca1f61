package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"ringfence.dev/ringfence/api/v1alpha1"
)

const (
	// kindsEvery is how often a Mapper asks which kinds the cluster serves.
	kindsEvery = 15 * time.Second
	// kindsGather is how long it waits after Again: the API server's list of kinds is behind a definition by some tenths of a second,
	// and definitions come in heaps.
	kindsGather = time.Second
)

// Mapper is a RESTMapper by which it costs no request to ask for a kind that the cluster does not serve. controller-runtime's asks the API
// server anew for each, one caller after the other, and who asks for a kind that is there waits behind them. This one asks for all kinds at
// once while Start runs, and answers from that; before the first answer it asks as the other does. A kind that was served once counts as
// served, so that an API server which shows less for a moment takes no rule away.
type Mapper struct {
	meta.RESTMapper
	client *discovery.DiscoveryClient
	again  chan struct{}
	served atomic.Pointer[map[schema.GroupVersionKind]bool] // nil before the first answer; each kind is there without its version too
	// New is told, unless it is nil, when the cluster serves a kind that it did not serve before. It must not block, and is set before Start.
	New func()
}

// NewMapper makes a Mapper; it asks nothing yet.
func NewMapper(config *rest.Config, http *http.Client) (*Mapper, error) {
	lazy, err := apiutil.NewDynamicRESTMapper(config, http)
	if err != nil {
		return nil, fmt.Errorf("map kinds of the cluster at %s: %w", config.Host, err)
	}
	client, err := discovery.NewDiscoveryClientForConfigAndClient(config, http)
	if err != nil {
		return nil, fmt.Errorf("map kinds of the cluster at %s: %w", config.Host, err)
	}
	return &Mapper{RESTMapper: lazy, client: client, again: make(chan struct{}, 1)}, nil
}

// RESTMapping implements meta.RESTMapper.
func (m *Mapper) RESTMapping(kind schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	if !m.serves(kind, versions) {
		return nil, &meta.NoKindMatchError{GroupKind: kind, SearchedVersions: versions}
	}
	return m.RESTMapper.RESTMapping(kind, versions...)
}

// serves reports whether a kind may be served: in one of some versions, or in any where none is named. Ringfence's own may be at all times:
// they are made before they are asked for, and of several API servers one may not know it yet.
func (m *Mapper) serves(kind schema.GroupKind, versions []string) bool {
	served := m.served.Load()
	if served == nil || kind.Group == v1alpha1.GroupVersion.Group {
		return true
	}
	if len(versions) == 0 {
		versions = []string{""}
	}
	for _, v := range versions {
		if (*served)[kind.WithVersion(v)] {
			return true
		}
	}
	return false
}

// Again has it asked soon which kinds the cluster serves: one may have come.
func (m *Mapper) Again() {
	select {
	case m.again <- struct{}{}:
	default:
	}
}

// Start asks until ctx is done. An answer that does not come leaves the last one as it is.
func (m *Mapper) Start(ctx context.Context) error {
	tick := time.NewTicker(kindsEvery)
	defer tick.Stop()
	for {
		m.ask(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-m.again:
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(kindsGather):
			}
		}
	}
}

// ask adds what the cluster serves now to what it served.
func (m *Mapper) ask(ctx context.Context) {
	_, lists, err := discovery.ServerGroupsAndResourcesWithContext(ctx, m.client)
	if partly := (*discovery.ErrGroupDiscoveryFailed)(nil); err != nil && !errors.As(err, &partly) {
		return
	}
	before, served := m.served.Load(), map[schema.GroupVersionKind]bool{}
	if before != nil {
		served = maps.Clone(*before)
	}
	known := len(served)
	for _, list := range lists {
		add(served, list)
	}
	if len(served) == known && before != nil {
		return
	}
	m.served.Store(&served)
	if before != nil && m.New != nil {
		m.New()
	}
}

func add(served map[schema.GroupVersionKind]bool, list *metav1.APIResourceList) {
	of, err := schema.ParseGroupVersion(list.GroupVersion)
	if err != nil {
		return
	}
	for _, r := range list.APIResources {
		if strings.Contains(r.Name, "/") {
			continue
		}
		kind := schema.GroupKind{Group: of.Group, Kind: r.Kind}
		served[kind.WithVersion(of.Version)], served[kind.WithVersion("")] = true, true
	}
}
